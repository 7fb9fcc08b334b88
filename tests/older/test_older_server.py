"""The real player with today's server: older API, files without Range and ETag (L2, P5)."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import tones, wavs
from tests.support.box import Box
from tests.support.older import OlderServer

NULL = {"audio": {"output": "null"}}


@pytest.fixture
def music(tmp_path: Path) -> Path:
    return tmp_path / "music"


@pytest.fixture
def server(music: Path) -> Iterator[OlderServer]:
    music.mkdir()
    with OlderServer(music, token="older-secret") as server:
        yield server


def player(tmp_path: Path, server: OlderServer, settings: dict[str, dict[str, str]] | None = None) -> Box:
    box = Box(tmp_path / "box", settings=settings, url=server.url, server=False)
    box.root.mkdir()
    box.token_file.write_text("older-secret\n")
    return box


def test_an_album_plays_gapless_and_is_fetched_once(tmp_path: Path, music: Path, server: OlderServer) -> None:
    album = tones.album(music, "flac", tracks=3, seconds=6.0, artist="AC-DC #1 100%")
    server.add_folder(album.folder, 7)
    with player(tmp_path, server) as box:
        synced = box.json("sync")
        assert (synced["deleted"], synced["seq"], synced["full"]) == (0, None, True)
        assert box.status()["library"]["tracks"] == 3
        box.cli("play", "album:7")
        box.wait(lambda s: s["state"] == "stopped" and s["queue"]["length"] == 3, what="the end")
        counters = box.status()["counters"]
        sizes = sum(path.stat().st_size for path in album.tracks)
        assert counters["network_bytes"] == sizes
        assert counters["refetched_bytes"] == 0
        assert box.json("cache", "verify") == {"checked": 3, "bad": []}
        server.web.forget()
        box.cli("play", "album:7")
        box.wait(lambda s: s["state"] == "stopped", what="the end")
        assert not server.web.paths("/music/")
        assert box.stop_player() == 0
        got = wavs.read(box.wav).data
        assert wavs.difference(album.pcm, got[: len(album.pcm)], 44_100) is None
        assert wavs.difference(album.pcm, got[len(album.pcm) :], 44_100) is None


def test_seeks_wait_for_their_bytes_and_fetch_nothing_twice(tmp_path: Path, music: Path, server: OlderServer) -> None:
    album = tones.album(music, "flac", tracks=1, seconds=40.0)
    server.add_folder(album.folder, 1)
    size = album.tracks[0].stat().st_size
    server.rate = size / 4
    with player(tmp_path, server, NULL) as box:
        box.cli("sync")
        box.cli("play", "album:1")
        box.wait(lambda s: s["state"] == "playing" and s["position"] > 0, what="sound")
        box.cli("seek", "30")
        box.wait(lambda s: s["state"] == "playing" and s["position"] > 30.1, what="sound after the seek")
        box.cli("seek", "5")
        box.wait(lambda s: s["state"] == "playing" and 5.1 < s["position"] < 9, what="sound after the seek back")
        status = box.wait(lambda s: s["cached_percent"] == 100, what="the whole file")
        assert status["counters"]["network_bytes"] == size
        assert server.web.sent[server.web.paths("/music/")[0]] == size
        assert len(server.web.paths("/music/")) == 1


def test_a_file_that_changed_is_not_mixed_with_the_old_one(tmp_path: Path, music: Path, server: OlderServer) -> None:
    """Without ETag the version is size and Last-Modified."""
    one = tones.album(music, "flac", tracks=1, seconds=20.0, title="One")
    two = tones.album(music, "flac", tracks=1, seconds=22.0, title="Two", seed=5)
    server.add_folder(one.folder, 1)
    server.rate = one.tracks[0].stat().st_size / 3
    with player(tmp_path, server, NULL) as box:
        box.cli("sync")
        box.cli("play", "album:1")
        deadline = time.monotonic() + 10
        while not (name := next(iter(server.web.paths("/music/")), None)) or server.web.sent.get(name, 0) < 500_000:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        box.kill9_player()
        shutil.copyfile(two.tracks[0], one.tracks[0])
        server.rate = None
        box.start_player(sync=False)
        box.wait(lambda s: s["cached_percent"] == 100, what="the whole new file")
        box.cli("stop")
        box.wait(lambda s: s["cache"]["tracks"] == 1, what="the record of it")
        assert box.json("cache", "verify") == {"checked": 1, "bad": []}
        kept = [p for p in (box.root / "cache").iterdir() if p.suffix == ".audio"]
        assert [p.read_bytes() for p in kept] == [two.tracks[0].read_bytes()]


def test_the_token_goes_along_and_is_in_no_url(tmp_path: Path, music: Path, server: OlderServer) -> None:
    album = tones.album(music, "mp3", tracks=1, seconds=4.0)
    server.add_folder(album.folder, "x y")
    with player(tmp_path, server, NULL) as box:
        box.cli("sync")
        box.cli("play", "album:x y")
        box.wait(lambda s: s["cached_percent"] == 100, what="the file")
    assert {a.headers.get("authorization") for a in server.web.asked} == {"Bearer older-secret"}
    assert not [a.path for a in server.web.asked if "older-secret" in a.path]
