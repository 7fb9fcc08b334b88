"""Child processes that never outlive the demo, however it ends."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

_PR_SET_PDEATHSIG = 1
_GRACE = 1.2  # seconds between asking and killing; everything has to be gone within two


class ProcessFailed(Exception):
    """A process ended, or did not get ready in time; the message names it and ends with its last words."""


def die_with_parent() -> None:
    """To be called in a fresh child: have the kernel end it when its parent is gone, killed ones too (Linux only)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def chadbox() -> list[str]:
    """The command line that starts `chadbox` of this installation, without arguments."""
    script = Path(sys.executable).parent / "chadbox"
    return [str(script)] if script.exists() else [sys.executable, "-m", "appliance.cli"]


class Processes:
    """Everything one run has started: each in a process group of its own, so that its children can be ended too."""

    def __init__(self, logs: Path) -> None:
        self._logs = logs
        self._running: dict[str, asyncio.subprocess.Process] = {}
        self._leaders: set[int] = set()

    async def start(
        self,
        name: str,
        *command: str,
        env: Mapping[str, str] | None = None,
        stdout: int | IO[Any] | None = asyncio.subprocess.PIPE,
        terminal: bool = False,
    ) -> asyncio.subprocess.Process:
        """Start `command`; what it says on standard error goes to NAME.log, or where ours goes with `terminal`."""
        with contextlib.ExitStack() as stack:
            log = None if terminal else stack.enter_context((self._logs / f"{name}.log").open("wb"))
            process = await asyncio.create_subprocess_exec(
                *command,
                stdin=None if terminal else asyncio.subprocess.DEVNULL,
                stdout=None if terminal else stdout,
                stderr=log,
                env={**os.environ, **(env or {})},
                start_new_session=not terminal,  # Ctrl-C reaches those with a terminal directly, the others through us
                preexec_fn=die_with_parent,
                limit=1 << 20,
            )
        self._running[name] = process
        if not terminal:
            self._leaders.add(process.pid)
        return process

    async def line(self, name: str, process: asyncio.subprocess.Process, seconds: float) -> str:
        """The next line of its standard output. Raises ProcessFailed when it ends or `seconds` pass first."""
        assert process.stdout is not None  # noqa: S101  (started with a pipe)
        try:
            async with asyncio.timeout(seconds):
                line = await process.stdout.readline()
        except TimeoutError:
            raise ProcessFailed(f"{name} said nothing for {seconds:g} s{self._last_words(name)}") from None
        if not line:
            await self.ended(name, process)
        return line.decode("utf-8", "replace").rstrip("\n")

    async def ended(self, name: str, process: asyncio.subprocess.Process) -> None:
        """Wait until the process is gone, then raise ProcessFailed: it was not supposed to go."""
        code = await process.wait()
        raise ProcessFailed(f"{name} ended with {code}{self._last_words(name)}")

    async def run(self, name: str, *command: str, env: Mapping[str, str] | None = None, seconds: float = 60) -> str:
        """Run to the end and return standard output. Raises ProcessFailed on any other exit code than 0."""
        process = await self.start(name, *command, env=env)
        try:
            async with asyncio.timeout(seconds):
                output, _ = await process.communicate()
            del self._running[name]
        except TimeoutError:
            raise ProcessFailed(f"{name} took longer than {seconds:g} s{self._last_words(name)}") from None
        if process.returncode:
            raise ProcessFailed(f"{name} ended with {process.returncode}{self._last_words(name)}")
        return output.decode("utf-8", "replace")

    async def close(self) -> None:
        """End everything, politely for `_GRACE` seconds."""
        running = list(self._running.values())
        self._running.clear()
        for process in running:
            if process.returncode is None:
                self._signal(process, signal.SIGTERM)
        waits = [asyncio.ensure_future(process.wait()) for process in running]
        if waits:
            await asyncio.wait(waits, timeout=_GRACE)
        for process in running:  # of those that went, children may be left
            self._signal(process, signal.SIGKILL)
        if waits:
            await asyncio.wait(waits, timeout=0.5)

    def _signal(self, process: asyncio.subprocess.Process, number: int) -> None:
        """To the whole group where the process leads one; its id stays taken while one member lives."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if process.pid in self._leaders:
                os.killpg(process.pid, number)
            elif process.returncode is None:
                process.send_signal(number)

    def _last_words(self, name: str) -> str:
        log = self._logs / f"{name}.log"
        with contextlib.suppress(OSError):
            lines = log.read_text("utf-8", "replace").strip().splitlines()
            if lines:
                return f": {lines[-1][:300]} (all of it in {log})"
        return ""
