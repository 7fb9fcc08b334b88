"""A real ControlServer on a thread of its own, with handlers that answer from a script, and the real command."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import appliance
from appliance.control.protocol import ARGS, Request
from appliance.control.server import ControlServer

ROOT = Path(appliance.__file__).parent.parent

TRACK = {
    "id": 7,
    "title": "Blue in Green",
    "artist": "Miles Davis",
    "album": "Kind of Blue",
    "duration": 337.0,
    "year": 1959,
}
STATUS: dict[str, Any] = {
    "state": "playing",
    "health": ["ok"],
    "track": TRACK,
    "position": 61.0,
    "duration": 337.0,
    "volume": 40,
    "source": "cache",
    "cached_percent": 100,
    "queue": {"index": 1, "length": 3, "shuffle": False, "repeat": "off"},
    "gain_db": -3.2,
    "audio": {"output": "null", "rate": 44100, "format": "s32", "underruns": 0},
    "library": {"tracks": 12345, "seq": 99, "syncing": False},
    "cache": {"bytes": 3 << 30, "tracks": 120, "limit": 8 << 30},
    "drives": [],
    "counters": {
        "network_bytes": 1,
        "refetched_bytes": 0,
        "stream_errors": 0,
        "token_refreshes": 0,
        "url_refreshes": 0,
    },
    "uptime": 12.5,
    "version": "0.1.0",
}


class Player:
    """`answers[cmd]` is a result, an exception to raise, or an async function of the request; `seen` is what came."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.seen: list[tuple[str, dict[str, Any]]] = []
        self.answers: dict[str, Any] = {}
        self.loop = asyncio.new_event_loop()
        self.server = ControlServer(path, dict.fromkeys(ARGS, self._answer))
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()
        self.run(self.server.start())

    def run(self, what: Awaitable[Any]) -> Any:
        async def wrap() -> Any:
            return await what

        return asyncio.run_coroutine_threadsafe(wrap(), self.loop).result(10)

    def close(self) -> None:
        self.run(self.server.close())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(5)

    async def _answer(self, request: Request) -> Any:
        self.seen.append((request.cmd, request.args))
        answer = self.answers.get(request.cmd, STATUS)
        if isinstance(answer, BaseException):
            raise answer
        return await answer(request) if callable(answer) else answer


@pytest.fixture
def player(tmp_path: Path) -> Iterator[Player]:
    player = Player(tmp_path / "run" / "control.sock")
    yield player
    player.close()


Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith("CHADBOX") and k != "COLUMNS"}
    return kept | {
        "PYTHONPATH": str(ROOT),
        "CHADBOX_SOCKET": str(tmp_path / "run" / "control.sock"),
        "CHADBOX_CONFIG": str(tmp_path / "none.toml"),
        "PYTHONUTF8": "1",
    }


COMMAND = [sys.executable, "-m", "appliance.cli"]


@pytest.fixture
def chadbox(environment: dict[str, str], tmp_path: Path) -> Run:
    """Run the command to its end; no traceback is ever let through."""

    def run(*args: str, env: dict[str, str] | None = None, **kwargs: Any) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [*COMMAND, *args],
            env=environment | (env or {}),
            cwd=tmp_path,
            text=True,
            encoding="utf-8",
            errors="surrogateescape",
            timeout=20,
            stdin=subprocess.DEVNULL,
            **({"capture_output": True} | kwargs),
        )
        assert "Traceback" not in (done.stderr or ""), done.stderr
        if done.returncode in (1, 2, 3) and done.stderr is not None:
            assert done.stderr.count("\n") == 1, done.stderr
        return done

    return run


@pytest.fixture
def ask(chadbox: Run) -> Callable[..., Any]:
    """The document that `--json` prints, exactly one."""

    def run(*args: str) -> Any:
        done = chadbox(*args, "--json")
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("\n") == 1
        return json.loads(done.stdout)

    return run


@pytest.fixture
def start(environment: dict[str, str], tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Start the command and leave it running; it is killed at the end of the test."""
    started: list[subprocess.Popen[bytes]] = []

    def run(*args: str, **kwargs: Any) -> subprocess.Popen[bytes]:
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "stdin": subprocess.DEVNULL}
        process = subprocess.Popen([*COMMAND, *args], env=environment, cwd=tmp_path, **(pipes | kwargs))
        started.append(process)
        return process

    yield run
    for process in started:
        process.kill()
        process.wait()
        for pipe in (process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()
