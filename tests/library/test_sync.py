from __future__ import annotations

import asyncio
import json
import signal
import sqlite3
import sys
import time
from pathlib import Path

import pytest

from appliance.errors import Gone, Offline, SequenceExpired, ServerError
from appliance.events import LibraryChanged, SyncProgress
from appliance.library import SyncResult
from tests.library.conftest import Box
from tests.library.support import HttpCloud, track

ROOT = Path(__file__).resolve().parents[2]


async def titles(box: Box) -> dict[str, str]:
    query = "SELECT track_id, title FROM track"
    return dict(await box.store.read(lambda con: con.execute(query).fetchall()))


async def meta(box: Box) -> dict[str, str]:
    return dict(await box.store.read(lambda con: con.execute("SELECT key, value FROM meta").fetchall()))


async def check(box: Box) -> None:
    """The index holds what the server holds, and nothing is left half done."""
    assert await titles(box) == {str(i): t["title"] for i, t in box.model.tracks.items()}
    assert box.library.tracks == len(box.model.tracks)
    assert box.library.seq == box.model.seq
    left = "SELECT (SELECT count(*) FROM album_dirty) + (SELECT count(*) FROM sync_seen)"
    assert await box.store.read(lambda con: con.execute(left).fetchone()) == (0,)
    await box.store.write(lambda con: con.execute("INSERT INTO track_fts (track_fts) VALUES ('integrity-check')"))


async def test_pages_of_a_thousand_and_then_deltas(box: Box) -> None:
    box.model.put(*[track(n) for n in range(2500)])
    assert await box.library.sync() == SyncResult(2500, 0, 0, 2500, True)
    assert box.server.requests == [0, 1000, 2000]
    await check(box)
    box.model.put(track(1, title="New"), track(5000))
    box.model.remove(2, 3)
    assert await box.library.sync() == SyncResult(1, 1, 2, 2504, False)
    assert box.server.requests[3:] == [2500]
    await check(box)
    assert await box.library.sync() == SyncResult(0, 0, 0, 2504, False)
    progress = [e for e in box.events if isinstance(e, SyncProgress)]
    assert [(e.done, e.total) for e in progress if e.running][:4] == [
        (0, 2500),
        (1000, 2500),
        (2000, 2500),
        (2500, 2500),
    ]
    assert not progress[-1].running
    assert [e.seq for e in box.events if isinstance(e, LibraryChanged)] == [2500, 2504]


async def test_ids_keep_their_type(box: Box) -> None:
    box.model.put(track(1, album_id=5), track(2, id="two", album_id="five"))
    await box.library.sync()
    found = await box.library.get_tracks(["two", 1, "absent"])
    assert [(t.id, t.album_id) for t in found] == [("two", "five"), (1, 5)]
    assert (await box.library.track("1")).id == 1


async def test_a_deleted_track_that_comes_again_exists(box: Box) -> None:
    box.model.put(track(1))
    await box.library.sync()
    body = {"library": "lib", "added": [track(1, title="Back")], "deleted": [1], "seq": 9, "more": False}
    box.server.answer = lambda since, limit: (200, json.dumps(body).encode())
    await box.library.sync()
    assert await titles(box) == {"1": "Back"}


@pytest.mark.parametrize("how", ["410", "backwards", "asked"])
async def test_a_full_resync_deletes_what_is_gone_and_keeps_the_rest(box: Box, how: str) -> None:
    box.model.put(*[track(n) for n in range(2100)])
    await box.library.sync()
    await box.library.record_play(7, 100, clock_ok=True)
    await box.library.set_favourite(7)
    cached = "INSERT INTO cache_file (library, track_id, version, created, last_used) VALUES ('lib', '7', 'v', 1, 1)"
    for statement in ("INSERT INTO pin VALUES ('lib', '7')", cached):
        await box.store.write(lambda con, statement=statement: con.execute(statement))
    ids = "SELECT id FROM track WHERE track_id = '7'"
    before = await box.store.read(lambda con: con.execute(ids).fetchone())
    for n in range(100, 800):
        box.model.remove(n)
    box.model.put(track(7, title="Seven"), track(9000))
    if how == "410":
        box.model.oldest = box.model.seq
    elif how == "backwards":
        alive = list(box.model.tracks.values())
        box.model.seq, box.model.dead, box.model.tracks = 0, {}, {}
        box.model.put(*alive)
        assert box.model.seq < 2100
    result = await box.library.sync(full=how == "asked")
    # A server that numbers anew has changed every track that it had.
    assert result == SyncResult(1, 1393 if how == "backwards" else 1, 700, box.model.seq, True)
    await check(box)
    assert await box.store.read(lambda con: con.execute(ids).fetchone()) == before
    for table in ("pin", "cache_file", "play", "favourite"):
        count = f"SELECT count(*) FROM {table}"  # noqa: S608
        assert await box.store.read(lambda con, count=count: con.execute(count).fetchone()) == (1,)


