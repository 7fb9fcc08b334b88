"""`chadbox serve`: one process, one socket, until it is told to stop."""

from __future__ import annotations

import asyncio
import fcntl
import gc
import logging
import os
import signal
import socket
import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import uvicorn

from appliance.errors import SettingsError, StorageError
from appliance.server.app import App, create_app
from appliance.server.auth import load_token
from appliance.server.signed_in import Lives

log = logging.getLogger(__name__)
KEEP_ALIVE = 300  # seconds: clients hold warm connections for two minutes and more
GRACE = 1  # seconds for requests under way when stopping


class _Server(uvicorn.Server):
    """uvicorn that says where it listens and ends without raising the signal again."""

    def __init__(self, config: uvicorn.Config, app: App, url: str) -> None:
        super().__init__(config)
        self._app, self._url = app, url

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        if self.started:
            print(f"listening on {self._url}", flush=True)

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self.handle_exit, number, None)
        try:
            yield
        finally:
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.remove_signal_handler(number)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._app.interrupt()
        self.should_exit = True


def serve(
    music: Sequence[Path],
    state: Path,
    listen: str,
    token_file: Path | None,
    token_life: float | None,
    code_life: float | None,
    poll_interval: float | None,
) -> int:
    """See `appliance.server.serve`."""
    _log_to_stderr()
    host, port = parse_address(listen)
    wanted = {"access": token_life, "code": code_life, "interval": poll_interval}
    lives = Lives(**{name: seconds for name, seconds in wanted.items() if seconds is not None})
    try:
        state.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"{state}: cannot be made: {error.strerror}; name another folder with --state") from None
    with _alone(state):
        token = load_token(token_file or state / "token")
        with _bound(host, port) as listener:
            shown = f"[{host}]" if ":" in host else host
            app = create_app(music, state, token, lives=lives)
            config = uvicorn.Config(
                app, log_config=None, access_log=False, server_header=False, ws="none", lifespan="on", loop="asyncio",
                timeout_keep_alive=KEEP_ALIVE, timeout_graceful_shutdown=GRACE, backlog=256,
            )  # fmt: skip
            gc.freeze()
            _Server(config, app, f"http://{shown}:{listener.getsockname()[1]}").run(sockets=[listener])
    return 0


def parse_address(listen: str) -> tuple[str, int]:
    """(host, port) of `HOST:PORT`, `[IPv6]:PORT` or `:PORT`, which is all addresses. Raises SettingsError."""
    host, colon, port = listen.rpartition(":")
    if (
        not colon
        or not port.isascii()
        or not port.isdigit()
        or int(port) > 65_535
        or host.count("[") != host.count("]")
    ):
        raise SettingsError(f'"{listen}" is not an address to listen on; write HOST:PORT, for example 127.0.0.1:5000')
    return host.strip("[]") or "0.0.0.0", int(port)  # noqa: S104  (only when asked for)


@contextmanager
def _bound(host: str, port: int) -> Generator[socket.socket, None, None]:
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        # asyncio sets TCP_NODELAY only where the protocol is given: without, each answer waits 40 ms for an ACK
        listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    except OSError as error:
        raise SettingsError(f"{host}:{port}: no such address: {error.strerror or error}") from None
    with listener:
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
        except OSError as error:
            raise SettingsError(
                f"{host}:{port}: cannot listen there: {error.strerror}; is a server running already? "
                "Name another address with --listen"
            ) from None
        yield listener


@contextmanager
def _alone(state: Path) -> Generator[None, None, None]:
    """Hold the state folder: two servers on one database would give two libraries one sequence."""
    try:
        descriptor = os.open(state / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StorageError(f"{state}: cannot be written: {error.strerror}; check its owner") from None
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise SettingsError(f"{state}: another server is using this state folder; stop it first") from None
        yield
    finally:
        os.close(descriptor)


def _log_to_stderr() -> None:
    """Warnings, one line each; never a request, so never a header."""
    root = logging.getLogger()
    if not root.handlers:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
        root.addHandler(handler)
        root.setLevel(logging.WARNING)
