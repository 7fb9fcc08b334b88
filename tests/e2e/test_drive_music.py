"""C8, L4 from the outside: music on a drive that the server does not have: found, shown with where it is, played."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tests.e2e.conftest import Home
from tests.support import tones, wavs
from tests.support.box import Box
from tests.support.proxy import Proxy


def settings(stick: Path, output: str = "") -> dict[str, dict[str, Any]]:
    audio = {"output": output} if output else {}
    return {"audio": {"loudness": "off", **audio}, "drives": {"folders": [str(stick)]}}


def until(box: Box, words: str, count: int, seconds: float = 20.0) -> list[dict[str, Any]]:
    """The tracks that a search finds, when they are `count`."""
    deadline = time.monotonic() + seconds
    while len(found := box.json("search", words)["tracks"]) != count:
        assert time.monotonic() < deadline, (found, box.log("player"))
        time.sleep(0.05)
    tracks: list[dict[str, Any]] = found
    return tracks


def test_a_strangers_stick_is_part_of_the_library_and_plays_bit_exact_without_a_server(tmp_path: Path) -> None:
    """Two formats, the server never reached: searched, browsed, shown with where, played gapless, nothing written."""
    stick = tmp_path / "STICK"
    stick.mkdir()
    flac = tones.album(stick, "flac", tracks=3, seconds=3.0, title="Mine", artist="Örtlich", seed=7)
    mp3 = tones.album(stick, "mp3", tracks=2, seconds=3.0, title="Lossy", artist="Other", seed=8)
    (stick / "broken.flac").write_bytes(b"fLaC no music")
    (stick / "evil\x1b[31m.mp3").write_bytes(os.urandom(5000))
    (stick / "link.flac").symlink_to(flac.tracks[0])
    before = {p: p.lstat().st_mtime_ns for p in stick.rglob("*")}
    with Box(tmp_path, settings=settings(stick), server=False) as box:
        found = until(box, "ortlich", 3)
        assert {t["album"] for t in found} == {"Mine"}
        assert all(t["where"] == ["drive"] and t["id"].startswith("drive:") for t in found)
        until(box, "other", 2)
        albums = box.json("browse", "artist", "Örtlich")["items"]
        assert [(a["name"], a["tracks"]) for a in albums] == [("Mine", 3)]
        listed = box.json("browse", "album", albums[0]["id"])
        assert [(t["title"], t["where"]) for t in listed["tracks"]] == [(f"Part {n}", ["drive"]) for n in (1, 2, 3)]
        said = box.cli("search", "ortlich").stdout
        assert "Where" in said
        assert " drive " in said
        status = box.status()
        assert (status["library"]["tracks"], status["library"]["seq"]) == (0, None), "the server's are counted"
        box.cli("play", f"album:{albums[0]['id']}")
        box.wait(lambda s: s["state"] == "stopped" and s["track"] is None, what="the end")
        got = wavs.read(box.wav).data
        assert (d := wavs.difference(flac.pcm, got, flac.form.rate)) is None, d
        assert box.status()["cache"]["bytes"] == 0, "what is at hand is not copied to the SD card"
        box.cli("play", "artist:Other")
        box.wait(lambda s: s["state"] == "stopped" and s["track"] is None, what="the end of the MP3")
        assert len(wavs.read(box.wav).data) == len(flac.pcm) + len(mp3.pcm)
        assert box.status()["counters"]["network_bytes"] == 0
        assert "Traceback" not in box.log("player")
        assert box.stop_player() == 0
    assert {p: p.lstat().st_mtime_ns for p in stick.rglob("*")} == before


def test_pulled_in_mid_song_the_queue_goes_on_and_it_is_there_again_when_it_is_back(
    home: Home, start: Callable[..., Box], proxy: Proxy, tmp_path: Path
) -> None:
    """Nothing of the server's is touched; the queue keeps what was pulled, says so, and passes it over with a word."""
    stick = tmp_path / "STICK"
    stick.mkdir()
    album = tones.album(stick, "flac", tracks=3, seconds=90.0, title="Pulled", artist="Stick", seed=9)
    box = start(settings(stick, "null"), url=proxy.url)
    ids = [t["id"] for t in sorted(until(box, "stick", 3), key=lambda t: t["title"])]
    server = box.status()["library"]
    box.cli("play", f"track:{ids[0]}")
    for what in (f"track:{ids[1]}", f"track:{ids[2]}", home.track(home.albums["flac"])):
        box.cli("queue", "add", what)
    box.wait(lambda s: s["state"] == "playing" and s["position"] > 0.2 and s["source"] == "drive", what="sound")
    box.cli("queue", "shuffle", "off")
    stick.rename(tmp_path / "away")
    box.wait(lambda s: s["drives"] == [], what="the pull")
    until(box, "stick", 0)
    assert box.json("browse", "artist")["total"] > 0
    assert "Stick" not in {i["name"] for i in box.json("browse", "artist", "--limit", "1000")["items"]}
    assert box.status()["library"]["tracks"] == server["tracks"]
    items = box.json("queue")["items"]
    assert [(i["track"]["title"], i["track"]["where"]) for i in items[:3]] == [(f"Part {n}", []) for n in (1, 2, 3)]
    assert "network" in items[3]["track"]["where"]
    assert "away" in box.cli("queue").stdout
    box.cli("next")
    if box.status()["track"]["id"] == ids[1]:  # it was in memory already
        box.cli("next")
    status = box.wait(lambda s: s["track"] and str(s["track"]["id"]) not in ids and s["state"] == "playing", what="on")
    assert "the drive STICK, which is not plugged in" in status["message"]
    box.cli("sync", "--full")
    assert box.status()["library"]["tracks"] == server["tracks"]
    read = box.log("player", 10_000).count("3 of them new")
    (tmp_path / "away").rename(stick)
    again = until(box, "stick", 3)
    assert sorted(t["id"] for t in again) == sorted(ids), "the queue means the same files"
    box.wait(lambda s: s["drives"] != [])
    deadline = time.monotonic() + 10
    while "0 of them new" not in box.log("player", 10_000):
        assert time.monotonic() < deadline, "what was read is read again"
        time.sleep(0.05)
    assert box.log("player", 10_000).count("3 of them new") == read
    box.cli("sync", "--full")
    until(box, "stick", 3)
    box.cli("play", f"track:{ids[1]}")
    box.wait(lambda s: s["state"] == "playing" and s["position"] > 0.2 and s["source"] == "drive", what="it again")
    del album


