"""config, run, serve, and how quickly the command starts."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from conftest import ROOT, Player, Run

SETTINGS = """\
[server]
url = "http://127.0.0.1:5000"
[cache]
max_bytes = "2 GiB"
[panel.wiring]
clk = 17
"odd key" = "\\u001b[31m \\\\ \\" Ж"
api_token = "hunter2"
"""


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    file = tmp_path / "chadbox.toml"
    file.write_text(SETTINGS, "utf-8")
    return file


def test_config_check(chadbox: Run, settings: Path) -> None:
    done = chadbox("--config", str(settings), "config", "check")
    assert (done.returncode, done.stdout) == (1, "")
    assert f"{settings}: [panel] wiring:" in done.stderr
    settings.write_text('[server]\nurl = "http://h"\n[panel.wiring]\nbuttons = { play = 23 }\n')
    assert "used twice" in chadbox("--config", str(settings), "config", "check").stderr
    settings.write_text('[server]\nurl = "http://h"\n[panel.wiring]\nactions = { "play.long" = "stop" }\n')
    assert chadbox("--config", str(settings), "config", "check").stdout == f"{settings}: ok\n"
    done = chadbox("config", "check", "--json", "--config", str(settings))
    assert json.loads(done.stdout) == {"file": str(settings), "ok": True}
    settings.write_text('[server]\nurl = "http://h"\n[audio]\nvolume = 5\n')
    done = chadbox("config", "check", env={"CHADBOX_CONFIG": str(settings)})
    assert (done.returncode, done.stdout) == (1, "")
    assert f"{settings}, line 4: [audio] volume: unknown key" in done.stderr
    done = chadbox("config", "check", "--config", "/no/such")
    assert (done.returncode, "no such settings file" in done.stderr) == (1, True)


def test_config_show_is_toml_of_what_is_in_force(chadbox: Run, settings: Path) -> None:
    done = chadbox("config", "show", "--config", str(settings), env={"CHADBOX_SOCKET": "/tmp/s"})  # noqa: S108
    assert done.returncode == 0
    shown = tomllib.loads(done.stdout)
    given = tomllib.loads(SETTINGS)
    assert shown["server"]["url"] == given["server"]["url"]
    assert shown["cache"] == {"dir": "/var/cache/chadbox", "max_bytes": "2 GiB", "min_free": "512 MiB"}
    assert shown["panel"]["wiring"] == given["panel"]["wiring"] | {"api_token": "***"}
    assert shown["control"]["socket"] == "/tmp/s"  # noqa: S108
    assert shown["drives"] == {"fill": True, "import": False, "folders": []}
    assert "# token_file is not set" in done.stdout
    assert "hunter2" not in done.stdout
    assert "\x1b" not in done.stdout
    as_json = json.loads(chadbox("config", "show", "--json", "--config", str(settings)).stdout)
    assert as_json["panel"] == shown["panel"]


def test_what_config_show_prints_is_a_settings_file(chadbox: Run, settings: Path, tmp_path: Path) -> None:
    settings.write_text(SETTINGS.replace('api_token = "hunter2"', ""), "utf-8")
    text = chadbox("config", "show", "--config", str(settings)).stdout
    again = tmp_path / "again.toml"
    again.write_text(text, "utf-8")
    assert chadbox("config", "show", "--config", str(again)).stdout == text


def stand_in(tmp_path: Path, module: str, source: str) -> dict[str, str]:
    """An environment in which `module` is `source`: what the command passes on is what is tested here."""
    start = tmp_path / "sitecustomize"
    start.mkdir()
    (start / "sitecustomize.py").write_text(
        f"import sys, types\nmodule = types.ModuleType({module!r})\nexec({source!r}, module.__dict__)\n"
        f"sys.modules[{module!r}] = module\n"
    )
    return {"PYTHONPATH": f"{start}:{ROOT}"}


def test_serve_passes_its_options_on(chadbox: Run, tmp_path: Path) -> None:
    env = stand_in(
        tmp_path, "appliance.server", "def serve(*args):\n    print(*map(repr, args), sep='|')\n    return 0\n"
    )
    line = "serve --music /m/a --music=/m/b --state /s --listen 0.0.0.0:0 --token-file /t"
    assert chadbox(*line.split(), env=env).stdout == (
        "[PosixPath('/m/a'), PosixPath('/m/b')]|PosixPath('/s')|'0.0.0.0:0'|PosixPath('/t')\n"
    )
    assert chadbox("serve", "--music", "/m", "--state", "/s", env=env).stdout == (
        "[PosixPath('/m')]|PosixPath('/s')|'127.0.0.1:5000'|None\n"
    )


def test_serve_without_its_packages(chadbox: Run, tmp_path: Path) -> None:
    env = stand_in(tmp_path, "appliance.server", "def serve(*args):\n    import no_such_package\n")
    done = chadbox("serve", "--music", "/m", "--state", "/s", env=env)
    assert done.returncode == 1
    assert "needs no_such_package, which is not installed; pip install 'chadbox[server]'" in done.stderr


def test_run_gets_the_settings(chadbox: Run, settings: Path, tmp_path: Path) -> None:
    source = "def run(settings):\n    print(settings.cache.max_bytes, settings.control.socket)\n    return 7\n"
    env = stand_in(tmp_path, "appliance.app", source)
    done = chadbox("run", "--config", str(settings), "--socket", "/tmp/own", env=env)  # noqa: S108
    assert (done.returncode, done.stdout) == (7, "2 GiB /tmp/own\n")
    done = chadbox("run", "--config", "/no/such", env=env)
    assert (done.returncode, "no such settings file" in done.stderr) == (1, True)


def test_an_internal_error_is_one_line(chadbox: Run, settings: Path, tmp_path: Path) -> None:
    env = stand_in(tmp_path, "appliance.app", "def run(settings):\n    raise RuntimeError('two\\nlines')\n")
    done = chadbox("run", "--config", str(settings), env=env)
    assert done.returncode == 1
    assert "internal error: RuntimeError: two lines" in done.stderr


def test_status_loads_nothing_heavy(player: Player, environment: dict[str, str]) -> None:
    """The start-up time itself depends on the machine; what is loaded does not."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "appliance.cli", "status"],
        env=environment, capture_output=True, text=True, timeout=20, check=True,
    )  # fmt: skip
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}
    assert "appliance.control.client" in loaded
    heavy = {
        "asyncio",
        "msgspec",
        "argparse",
        "rich",
        "tomllib",
        "typing",
        "dataclasses",
        "subprocess",
        "logging",
        "pathlib",
    }
    assert loaded & heavy == set()
