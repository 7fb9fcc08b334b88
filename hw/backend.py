"""Which library speaks to the GPIO chip: lgpio first, RPi.GPIO where that is what works; and why not the other one."""

from __future__ import annotations

import importlib
import importlib.util
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hw.errors import GpioError


@dataclass(frozen=True, slots=True)
class Backend:
    """`factory` is gpiozero's pin factory; `name` and `reason` are for people (`chadbox doctor`).

    `kernel_time` says that edges carry the kernel's time stamps and not the time at which a thread got round to them.
    """

    name: str
    reason: str
    factory: Any
    kernel_time: bool = False


def open_backend() -> Backend:
    """Open the GPIO chip.

    Raises GpioError in one line when no library, no chip or no permission is there. Changes the working directory for
    the moment of the import of lgpio (see `_elsewhere`), so call it before threads use relative paths.
    """
    if importlib.util.find_spec("gpiozero") is None:
        raise GpioError("gpiozero is not installed; install chadbox with its panel extra: pip install 'chadbox[panel]'")
    failures: list[str] = []
    for name, open_it in (("lgpio", _lgpio), ("RPi.GPIO", _rpi_gpio)):
        try:
            factory = open_it()
        except ImportError:
            failures.append(f"{name} is not installed")
        except Exception as error:  # each library has errors of its own; what matters is the next one's turn
            failures.append(f"{name}: {_why(error)}")
        else:
            return Backend(name, "; ".join(failures) or "the preferred library works", factory, name == "lgpio")
    raise GpioError(f"no GPIO: {'; '.join(failures)}{_advice()}")


def _lgpio() -> Any:
    with _elsewhere():
        importlib.import_module("lgpio")
    module = importlib.import_module("gpiozero.pins.lgpio")
    return module.LGPIOFactory()


def _rpi_gpio() -> Any:
    """RPi.GPIO: it cannot watch edges on kernels from 6.6 on, which shows only when a pin is opened."""
    if _kernel() >= (6, 6) and not _is_shim():
        raise OSError("cannot watch inputs on this kernel (6.6 or newer); install lgpio or rpi-lgpio")
    module = importlib.import_module("gpiozero.pins.rpigpio")
    return module.RPiGPIOFactory()


def _is_shim() -> bool:
    """rpi-lgpio brings a module of the name RPi.GPIO that works on every kernel."""
    metadata = importlib.import_module("importlib.metadata")
    try:
        metadata.distribution("rpi-lgpio")
    except metadata.PackageNotFoundError:
        importlib.import_module("RPi.GPIO")  # ImportError says more than the kernel's version
        return False
    return True


def _kernel() -> tuple[int, ...]:
    return tuple(int(part) for part in os.uname().release.split("-")[0].split(".")[:2] if part.isdigit())


_scratch: tempfile.TemporaryDirectory[str] | None = None


@contextmanager
def _elsewhere() -> Iterator[None]:
    """Be in a scratch directory while lgpio is imported.

    lgpio makes a FIFO in the working directory and fails where that is read-only, as on this image; with LG_WD set it
    moves the whole process there and never back. The FIFO is opened once, at import, so afterwards the directory does
    not matter.
    """
    global _scratch
    if _scratch is None:
        _scratch = tempfile.TemporaryDirectory(prefix="chadbox-lgpio-", ignore_cleanup_errors=True)
    here = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    moved = os.environ.pop("LG_WD", None)
    try:
        os.chdir(_scratch.name)
        yield
    finally:
        os.fchdir(here)
        os.close(here)
        if moved is not None:
            os.environ["LG_WD"] = moved


def _why(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _advice(chips: Callable[[], list[Path]] = lambda: sorted(Path("/dev").glob("gpiochip*"))) -> str:
    there = chips()
    if not there:
        return "; there is no /dev/gpiochip0: this is no Raspberry Pi, or its kernel has no GPIO driver"
    if not any(os.access(chip, os.R_OK | os.W_OK) for chip in there):
        return f"; no permission on {there[0]}: add the user to the group gpio (sudo usermod -aG gpio USER)"
    if importlib.util.find_spec("lgpio") is None:
        return "; install lgpio (apt install python3-lgpio, or pip install lgpio)"
    return ""
