"""The child process as the player's event loop sees it: start, messages both ways, watchdog, end.

Nothing here waits: the socket is non-blocking, and what does not fit into it is kept until it does or the child is
gone.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import socket
from collections import deque
from collections.abc import Callable
from typing import Any

from appliance.engine.launch import launch

log = logging.getLogger(__name__)

SILENCE = 1.5  # seconds without a sign of life after which the child counts as hung
_START = 15.0  # seconds it may take to load libmpv: from a cold SD card that is a hundred megabytes


class Child:
    """One run of the engine process. `on_message` and `on_end` are called on the loop, `on_end` exactly once."""

    def __init__(self, on_message: Callable[[list[Any]], None], on_end: Callable[[str], None]) -> None:
        self._on_message = on_message
        self._on_end = on_end
        self._loop = asyncio.get_running_loop()
        self._backlog: deque[bytes] = deque()
        self._reason = ""
        self._ended = asyncio.Event()
        self._process, self._socket = launch()
        self._loop.add_reader(self._socket.fileno(), self._readable)
        self._watchdog = self._loop.call_later(_START, self._hung)

    @property
    def pid(self) -> int:
        return self._process.pid

    def send(self, *message: Any) -> None:
        """Queue a message; once the child is gone it goes nowhere."""
        if self._ended.is_set():
            return
        self._backlog.append(json.dumps(message).encode())
        if len(self._backlog) == 1:
            self._writable()

    def kill(self, reason: str) -> None:
        """End it at once; `on_end` follows with `reason`."""
        self._reason = self._reason or reason
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()

    async def close(self, seconds: float) -> None:
        """Ask it to end, and see to it within `seconds`."""
        self._reason = "closed"
        self.send("quit")
        try:
            await asyncio.wait_for(self._ended.wait(), seconds)
        except TimeoutError:
            self.kill("closed")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._ended.wait(), 0.5)
        for _ in range(50):
            if self._process.poll() is not None:
                break
            await asyncio.sleep(0.01)

    def _readable(self) -> None:
        for _ in range(64):  # then let the loop breathe
            try:
                data = self._socket.recv(1 << 17)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            if not data:
                self._finish()
                return
            self._watchdog.cancel()
            self._watchdog = self._loop.call_later(SILENCE, self._hung)
            message = json.loads(data)
            if message[0] == "fatal":
                self._reason = message[1]
                log.error("the audio engine cannot run: %s", message[1])
            elif message[0] == "log":
                log.log(logging.WARNING if message[1] in ("error", "fatal") else logging.INFO, "%s", message[2])
            elif message[0] != "beat":
                self._on_message(message)
            if self._ended.is_set():
                return

    def _writable(self) -> None:
        while self._backlog:
            try:
                self._socket.send(self._backlog[0], socket.MSG_NOSIGNAL)
            except BlockingIOError:
                self._loop.add_writer(self._socket.fileno(), self._writable)
                return
            except OSError:
                break  # gone; the reader will see it
            self._backlog.popleft()
        self._loop.remove_writer(self._socket.fileno())

    def _hung(self) -> None:
        self.kill(f"it gave no sign of life for {SILENCE} s")

    def _finish(self) -> None:
        self._watchdog.cancel()
        self._loop.remove_reader(self._socket.fileno())
        self._loop.remove_writer(self._socket.fileno())
        self._socket.close()
        self._backlog.clear()
        self._ended.set()
        self._reap(0)
        self._on_end(self._reason or "it died")

    def _reap(self, attempt: int) -> None:
        """Take the exit status, or a zombie stays; the socket ends a moment before the process does."""
        if self._process.poll() is None and attempt < 100 and not self._loop.is_closed():
            if attempt == 20:
                self.kill("")
            self._loop.call_later(0.01, self._reap, attempt + 1)
