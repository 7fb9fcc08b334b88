"""Export from the outside: the real command, player and server; folders and a folder in place of a stick (C9)."""

from __future__ import annotations

import hashlib
import json
import os
import pty
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.drives.rpp import items, parse
from tests.e2e.conftest import Home
from tests.e2e.test_drive import drive, like, settings, stick, whole
from tests.support.box import Box
from tests.support.proxy import Proxy

NULL = {"audio": {"output": "null"}}


def manifest(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((path / ".chadbox/manifest.json").read_bytes())
    return found


def music(path: Path) -> dict[str, str]:
    """SHA-256 of every sound file below `path`, by its name."""
    there = (path / "Music").rglob("*") if (path / "Music").is_dir() else ()
    return {str(f.relative_to(path)): hashlib.sha256(f.read_bytes()).hexdigest() for f in there if f.is_file()}


def wait_for(condition: Callable[[], object], what: str, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():  # a folder tells nobody that a file has come
        assert time.monotonic() < deadline, f"{what} did not come"
        time.sleep(0.02)


@pytest.mark.parametrize("name", ["flac", "mp3", "opus", "wav"])
def test_an_album_to_a_folder_with_a_project(
    home: Home, start: Callable[..., Box], tmp_path: Path, name: str
) -> None:
    """C9, C4, C5: hashes are the server's, a second export copies nothing, what is the user's stays."""
    box = start(NULL)
    to = tmp_path / "to"
    to.mkdir()
    (to / "Music").mkdir()
    (to / "Music/mine.flac").write_bytes(b"mine")
    what, tracks = home.what(home.albums[name]), home.tracks(home.albums[name])
    result = box.json("export", what, "--to", str(to), "--yes", "--reaper")
    assert (result["copied"], result["missing"]) == (len(tracks), [])
    assert result["bytes"] == sum(track["size"] for track in tracks)
    assert whole(to) == {str(track["id"]) for track in tracks}
    by_path = {file["path"]: str(file["id"]) for file in manifest(to)["files"]}
    sums = {str(track["id"]): track["sha256"] for track in tracks}
    found = music(to)
    assert {by_path[path]: digest for path, digest in found.items() if path in by_path} == sums
    assert (to / "Music/mine.flac").read_bytes() == b"mine"
    assert not (to / "MISSING.txt").exists()
    (project,) = to.glob("*.RPP")
    placed = items(parse(project.read_text("utf-8")))
    assert [by_path[item.file] for item in placed] == [str(track["id"]) for track in tracks], "not in play order"
    position = 0.0
    for item, track in zip(placed, tracks, strict=True):
        assert item.position == pytest.approx(position, abs=1e-6)
        assert item.length == pytest.approx(track["duration"], abs=0.001)
        assert (to / item.file).is_file()
        position += item.length
    playlist = next((to / "Playlists").glob("*.m3u8")).read_text("utf-8").splitlines()
    assert [by_path[line.removeprefix("../")] for line in playlist if line[0] != "#"] == list(sums)
    assert {job["kind"]: (job["state"], job["progress"]) for job in box.json("jobs")}["export"] == ("done", 100)
    before = {path: path.stat().st_mtime_ns for path in to.rglob("*")}
    network = box.status()["counters"]["network_bytes"]
    again = box.json("export", what, "--to", str(to), "--yes", "--reaper")
    assert (again["copied"], again["bytes"], again["kept"]) == (0, 0, len(tracks))
    assert {path: path.stat().st_mtime_ns for path in to.rglob("*")} == before
    assert box.status()["counters"]["network_bytes"] == network
