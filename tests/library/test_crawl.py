"""The older API: what a crawl finds, what it asks for, and what it never deletes (L2)."""

from __future__ import annotations

import asyncio
import json
import signal
import sqlite3
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from appliance.cloud import older
from appliance.cloud.auth import TokenSource
from appliance.cloud.client import CloudClient
from appliance.errors import Offline, ServerError
from appliance.events import Bus, Event, LibraryChanged, SyncProgress
from appliance.library import Library, SyncResult, crawl
from appliance.store import Store
from tests.support.older import OlderServer
from tests.support.webthread import Reply

ROOT = Path(__file__).resolve().parents[2]


def fill(server: OlderServer, albums: range, tracks: int = 3) -> None:
    with server.lock:
        for n in albums:
            row = {"id": n, "artist": f"Artist {n % 7}", "album": f"Album {n}", "year": 1990 + n % 30}
            server.albums[n] = (row, [song(n, no) for no in range(1, tracks + 1)])


def song(album: int, no: int, **more: Any) -> dict[str, Any]:
    return {"no": no, "title": f"Song {album}.{no}", "url": f"/music/Artist/Album {album}/{no} song.flac"} | more


@dataclass
class Box:
    path: Path
    server: OlderServer
    store: Store
    library: Library
    cloud: CloudClient
    events: list[Event] = field(default_factory=list)

    async def titles(self) -> list[str]:
        return await self.store.read(lambda con: [t for (t,) in con.execute("SELECT title FROM track ORDER BY title")])

    async def age(self) -> None:
        """The last complete crawl was long ago."""
        await self.store.write(lambda con: con.execute("UPDATE meta SET value = '1.0' WHERE key = ?", (crawl.DONE,)))


@pytest.fixture
async def box(tmp_path: Path) -> AsyncIterator[Box]:
    with OlderServer() as server:
        store, bus = await Store.open(tmp_path / "db"), Bus()
        cloud = CloudClient(server.url, TokenSource(None))
        library = Library(store, cloud, bus)
        await library.open()
        box = Box(tmp_path / "db", server, store, library, cloud)
        bus.subscribe(Event, box.events.append)
        yield box
        await library.close()
        await cloud.close()
        await store.close()


@pytest.mark.parametrize("objects", [False, True])
async def test_everything_is_found_politely(box: Box, objects: bool) -> None:
    box.server.objects, box.server.slow = objects, 0.002
    fill(box.server, range(40))
    assert await box.library.sync() == SyncResult(120, 0, 0, None, True)
    assert box.library.tracks == 120
    assert box.library.library_id == older.library_id(box.server.url)
    assert box.server.web.most_at_once <= crawl.AT_ONCE
    found = await box.library.browse("album", "7")
    assert found["album"].name == "Album 7"
    assert [t.title for t in found["tracks"]] == ["Song 7.1", "Song 7.2", "Song 7.3"]
    track = found["tracks"][0]
    assert (track.artist, track.year, track.duration, track.size, track.album_id) == ("Artist 0", 1997, 0.0, None, 7)
    progress = [e for e in box.events if isinstance(e, SyncProgress) and e.running and e.total]
    assert (progress[0].done, progress[0].total) == (0, 40)
    assert (progress[-1].done, progress[-1].total) == (40, 40)
    assert [e for e in box.events if isinstance(e, LibraryChanged)]
    assert await box.library.sync() == SyncResult(0, 0, 0, None, True)


async def test_what_changes_is_found(box: Box) -> None:
    fill(box.server, range(10))
    await box.library.sync()
    with box.server.lock:
        box.server.albums[3][1][0]["title"] = "Renamed"
        box.server.albums[4][1].pop()
        box.server.albums[5][1].append(song(5, 9))
        del box.server.albums[6]
    fill(box.server, range(90, 91))
    assert await box.library.sync() == SyncResult(4, 1, 4, None, True)
    expected = [s["title"] for _, tracks in box.server.albums.values() for s in tracks]
    assert await box.titles() == sorted(expected)