def test_a_restart_goes_on_in_the_middle_of_a_song_of_the_drive(tmp_path: Path) -> None:
    """P8: the drive is found a moment after the player has begun to play from it."""
    stick = tmp_path / "STICK"
    stick.mkdir()
    tones.album(stick, "flac", tracks=1, seconds=60.0, title="Long", artist="Stick", seed=10)
    with Box(tmp_path, settings=settings(stick, "null"), server=False) as box:
        track = until(box, "stick", 1)[0]["id"]
        box.cli("play", f"track:{track}")
        box.wait(lambda s: s["position"] > 0.5)
        box.cli("seek", "20")
        box.wait(lambda s: s["position"] > 20.2)
        box.kill9_player()
        box.start_player(sync=False)
        status = box.wait(lambda s: s["state"] == "playing" and s["source"] == "drive" and s["position"] > 10)
        assert status["track"]["id"] == track
        assert status["message"] == ""


def test_adopting_the_stick_that_plays_neither_stops_nor_doubles_it(
    home: Home, start: Callable[..., Box], tmp_path: Path
) -> None:
    """Remounted under the music; what the fill puts there is the server's, and is not listed a second time."""
    stick = tmp_path / "STICK"
    stick.mkdir()
    tones.album(stick, "flac", tracks=1, seconds=60.0, title="Long", artist="Stick", seed=11)
    box = start(settings(stick, "null"))
    track = until(box, "stick", 1)[0]["id"]
    wanted = home.tracks(home.albums["mp3"])[0]
    box.cli("play", f"track:{track}")
    box.wait(lambda s: s["position"] > 0.2)
    box.cli("drive", "adopt", "STICK")
    box.json("drive", "fill", "STICK")
    status = box.status()
    assert (status["state"], status["track"]["id"], status["message"]) == ("playing", track, "")
    until(box, "stick", 1)
    assert list((stick / "Music").rglob("*.mp3"))
    found = [t for t in box.json("search", "Artist mp3")["tracks"] if t["title"] == wanted["title"]]
    assert [str(t["id"]) for t in found] == [str(wanted["id"])]
    assert set(found[0]["where"]) >= {"network", "drive"}
    box.cli("drive", "eject", "STICK")
    until(box, "stick", 0)
    assert np.all([str(i["track"]["id"]) == track for i in box.json("queue")["items"]])


def test_plays_of_a_drives_music_are_kept_and_not_reported(
    start: Callable[..., Box], proxy: Proxy, tmp_path: Path
) -> None:
    """L5: the server would not know what was heard."""
    stick = tmp_path / "STICK"
    stick.mkdir()
    tones.album(stick, "flac", tracks=1, seconds=1.0, title="Short", artist="Stick", seed=12)
    box = start(settings(stick), url=proxy.url)
    track = until(box, "stick", 1)[0]["id"]
    box.cli("play", f"track:{track}")
    box.wait(lambda s: s["state"] == "stopped" and s["track"] is None, what="the end")
    deadline = time.monotonic() + 10
    while True:
        with contextlib.closing(sqlite3.connect(box.root / "state" / "chadbox.db", timeout=10)) as db:
            plays = db.execute("SELECT track_id, reported FROM play").fetchall()
        if plays:
            break
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert plays == [(track, 3)]
    assert not [e for e in proxy.exchanges if e.method == "POST" and "plays" in e.path]
