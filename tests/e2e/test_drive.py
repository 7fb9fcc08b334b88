"""A drive from the outside: the real player, a folder in place of a stick (C3, C5, C6, C8)."""

from __future__ import annotations

import contextlib
import json
import signal
import sqlite3
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.e2e.conftest import CRAWL, Home
from tests.support.box import Box
from tests.support.proxy import Proxy
from tests.support.watch import Status


def settings(*folders: Path) -> dict[str, dict[str, Any]]:
    return {"audio": {"output": "null"}, "drives": {"folders": [str(folder) for folder in folders]}}


def drive(status: Status) -> dict[str, Any]:
    found: list[dict[str, Any]] = status["drives"]
    return found[0] if found else {"state": None, "adopted": False, "progress": 0}


def like(box: Box, home: Home, name: str) -> list[str]:
    """Make the tracks of an album favourites, so that a fill wants them; their ids."""
    ids = [str(track["id"]) for track in home.tracks(home.albums[name])]
    library = home.box.api("stats")["library"]
    with contextlib.closing(sqlite3.connect(box.root / "state" / "chadbox.db", timeout=10)) as db, db:
        db.executemany("INSERT INTO favourite (library, track_id) VALUES (?, ?)", [(library, i) for i in ids])
    return ids


def stick(tmp_path: Path) -> Path:
    path = tmp_path / "STICK"
    path.mkdir()
    (path / "mine.txt").write_text("mine")
    return path


def whole(path: Path) -> set[str]:
    import hashlib

    manifest = json.loads((path / ".chadbox/manifest.json").read_text())
    for file in manifest["files"]:
        data = (path / file["path"]).read_bytes()
        assert (len(data), hashlib.sha256(data).hexdigest()) == (file["size"], file["sha256"])
    assert not list(path.rglob("*.chadbox-part"))
    return {str(file["id"]) for file in manifest["files"]}


def test_a_box_that_has_heard_nothing_brings_the_newest_albums(
    home: Home, start: Callable[..., Box], tmp_path: Path
) -> None:
    path = stick(tmp_path)
    box = start(settings(path))
    box.wait(lambda s: drive(s)["state"] == "not-adopted", what="the drive")
    box.cli("drive", "adopt", "STICK")
    assert box.json("drive", "fill", "STICK")["missing"] == []
    everything = {str(track["id"]) for album in home.albums.values() for track in home.tracks(album)}
    assert whole(path) >= everything
    assert box.json("drive", "fill", "STICK")["copied"] == 0


def test_plug_adopt_fill_eject(home: Home, start: Callable[..., Box], tmp_path: Path) -> None:
    path = stick(tmp_path)
    box = start(settings(path))
    ids = like(box, home, "flac")
    box.wait(lambda s: drive(s)["state"] == "not-adopted", what="the drive")
    refused = box.cli("drive", "fill", "STICK", code=2)
    assert "drive adopt STICK" in refused.stderr
    assert [p.name for p in path.iterdir()] == ["mine.txt"], "written to without consent"
    assert box.json("drive", "adopt", "STICK")["adopted"] is True
    result = box.json("drive", "fill", "STICK")
    assert result["missing"] == []
    assert whole(path) >= set(ids)
    table = box.cli("drive").stdout
    assert "STICK" in table
    assert "yes" in table
    assert drive(box.status()) | {"name": "STICK", "state": "ready", "adopted": True, "progress": 100} == drive(
        box.status()
    )
    assert {job["kind"]: job["state"] for job in box.json("jobs")}["fill"] == "done"
    assert "can be pulled out" in box.cli("drive", "eject", "STICK").stdout
    assert drive(box.status())["state"] == "safe-to-remove"
    path.rename(tmp_path / "away")
    box.wait(lambda s: s["drives"] == [], what="the pull")
    assert box.status()["health"] == ["ok"]
    assert (tmp_path / "away/mine.txt").read_text() == "mine"
    assert "no drive" in box.cli("drive", "eject", "STICK", code=1).stderr


