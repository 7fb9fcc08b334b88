"""mpd and Mopidy, where they are installed, started with next to nothing configured."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

from appliance.demo.processes import die_with_parent
from tests.bench.pages import tracks
from tests.support.processes import descendants, end


def have(command: str) -> bool:
    return shutil.which(command) is not None


class Process:
    """A peer that runs; `ready` is how many seconds it took until it answered."""

    ready = 0.0
    _root: Path
    _process: subprocess.Popen[bytes]

    @property
    def pids(self) -> list[int]:
        return [self._process.pid, *descendants(self._process.pid)]

    def _check(self, started: float) -> None:
        """AssertionError with what it said when it is gone, or has not got ready in a minute."""
        said = (self._root / "log").read_text("utf-8", "replace")[-2000:]
        assert self._process.poll() is None, said
        assert time.perf_counter() - started < 60, said

    def _start(self, root: Path, command: list[str], environment: dict[str, str] | None = None) -> float:
        """When it was started, on the clock of time.perf_counter."""
        before = time.perf_counter()
        with (root / "log").open("ab") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                preexec_fn=die_with_parent, env={**os.environ, **(environment or {})},
            )  # fmt: skip
        return before

    def __exit__(self, *_: object) -> None:
        end(self._process, 3)


class Mpd(Process):
    """mpd with the songs of `music`; `output` are the lines of its audio_output; `alsa` a file for ALSA_CONFIG_PATH.

    `songs` writes a database of so many songs more, the same ones that `pages` serves.
    """

    def __init__(
        self, root: Path, music: Path, output: str = 'type "null"', *, alsa: Path | None = None, songs: int = 0
    ) -> None:
        root.mkdir(parents=True, exist_ok=True)
        self._root, self.socket, self._alsa = root, root / "socket", alsa
        settings = [
            f'music_directory "{music}"', f'db_file "{root}/db"', f'bind_to_address "{self.socket}"',
            'auto_update "no"', 'connection_timeout "3600"', 'zeroconf_enabled "no"', "input {\nplugin \"curl\"\n}",
            f'audio_output {{\nname "bench"\nmixer_type "software"\n{output}\n}}',
        ]  # fmt: skip
        (root / "conf").write_text("\n".join(settings) + "\n")
        with self:
            self.ask("update")
            while "updating_db" in self.ask("status"):
                time.sleep(0.05)
        if songs:
            text = (root / "db").read_bytes()
            known = _unpacked(root / "db") if text[:2] == b"\x1f\x8b" else text.decode()
            (root / "db").write_text(known + "".join(_songs(songs)), "utf-8")

    def __enter__(self) -> Self:
        alsa = {"ALSA_CONFIG_PATH": str(self._alsa)} if self._alsa else None
        before = self._start(self._root, ["mpd", "--no-daemon", "--stderr", str(self._root / "conf")], alsa)
        self._line = socket.socket(socket.AF_UNIX)
        self._line.settimeout(30)
        while self._line.connect_ex(str(self.socket)):
            self._check(before)
            time.sleep(0.002)
        self._lines = self._line.makefile("rb")
        assert self._lines.readline().startswith(b"OK")
        self.ready = time.perf_counter() - before
        return self

    def __exit__(self, *rest: object) -> None:
        self._lines.close()
        self._line.close()
        super().__exit__(*rest)

    def ask(self, command: str) -> str:
        self._line.sendall(command.encode() + b"\n")
        answer = b""
        for row in self._lines:
            if row == b"OK\n":
                return answer.decode()
            assert not row.startswith(b"ACK"), f"mpd: {command}: {row!r}"
            answer += row
        raise AssertionError("mpd hung up")


class Mopidy(Process):
    """Mopidy with its own file backend, which has no index, driven by JSON-RPC; output into nothing, in real time."""

    def __init__(self, root: Path, music: Path) -> None:
        root.mkdir(parents=True, exist_ok=True)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = free.getsockname()[1]
        self._root = root
        (root / "conf").write_text(
            f"[core]\ncache_dir={root}/c\nconfig_dir={root}/f\ndata_dir={root}/d\n"
            f"[http]\nhostname=127.0.0.1\nport={self._port}\nzeroconf=\ncsrf_protection=false\n"
            f"[file]\nmedia_dirs={music}\n[audio]\noutput=fakesink sync=true\n"
            "[m3u]\nenabled=false\n[stream]\nenabled=false\n"
        )

    def __enter__(self) -> Self:
        before = self._start(self._root, ["mopidy", "--config", str(self._root / "conf")])
        while True:
            with contextlib.suppress(OSError):
                self.ask("core.get_version")
                self.ready = time.perf_counter() - before
                return self
            self._check(before)
            time.sleep(0.02)

    def ask(self, method: str, **params: Any) -> Any:
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode()
        request = urllib.request.Request(
            f"http://127.0.0.1:{self._port}/mopidy/rpc", body, {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=20) as answer:  # noqa: S310
            return json.load(answer)["result"]


def _unpacked(path: Path) -> str:
    import gzip

    return gzip.decompress(path.read_bytes()).decode()


def _songs(count: int) -> Iterator[str]:
    """mpd's database format, version 2."""
    album = None
    for item in tracks(0, count):
        if item["album_id"] != album:
            if album is not None:
                yield f"end: {album}\n"
            album = item["album_id"]
            yield f"directory: {album}\nmtime: 1700000000\nbegin: {album}\n"
        yield (
            f"song_begin: {item['no']:02d}.flac\nTime: {item['duration']:.6f}\nFormat: 44100:16:2\n"
            f"Artist: {item['artist']}\nAlbum: {item['album']}\nTitle: {item['title']}\nTrack: {item['no']}\n"
            f"Genre: {item['genre']}\nDate: {item['year']}\nDisc: 1\nLabel: {item['publisher']}\n"
            "mtime: 1700000000\nsong_end\n"
        )
    if album is not None:
        yield f"end: {album}\n"
