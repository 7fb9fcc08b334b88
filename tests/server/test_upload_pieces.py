"""Uploads in pieces, and what a crash or a deletion leaves of one (C10, S1, S3, S4, R8)."""

from __future__ import annotations

import base64
import hashlib
import http.client
import os
import random
import time
import wave
from collections.abc import Callable
from pathlib import Path

from .conftest import TOKEN, Answer, Live
from .test_upload import leftovers, send

Put = Callable[..., Path]
Start = Callable[..., Live]


def digest(data: bytes) -> str:
    return f"sha-256=:{base64.b64encode(hashlib.sha256(data).digest()).decode()}:"


def piece(live: Live, key: str, data: bytes, start: int, stop: int, name: str = "a.flac", **more: str) -> Answer:
    headers = {"Upload_Offset": str(start), "Upload_Length": str(len(data)), "X_Filename": name}
    headers |= {"Repr_Digest": digest(data)} | more
    return live.ask("PATCH", f"/api/v1/upload/{key}", data[start:stop], **headers)


def offset(live: Live, key: str) -> int:
    return int(live.ask("HEAD", f"/api/v1/upload/{key}").headers["upload-offset"])


def test_c10_pieces_become_a_track_once(start: Start, put: Put, tmp_path: Path) -> None:
    live = start()
    data = put(tmp_path / "src.flac", title="Song", artist="A", album="B").read_bytes()
    assert offset(live, "k") == 0
    assert piece(live, "k", data, 0, 1000).status == 204
    assert offset(live, "k") == 1000
    wrong = piece(live, "k", data, 900, 2000)
    assert (wrong.status, wrong.json["error"]["code"], wrong.headers["upload-offset"]) == (
        409,
        "offset_mismatch",
        "1000",
    )
    live.stop()
    live = start()  # what arrived is still there
    assert offset(live, "k") == 1000
    last = piece(live, "k", data, 1000, len(data))
    assert (last.status, last.json["duplicate"], last.json["track"]["title"]) == (201, False, "Song")
    assert live.ask("HEAD", "/api/v1/upload/k").headers["upload-complete"] == "?1"
    again = piece(live, "k", data, len(data), len(data))
    assert (again.status, again.json["duplicate"]) == (200, True)
    assert send(live, "a.flac", data, "k").status == 200  # one key for both ways
    other = piece(live, "k", data + b"x", 0, 100)
    assert (other.status, other.json["error"]["code"]) == (409, "idempotency_conflict")
    assert len(live.tracks()) == 1
    assert not leftovers(tmp_path / "music")


