"""Export from the outside: the real command, player and server; folders and a folder in place of a stick (C9)."""

from __future__ import annotations

import hashlib
import json
import os
import pty
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.drives.rpp import items, parse
from tests.e2e.conftest import CRAWL, Home
from tests.e2e.test_drive import drive, like, settings, stick, whole
from tests.support.box import Box
from tests.support.proxy import Proxy

NULL = {"audio": {"output": "null"}}


def unfilled(path: Path) -> dict[str, dict[str, Any]]:
    """Settings with which nothing but the export comes onto a drive."""
    return settings(path) | {"drives": {"folders": [str(path)], "fill": False}}


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
def test_an_album_to_a_folder_with_a_project(home: Home, start: Callable[..., Box], tmp_path: Path, name: str) -> None:
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


def test_a_drive_keeps_what_was_exported(home: Home, start: Callable[..., Box], tmp_path: Path) -> None:
    """C9, C6: only an adopted drive; a later commute fill neither removes nor owns what was exported."""
    path = stick(tmp_path)
    box = start(unfilled(path))
    box.wait(lambda s: drive(s)["state"] == "not-adopted", what="the drive")
    what, tracks = home.what(home.albums["flac"]), home.tracks(home.albums["flac"])
    refused = box.cli("export", what, "--to", "drive:STICK", "--yes", code=2)
    assert "drive adopt STICK" in refused.stderr
    assert [p.name for p in path.iterdir()] == ["mine.txt"], "written to without consent"
    box.cli("drive", "adopt", "STICK")
    result = box.json("export", what, "--to", "drive:STICK", "--yes", "--reaper")
    assert (result["copied"], result["missing"]) == (len(tracks), [])
    ids = {str(track["id"]) for track in tracks}
    assert whole(path) == ids
    assert {file["purpose"] for file in manifest(path)["files"]} == {"export"}
    (project,) = path.glob("*.RPP")
    assert all((path / item.file).is_file() for item in items(parse(project.read_text("utf-8"))))
    commute = set(like(box, home, "mp3"))
    box.json("drive", "fill", "STICK")
    assert whole(path) >= ids | commute
    assert {str(f["id"]) for f in manifest(path)["files"] if f.get("purpose") == "export"} == ids
    assert drive(box.status())["state"] == "ready"
    assert box.json("export", what, "--to", "drive:STICK", "--yes")["copied"] == 0
    assert {job["kind"]: job["state"] for job in box.json("jobs")} == {"fill": "done", "export": "done"}
    assert (path / "mine.txt").read_text() == "mine"
    assert "there is no drive" in box.cli("export", what, "--to", "drive:CAR", "--yes", code=1).stderr


def test_what_the_server_lacks_is_missing_and_the_rest_is_there(tmp_path: Path) -> None:
    """C5, C9: one of five is missing, exit code 0; none to be had, exit code 1."""
    from tests.support import tones

    library = tones.album(tmp_path / "music", "flac", seconds=3.0, artist="Gone")
    with Box(tmp_path, tmp_path / "music", settings=NULL) as box:
        what = f"album:{box.album_id(library.folder.name)}"
        tracks = box.api(f"album/{what.partition(':')[2]}/tracks")["tracks"]
        files = sorted(library.folder.glob("*.flac"))
        files[2].unlink()
        result = box.json("export", what, "--to", str(tmp_path / "to"), "--yes")
        assert result["copied"] == len(tracks) - 1
        (missing,) = result["missing"]
        assert str(missing["id"]) == str(tracks[2]["id"])
        assert missing["title"] == tracks[2]["title"]
        assert missing["reason"]
        report = (tmp_path / "to/MISSING.txt").read_text("utf-8")
        assert tracks[2]["title"] in report
        assert [str(m["id"]) for m in manifest(tmp_path / "to")["missing"]] == [str(tracks[2]["id"])]
        box.cli("cache", "clear")
        for file in files[:2] + files[3:]:
            file.unlink()
        none = box.cli("export", what, "--to", str(tmp_path / "none"), "--yes", "--json", code=1)
        assert json.loads(none.stdout)["copied"] == 0
        assert len(json.loads(none.stdout)["missing"]) == len(tracks)
        assert none.stderr.count("\n") == 1
        assert "nothing could be exported" in none.stderr
        assert [job["state"] for job in box.json("jobs") if job["kind"] == "export"] == ["failed", "done"]
        assert not list((tmp_path / "none").rglob("*.flac"))


