"""Process trees: who is below whom, and ending them."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from pathlib import Path


class Alarm:
    """Kills a process that has not said what it should in time, so that reading from it ends."""

    def __init__(self, process: subprocess.Popen[bytes], seconds: float) -> None:
        self._timer = threading.Timer(seconds, process.kill)

    def __enter__(self) -> None:
        self._timer.start()

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()


def end(process: subprocess.Popen[bytes], seconds: float) -> None:
    """SIGTERM, `seconds` of patience, then SIGKILL to the whole group that `process` leads."""
    if process.poll() is None:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(seconds)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)  # it leads its group; children may be left
    process.wait(5)
    if process.stdout:
        process.stdout.close()


def descendants(pid: int) -> list[int]:
    """Process ids below `pid`, parents before children."""
    found, level = [], [pid]
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError, ValueError):
                # the name in parentheses may hold anything, so what follows is counted from its end
                parent = int((entry / "stat").read_text("utf-8", "replace").rpartition(")")[2].split()[1])
                parents.setdefault(parent, []).append(int(entry.name))
    while level:
        level = [child for parent in level for child in parents.get(parent, [])]
        found += level
    return found


def wait_gone(pid: int, seconds: float) -> None:
    """Until process `pid` is gone or a zombie; AssertionError after `seconds`."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            state = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()[0]
        except OSError:
            return
        if state == "Z":
            return
        time.sleep(0.01)
    raise AssertionError(f"process {pid} is still there")