async def test_routine_looks_at_the_list_and_now_and_then_at_everything(box: Box) -> None:
    fill(box.server, range(10))
    await box.library.sync(routine=True)
    box.server.web.forget()
    with box.server.lock:
        box.server.albums[3][1][0]["title"] = "Renamed"  # the list does not tell
        box.server.albums[4][0]["year"] = 2020  # the list tells
        del box.server.albums[6]
    fill(box.server, range(90, 91))
    assert await box.library.sync(routine=True) == SyncResult(3, 3, 0, None, False)
    asked = box.server.web.paths("/api/album/")
    assert sorted(asked) == ["/api/album/4/tracks", "/api/album/90/tracks"]
    await box.age()
    assert await box.library.sync(routine=True) == SyncResult(0, 1, 3, None, True)


@pytest.mark.parametrize("trouble", ["error", "gone", "nonsense", "page"])
async def test_a_broken_answer_deletes_nothing(box: Box, trouble: str, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(box.server, range(6))
    await box.library.sync()
    reply = {
        "error": Reply(500, b"Internal Server Error"), "gone": Reply(404, b""), "nonsense": Reply(200, b"{]"),
        "page": Reply(200, b"<html>"),
    }[trouble]  # fmt: skip
    with box.server.lock:
        del box.server.albums[5]
        box.server.faults["/api/album/2/tracks"] = [reply] * 3
    assert await box.library.sync() == SyncResult(0, 0, 3, None, True)
    assert "Song 2.1" in await box.titles()
    assert box.library.tracks == 15


async def test_an_album_that_only_left_the_list_stays(box: Box) -> None:
    fill(box.server, range(6))
    await box.library.sync()
    hidden = json.dumps([row for n, (row, _) in box.server.albums.items() if n != 2]).encode()
    with box.server.lock:
        box.server.faults["/api/cat/album"] = [Reply(200, hidden), Reply(200, b"[]")]
    assert await box.library.sync() == SyncResult(0, 0, 0, None, True)
    assert box.library.tracks == 18


async def test_an_empty_list_is_not_believed_unless_asked_to(box: Box) -> None:
    fill(box.server, range(6))
    await box.library.sync()
    with box.server.lock:
        kept = dict(box.server.albums)
        box.server.albums.clear()
    with pytest.raises(ServerError, match="sync --full"):
        await box.library.sync()
    assert box.library.tracks == 18
    box.server.albums.update(kept)
    assert await box.library.sync() == SyncResult(0, 0, 0, None, True)
    box.server.albums.clear()
    assert await box.library.sync(full=True) == SyncResult(0, 0, 18, None, True)


@pytest.mark.parametrize(("pages", "most"), [(False, 10_000), (True, 7)])
async def test_lists_that_heed_no_limit_or_a_lower_one(box: Box, pages: bool, most: int) -> None:
    box.server.pages, box.server.most = pages, most
    fill(box.server, range(30), tracks=1)
    assert (await box.library.sync()).added == 30


async def test_odd_rows(box: Box) -> None:
    """Ids of any type, missing and hostile fields."""
    with box.server.lock:
        box.server.albums["a/b c"] = ({"id": "a/b c", "album": None, "artist": 7}, [
            {"url": "/music/A/B/03 Only # 100% file.flac"},
            {"id": 1.5, "title": "Float", "url": "/music/x.flac", "duration": "12.5"},
            {"id": None, "title": "Nul\u0007l", "url": "/music/y.flac", "duration": None},
            {"id": [1], "title": "List", "path": "/music/z.flac", "album_id": "other"},
            {"id": 9, "title": "No file"}, "text", None, 5,
            {"id": 10, "title": "Feed", "url": "/music/\r\nX: y"},
        ])  # fmt: skip
        box.server.albums["bad"] = ({"album": "no id"}, [])
        box.server.albums["worse"] = ({"id": {"a": 1}}, [])
    assert (await box.library.sync()).added == 4
    found = (await box.library.browse("album", "a/b c"))["tracks"]
    assert sorted((t.title, t.duration) for t in found) == [
        ("03 Only # 100% file", 0.0), ("Float", 12.5), ("List", 0.0), ("Nul l", 0.0),
    ]  # fmt: skip
    assert {t.album_id for t in found} == {"a/b c"}
    only = next(t for t in found if t.title.startswith("03"))
    assert box.cloud.http.url(only.url).endswith("/music/A/B/03%20Only%20%23%20100%25%20file.flac")
    assert await box.library.sync() == SyncResult(0, 0, 0, None, True)
    fresh = await box.cloud.album_tracks("a/b c")
    assert {str(t.id): t.url for t in fresh if str(t.id) != "10"} == {str(t.id): t.url for t in found}


@pytest.mark.parametrize("body", [b"", b"<html>", b"null", b'{"items": 5}', b"[" * 9999, b'"text"', b"\xff\xfe"])
async def test_a_list_that_makes_no_sense_changes_nothing(box: Box, body: bytes) -> None:
    fill(box.server, range(3))
    await box.library.sync()
    with box.server.lock:
        box.server.faults["/api/cat/album"] = [Reply(200, body)]
    with pytest.raises(ServerError) as caught:
        await box.library.sync()
    assert "\n" not in str(caught.value)
    assert box.library.tracks == 9


async def test_a_busy_server_is_waited_for(box: Box) -> None:
    fill(box.server, range(3))
    with box.server.lock:
        box.server.faults["/api/album/1/tracks"] = [Reply(503, b"", {"Retry-After": "1"})]
    began = time.monotonic()
    assert (await box.library.sync()).added == 9
    assert time.monotonic() - began >= 1.0


async def test_a_server_that_goes_away_ends_the_crawl_and_the_next_goes_on(box: Box) -> None:
    fill(box.server, range(60))
    with box.server.lock:
        box.server.faults["/api/album/40/tracks"] = [Reply(200, b"xxxx", cut=2)] * 3
    with pytest.raises(Offline):
        await box.library.sync()
    before = box.library.tracks
    assert 90 < before < 180
    box.server.web.forget()
    assert await box.library.sync() == SyncResult(180 - before, 0, 0, None, True)
    assert len(box.server.web.paths("/api/album/")) < 40


async def test_cancel_ends_at_once(box: Box) -> None:
    fill(box.server, range(60))
    box.server.slow = 0.05
    task = asyncio.create_task(box.library.sync())
    await asyncio.to_thread(box.server.web.wait_asked, "/api/album/", 4)
    began = time.monotonic()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert time.monotonic() - began < 1.0
    assert not box.library.syncing


async def test_a_server_that_learns_the_delta_library(box: Box) -> None:
    fill(box.server, range(3))
    await box.library.sync()
    page = {"library": "new", "added": [{"id": 1, "title": "One", "url": "/1"}], "seq": 5, "more": False}
    stats = Reply(200, b'{"tracks": 1}')
    with box.server.lock:
        box.server.faults["/api/v1/library"] = [Reply(200, json.dumps(page).encode())] * 9
        box.server.faults["/api/v1/stats"] = [stats] * 9
    result = await box.library.sync()
    assert (box.library.library_id, box.library.seq, await box.titles()) == ("new", 5, ["One"])
    assert result.deleted == 9


def test_one_id_for_all_spellings_of_an_address() -> None:
    one = older.library_id("http://Music.example:80/")
    assert one == older.library_id("http://music.example")
    assert one != older.library_id("http://music.example:5000")


CHILD = """
import asyncio, sys
from pathlib import Path
from appliance.cloud.auth import TokenSource
from appliance.cloud.client import CloudClient
from appliance.events import Bus
from appliance.library import Library
from appliance.store import Store
async def main():
    store = await Store.open(Path(sys.argv[1]))
    cloud = CloudClient(sys.argv[2], TokenSource(None))
    library = Library(store, cloud, Bus())
    await library.open()
    print(await library.sync(), flush=True)
    await library.close(); await cloud.close(); await store.close()
asyncio.run(main())
"""


def test_kill_9_costs_a_batch(tmp_path: Path) -> None:
    with OlderServer() as server:
        fill(server, range(80))
        server.slow = 0.01

        async def run(until: int | None) -> int:
            command = [sys.executable, "-c", CHILD, str(tmp_path / "db"), server.url]
            child = await asyncio.create_subprocess_exec(*command, cwd=ROOT)
            if until is not None:
                await asyncio.to_thread(server.web.wait_asked, "/api/album/", until)
                child.send_signal(signal.SIGKILL)
            return await asyncio.wait_for(child.wait(), 30)

        assert asyncio.run(run(50)) == -signal.SIGKILL
        con = sqlite3.connect(tmp_path / "db")
        (before,) = con.execute("SELECT count(*) FROM track").fetchone()
        assert before >= 32 * 3
        server.web.forget()
        assert asyncio.run(run(None)) == 0
        assert con.execute("SELECT count(*) FROM track").fetchone() == (240,)
        assert len(server.web.paths("/api/album/")) == 80 - before // 3
        assert con.execute("SELECT count(*) FROM sync_seen").fetchone() == (0,)
