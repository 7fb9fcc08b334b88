"""Range, conditions, hostile paths and authorisation on files (S1, R4, R6)."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from email.utils import formatdate
from pathlib import Path

import pytest

from appliance.server import paths
from appliance.server.files import parse_range

from .conftest import TOKEN, Live

Put = Callable[..., Path]
Start = Callable[..., Live]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("bytes=0-0", (0, 1)), ("bytes=0-", (0, 100)), ("bytes=5-9", (5, 10)), ("bytes=99-99", (99, 100)),
        ("bytes=90-999", (90, 100)), ("bytes=-1", (99, 100)), ("bytes=-1000", (0, 100)), ("Bytes=1-2", (1, 3)),
        ("bytes=100-", (100, 100)), ("bytes=-0", (100, 100)), ("bytes=9999999999999999999999-", (100, 100)),
        ("bytes=5-4", None), ("bytes=-", None), ("bytes=a-b", None), ("bytes=0-1,3-4", None), ("seconds=0-1", None),
        ("bytes=1", None), ("", None), ("bytes=" + "1" * 5000 + "-", None), ("bytes=0--1", None),
    ],
)  # fmt: skip
def test_range_header(value: str, expected: tuple[int, int] | None) -> None:
    assert parse_range(value, 100) == expected


def test_range_of_an_empty_file() -> None:
    assert parse_range("bytes=0-", 0) == (0, 0)
    assert parse_range("bytes=-5", 0) == (0, 0)


def test_bytes_and_conditions(start: Start, put: Put, tmp_path: Path) -> None:
    file = put(tmp_path / "music" / "A" / "B" / "01 x.flac", title="x")
    old = time.time() - 1000
    os.utime(file, (old, old))
    data = file.read_bytes()
    live = start()
    track = live.track("x")
    url, tag = track["url"], track["etag"]
    modified = formatdate(int(file.stat().st_mtime), usegmt=True)

    whole = live.ask("GET", url)
    assert (whole.status, whole.body) == (200, data)
    assert whole.headers["etag"] == tag == paths.etag(file.stat().st_size, file.stat().st_mtime_ns)
    assert whole.headers["accept-ranges"] == "bytes"
    assert whole.headers["content-type"] == "audio/flac"
    assert whole.headers["last-modified"] == modified
    assert whole.headers["content-length"] == str(len(data))

    head = live.ask("HEAD", url, Range="bytes=0-3")
    assert (head.status, head.body, head.headers["content-length"]) == (200, b"", str(len(data)))

    def part(value: str, **headers: str) -> tuple[int, bytes, str | None]:
        answer = live.ask("GET", url, Range=value, **headers)
        return answer.status, answer.body, answer.headers.get("content-range")

    n = len(data)
    assert part("bytes=0-3") == (206, b"fLaC", f"bytes 0-3/{n}")
    assert part("bytes=-7") == (206, data[-7:], f"bytes {n - 7}-{n - 1}/{n}")
    assert part(f"bytes={n - 5}-") == (206, data[-5:], f"bytes {n - 5}-{n - 1}/{n}")
    assert part("bytes=0-1,5-6") == (200, data, None)
    assert part(f"bytes={n}-")[0] == 416
    assert part(f"bytes={n}-")[2] == f"bytes */{n}"

    assert part("bytes=0-3", If_Range=tag)[0] == 206
    assert part("bytes=0-3", If_Range="W/" + tag)[0] == 200
    assert part("bytes=0-3", If_Range='"other"')[0] == 200
    assert part("bytes=0-3", If_Range=modified)[0] == 206
    assert part("bytes=0-3", If_Range=formatdate(old - 60, usegmt=True))[0] == 200

    def status(**headers: str) -> int:
        return live.ask("GET", url, **headers).status

    assert status(If_None_Match=tag) == 304
    assert status(If_None_Match=f'"x", W/{tag}') == 304
    assert status(If_None_Match='"x"') == 200
    assert status(If_None_Match="*") == 304
    assert status(If_Match=tag) == 200
    assert status(If_Match="W/" + tag) == 412
    assert status(If_Match='"x"') == 412
    assert status(If_Match="*") == 200
    assert status(If_Modified_Since=modified) == 304
    assert status(If_Modified_Since="nonsense") == 200
    assert status(If_Unmodified_Since=formatdate(old - 60, usegmt=True)) == 412
    refused = live.ask("POST", url)
    assert (refused.status, refused.headers["allow"]) == (405, "GET, HEAD")


def test_nothing_without_the_token(start: Start, put: Put, tmp_path: Path) -> None:
    put(tmp_path / "music" / "x.flac", title="x")
    live = start()
    url = live.track("x")["url"]
    for path in (url, "/api/v1/stats", "/api/v1/library?since=0", "/", "/nothing", "/music/", "/api/cat"):
        for token in (None, "", "wrong", TOKEN + "x", TOKEN[:-1]):
            answer = live.ask("GET", path, token=token)
            assert answer.status == 401, (path, token)
            assert answer.headers["www-authenticate"] == "Bearer"
            assert answer.json["error"]["code"] == "unauthorized"
    assert live.ask("GET", url, token=None, Authorization=f"bearer {TOKEN}").status == 200
    assert live.ask("GET", url, token=None, Authorization=f"Basic {TOKEN}").status == 401
    assert live.ask("GET", f"/api/v1/stats?token={TOKEN}", token=None).status == 401


def test_hostile_paths(start: Start, put: Put, tmp_path: Path) -> None:
    music = tmp_path / "music"
    put(music / "in" / "x.flac", title="x")
    put(tmp_path / "outside" / "secret.flac", title="secret")
    os.symlink(tmp_path / "outside", music / "door")
    os.symlink(tmp_path / "outside" / "secret.flac", music / "key.flac")
    os.mkfifo(music / "pipe.flac")
    (music / "note.txt").write_text("not music")
    live = start()
    assert [t["title"] for t in live.tracks()] == ["x"]
    for path in (
        "../outside/secret.flac", "%2e%2e/outside/secret.flac", "in/../../outside/secret.flac", "in%2f..%2fx",
        "door/secret.flac", "key.flac", "pipe.flac", "in", "in/", "", "//etc/passwd", "/" + str(tmp_path / "outside"),
        "in/x.flac%00", "in/%00.flac", "note.txt", "in//x.flac", "./in/x.flac", "~2/in/x.flac", "~1/../in/x.flac",
        "~99999999999999999999/x.flac", "%ff%fe.flac", "a" * 5000 + ".flac", "%", ".chadbox-upload/x.flac",
    ):  # fmt: skip
        answer = live.ask("GET", "/music/" + path)
        assert answer.status == 404, (path, answer.status)
        assert answer.json["error"]["code"] == "not_found"
    assert live.ask("GET", "/music/in/x.flac").status == 200
    assert live.ask("GET", "/music/~1/in/x.flac").status == 200
    assert live.ask("GET", "/music/in%2Fx.flac").status == 200


def test_odd_names_are_served_under_their_url(start: Start, put: Put, tmp_path: Path) -> None:
    music, second = tmp_path / "music", tmp_path / "second"
    names = ["a?b#c%d.flac", "Ünï – 曲.flac", "line\nbreak.flac", "~2", "q\"uote'.flac", "...And Dots.flac"]
    for number, name in enumerate(names):
        put(music / (name if name.endswith(".flac") else name + "/t.flac"), title=str(number))
    raw = os.fsencode(music) + b"/bad\xff\xfe.flac"
    os.rename(put(music / "tmp.flac", title="raw"), raw)
    put(second / "other.flac", title="other")
    live = start(music, second)
    tracks = live.tracks()
    assert {t["title"] for t in tracks} == {*map(str, range(len(names))), "raw", "other"}
    for track in tracks:
        assert live.ask("GET", track["url"]).headers["etag"] == track["etag"], track["url"]
    assert live.track("other")["url"] == "/music/~2/other.flac"


def test_a_file_that_changes_under_way_ends_short(start: Start, tmp_path: Path, tone: bytes) -> None:
    file = tmp_path / "music" / "big.flac"
    file.parent.mkdir()
    file.write_bytes(tone + bytes(64 << 20))
    live = start()
    assert live.ask("GET", "/music/big.flac").body == file.read_bytes()
    with socket.create_connection(("127.0.0.1", live.port), timeout=10) as connection:
        connection.sendall(f"GET /music/big.flac HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\n\r\n".encode())
        received = 0
        while received < 1 << 20:
            received += len(connection.recv(65536))
        os.utime(file)  # another version from here on
        while chunk := connection.recv(1 << 20):
            received += len(chunk)
    assert received < file.stat().st_size
    assert live.app.files.active == 0


def test_a_client_that_leaves_frees_its_stream(start: Start, tmp_path: Path, tone: bytes) -> None:
    file = tmp_path / "music" / "big.flac"
    file.parent.mkdir()
    file.write_bytes(tone + bytes(64 << 20))
    live = start()
    with socket.create_connection(("127.0.0.1", live.port), timeout=10) as connection:
        connection.sendall(f"GET /music/big.flac HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\n\r\n".encode())
        received = 0
        while received < 1 << 20:
            received += len(connection.recv(65536))
        assert live.app.files.active == 1
    deadline = time.monotonic() + 5
    while live.app.files.active:
        assert time.monotonic() < deadline
        time.sleep(0.01)
