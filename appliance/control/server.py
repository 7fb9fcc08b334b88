"""The control socket: a Unix stream socket that one group may use (A2).

Nothing a client does can hold up the player: requests are bounded, what a slow reader has not taken is dropped or
waits in its own task, and a client that goes away takes its handler with it.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import grp
import logging
import os
import socket
import stat
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from appliance.control.connection import Connection
from appliance.control.protocol import MAX_REQUEST, Handler, encode_error
from appliance.errors import ChadboxError

log = logging.getLogger(__name__)

GROUP = "chadbox"
MODE = 0o660
MAX_PATH = 107  # bytes, what struct sockaddr_un holds
MAX_CLIENTS = 64
PROBE_SECONDS = 1.0
LOCK_SECONDS = 3.0
STOP_SECONDS = 1.5


class AlreadyRunning(ChadboxError):
    code = "already_running"


class Busy(ChadboxError):
    code = "busy"


class ControlServer:
    """Serves `handlers` on a Unix socket at `path` between `start()` and `close()`."""

    def __init__(self, path: Path | str, handlers: Mapping[str, Handler]) -> None:
        self.path = Path(path)
        self._handlers = handlers
        self._server: asyncio.Server | None = None
        self._identity: tuple[int, int] | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Listen; clients get answers when this returns.

        Raises AlreadyRunning when another process answers on the path, ChadboxError when the socket cannot be made.
        """
        listener = await asyncio.to_thread(self._bind)
        self._server = await asyncio.start_unix_server(self._serve, sock=listener, limit=MAX_REQUEST)

    async def close(self) -> None:
        """Stop listening, cancel what runs, remove the socket. Ends within 2 s; may be called twice."""
        server, self._server = self._server, None
        if server is None:
            return
        server.close()
        self._unlink()
        tasks = [task for task in self._tasks if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=STOP_SECONDS)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - asyncio runs this as a task
        self._tasks.add(task)
        try:
            if self._server is None:
                return
            if len(self._tasks) > MAX_CLIENTS:
                writer.write(encode_error(Busy(f"{MAX_CLIENTS} clients are connected already; close some")))
                return
            await Connection(reader, writer, self._handlers).run()
        except asyncio.CancelledError:
            writer.transport.abort()  # close() was called; nobody waits for this task's result
        except (ConnectionError, TimeoutError):
            writer.transport.abort()
        except Exception:
            log.exception("a control connection failed")
        finally:
            self._tasks.discard(task)
            writer.close()

    def _bind(self) -> socket.socket:
        path = os.fsencode(self.path)
        if len(path) > MAX_PATH:
            raise ChadboxError(f"{self.path}: a socket's path has at most {MAX_PATH} bytes; choose a shorter one")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with _locked(self.path.parent):
                self._clear_stale()
                return self._listen(path)
        except OSError as error:
            raise ChadboxError(
                f"{self.path}: the control socket cannot be made: {error.strerror or error}; "
                "check the owner of its directory, or choose another with --socket or [control] socket"
            ) from None

    def _clear_stale(self) -> None:
        """Remove the socket of a process that has died. Raises when it lives or the path is something else."""
        try:
            mode = self.path.lstat().st_mode
        except FileNotFoundError:
            return
        if not stat.S_ISSOCK(mode):
            raise ChadboxError(f"{self.path}: is not a socket; remove it, or choose another path")
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(PROBE_SECONDS)
            try:
                probe.connect(os.fsencode(self.path))
            except ConnectionRefusedError:
                log.info("%s: removing the socket of a player that has died", self.path)
                self.path.unlink(missing_ok=True)
                return
            except FileNotFoundError:
                return
            except OSError as error:  # EAGAIN: its backlog is full, so it is there
                if error.errno not in (errno.EAGAIN, errno.ETIMEDOUT, None):
                    raise
        raise AlreadyRunning(f"{self.path}: the player is already running; stop it, or choose another --socket")

    def _listen(self, path: bytes) -> socket.socket:
        listener = socket.socket(socket.AF_UNIX)
        try:
            listener.bind(path)
            found = self.path.stat()
            self._identity = (found.st_dev, found.st_ino)
            # nobody can connect before listen(), so there is no moment at which the mode is too wide
            self.path.chmod(MODE)
            self._give_to_group()
            listener.setblocking(False)
            listener.listen(MAX_CLIENTS)
        except BaseException:
            listener.close()
            self._unlink()
            raise
        return listener

    def _give_to_group(self) -> None:
        with contextlib.suppress(KeyError):  # no such group: whoever runs the player owns the socket alone
            group = grp.getgrnam(GROUP).gr_gid
            try:
                os.chown(self.path, -1, group)
            except PermissionError:
                log.warning("%s: cannot be given to group %s; only its owner can use it", self.path, GROUP)

    def _unlink(self) -> None:
        """Remove the socket if it is still ours and not that of a later player."""
        with contextlib.suppress(OSError):
            found = self.path.lstat()
            if (found.st_dev, found.st_ino) == self._identity:
                self.path.unlink()


@contextlib.contextmanager
def _locked(directory: Path) -> Iterator[None]:
    """Two players that start together look at the old socket one after the other.

    The directory itself is locked, so no lock file is left, and only while starting, so no child inherits it.
    """
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        deadline = time.monotonic() + LOCK_SECONDS
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise ChadboxError(f"{directory}: is locked by another process; try again") from None
                time.sleep(0.02)
        yield
    finally:
        os.close(handle)