def test_c10_a_cut_piece_is_kept(start: Start, tmp_path: Path) -> None:
    live = start()
    with wave.open(str(tmp_path / "noise.wav"), "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(44100)
        file.writeframes(random.Random(1).randbytes(3 << 20))
    data = (tmp_path / "noise.wav").read_bytes()
    connection = http.client.HTTPConnection("127.0.0.1", live.port, timeout=5)
    connection.putrequest("PATCH", "/api/v1/upload/cut")
    for name, value in (
        ("Authorization", f"Bearer {TOKEN}"), ("Upload-Offset", "0"), ("Upload-Length", str(len(data))),
        ("X-Filename", "a.wav"), ("Repr-Digest", digest(data)), ("Content-Length", str(len(data))),
    ):  # fmt: skip
        connection.putheader(name, value)
    connection.endheaders()
    connection.send(data[: 5 << 19])
    deadline = time.monotonic() + 10
    while offset(live, "cut") < 1 << 20:  # so much is on disk before anything is cut
        assert time.monotonic() < deadline
        time.sleep(0.02)
    connection.close()
    while (have := offset(live, "cut")) and piece(live, "cut", data, have, have).status == 409:
        assert time.monotonic() < deadline  # the server had still to write what was on its way
    have = offset(live, "cut")
    assert 1 << 20 <= have <= 5 << 19
    assert piece(live, "cut", data, have, len(data), name="a.wav").status == 201
    assert len(live.tracks()) == 1


def test_c10_pieces_are_refused_with_a_reason(start: Start, tone: bytes, tmp_path: Path) -> None:
    live = start(max_upload=50_000)
    assert piece(live, "k", bytes(60_000), 0, 10).status == 413
    assert piece(live, "k", tone, 0, 10, Upload_Length="x").status == 400
    assert piece(live, "k", tone, 0, 10, Upload_Length="5").status == 413
    assert piece(live, "k", tone, 0, 10, Repr_Digest="").status == 400
    assert piece(live, "x" * 201, tone, 0, 10).status == 400
    assert piece(live, "text", tone, 0, len(tone), name="a.txt").status == 415
    assert piece(live, "junk", b"no music" * 99, 0, 8 * 99).status == 415
    lie = piece(live, "lie", tone, 0, len(tone), Repr_Digest=digest(b"other"))
    assert (lie.status, lie.json["error"]["code"]) == (422, "digest_mismatch")
    assert live.ask("HEAD", "/api/v1/upload/k", token="wrong").status == 401
    assert live.tracks() == []
    live.stop()
    live = start(max_upload=50_000)
    for folder in (tmp_path / "music").rglob("part-*"):
        old = time.time() - 100_000
        for path in (*folder.iterdir(), folder):
            os.utime(path, (old, old))
    live.stop()
    live = start(max_upload=50_000)  # stale parts are removed at the start
    assert not list((tmp_path / "music").rglob("part-*"))


def test_s4_a_file_that_a_crash_left_unrecorded_is_not_stored_twice(start: Start, put: Put, tmp_path: Path) -> None:
    live, music = start(), tmp_path / "music"
    data = put(tmp_path / "src.flac", title="Song", artist="A", album="B").read_bytes()
    (music / "A" / "B").mkdir(parents=True)
    (music / "A" / "B" / "Song.flac").write_bytes(data)  # placed, and then the server died
    assert send(live, "x.flac", data, "k").status == 201
    assert [p.name for p in music.rglob("*.flac")] == ["Song.flac"]
    live.rescan()
    assert len(live.tracks()) == 1


def test_s3_the_same_song_in_another_file_is_a_duplicate(start: Start, put: Put, tmp_path: Path) -> None:
    live = start()
    one = put(tmp_path / "1.flac", title="Song", artist="An Artist", album="B").read_bytes()
    two = put(tmp_path / "2.flac", title="song", artist="AN ARTIST", album="Best of", comment="x" * 50).read_bytes()
    first = send(live, "1.flac", one, "k1")
    again = send(live, "2.flac", two, "k2")
    assert (again.status, again.json["duplicate"], again.json["track"]["id"]) == (
        200,
        True,
        first.json["track"]["id"],
    )
    assert send(live, "2.flac", two, "k2").json == again.json
    nameless = [put(tmp_path / "t.flac", comment=c).read_bytes() for c in ("a", "bb")]
    assert [send(live, "Track 01.flac", data).status for data in nameless] == [201, 201]  # no tags prove nothing


def test_s4_a_key_whose_track_was_deleted_is_as_good_as_new(start: Start, put: Put, tmp_path: Path) -> None:
    live = start()
    data = put(tmp_path / "src.flac", title="Song", artist="A", album="B").read_bytes()
    put(tmp_path / "music" / "stays.flac", title="Stays")
    assert send(live, "a.flac", data, "k").status == 201
    (tmp_path / "music" / "A" / "B" / "Song.flac").unlink()
    live.rescan()
    assert [t["title"] for t in live.tracks()] == ["Stays"]
    back = send(live, "a.flac", data, "k")
    assert (back.status, back.json["duplicate"]) == (201, False)
    assert send(live, "a" * 300 + ".flac", data).status == 200
    assert sorted(t["title"] for t in live.tracks()) == ["Song", "Stays"]
