"""A server that is broken or ill-willed: nothing it says leads outside, into the terminal or to the token (R6, P3)."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from appliance.control.client import Client, Refused
from tests.e2e.conftest import NULL
from tests.support import tones
from tests.support.box import Box
from tests.support.fileserver import Answer, FileServer, Seen
from tests.support.watch import Status

TOKEN = "secret-token-0815"


class Liar:
    """A music server that says whatever a test wants: `tracks`, or `page` for the whole library answer."""

    def __init__(self, files: dict[str, bytes]) -> None:
        self.tracks: list[Any] = []
        self.library: Any = "liar"
        self.seq: Any = 1
        self.page: bytes | None = None
        self.server = FileServer(files, token=TOKEN)
        self.server.hook = self._answer
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    async def _answer(self, seen: Seen, honest: Answer) -> Answer | None:
        if honest.status == 401:
            return None
        if seen.path == "/api/v1/library":
            since = int(seen.target.partition("since=")[2].partition("&")[0])
            added = self.tracks if since == 0 else []
            page = {
                "library": self.library,
                "seq": self.seq,
                "more": False,
                "added": added,
                "updated": [],
                "deleted": [],
            }
            return Answer(200, self.page or json.dumps(page).encode(), {"Content-Type": "application/json"})
        if seen.path == "/api/v1/stats":
            return Answer(200, json.dumps({"library": "l", "tracks": len(self.tracks)}).encode())
        if seen.path.startswith("/api/"):
            return Answer(200, json.dumps({"library": self.library, "tracks": self.tracks}).encode())
        return None

    def __enter__(self) -> Liar:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self.server.__aenter__(), self._loop).result(5)
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self.server.__aexit__(), self._loop).result(5)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)

    @property
    def url(self) -> str:
        return self.server.url

    @property
    def asked(self) -> list[str]:
        return [seen.target for seen in self.server.seen]


@pytest.fixture(scope="module")
def song(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    album = tones.album(tmp_path_factory.mktemp("song"), "flac", tracks=1, seconds=2)
    return album.tracks[0].read_bytes()


@pytest.fixture
def liar(song: bytes) -> Iterator[Liar]:
    with Liar({"/song.flac": song}) as liar:
        yield liar


@pytest.fixture
def box(tmp_path: Path, liar: Liar) -> Iterator[Box]:
    with Box(tmp_path / "box", url=liar.url, server=False, player=False, settings=NULL) as box:
        box.token_file.parent.mkdir(parents=True, exist_ok=True)
        box.token_file.write_text(TOKEN)
        yield box


def track(number: Any = 1, **fields: Any) -> dict[str, Any]:
    return {"id": number, "album_id": 1, "title": "Song", "artist": "A", "album": "B", "duration": 2.0,
            "url": "/song.flac"} | fields  # fmt: skip


def plays(status: Status, title: str) -> bool:
    return bool(status["track"] and status["track"]["title"] == title and status["state"] == "playing")


def outside(root: Path, before: set[Path]) -> set[Path]:
    return {p for p in root.rglob("*") if p.is_file()} - before


def test_names_with_terminal_escapes(liar: Liar, box: Box) -> None:
    evil = "\x1b]0;owned\x07\x1b[2J\x9b31mred\r\nnew line\u202eright to left\u0000"
    liar.tracks = [track(1, title=evil, artist=evil, album=evil, genre=evil), track("x\x1b[2J", title="id")]
    box.start_player()
    box.cli("sync")
    box.cli("play", "track:1")
    box.cli("fetch", "track:1")
    box.wait(lambda s: s["state"] == "playing")
    screens = [
        box.cli(*command)
        for command in (
            ("status",), ("queue",), ("search", "owned"), ("browse", "artist"), ("browse", "album"),
            ("browse", "genre"), ("cache",), ("play", "track:1"), ("cache", "verify"), ("jobs",),
        )
    ]  # fmt: skip
    for done in screens:
        assert not [c for c in done.stdout + done.stderr if c != "\n" and not c.isprintable()], ascii(done.stdout)
    assert box.json("status")["track"]["title"].startswith("\x1b]0;owned") or box.json("status")["track"]["title"]
    assert all(c.isprintable() or c == "\n" for c in box.log("player", 1000)), ascii(box.log("player", 1000))


def test_ids_that_look_like_paths(liar: Liar, box: Box, tmp_path: Path) -> None:
    ids = ["../../../etc/passwd", "/etc/passwd", "..", "a/b/c", "a\\b", "%2e%2e", "x" * 200, "-1", "--help", "NUL"]
    liar.tracks = [track(number, album_id=number) for number in ids]
    liar.library = "../../library"
    before = {p for p in tmp_path.rglob("*") if p.is_file()}
    box.start_player()
    box.cli("sync")
    for number in ids:
        box.cli("play", f"track:{number}")
        box.wait(lambda s: s["state"] == "playing" and s["cached_percent"] == 100, what="sound")
        assert box.status()["track"]["id"] == number
        box.cli("browse", "album", number)
    box.stop_player()
    new = {p.relative_to(tmp_path / "box").parts[0] for p in outside(tmp_path, before)}
    assert new <= {"cache", "state", "player.log", "chadbox.toml", "token"}
    assert {p.suffix for p in (tmp_path / "box" / "cache").iterdir()} == {".audio"}


def test_addresses_that_lead_elsewhere(liar: Liar, box: Box) -> None:
    urls = [
        "file:///etc/passwd", "/song.flac\r\nX-Evil: 1", "ftp://127.0.0.1/song.flac", "javascript:1", "", "http://",
        "http://[::1", "http://127.0.0.1:99999/x", "//", "\x00", "http://\u2100.example/",
        "data:audio/flac;base64,AAAA", "/../../../../etc/passwd", "lavfi://anullsrc", "edl://x", "/moved", "/away",
    ]  # fmt: skip
    liar.tracks = [track(n, url=url, no=n) for n, url in enumerate(urls, start=1)] + [track(99, title="Good", no=99)]
    inner = liar.server.hook

    async def hook(seen: Seen, honest: Answer) -> Answer | None:
        if seen.path in ("/moved", "/away"):
            return Answer(302, b"", {"Location": {"/moved": "file:///etc/passwd", "/away": "http://[::1"}[seen.path]})
        assert inner is not None
        return await inner(seen, honest)

    liar.server.hook = hook
    box.start_player()
    box.cli("sync")
    box.cli("play", "album:1")
    status = box.wait(lambda s: plays(s, "Good"), 20, "the good one")
    assert "was passed over" in status["message"]
    assert "Traceback" not in box.log("player", 1000), box.log("player", 100)
    assert not any("evil" in str(seen.headers).lower() for seen in liar.server.seen)
    failed = box.json("fetch", "album:1")["failed"]
    assert len(failed) >= len(urls) - 2  # some may have been refused with the library
    assert not [f for f in failed if not f["reason"] or not f["reason"].isprintable()]


def test_the_token_goes_to_no_other_host(liar: Liar, box: Box, song: bytes) -> None:
    with Liar({"/song.flac": song}) as other:
        other.server.token = None  # it would take anything
        liar.tracks = [track(1, url=f"{other.url}/song.flac"), track(2, no=2, title="Moved", url="/moved.flac")]
        inner = liar.server.hook

        async def hook(seen: Seen, honest: Answer) -> Answer | None:
            if seen.path == "/moved.flac":
                return Answer(302, b"", {"Location": f"{other.url}/song.flac"})
            assert inner is not None
            return await inner(seen, honest)

        liar.server.hook = hook
        box.start_player()
        box.cli("sync")
        box.cli("fetch", "album:1")
        assert sum(path == "/song.flac" for path in other.asked) >= 2
        assert all("authorization" not in seen.headers for seen in other.server.seen)
        assert all("authorization" in seen.headers for seen in liar.server.seen)
        assert not any(TOKEN in str(seen.target) for seen in liar.server.seen + other.server.seen)
    shown = box.cli("status").stdout + box.cli("config", "show").stdout + box.log("player", 10_000)
    assert TOKEN not in shown
    assert box.player_process is not None
    for pid in (box.player_process.pid, box.engine_pid()):
        assert TOKEN.encode() not in Path(f"/proc/{pid}/cmdline").read_bytes()
        assert TOKEN.encode() not in Path(f"/proc/{pid}/environ").read_bytes()
    for file in (box.root / "state").rglob("*"):
        if file.is_file():
            assert TOKEN.encode() not in file.read_bytes()


def test_another_library_behind_the_same_address(liar: Liar, box: Box, song: bytes) -> None:
    """Ids mean other songs now: nothing of the old cache may sound under a new name."""
    liar.tracks = [track(1, title="Old")]
    box.start_player()
    box.cli("sync")
    box.cli("fetch", "track:1")
    asked = len(liar.asked)
    liar.library, liar.seq = "another", 5
    liar.tracks = [track(1, title="New")]
    done = box.json("sync")
    assert (done["added"], done["full"]) == (1, True)
    assert box.json("search", "old")["tracks"] == []
    box.cli("play", "track:1")
    status = box.wait(lambda s: s["cached_percent"] == 100)
    assert (status["track"]["title"], status["source"]) == ("New", "network")
    assert any("song.flac" in target for target in liar.asked[asked:])


PAGES = [
    b" ", b"null", b"[]", b"{}", b'"text"', b"{" * 100_000, b"[" * 100_000, b"\xff\xfe", b'{"library": null}',
    b'{"library": {}, "seq": 1}', b'{"library": "l", "seq": "one"}', b'{"library": "l", "seq": -1}',
    b'{"library": "l", "seq": 99999999999999999999999}', b'{"library": "l", "seq": 1, "added": {}}',
    b'{"library": "l", "seq": 1, "more": "yes"}', b'{"library": "l", "seq": 1e400}', b"<html></html>",
]  # fmt: skip


def test_library_answers_without_sense(liar: Liar, box: Box) -> None:
    liar.page = b" "
    box.start_player()
    for page in PAGES:
        liar.page = page
        done = box.cli("sync", code=1)
        assert done.stderr.count("\n") == 1
        assert done.stderr.startswith("chadbox: ")
        box.wait(lambda s: s["health"] == ["server-error"])
    assert "Traceback" not in box.log("player", 1000), box.log("player", 100)
    liar.page, liar.tracks = None, [track(1)]
    box.cli("sync")
    box.cli("play", "track:1")
    box.wait(lambda s: plays(s, "Song") and "server-error" not in s["health"], what="music from the mended server")


def test_tracks_with_fields_of_wrong_types(liar: Liar, box: Box) -> None:
    fields = ("title", "artist", "album", "album_id", "duration", "size", "samples", "sample_rate", "year", "no",
              "disc", "etag", "sha256", "mime", "lufs", "true_peak", "album_lufs", "seq", "url", "genre")  # fmt: skip
    values: tuple[Any, ...] = (None, {}, [], "x", -1, 1e300, True, "nan", 2**70)
    liar.tracks = [track("good")]
    for field in fields:
        liar.tracks += [track(f"{field}-{n}", **{field: value}) for n, value in enumerate(values)]
    liar.tracks += [{}, None, 7, "x", [], track(None), track({}), track(True), track(1.5)]
    box.start_player()
    box.cli("sync")
    assert box.status()["library"]["tracks"] > len(fields)
    for command in (("browse", "album"), ("browse", "year"), ("search", "song"), ("browse", "artist")):
        box.cli(*command)
    ids = [t["id"] for t in liar.tracks if isinstance(t, dict) and isinstance(t.get("id"), str)]
    added, client = 0, Client(str(box.socket))
    for number in ids:
        with contextlib.suppress(Refused):  # one that was left out of the library
            added += client.call("queue_add", {"what": f"track:{number}"})["added"]
    assert added > 100
    box.cli("play")
    for _ in range(10):
        client.call("next")
    box.cli("play", "track:good")
    box.wait(lambda s: s["state"] == "playing", what="the good one")
    assert "Traceback" not in box.log("player", 1000), box.log("player", 100)


def test_files_that_lie_about_themselves(liar: Liar, box: Box, song: bytes) -> None:
    """Wrong size, wrong hash, wrong range, an error page as audio: passed over or mended, each with a word."""
    size = len(song)
    answers = {
        "/short": lambda seen: Answer(206, song[:1000], {"Content-Range": f"bytes 0-999/{size}", "ETag": '"1"'}),
        "/page": lambda seen: Answer(200, b"<html>sorry</html>", {"Content-Type": "text/html"}),
        "/json": lambda seen: Answer(200, b'{"error": "no"}', {"Content-Type": "application/json"}),
        "/wrong": lambda seen: Answer(206, song[:500], {"Content-Range": f"bytes 500-999/{size}", "ETag": '"1"'}),
        "/big": lambda seen: Answer(206, song, {"Content-Range": f"bytes 0-{size - 1}/{1 << 60}", "ETag": '"1"'}),
        "/range": lambda seen: Answer(206, song, {"Content-Range": "bytes banana", "ETag": '"1"'}),
        "/zip": lambda seen: Answer(200, song, {"Content-Encoding": "gzip", "Content-Type": "audio/flac"}),
        "/500": lambda seen: Answer(500, b"{}"),
        "/404": lambda seen: Answer(404, b"{}"),
        "/loop": lambda seen: Answer(302, b"", {"Location": "/loop"}),
    }
    inner = liar.server.hook

    async def hook(seen: Seen, honest: Answer) -> Answer | None:
        if seen.path in answers:
            return answers[seen.path](seen)
        assert inner is not None
        return await inner(seen, honest)

    liar.server.hook = hook
    bad = [path for path in answers if path != "/500"]  # a server in trouble is waited for
    liar.tracks = [track(n, no=n, url=path, size=size) for n, path in enumerate(bad, start=1)]
    liar.tracks.append(track(90, no=90, title="Good", size=size))
    liar.tracks.append(track(91, no=91, title="Hash", size=size, sha256="0" * 64))
    box.start_player()
    box.cli("sync")
    box.cli("play", "album:1")
    box.wait(lambda s: plays(s, "Good"), 90, "the good track")
    assert "Traceback" not in box.log("player", 1000), box.log("player", 100)
