"""The player under measurement: `chadbox run` with a library of so many tracks, driven over its socket."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

from tests.bench.sync import measure
from tests.support.box import Box

TRACKS = 50_000
SECONDS = 150  # of the file that all tracks are


@contextlib.contextmanager
def folder() -> Iterator[Path]:
    """A directory with a short path: sockets go into it."""
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        yield Path(name)


def sound(directory: Path, seconds: int = SECONDS) -> Path:
    """A FLAC file at CD quality that is as hard to decode as music, and nowhere silent."""
    path = directory / f"sound-{seconds}.flac"
    if not path.exists():
        source = f"anoisesrc=color=pink:amplitude=0.3:duration={seconds}:sample_rate=44100:seed=%d"
        command = ["ffmpeg", "-v", "error", "-f", "lavfi", "-i", source % 1, "-f", "lavfi", "-i", source % 2]
        join = ["-filter_complex", "join=inputs=2:channel_layout=stereo", "-sample_fmt", "s16", str(path)]
        subprocess.run([*command, *join], check=True)
    return path


def database(directory: Path) -> Path:
    """A player's database with TRACKS tracks, synced once and copied for each player."""
    path = directory / "library" / "chadbox.db"
    if not path.exists():
        path.parent.mkdir()
        measure(TRACKS, path, sound(directory))
    return path


class Player:
    """`with Player(...)`: it runs and is ready. `ready` is how many seconds that took."""

    def __init__(self, root: Path, url: str, *, output: str = "null", index: Path | None = None) -> None:
        self.box = Box(root, settings={"audio": {"output": output}}, url=url, server=False, player=False)
        root.mkdir(parents=True, exist_ok=True)
        self.box.token_file.write_text("bench\n")
        self.box.token_file.chmod(0o600)
        if index is not None:
            (root / "state").mkdir(exist_ok=True)
            for file in index.parent.glob(index.name + "*"):
                shutil.copy(file, root / "state")
        self.ready = 0.0

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        process = self.box.player_process
        if kind is not None and process is not None:
            print(f"the player: {process.poll()} (None: it runs)\n{self.box.log('player')}", file=sys.stderr)
        self.box.close()

    def start(self) -> None:
        """Start it and wait for its READY=1."""
        with folder() as place, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notified:
            notified.bind(str(place / "notify"))
            notified.settimeout(30)
            os.environ["NOTIFY_SOCKET"] = str(place / "notify")
            try:
                before = time.perf_counter()
                self.box.config.write_text(self.box.toml(), "utf-8")
                self.box.player_process = self.box._popen("player", "--config", str(self.box.config), "run")
                while b"READY=1" not in notified.recv(4096):
                    pass
                self.ready = time.perf_counter() - before
            except TimeoutError:
                raise AssertionError(f"the player did not get ready\n{self.box.log('player')}") from None
            finally:
                del os.environ["NOTIFY_SOCKET"]

    @property
    def pids(self) -> list[int]:
        """Player and engine."""
        engine, player = self.box.engine_pid(), self.box.player_process
        assert engine is not None, "no engine is running"
        assert player is not None, "no player is running"
        return [player.pid, engine]

    def connect(self) -> Control:
        return Control(self.box.socket)

    def wait(self, state: str, seconds: float = 20.0, position: float = 0.0) -> None:
        """Until the status says `state`, at `position` seconds or later."""
        with self.connect() as control:
            deadline = time.monotonic() + seconds
            while (status := control.ask("status"))["state"] != state or status["position"] < position:
                assert time.monotonic() < deadline, f"{status}\n{self.box.log('player')}"
                time.sleep(0.02)


class Control:
    """A connection to the control socket, one request after the other."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(60)
        self._socket.connect(str(path))
        self._lines = self._socket.makefile("rb")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._lines.close()
        self._socket.close()

    def ask(self, command: str, **args: Any) -> Any:
        """The result of a command; AssertionError when the player refuses it."""
        self._socket.sendall(json.dumps({"cmd": command, "args": args}).encode() + b"\n")
        for row in self._lines:
            answer = json.loads(row)
            assert "error" not in answer, f"{command}: {answer}"
            if "ok" in answer:
                return answer["ok"]
        raise AssertionError(f"{command}: the player hung up")
