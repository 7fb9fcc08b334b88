"""One server with one library for all end-to-end tests; each test starts the players that it needs.

A test that stops, breaks or changes the server starts one of its own, with `Box(tmp_path, music)`.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.support import tones
from tests.support.box import Box
from tests.support.proxy import Proxy

Settings = Mapping[str, Mapping[str, Any]]
CRAWL = 20e3  # bytes a second of a proxy: nothing more arrives for now
NULL: Settings = {"audio": {"output": "null"}}


class Home:
    """The shared server and what is on it: `albums` by format, five tracks of a second or so each; `calm`, five of six
    seconds; `large`, one track of 18 MB and 40 s.
    """

    def __init__(self, box: Box, albums: dict[str, tones.Album], calm: tones.Album, large: tones.Album) -> None:
        self.box, self.albums, self.calm, self.large = box, albums, calm, large

    @property
    def url(self) -> str:
        return self.box.server_url

    def what(self, album: tones.Album) -> str:
        """The WHAT of an album."""
        return f"album:{self.box.album_id(album.folder.name)}"

    def track(self, album: tones.Album, number: int = 0) -> str:
        """The WHAT of a track, counted from 0."""
        return f"track:{self.tracks(album)[number]['id']}"

    def tracks(self, album: tones.Album) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.box.api(f"album/{self.box.album_id(album.folder.name)}/tracks")["tracks"]
        return found

    def player(self, root: Path, settings: Settings | None = None, *, url: str | None = None) -> Box:
        """A player of this server, not started; `url` when it goes through a proxy."""
        root.mkdir(parents=True, exist_ok=True)
        box = Box(root, self.box.music, settings=settings, url=url, server=False, player=False)
        box.server_url, box.token_file = self.box.server_url, self.box.token_file
        return box


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    root = tmp_path_factory.mktemp("home")
    music = root / "music"
    albums = {name: tones.album(music, name, seconds=6.0, artist=f"Artist {name}") for name in tones.FORMATS}
    calm = tones.album(music, "vorbis", seconds=30.0, title="Calm", artist="Slow", seed=4, genre="Slow")
    large = tones.album(music, "flac24", tracks=1, seconds=40.0, title="Large", artist="Long", seed=3, genre="Long")
    with Box(root, music, player=False) as box:
        box.wait_for_scan()
        wait_for_hashes(box)
        yield Home(box, albums, calm, large)


def wait_for_hashes(box: Box) -> None:
    """Until the server has the SHA-256 of every file: a track told anew in mid-test would only be noise."""
    deadline = time.monotonic() + 30
    while True:
        tracks = box.api("library?since=0&limit=1000")["added"]
        if all(track.get("sha256") for track in tracks):
            return
        assert time.monotonic() < deadline, "the server has not hashed its files"
        time.sleep(0.1)


@pytest.fixture
def start(home: Home, tmp_path: Path) -> Iterator[Callable[..., Box]]:
    """`start(settings, url=None)`: a running player of the shared server with its library synced."""
    with contextlib.ExitStack() as stack:
        count = 0

        def run(settings: Settings | None = None, *, url: str | None = None) -> Box:
            nonlocal count
            count += 1
            box = stack.enter_context(home.player(tmp_path / f"player{count}", settings, url=url))
            box.start_player(sync=False)
            box.cli("sync")
            return box

        yield run


@pytest.fixture
def proxy(home: Home) -> Iterator[Proxy]:
    """Between the players of a test and the shared server."""
    with Proxy(home.url) as proxy:
        yield proxy


CAPTURE = """</usr/share/alsa/alsa.conf>
pcm.capture {{
  type file
  slave.pcm {{ type null }}
  file "{folder}/%r.raw"
  format raw
  truncate false
}}
"""


@pytest.fixture
def capture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A sound card `alsa:plug:capture` that takes any rate, at any speed: the folder where each opening of it leaves a
    file of float samples in stereo, RATE.raw, RATE.raw.0001 ..."""
    if not Path("/usr/share/alsa/alsa.conf").exists():
        pytest.skip("ALSA's settings are not installed (libasound2-data)")
    folder = tmp_path / "capture"
    folder.mkdir()
    (tmp_path / "asound.conf").write_text(CAPTURE.format(folder=folder))
    monkeypatch.setenv("ALSA_CONFIG_PATH", str(tmp_path / "asound.conf"))
    return folder


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 16 MiB; needs root."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if os.getuid() or not shutil.which("mount"):
        pytest.skip("only root can mount a small disk")
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "chadbox-test", str(folder)], check=False)
    if done.returncode:
        pytest.skip("no file system can be mounted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=False)
