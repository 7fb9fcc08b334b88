"""Uploads: keys, duplicates, limits, hostile names, nothing left behind (S1, S3, S4, R6, R8)."""

from __future__ import annotations

import http.client
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .conftest import TOKEN, Answer, Live

Put = Callable[..., Path]
Start = Callable[..., Live]


def multipart(name: str, data: bytes, part: str = "file") -> tuple[bytes, str]:
    head = f'--BB\r\nContent-Disposition: form-data; name="{part}"; filename="{name}"\r\nContent-Type: x/y\r\n\r\n'
    return head.encode() + data + b"\r\n--BB--\r\n", "multipart/form-data; boundary=BB"


def send(live: Live, name: str, data: bytes, key: str | None = None) -> Answer:
    body, kind = multipart(name, data)
    headers: dict[str, Any] = {"Content_Type": kind}
    if key is not None:
        headers["X_Idempotency_Key"] = key
    return live.ask("POST", "/api/v1/upload", body, **headers)


def leftovers(folder: Path) -> list[Path]:
    return [p for p in folder.rglob("*") if ".chadbox" in str(p)]


def test_upload_once(start: Start, put: Put, tmp_path: Path) -> None:
    live, music = start(), tmp_path / "music"
    data = put(
        tmp_path / "src.flac", title="Song", artist="An/Artist", album="..", tracknumber="4", discnumber="2"
    ).read_bytes()
    other = put(tmp_path / "other.flac", title="Other", artist="B", album="C").read_bytes()
    first = send(live, "x.flac", data, "key-1")
    assert (first.status, first.json["duplicate"]) == (201, False)
    track = first.json["track"]
    assert (music / "An_Artist" / "Unknown Album" / "2-04 Song.flac").read_bytes() == data
    assert live.ask("GET", track["url"]).body == data
    assert track["sha256"]
    again = send(live, "x.flac", data, "key-1")
    assert (again.status, again.json) == (200, {"track": track, "duplicate": True})
    clash = send(live, "x.flac", other, "key-1")
    assert (clash.status, clash.json["error"]["code"]) == (409, "idempotency_conflict")
    known = send(live, "y.flac", data, "key-2")
    assert (known.status, known.json["duplicate"], known.json["track"]["id"]) == (200, True, track["id"])
    assert send(live, "z.flac", other).status == 201  # without a key
    live.rescan()
    assert len(live.tracks()) == 2
    assert live.track("Song")["seq"] == track["seq"]  # the scan finds nothing new
    assert not leftovers(music)


def test_known_before_it_was_hashed(start: Start, put: Put, tmp_path: Path) -> None:
    file = put(tmp_path / "music" / "x.flac", title="Here")
    live = start(background=False)
    answer = send(live, "again.flac", file.read_bytes(), "k")
    assert (answer.status, answer.json["track"]["title"]) == (200, "Here")


def test_raw_upload_of_today(start: Start, put: Put, tmp_path: Path) -> None:
    live = start()
    data = put(tmp_path / "src.flac", title="Raw", artist="A", album="B").read_bytes()

    def raw(body: bytes, **headers: str) -> tuple[int, Any]:
        answer = live.ask("PUT", "/api/upload", body, **headers)
        return answer.status, answer.json

    assert raw(data, X_Filename="dir%2Fa%20b.flac") == (
        200,
        {"status": "imported", "tracks_added": 1, "albums_updated": 1},
    )
    status, body = raw(data, X_Filename="a.flac")
    assert (status, body["status"], set(body)) == (409, "error", {"status", "message"})
    assert raw(data)[0] == 400
    assert raw(b"", X_Filename="a.flac")[0] == 400
    assert raw(b"no music at all", X_Filename="a.flac")[0] == 400
    assert raw(data, X_Filename="a.exe")[0] == 400


def test_refused(start: Start, tone: bytes, tmp_path: Path) -> None:
    live = start(max_upload=100_000)
    assert send(live, "a.txt", tone).status == 415
    assert send(live, "a.mp3", b"no music" * 50).status == 415
    assert send(live, "a.flac", bytes(300_000)).status == 413
    assert send(live, "a.flac", bytes(120_000)).status == 413
    assert send(live, "a.flac", tone, "k" * 201).status == 400
    for kind, body in (("text/plain", b"x"), ("multipart/form-data", b"x")):
        assert live.ask("POST", "/api/v1/upload", body, Content_Type=kind).status == 415
    body, kind = multipart("a.flac", tone)
    for broken in (body[:-20], b"", b"--BB", multipart("a.flac", tone, "other")[0], b"junk" + body):
        assert live.ask("POST", "/api/v1/upload", broken, Content_Type=kind).status == 400
    connection = http.client.HTTPConnection("127.0.0.1", live.port, timeout=5)
    connection.putrequest("POST", "/api/v1/upload")
    for name, value in (("Authorization", f"Bearer {TOKEN}"), ("Content-Type", kind), ("Content-Length", "90000")):
        connection.putheader(name, value)
    connection.endheaders()
    connection.send(body)
    connection.close()  # in the middle of the body
    live.stop()
    assert not leftovers(tmp_path / "music")
    assert not list((tmp_path / "music").iterdir())


def test_hostile_names_stay_inside(start: Start, put: Put, tmp_path: Path) -> None:
    live, music = start(), tmp_path / "music"
    (tmp_path / "outside").mkdir()
    (music / "Door").symlink_to(tmp_path / "outside")
    for n, bad in enumerate(("../../x", "/etc/x", "a\x00b", "CON", "x" * 5000, ". .", "a\nb\x1b[0m", "~1", "日本")):
        data = put(tmp_path / "src.flac", title=bad, artist=bad, album=bad, tracknumber=str(n + 1)).read_bytes()
        answer = send(live, "../../../evil.flac", data, f"k{n}")
        assert answer.status == 201, answer.body
        url = answer.json["track"]["url"]
        assert live.ask("HEAD", url).status == 200, url
    data = put(tmp_path / "src.flac", title="t", artist="Door", album="b").read_bytes()
    assert send(live, "x.flac", data).status == 507  # a symlink is not followed
    inside = [p for p in music.rglob("*.flac") if p.resolve().is_relative_to(music.resolve())]
    assert len(inside) == 9
    assert not list((tmp_path / "outside").rglob("*"))
    assert not list(tmp_path.glob("*.evil*"))


def test_same_name_other_music(start: Start, put: Put, tmp_path: Path) -> None:
    live = start()
    for mark in ("?", ":", "*"):
        data = put(tmp_path / "src.flac", title=f"Same{mark}", artist="A", album="B").read_bytes()
        assert send(live, "x.flac", data).status == 201
    names = {p.name for p in (tmp_path / "music" / "A" / "B").iterdir()}
    assert names == {"Same_.flac", "Same_ (2).flac", "Same_ (3).flac"}