def test_it_is_filled_when_it_is_plugged_and_goes_on_after_a_power_cut(
    home: Home, start: Callable[..., Box], proxy: Proxy, tmp_path: Path
) -> None:
    path = stick(tmp_path)
    box = start(settings(path), url=proxy.url)
    ids = like(box, home, "wav")
    proxy.bandwidth = 1e6
    box.cli("drive", "adopt", "STICK")
    box.wait(lambda s: drive(s)["state"] == "filling" and 0 < drive(s)["progress"] < 100, what="the fill")
    path.rename(tmp_path / "away")
    box.wait(lambda s: s["drives"] == [], what="the pull")
    (tmp_path / "away").rename(path)
    box.wait(lambda s: drive(s)["state"] == "filling" and 0 < drive(s)["progress"] < 100, what="the next fill")
    box.kill9_player()
    proxy.bandwidth = None
    box.start_player(sync=False)
    box.wait(lambda s: drive(s)["adopted"] and drive(s)["state"] == "ready" and drive(s)["progress"] == 100, 30)
    assert whole(path) >= set(ids)
    assert box.status()["counters"]["refetched_bytes"] == 0


def test_it_plays_on_during_a_fill_and_from_the_drive(
    home: Home, start: Callable[..., Box], proxy: Proxy, tmp_path: Path
) -> None:
    path = stick(tmp_path)
    box = start(settings(path), url=proxy.url)
    ids = like(box, home, "flac24")
    box.cli("cache", "clear")
    proxy.bandwidth = 3e6
    box.cli("play", home.track(home.large))
    box.wait(lambda s: s["state"] == "playing" and s["position"] > 0.3, what="sound")
    before = box.status()
    box.cli("drive", "adopt", "STICK")
    box.json("drive", "fill", "STICK")
    status = box.status()
    assert status["state"] == "playing"
    ran = status["position"] - before["position"]
    assert abs(ran - (status["uptime"] - before["uptime"])) < 1.0, "it stood still"
    assert status["audio"]["underruns"] == before["audio"]["underruns"]
    assert not [s for s in box.seen() if s["uptime"] > before["uptime"] and s["state"] == "buffering"]
    assert whole(path) >= set(ids)
    box.cli("stop")
    box.cli("cache", "clear")
    proxy.bandwidth = None
    sent = proxy.body_bytes("/music/")
    box.cli("play", f"track:{ids[0]}")
    status = box.wait(lambda s: s["state"] == "playing" and s["position"] > 0.2, what="sound from the drive")
    assert status["source"] == "drive"
    assert proxy.body_bytes("/music/") == sent


def test_cancel_with_ctrl_c(home: Home, start: Callable[..., Box], proxy: Proxy, tmp_path: Path) -> None:
    path = stick(tmp_path)
    box = start(settings(path), url=proxy.url)
    like(box, home, "wav")
    box.cli("cache", "clear")
    proxy.bandwidth = 0.5e6
    box.cli("drive", "adopt", "STICK")
    command = subprocess.Popen(box.command("drive", "fill", "STICK"), stderr=subprocess.DEVNULL)
    box.wait(lambda s: drive(s)["state"] == "filling" and drive(s)["progress"] > 0, what="the fill")
    proxy.bandwidth = CRAWL
    command.send_signal(signal.SIGINT)
    assert command.wait(5) == 130
    box.wait(lambda s: drive(s)["state"] == "ready", what="the cancelled fill")
    assert next(job["state"] for job in box.json("jobs") if job["kind"] == "fill") == "cancelled"
    whole(path)
    proxy.bandwidth = None
    box.cli("jobs", "retry", str(next(job["id"] for job in box.json("jobs") if job["kind"] == "fill")))
    box.wait(lambda s: drive(s)["progress"] == 100, what="the retry")
    assert whole(path) >= {str(track["id"]) for track in home.tracks(home.albums["wav"])}
    assert box.stop_player() == 0
