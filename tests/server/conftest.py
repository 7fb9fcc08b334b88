"""Real files made with ffmpeg and mutagen, and the real server on loopback."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from mutagen.flac import FLAC

from appliance.server.app import App, create_app

TOKEN = "a-token-of-the-tests"
ROOT = Path(__file__).resolve().parents[2]


def ffmpeg(*arguments: str) -> None:
    subprocess.run(["ffmpeg", "-y", "-v", "error", *arguments], check=True, stdin=subprocess.DEVNULL)


@pytest.fixture(scope="session")
def tone(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A short FLAC file without tags."""
    path = tmp_path_factory.mktemp("tone") / "tone.flac"
    ffmpeg("-f", "lavfi", "-i", "sine=440:duration=0.2", "-ar", "44100", str(path))
    return path.read_bytes()


@pytest.fixture
def put(tone: bytes) -> Callable[..., Path]:
    """Writes a small tagged FLAC file at a path; the audio is the same, the tags make it another file."""

    def write(path: Path, **tags: str) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(tone)
        flac = FLAC(path)
        for name, value in tags.items():
            flac[name] = value
        flac.save()
        return path

    return write


class Answer:
    def __init__(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.status, self.headers, self.body = status, headers, body

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def ask(port: int, method: str, path: str, body: Any = None, token: str | None = TOKEN, **headers: str) -> Answer:
    """One request; `path` goes out as it is. Underscores in header names stand for dashes."""
    if body is not None and not isinstance(body, bytes):
        body = json.dumps(body).encode()
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    if token is not None:
        sent["Authorization"] = f"Bearer {token}"
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request(method, path, body=body, headers=sent)
        response = connection.getresponse()
        return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
    finally:
        connection.close()


class Live:
    """The application in uvicorn, in a thread."""

    def __init__(self, app: App) -> None:
        self.app = app
        config = uvicorn.Config(app, host="127.0.0.1", port=0, log_config=None, access_log=False, lifespan="on",
                                timeout_graceful_shutdown=1, server_header=False)  # fmt: skip
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, daemon=True)
        self._thread.start()
        deadline = time.monotonic() + 10
        while not self._server.started:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        self.port: int = self._server.servers[0].sockets[0].getsockname()[1]

    def ask(self, method: str, path: str, body: Any = None, token: str | None = TOKEN, **headers: str) -> Answer:
        return ask(self.port, method, path, body, token, **headers)

    def get(self, path: str) -> Any:
        answer = self.ask("GET", path)
        assert answer.status == 200, (path, answer.status, answer.body)
        return answer.json

    def scanned(self) -> None:
        assert self.app.scanner.idle.wait(20)

    def rescan(self) -> None:
        assert self.ask("POST", "/api/v1/rescan").status == 202
        self.scanned()

    def tracks(self) -> list[dict[str, Any]]:
        """The whole library, page after page."""
        found, since = [], 0
        while True:
            page = self.get(f"/api/v1/library?since={since}&limit=5000")
            found += page["added"]
            since = page["seq"]
            if not page["more"]:
                return found

    def track(self, title: str) -> dict[str, Any]:
        return next(t for t in self.tracks() if t["title"] == title)

    def hashed(self) -> None:
        deadline = time.monotonic() + 20
        while any("sha256" not in t for t in self.tracks()):
            assert time.monotonic() < deadline
            time.sleep(0.05)

    def stop(self) -> None:
        self.app.interrupt()
        self._server.should_exit = True
        self._thread.join(10)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Live]]:
    """Starts servers over `tmp_path/music` (or the folders given) with the state in `tmp_path/state`."""
    running: list[Live] = []

    def begin(*music: Path, **options: Any) -> Live:
        (tmp_path / "music").mkdir(exist_ok=True)
        live = Live(create_app(music or [tmp_path / "music"], tmp_path / "state", TOKEN, **options))
        running.append(live)
        live.scanned()
        return live

    yield begin
    for live in running:
        live.stop()


class Process:
    """`serve` in a process of its own, to be killed."""

    def __init__(self, music: Path, state: Path, *more: str) -> None:
        code = (
            "import sys; from pathlib import Path; from appliance.server import serve; "
            "sys.exit(serve([Path(sys.argv[1])], Path(sys.argv[2]), '127.0.0.1:0'))"
        )
        self.process = subprocess.Popen(
            [sys.executable, "-c", code, str(music), str(state)],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)},
        )  # fmt: skip
        assert self.process.stdout is not None
        self.line = self.process.stdout.readline()
        self.port = int(self.line.rpartition(":")[2] or 0)
        self.token = (state / "token").read_text().strip()

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        return ask(self.port, method, path, body, self.token, **headers)

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.communicate()


@pytest.fixture
def spawn(tmp_path: Path) -> Iterator[Callable[[], Process]]:
    running: list[Process] = []

    def begin() -> Process:
        (tmp_path / "music").mkdir(exist_ok=True)
        running.append(Process(tmp_path / "music", tmp_path / "state"))
        return running[-1]

    yield begin
    for process in running:
        if process.process.poll() is None:
            process.kill()
