"""Which part may know which (imports go one way), and what a box without extras and hardware can still start."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# what the extras, the hardware rooms and the developers' tools bring; the core must not need them to be imported
OPTIONAL = (
    "gpiozero", "lgpio", "RPi", "smbus2", "pyudev", "alsaaudio", "dbus_fast", "luma", "PIL", "aiomqtt",
    "starlette", "uvicorn", "multipart", "python_multipart", "mutagen", "rich",
    "numpy", "pytest", "hypothesis",
)  # fmt: skip

# imports every module of the packages named in argv, with the modules of the first argument made impossible to import
IMPORT_ALL = """
import importlib, importlib.abc, pkgutil, sys

class Refuse(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in BLOCKED:
            raise ModuleNotFoundError(f"No module named {name!r} (blocked by the test)", name=name)

BLOCKED = frozenset(sys.argv[1].split(","))
sys.meta_path.insert(0, Refuse())
for package in sys.argv[2:]:
    try:
        root = importlib.import_module(package)
        for module in pkgutil.walk_packages(root.__path__, package + "."):
            if not module.name.endswith("__main__"):
                importlib.import_module(module.name)
    except ModuleNotFoundError as error:
        if error.name and error.name.partition(".")[0] not in BLOCKED | {"appliance", "hw"}:
            raise SystemExit(f"{package}: {error}")
        raise
"""


def python(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def test_imports_go_one_way() -> None:
    done = python("-c", "from importlinter.cli import lint_imports; import sys; sys.exit(lint_imports(no_cache=True))")
    assert done.returncode == 0, done.stdout + done.stderr


ROOMS = sorted(
    path.name for path in (ROOT / "appliance").iterdir() if (path / "__init__.py").exists() and path.name != "server"
)


@pytest.mark.parametrize("room", ROOMS)
def test_rooms_import_without_extras_and_hardware(room: str) -> None:
    """`appliance.server` is an extra as a whole; every other room takes what is optional only when it is used (R10)."""
    done = python("-c", IMPORT_ALL, ",".join(OPTIONAL), f"appliance.{room}")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("module", ["appliance", "appliance.server", "appliance.cli", "appliance.demo.__main__"])
def test_front_doors_import_without_extras(module: str) -> None:
    """They say what is missing when it is needed, and so have to start without it."""
    done = python("-c", IMPORT_ALL.partition("for package")[0] + f"import {module}", ",".join(OPTIONAL))
    assert done.returncode == 0, done.stderr


def test_only_hw_knows_the_hardware() -> None:
    hardware = ("gpiozero", "lgpio", "RPi", "smbus2", "pyudev", "alsaaudio")
    offenders = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in (ROOT / "appliance").rglob("*.py")
        for number, line in enumerate(path.read_text("utf-8").splitlines(), start=1)
        if line.lstrip().startswith(("import ", "from ")) and line.split()[1].partition(".")[0] in hardware
    ]
    assert not offenders, f"hardware libraries are imported outside hw/: {offenders}"