def test_ctrl_c_and_jobs_cancel_leave_nothing_half(
    home: Home, start: Callable[..., Box], proxy: Proxy, tmp_path: Path
) -> None:
    """C9, R8: cancelled in the middle, what is there is whole; the next run goes on."""
    box = start(NULL, url=proxy.url)
    what, tracks = home.what(home.albums["wav"]), home.tracks(home.albums["wav"])
    for number, end in enumerate((signal.SIGINT, signal.SIGTERM, None)):
        to = tmp_path / f"to{number}"
        box.cli("cache", "clear")
        proxy.bandwidth = 0.4e6
        command = subprocess.Popen(
            box.command("export", what, "--to", str(to), "--yes"), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        wait_for(lambda to=to: len(music(to)) > 1, "the second file")  # type: ignore[misc]
        proxy.bandwidth = CRAWL
        job = next(job for job in box.json("jobs") if job["kind"] == "export")
        assert job["state"] == "running"
        assert job["progress"] < 90, "it was told to be nearly done"
        if end is None:
            box.cli("jobs", "cancel", str(job["id"]))
        else:
            command.send_signal(end)
        _, said = command.communicate(timeout=5)
        assert command.returncode == (130 if end == signal.SIGINT else 1), said
        assert b"Traceback" not in said
        wait_for(lambda job=job: state(box, job["id"]) == "cancelled", "the end of the job")  # type: ignore[misc]
        assert 0 < len(whole(to)) < len(tracks)
        listed = manifest(to)  # a file that came as the signal did may only be planned; the next run finds it
        ours = {file["path"] for key in ("files", "planned") for file in listed[key]}
        assert set(music(to)) <= ours
        assert len(music(to)) - len(listed["files"]) <= 1
        proxy.bandwidth = None
        there = len(music(to))
        assert box.json("export", what, "--to", str(to))["copied"] == len(tracks) - there
        assert whole(to) == {str(track["id"]) for track in tracks}
    box.cli("jobs", "retry", str(job["id"]))
    wait_for(lambda: state(box, job["id"]) == "failed", "the retry, which nobody copies for")
    assert box.status()["counters"]["refetched_bytes"] == 0


def state(box: Box, job: int) -> str:
    return next(str(j["state"]) for j in box.json("jobs") if j["id"] == job)


def test_an_export_to_a_drive_goes_on_after_a_power_cut(
    home: Home, start: Callable[..., Box], proxy: Proxy, tmp_path: Path
) -> None:
    """C9, R5: the job of a drive is durable, Ctrl-C of the command cancels it, and `jobs retry` works."""
    path = stick(tmp_path)
    box = start(unfilled(path), url=proxy.url)
    box.cli("drive", "adopt", "STICK")
    what, tracks = home.what(home.albums["wav"]), home.tracks(home.albums["wav"])
    box.cli("cache", "clear")
    proxy.bandwidth = 0.4e6
    command = subprocess.Popen(
        box.command("export", what, "--to", "drive:STICK", "--yes"),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    wait_for(lambda: len(music(path)) > 1, "the second file")
    proxy.bandwidth = CRAWL
    command.send_signal(signal.SIGINT)
    assert command.wait(5) == 130
    job = next(job["id"] for job in box.json("jobs") if job["kind"] == "export")
    wait_for(lambda: state(box, job) == "cancelled", "the end of the job")
    assert 0 < len(whole(path)) < len(tracks)
    box.cli("jobs", "retry", str(job))
    box.wait(lambda s: drive(s)["state"] == "filling", what="the retry")
    box.kill9_player()
    proxy.bandwidth = None
    box.start_player(sync=False)
    wait_for(lambda: state(box, job) == "done", "the export after the power cut", 40)
    assert whole(path) == {str(track["id"]) for track in tracks}
    assert {file["purpose"] for file in manifest(path)["files"]} == {"export"}


def test_refusals_are_one_line(home: Home, start: Callable[..., Box], tmp_path: Path) -> None:
    """C9: what cannot be done is said before anything is written."""
    box = start(NULL)
    what = home.track(home.albums["opus"])
    (tmp_path / "file").write_text("x")
    for arguments, code, words in (
        ((what, "--to", str(tmp_path / "to")), 2, "--yes"),
        ((what, "--yes"), 2, "--to"),
        ((what, "--to", "drive:", "--yes"), 2, "drive:"),
        (("album:nothing", "--to", str(tmp_path / "to"), "--yes"), 1, "nothing"),
        (("queue", "--to", str(tmp_path / "to"), "--yes"), 1, "queue is empty"),
        ((what, "--to", str(tmp_path / "file"), "--yes"), 1, "is a file"),
        ((what, "--to", str(tmp_path / "file/deeper"), "--yes"), 1, "not there"),
        ((what, "--to", str(tmp_path / "a/b"), "--yes"), 1, "make it first"),
        ((what, "--to", "/proc/self", "--yes"), 1, "/proc/self"),
    ):
        done = box.cli("export", *arguments, code=code)
        assert words in done.stderr, done.stderr
        assert done.stderr.count("\n") == 1, done.stderr
        assert not (tmp_path / "to").exists()


def test_the_command_writes_as_the_person_who_gave_it(home: Home) -> None:
    """C9, I4: the files are the person's, who needs the player's group and nothing else, and gets no further than their
    own rights; the player's own do not count."""
    if os.getuid() or not shutil.which("setpriv"):
        pytest.skip("only root can be two users")
    with tempfile.TemporaryDirectory(prefix="export-", dir="/tmp") as name:
        root = Path(name)
        root.chmod(0o755)
        mine, theirs = root / "mine", root / "theirs"
        for folder, owner in ((mine, PERSON), (theirs, 0)):
            folder.mkdir()
            os.chown(folder, owner, GROUP)
            folder.chmod(0o700)
        box = home.player(root / "player", NULL)
        box.token_file = root / "token"
        shutil.copy(home.box.token_file, box.token_file)
        box.config.write_text(box.toml())
        for path in (box.socket.parent, box.root, box.config):
            os.chown(path, 0, GROUP)
            path.chmod(0o750)
        service = subprocess.Popen(
            ["setpriv", f"--regid={GROUP}", "--clear-groups", *box.command("run")], stderr=(root / "log").open("wb")
        )
        try:
            wait_for(lambda: service.poll() is not None or box._accepts(), "the player")
            assert service.poll() is None, (root / "log").read_text()
            box.cli("sync")
            what, tracks = home.what(home.albums["opus"]), home.tracks(home.albums["opus"])

            def export(to: Path, user: int, code: int) -> str:
                command = [*as_user(user), *box.command("export", what, "--to", str(to), "--json")]
                done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
                assert done.returncode == code, done.stderr
                return done.stdout if not code else done.stderr

            assert json.loads(export(mine, PERSON, 0))["copied"] == len(tracks)
            assert whole(mine) == {str(track["id"]) for track in tracks}
            assert {path.stat().st_uid for path in mine.rglob("*")} == {PERSON}
            for to in (theirs, theirs / "deeper", root / "new"):
                said = export(to, PERSON, 1)
                assert "no permission" in said
                assert said.count("\n") == 1
            assert list(theirs.iterdir()) == []
            for path in (box.root / "cache").glob("*.audio"):
                found = path.stat()
                assert (found.st_gid, found.st_mode & 0o777) == (GROUP, 0o640), "the group could not read it"
        finally:
            service.terminate()
            assert service.wait(5) == 0


GROUP, PERSON = 64_001, 64_002  # the player's group, and a user in it


def as_user(user: int) -> list[str]:
    """As that user; reading is allowed where this Python lies in a home that others cannot enter."""
    command = ["setpriv", f"--reuid={user}", f"--regid={GROUP}", "--clear-groups"]
    if subprocess.run([*command, sys.executable, "-c", ""], check=False, capture_output=True).returncode:
        command += ["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]
    return command


def test_it_asks_in_a_terminal(home: Home, start: Callable[..., Box], tmp_path: Path) -> None:
    """C9: the pre-flight tells tracks, bytes, room and time; only y goes on. A relative DIR is the person's."""
    box = start(NULL)
    tracks = home.tracks(home.albums["mp3"])
    for answer, code in ((b"n\n", 1), (b"y\n", 0)):
        ours, theirs = pty.openpty()
        command = subprocess.Popen(
            box.command("export", home.what(home.albums["mp3"]), "--to", "here"),
            stdin=theirs, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=tmp_path,
        )  # fmt: skip
        os.close(theirs)
        os.write(ours, answer)
        out, err = command.communicate(timeout=30)
        os.close(ours)
        assert command.returncode == code, err
        assert b"Go on?" in err
        for words in (b"to download", b"to copy", b"room", b"about", f"{len(tracks)} tracks".encode()):
            assert words in out, out
        assert (tmp_path / "here").exists() == (code == 0)
    assert whole(tmp_path / "here") == {str(track["id"]) for track in tracks}
    box.cli("queue", "add", home.what(home.albums["opus"]))
    assert box.json("export", "queue", "--to", str(tmp_path / "queue"))["copied"] == 5
    assert (tmp_path / "queue/Playlists/Queue.m3u8").exists()


def test_the_player_stops_under_a_folder_export(
    home: Home, start: Callable[..., Box], proxy: Proxy, tmp_path: Path
) -> None:
    """C9, R8: one line, nothing half is left; the player ends in time and the next run goes on."""
    box = start(NULL, url=proxy.url)
    what, tracks = home.what(home.albums["wav"]), home.tracks(home.albums["wav"])
    proxy.bandwidth = 0.4e6
    command = subprocess.Popen(
        box.command("export", what, "--to", str(tmp_path / "to"), "--yes"),
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    wait_for(lambda: len(music(tmp_path / "to")) > 1, "the second file")
    proxy.bandwidth = CRAWL
    assert box.stop_player() == 0
    _, said = command.communicate(timeout=5)
    assert command.returncode in (1, 3), said
    assert said.count("\n") == 1
    assert "player" in said
    assert 0 < len(whole(tmp_path / "to")) < len(tracks)
    proxy.bandwidth = None
    box.start_player(sync=False)
    assert box.json("export", what, "--to", str(tmp_path / "to"))["missing"] == []
    assert whole(tmp_path / "to") == {str(track["id"]) for track in tracks}


def test_a_full_disk_under_a_folder(home: Home, start: Callable[..., Box], small_disk: Path) -> None:
    """C9: what does not fit is told, with how much is needed and left, and the rest is there."""
    box = start(NULL)
    (small_disk / "mine").write_bytes(bytes(3 << 20))
    result = box.json("export", home.what(home.albums["flac"]), "--to", str(small_disk))
    assert result["missing"] == []
    done = box.cli("export", home.what(home.large), "--to", str(small_disk), "--yes", code=1)
    assert "does not fit" in done.stderr
    assert "cannot be exported" in done.stdout
    assert len(whole(small_disk)) == 5
    assert not (small_disk / "MISSING.txt").exists(), "something was written though nothing could be had"
    assert not list(small_disk.rglob("*.chadbox-part"))
