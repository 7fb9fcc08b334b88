"""The other end of the control socket, for the command line: synchronous and quick to import.

`chadbox status` is typed often and on slow machines, so this uses the standard library alone; see protocol.py for what
is spoken. The player's `alive` lines tell a command that takes hours from a player that hangs.
"""

from __future__ import annotations

import json
import socket
import time

from appliance.errors import ChadboxError, NotRunning

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from typing import Any

TIMEOUT = 10.0  # seconds of silence; the player says something every 2
MAX_ANSWER = 64 * 1024 * 1024  # bytes of one line: a queue of 100,000 tracks
MAX_REQUEST = 64 * 1024
_CHUNK = 256 * 1024
_NONSENSE = "what answers there does not speak as the player does; is --socket right, and chadbox of one version?"


class Refused(ChadboxError):
    """The player answered with an error; `code` and `exit_code` are the player's."""

    def __init__(self, message: str, code: str, exit_code: int) -> None:
        super().__init__(message)
        self.code = code
        self.exit_code = exit_code


class Client:
    """Commands to the player at socket `path`; each has a connection of its own.

    `timeout` is for how many seconds the player may say nothing at all.
    """

    def __init__(self, path: str, timeout: float = TIMEOUT) -> None:
        self.path = path
        self.timeout = timeout

    def call(
        self, cmd: str, args: Mapping[str, Any] | None = None, progress: Callable[[dict[str, Any]], None] | None = None
    ) -> Any:
        """The result of one command, however long it takes; `progress` gets the documents on the way.

        Raises NotRunning when there is no player or it stops, Refused for its errors, ChadboxError for a player that
        is silent, forbidden or talks nonsense.
        """
        for line in self._talk(cmd, args, None):
            if line is None:
                continue
            if "ok" in line:
                return line["ok"]
            doc = line.get("progress")
            if progress is not None and isinstance(doc, dict):
                progress(doc)
        raise NotRunning("the player stopped before it answered")

    def watch(self, tick: float | None = None, cmd: str = "watch") -> Iterator[Any]:
        """The documents of `watch` as they come, and None after every `tick` seconds without one. Raises as `call`.

        `cmd` is another command that speaks in events, such as `panel`.
        """
        for line in self._talk(cmd, None, tick):
            if line is None:
                yield None
            elif "event" in line:
                yield line["event"]
        raise NotRunning("the player stopped")

    def _talk(self, cmd: str, args: Mapping[str, Any] | None, tick: float | None) -> Iterator[dict[str, Any] | None]:
        request = json.dumps({"cmd": cmd, "args": args or {}}).encode("ascii") + b"\n"
        if len(request) > MAX_REQUEST:
            raise ChadboxError("that is too long for one command; shorten it")
        with socket.socket(socket.AF_UNIX) as sock:
            self._connect(sock)
            try:
                sock.sendall(request)
            except (BrokenPipeError, ConnectionResetError):
                pass  # it may have said why before it closed
            except TimeoutError:
                raise self._silent() from None
            for raw in self._lines(sock, tick):
                if raw is None:
                    yield None
                    continue
                try:
                    line = json.loads(raw, parse_constant=_not_json)
                except (ValueError, RecursionError):
                    raise ChadboxError(f"{self.path}: {_NONSENSE}") from None
                if not isinstance(line, dict):
                    raise ChadboxError(f"{self.path}: {_NONSENSE}")
                if "error" in line:
                    raise _refused(line["error"])
                yield line

    def _connect(self, sock: socket.socket) -> None:
        deadline = time.monotonic() + self.timeout
        while True:
            sock.settimeout(max(0.01, deadline - time.monotonic()))
            try:
                return sock.connect(self.path)
            except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError):
                raise NotRunning(
                    "the player is not running; start it with `chadbox run` or `systemctl start chadbox`"
                ) from None
            except PermissionError:
                raise ChadboxError(
                    f"{self.path}: no permission; join its group with `sudo adduser $USER chadbox` and log in again"
                ) from None
            except (BlockingIOError, TimeoutError):  # many wait in line already
                if time.monotonic() > deadline:
                    raise self._silent() from None
                time.sleep(0.05)
            except OSError as error:  # a path longer than a socket address holds, a loop of links ...
                raise ChadboxError(f"{self.path}: cannot be used as control socket: {error}") from None

    def _lines(self, sock: socket.socket, tick: float | None) -> Iterator[bytes | None]:
        """Whole lines as they come; None when `tick` seconds went by without any byte."""
        buffer = bytearray()
        heard = time.monotonic()
        while True:
            try:
                data = self._receive(sock, tick, heard)
            except OSError:
                data = b""
            if data is None:
                yield None
                continue
            if not data:
                if buffer and not buffer.startswith(b"{"):
                    raise ChadboxError(f"{self.path}: {_NONSENSE}")
                return
            heard = time.monotonic()
            searched = len(buffer)
            buffer += data
            while (end := buffer.find(b"\n", searched)) >= 0:
                raw = bytes(buffer[:end])
                del buffer[: end + 1]
                searched = 0
                yield raw
            if len(buffer) > MAX_ANSWER:
                raise ChadboxError(f"{self.path}: {_NONSENSE}")

    def _receive(self, sock: socket.socket, tick: float | None, heard: float) -> bytes | None:
        sock.settimeout(self.timeout if tick is None else tick)
        try:
            return sock.recv(_CHUNK)
        except TimeoutError:
            if tick is not None and time.monotonic() - heard < self.timeout:
                return None
        # the clock also ran while this process was stopped (Ctrl-Z): the player may have spoken all the while
        sock.settimeout(0)
        try:
            return sock.recv(_CHUNK)
        except BlockingIOError:
            raise self._silent() from None

    def _silent(self) -> ChadboxError:
        return ChadboxError(
            f"the player does not answer (waited {self.timeout:g} s); see `systemctl status chadbox`, or restart it"
        )


def _refused(error: Any) -> Refused:
    doc: dict[str, Any] = error if isinstance(error, dict) else {}
    exit_code = doc.get("exit")
    return Refused(
        str(doc.get("message") or "the player gave no reason"),
        str(doc.get("code") or "failed"),
        exit_code if isinstance(exit_code, int) and 1 <= exit_code <= 125 else 1,
    )


def _not_json(name: str) -> float:
    raise ValueError(name)
