"""Scanning real trees: thousands of files, broken ones, drives that are away, renames (S1, R6, R8, R10)."""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from mutagen.id3 import ID3, RVA2, TALB, TIT2, TPE1, TXXX
from mutagen.mp4 import MP4, MP4FreeForm
from mutagen.oggopus import OggOpus

from appliance.server import tags
from appliance.server.scan import Scanner
from appliance.server.worker import Reader

from .conftest import Live, ffmpeg

Put = Callable[..., Path]
Start = Callable[..., Live]


def test_two_thousand_files_with_broken_ones(
    start: Start, tmp_path: Path, tone: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    music = tmp_path / "music"
    for album in range(200):
        folder = music / f"Artist {album % 40}" / f"Album {album}"
        folder.mkdir(parents=True)
        for no in range(10):
            (folder / f"{no + 1:02d} Song.flac").write_bytes(tone)
    broken = {"empty.flac": b"", "text.mp3": b"hello " * 100, "cut.flac": tone[:60], "zero.m4a": bytes(4096),
              "tags.wav": b"RIFF\xff\xff\xff\xffWAVEfmt \xff\xff\xff\xff", "x.ogg": b"OggS" + bytes(100),
              "y.opus": b"OggS\0\2" + b"\xff" * 500, "a\x1b[2Jb.mp4": b"\0\0\0\1ftyp" + b"\xff" * 64}  # fmt: skip
    for name, data in broken.items():
        (music / name).write_bytes(data)
    shut = music / "shut"
    shut.mkdir()
    (shut / "s.flac").write_bytes(tone)
    begun = time.monotonic()
    live = start(background=False)
    seconds = time.monotonic() - begun
    assert live.get("/api/v1/stats")["tracks"] == 2001
    warnings = [r.getMessage() for r in caplog.records if "left out" in r.getMessage()]
    assert len(warnings) == len(broken)
    assert all("\n" not in w and "\x1b" not in w for w in warnings)
    caplog.clear()
    begun = time.monotonic()
    live.rescan()
    again = time.monotonic() - begun
    assert not [r for r in caplog.records if "left out" in r.getMessage()]  # each is said once
    assert again < seconds  # unchanged files are not opened
    assert live.get("/api/v1/library?since=0&limit=1")["seq"] == 3
    print(f"scan {2001 / seconds:.0f} files/s, rescan {2001 / again:.0f} files/s")


def test_requests_go_on_during_a_scan(start: Start, tmp_path: Path, tone: bytes) -> None:
    music = tmp_path / "music"
    live = start()
    for n in range(600):
        file = music / f"A{n // 20}" / f"{n:03d} T{n}.flac"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(tone)
    job = live.ask("POST", "/api/v1/rescan").json["job"]
    again = live.ask("POST", "/api/v1/rescan").json["job"]
    slowest, seen, states = 0.0, set(), set()
    while not live.app.scanner.idle.is_set():
        begun = time.monotonic()
        seen.add(live.get("/api/v1/stats")["tracks"])
        slowest = max(slowest, time.monotonic() - begun)
        states.add(live.get(f"/api/v1/job/{job}")["state"])
    assert live.get(f"/api/v1/job/{job}") == {
        "id": job,
        "kind": "scan",
        "state": "done",
        "progress": 100,
        "error": None,
    }
    assert again in (job, job + 1)
    assert live.get("/api/v1/stats")["tracks"] == 600
    assert len(seen) > 1  # what was found is served before the end
    assert slowest < 1.0


def test_a_rename_keeps_the_track(start: Start, put: Put, tmp_path: Path) -> None:
    music = tmp_path / "music"
    file = put(music / "a" / "one.flac", title="One", artist="X")
    put(music / "a" / "two.flac", title="Two", artist="X")
    plain = put(music / "plain name.flac")
    live = start()
    before = {t["id"]: t for t in live.tracks()}
    one = live.track("One")
    untagged = live.track("plain name")
    (music / "z").mkdir()
    file.rename(music / "z" / "renamed.flac")
    plain.rename(music / "other name.flac")
    live.rescan()
    after = {t["id"]: t for t in live.tracks()}
    assert after.keys() == before.keys()
    assert after[one["id"]]["url"] == "/music/z/renamed.flac"
    assert after[one["id"]]["etag"] == one["etag"]
    assert after[untagged["id"]]["title"] == "other name"
    shutil.copy2(music / "z" / "renamed.flac", music / "copy.flac")  # a copy is another track
    live.rescan()
    assert len(live.tracks()) == 4


def test_ids_are_never_used_again(start: Start, put: Put, tmp_path: Path) -> None:
    file = put(tmp_path / "music" / "a.flac", title="A")
    live = start()
    first = live.track("A")["id"]
    file.unlink()
    live.rescan()
    live.app.catalog.purge(time.time() + 40 * 86_400)
    put(tmp_path / "music" / "b.flac", title="B")
    live.rescan()
    assert live.track("B")["id"] > first


def test_changed_files_are_updated(start: Start, put: Put, tmp_path: Path) -> None:
    file = put(tmp_path / "music" / "a.flac", title="A")
    live = start()
    live.hashed()
    old = live.track("A")
    put(file, title="A much longer title than there was before, so that the size is another")
    os.utime(file, ns=(1, 1_600_000_000_123_456_789))
    live.rescan()
    live.hashed()
    (new,) = live.tracks()
    assert new["id"] == old["id"]
    assert new["etag"] != old["etag"]
    assert new["sha256"] != old["sha256"]
    assert live.ask("HEAD", new["url"]).headers["etag"] == new["etag"]


def test_a_drive_that_is_away_deletes_nothing(start: Start, put: Put, tmp_path: Path) -> None:
    music, drive = tmp_path / "music", tmp_path / "drive"
    put(music / "here.flac", title="here")
    put(music / "mounted" / "album" / "below.flac", title="below")
    put(drive / "x" / "away.flac", title="away")
    live = start(music, drive)
    assert len(live.tracks()) == 3
    drive.rename(tmp_path / "elsewhere")
    live.rescan()
    assert len(live.tracks()) == 3
    drive.mkdir()  # the empty mount point
    live.rescan()
    assert len(live.tracks()) == 3
    shutil.move(music / "mounted" / "album", tmp_path / "gone")  # another empty mount point, inside
    live.rescan()
    assert len(live.tracks()) == 3
    drive.rmdir()
    (tmp_path / "elsewhere").rename(drive)
    (drive / "x" / "away.flac").rename(drive / "x" / "moved.flac")
    live.rescan()
    assert live.track("away")["url"] == "/music/~2/x/moved.flac"
    (drive / "x" / "moved.flac").unlink()
    (drive / "x" / "note.txt").write_text("")
    live.rescan()
    assert {t["title"] for t in live.tracks()} == {"here", "below"}


def test_a_file_that_kills_the_reader_is_skipped(tmp_path: Path, tone: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process is killed while it reads; it starts again, and one that keeps hanging it is left out."""
    for n in range(3):
        (tmp_path / f"{n}.flac").write_bytes(tone)
    os.mkfifo(tmp_path / "hang")
    reader = Reader(timeout=10)
    root = os.fsencode(tmp_path)
    assert [f.error for f in reader.read(root, [b"0.flac"])] == [None]
    assert reader._process is not None
    reader._process.kill()
    reader._process.wait()
    assert [f.error for f in reader.read(root, [b"0.flac", b"1.flac"])] == [None, None]
    reader.timeout = 0.0
    assert all("hang" in (f.error or "") for f in reader.read(root, [b"0.flac", b"1.flac"]))
    reader.timeout = 10
    assert [f.error for f in reader.read(root, [b"2.flac"])] == [None]
    reader.rest()


def test_stopping_in_the_middle_of_a_scan(start: Start, tmp_path: Path, tone: bytes) -> None:
    live = start(background=False)
    for n in range(2000):
        (tmp_path / "music" / f"{n}.flac").write_bytes(tone)
    scanner: Scanner = live.app.scanner
    job = scanner.request()
    while not live.app.browser.stats().tracks:
        time.sleep(0.005)
    begun = time.monotonic()
    live.stop()
    assert time.monotonic() - begun < 2
    assert not [t for t in threading.enumerate() if t.name == "scan"]
    live = start(background=False)
    assert live.get("/api/v1/stats")["tracks"] == 2000
    assert live.get(f"/api/v1/job/{job}")["state"] == "failed"


def test_loudness_and_tags_of_each_format(tmp_path: Path) -> None:
    for name, codec in (("a.mp3", "libmp3lame"), ("b.m4a", "aac"), ("c.opus", "libopus"), ("d.wav", "pcm_s16le")):
        ffmpeg("-f", "lavfi", "-i", "sine=duration=0.5", "-c:a", codec, "-metadata", "title=T", "-metadata", "artist=A",
               "-metadata", "album=B", "-metadata", "track=3/9", "-metadata", "date=1987", "-metadata", "genre=Jazz",
               str(tmp_path / name))  # fmt: skip
        facts = tags.read(os.fsencode(tmp_path), name.encode())
        assert (facts.title, facts.artist, facts.album, facts.no, facts.year, facts.genre) == (
            "T", "A", "B", 3, 1987, "Jazz"), name  # fmt: skip

    id3 = ID3(tmp_path / "a.mp3")
    id3.add(TXXX(encoding=3, desc="REPLAYGAIN_TRACK_GAIN", text="-7.50 dB"))
    id3.add(TXXX(encoding=3, desc="replaygain_track_peak", text="0.5"))
    id3.add(RVA2(desc="album", channel=1, gain=-6.0, peak=0))
    id3.add(TXXX(encoding=3, desc="MusicBrainz Album Release Country", text="JP"))
    id3.add(TIT2(encoding=1, text="Bad\x00\x1b]0;title\x07 \u202etext"))
    id3.add(TPE1(encoding=3, text=["One", "Two"]))
    id3.add(TALB(encoding=3, text="x" * 10_000))
    id3.save()
    facts = tags.read(os.fsencode(tmp_path), b"a.mp3")
    assert (facts.lufs, facts.true_peak, facts.album_lufs, facts.country) == (-10.5, pytest.approx(-6.021), -12.0, "JP")
    assert (facts.artist, len(facts.album)) == ("One, Two", 500)
    assert facts.title.isprintable()

    opus = OggOpus(tmp_path / "c.opus")
    opus["R128_TRACK_GAIN"], opus["R128_ALBUM_GAIN"] = "-1280", "256"
    opus.save()
    facts = tags.read(os.fsencode(tmp_path), b"c.opus")
    assert (facts.lufs, facts.album_lufs, facts.sample_rate) == (-18.0, -24.0, 48_000)

    mp4 = MP4(tmp_path / "b.m4a")
    mp4["----:com.apple.iTunes:replaygain_track_gain"] = MP4FreeForm(b"+3.00 dB")
    mp4["----:com.apple.iTunes:LABEL"] = MP4FreeForm(b"L")
    mp4["----:com.apple.iTunes:replaygain_track_peak"] = MP4FreeForm(b"nan")
    mp4.save()
    facts = tags.read(os.fsencode(tmp_path), b"b.m4a")
    assert (facts.lufs, facts.true_peak, facts.publisher) == (-21.0, None, "L")