async def test_nothing_is_deleted_before_the_resync_is_complete(box: Box) -> None:
    box.model.put(*[track(n) for n in range(2500)])
    await box.library.sync()
    for n in range(1500, 1600):
        box.model.remove(n)
    honest = box.server.answer
    box.server.answer = lambda since, limit: honest(since, limit) if since < 1000 else (503, b"")
    with pytest.raises(ServerError):
        await box.library.sync(full=True)
    assert box.library.tracks == 2500
    assert box.library.seq == 2500
    await box.reopen()
    box.server.answer = honest
    box.server.requests.clear()
    assert (await box.library.sync()).deleted == 100
    assert box.server.requests[0] == 1000  # not from the start
    await check(box)


async def test_another_library_starts_over_and_keeps_what_is_ours(box: Box) -> None:
    box.model.put(*[track(n) for n in range(1500)])
    await box.library.sync()
    await box.library.record_play(7, 100, clock_ok=True)
    box.model.library = "other"
    box.model.tracks = {}
    box.model.put(track(7, title="Another song"))
    result = await box.library.sync()
    assert (result.full, result.added) == (True, 1)
    assert box.library.library_id == "other"
    await check(box)
    assert await box.library.recently_played() == []
    assert await box.store.read(lambda con: con.execute("SELECT library FROM play").fetchall()) == [("lib",)]
    box.model.library = "lib"
    await box.library.sync()
    assert [t.id for t in await box.library.recently_played()] == [7]


@pytest.mark.parametrize(
    "answer",
    [
        {"library": "lib", "seq": 0, "more": True}, {"library": "lib", "added": [track(1)], "seq": 0, "more": True},
        {"seq": 1}, {"library": "lib", "added": 5, "seq": 1}, {"library": "lib", "added": [], "seq": "x"},
    ],
)  # fmt: skip
async def test_a_server_that_makes_no_sense_changes_nothing(box: Box, answer: dict[str, object]) -> None:
    box.server.answer = lambda since, limit: (200, json.dumps(answer).encode())
    with pytest.raises(ServerError) as error:
        await box.library.sync()
    assert "\n" not in str(error.value)
    assert await titles(box) == {}
    assert not box.library.syncing


async def test_no_server_keeps_a_sync_going_for_ever(box: Box) -> None:
    box.model.put(track(1))
    await box.library.sync()
    libraries = iter(range(10_000))
    for answer in (
        lambda since, limit: (200, json.dumps({"library": "lib", "seq": since + 1, "more": True}).encode()),
        lambda since, limit: (
            200,
            json.dumps({"library": "lib", "seq": max(0, since - 1), "more": since < 3}).encode(),
        ),
        lambda since, limit: (200, json.dumps({"library": next(libraries), "seq": 5, "more": True}).encode()),
        lambda since, limit: (410, b""),
    ):
        box.server.answer = answer
        with pytest.raises(ServerError):
            await box.library.sync()
        assert len(box.server.requests) < 1000
        box.server.requests.clear()
    box.server.answer = box.server.honest
    await box.library.sync()
    await check(box)


async def test_errors_of_the_cloud_come_through(box: Box) -> None:
    box.server.answer = lambda since, limit: (404, b"")
    with pytest.raises(Gone):
        await box.library.sync()
    box.server.answer = box.server.honest
    assert not await box.library.wait_first_sync(0.01)
    box.cloud.port = 1
    box.cloud.close()
    box.cloud._idle.clear()
    with pytest.raises(Offline):
        await box.library.sync()
    assert not issubclass(Offline, SequenceExpired)


async def test_a_second_caller_joins_and_a_full_one_comes_after(box: Box) -> None:
    box.model.put(*[track(n) for n in range(1500)])
    await box.library.sync()
    box.server.requests.clear()
    box.server.gate.clear()
    calls = [asyncio.create_task(box.library.sync(full=full)) for full in (False, False, True)]
    await box.server.wait_requests(1)
    assert box.library.syncing
    box.server.gate.set()
    results = await asyncio.gather(*calls)
    assert [r.full for r in results] == [False, False, True]
    assert box.server.requests == [1500, 0, 1000]


async def test_the_first_sync_is_waited_for_once(box: Box) -> None:
    box.model.put(track(1))
    waiting = asyncio.create_task(box.library.wait_first_sync(30))
    await box.library.sync()
    assert await waiting
    await box.reopen()
    assert await box.library.wait_first_sync(0)


async def test_cancelled_by_its_last_caller_it_goes_on_later(box: Box) -> None:
    box.model.put(*[track(n) for n in range(3000)])
    honest = box.server.answer

    def answer(since: int, limit: int) -> tuple[int, bytes]:
        box.server.gate.clear() if since == 1000 else None
        return honest(since, limit)

    box.server.answer = answer
    applied = asyncio.Event()  # the third page is asked for before the second is in the database
    box.bus.subscribe(SyncProgress, lambda event: applied.set() if event.done == 2000 else None)
    first, second = (asyncio.create_task(box.library.sync()) for _ in range(2))
    await box.server.wait_requests(3)
    await applied.wait()
    first.cancel()
    await asyncio.wait([first])
    assert box.library.syncing  # the other one still wants it
    second.cancel()
    started = time.monotonic()
    await asyncio.wait([second])
    assert time.monotonic() - started < 2
    assert not box.library.syncing
    assert box.library.tracks == len(await titles(box)) == 2000
    assert box.library.seq == 2000
    box.server.gate.set()
    box.server.answer = honest
    assert (await box.library.sync()).added == 1000
    await check(box)


async def test_closing_ends_a_sync_within_two_seconds(box: Box) -> None:
    box.model.put(*[track(n) for n in range(100)])
    box.server.gate.clear()
    task = asyncio.create_task(box.library.sync())
    await box.server.wait_requests(1)
    started = time.monotonic()
    await box.library.close()
    assert time.monotonic() - started < 2
    with pytest.raises(asyncio.CancelledError):
        await task


SYNC = """
import asyncio, sys
from pathlib import Path
from appliance.events import Bus, SyncProgress
from appliance.library import Library
from appliance.store import Store
from tests.library.support import HttpCloud

async def main():
    bus = Bus()
    bus.subscribe(SyncProgress, lambda e: print(e.done, flush=True))
    store = await Store.open(Path(sys.argv[1]))
    library = Library(store, HttpCloud(int(sys.argv[2])), bus)
    await library.open()
    await library.sync(full=sys.argv[3] == "full")

asyncio.run(main())
"""


@pytest.mark.parametrize("kind", ["first", "full"])
async def test_killed_at_any_moment_it_goes_on_where_it_was(box: Box, kind: str) -> None:
    box.model.put(*[track(n) for n in range(6000)])
    if kind == "full":
        await box.library.sync()
        for n in range(2000, 3500):
            box.model.remove(n)
        box.model.put(track(1, title="New"))
    await box.library.close()
    await box.store.close()
    for delay in (0.0, 0.013, 0.031, 0.05):
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            SYNC,
            str(box.path),
            str(box.server.port),
            kind,
            cwd=ROOT,
            stdout=asyncio.subprocess.PIPE,
        )
        assert process.stdout is not None
        for _ in range(2):  # at least one page got in
            await process.stdout.readline()
        await asyncio.sleep(delay)
        if process.returncode is None:
            process.send_signal(signal.SIGKILL)
        await process.wait()
        con = sqlite3.connect(box.path)
        assert con.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert kind == "full" or con.execute("SELECT count(*) FROM track").fetchone()[0] % 1000 == 0
        con.close()
    await box.reopen()
    assert box.library.tracks >= 1000
    await box.library.sync()
    await check(box)


async def test_killed_while_deleting_what_is_gone_it_finishes_that_first(box: Box) -> None:
    box.model.put(*[track(n) for n in range(1200)])
    await box.library.sync()
    for n in range(600):
        box.model.remove(n)
    real, calls = box.store.write, 0

    async def write(fn: object) -> object:
        nonlocal calls
        calls += "sweep" in getattr(fn, "__qualname__", "")
        if calls == 2:
            raise OSError("the plug")
        return await real(fn)  # type: ignore[arg-type]

    box.store.write = write  # type: ignore[method-assign,assignment]
    with pytest.raises(OSError, match="the plug"):
        await box.library.sync(full=True)
    await box.reopen()
    assert 600 <= box.library.tracks < 1200
    assert '"sweep":true' in (await meta(box))["library.resync"]
    await box.library.sync()
    await check(box)


async def test_the_event_loop_is_not_held_up(box: Box) -> None:
    box.model.put(*[track(n) for n in range(5000)])
    pages = {since: box.server.honest(since, 1000) for since in range(0, 5000, 1000)}  # made before, not on this loop
    box.server.answer = lambda since, limit: pages[since]
    worst = 0.0
    done = asyncio.Event()

    async def tick() -> None:
        nonlocal worst
        while not done.is_set():
            before = time.perf_counter()
            await asyncio.sleep(0.001)
            worst = max(worst, time.perf_counter() - before)

    ticker = asyncio.create_task(tick())
    await box.library.sync()
    done.set()
    await ticker
    assert worst < 0.1  # a quiet machine stays below 0.02, see tests/bench/sync.py; this one is shared


async def test_two_boxes_of_one_loop_do_not_mix(box: Box, tmp_path: Path) -> None:
    """The cloud of the tests is honest about connections: a cancelled request never answers the next one."""
    box.model.put(track(1))
    cloud = HttpCloud(box.server.port)
    box.server.gate.clear()
    asking = asyncio.create_task(cloud.library_page(0, 10))
    await box.server.wait_requests(1)
    asking.cancel()
    await asyncio.wait([asking])
    box.server.gate.set()
    assert (await cloud.stats()).tracks == 1
    cloud.close()
