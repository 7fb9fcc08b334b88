"""Plays reach the server once each, later when it is away, whatever it thinks of one of them (L5, R5)."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from appliance import clock
from appliance.cloud.auth import TokenSource
from appliance.cloud.client import CloudClient
from appliance.jobs import retry
from appliance.library import history, reports
from appliance.library.reports import Reports
from appliance.store import Store
from tests.auth.scripted import Asked, Reply, Scripted

OK: Reply = (200, {})


class Bed:
    """A database with plays in it, a scripted server, and Reports between them."""

    def __init__(self, store: Store, server: Scripted) -> None:
        self.store, self.server = store, server
        self.cloud = CloudClient(server.url, TokenSource(None))
        self.library: str | None = "lib"
        self.reports = Reports(store, self.cloud, lambda: self.library)
        self.task = asyncio.create_task(self.reports.run())

    async def heard(self, *tracks: str, library: str = "lib", clock_ok: bool = True) -> list[str]:
        def record(con: sqlite3.Connection) -> list[str]:
            return [history.record(con, library, track, 60.0, clock_ok) for track in tracks]

        ids = await self.store.write(record)
        self.reports.wake()
        return ids

    async def states(self) -> list[int]:
        sql = "SELECT reported FROM play ORDER BY n"
        return [n for (n,) in await self.store.read(lambda con: con.execute(sql).fetchall())]

    async def until(self, *states: int) -> None:
        async with asyncio.timeout(10):
            while await self.states() != list(states):  # noqa: ASYNC110  (another thread writes; there is no event)
                await asyncio.sleep(0.01)

    @property
    def sent(self) -> list[list[dict[str, Any]]]:
        return [asked.json for asked in self.server.asked if asked.path == "/api/v1/plays"]


Make = Callable[[Callable[[Asked], Reply]], Any]


@pytest.fixture
async def bed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Bed]:
    monkeypatch.setattr(retry, "BACKOFF", 0.02)
    store = await Store.open(tmp_path / "db")
    async with Scripted(lambda asked: OK) as server:
        bed = Bed(store, server)
        yield bed
        bed.task.cancel()
        await asyncio.gather(bed.task, return_exceptions=True)
        await bed.cloud.close()
    await store.close()


async def test_each_once_with_time_or_without(bed: Bed) -> None:
    before = int(time.time())
    (known,) = await bed.heard("7")
    (unknown,) = await bed.heard("x/8", clock_ok=False)
    await bed.heard("9", library="of another server")
    await asyncio.sleep(0.05)
    assert bed.sent == [], "not before the library is known to be this server's"
    bed.reports.synced()
    await bed.until(1, 1, 0)
    ((first, second),) = bed.sent
    assert (first["id"], first["track_id"], first["seconds"]) == (known, "7", 60.0)
    told = time.strptime(first["played_at"], "%Y-%m-%dT%H:%M:%SZ")
    import calendar

    assert before <= calendar.timegm(told) <= time.time()
    assert second == {"id": unknown, "track_id": "x/8", "played_at": None, "seconds": 60.0}
    bed.reports.synced()
    await bed.heard("10")
    await bed.until(1, 1, 0, 1)
    assert len(bed.sent) == 2


async def test_numbers_stay_numbers_and_batches_are_bounded(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reports, "BATCH", 10)
    await bed.store.write(
        lambda con: con.execute("INSERT INTO track (track_id, int_id) VALUES ('7', 1), ('8', 0)") and None
    )
    await bed.heard(*["7", "8"] * 12)
    bed.reports.synced()
    await bed.until(*[1] * 24)
    assert [len(batch) for batch in bed.sent] == [10, 10, 4]
    assert [play["track_id"] for play in bed.sent[0][:2]] == [7, "8"]
    assert len({play["id"] for batch in bed.sent for play in batch}) == 24


@pytest.mark.parametrize("status", [400, 404, 409, 413, 422])
async def test_one_bad_play_does_not_hold_up_the_rest(bed: Bed, status: int) -> None:
    def answer(asked: Asked) -> Reply:
        return (status, {"error": {"code": "x", "message": "y"}}) if b'"bad"' in asked.body else OK

    bed.server.answer = answer
    await bed.heard("1", "2", "bad", "4", "5", "6", "7")
    bed.reports.synced()
    await bed.until(1, 1, 2, 1, 1, 1, 1)
    batches = [[play["track_id"] for play in batch] for batch in bed.sent]
    accepted = [track for batch in batches if "bad" not in batch for track in batch]
    assert sorted(accepted) == ["1", "2", "4", "5", "6", "7"]
    bed.reports.synced()
    asked = len(bed.sent)
    await bed.heard("8")
    await bed.until(1, 1, 2, 1, 1, 1, 1, 1)
    assert len(bed.sent) == asked + 1


@pytest.mark.parametrize(
    "trouble", [(500, {}), (503, {}, {"Retry-After": "0"}), (429, {}, {"Retry-After": "0"}), (408, {})]
)
async def test_trouble_passes(bed: Bed, trouble: Reply) -> None:
    replies: list[Reply] = [trouble, trouble, OK]
    bed.server.answer = lambda asked: replies.pop(0) if len(replies) > 1 else replies[0]
    await bed.heard("1", "2")
    bed.reports.synced()
    await bed.until(1, 1)
    assert len({json.dumps(batch) for batch in bed.sent}) == 1
    assert len(bed.sent) == 3


async def test_a_server_that_stays_in_trouble_is_left_alone(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "BACKOFF", 0.001)
    bed.server.answer = lambda asked: (500, {})
    await bed.heard("1")
    bed.reports.synced()
    async with asyncio.timeout(10):
        while len(bed.sent) < reports.ATTEMPTS:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    await asyncio.sleep(0.3)
    assert len(bed.sent) == reports.ATTEMPTS
    bed.server.answer = lambda asked: OK
    bed.reports.synced()
    await bed.until(1)


@pytest.mark.parametrize("status", [403, 404, 405, 501])
async def test_an_older_server_is_asked_once(
    bed: Bed, status: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    bed.server.answer = lambda asked: (status, {})
    await bed.heard("1", "2", "3")
    bed.reports.synced()
    async with asyncio.timeout(10):
        while len(bed.sent) < 2:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    for _ in range(3):
        bed.reports.synced()
        await bed.heard("4")
    await asyncio.sleep(0.1)
    assert [len(batch) for batch in bed.sent] == [3, 0]
    assert await bed.states() == [0] * 6
    assert not [r for r in caplog.records if r.levelname not in ("DEBUG", "INFO")]
    bed.reports._off_until = 0.0  # a day later, with a newer server
    bed.server.answer = lambda asked: OK
    bed.reports.synced()
    await bed.until(*[1] * 6)


async def test_the_clock_is_asked_from_the_server(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without NTP a time counts only when the server's Date agrees, also some time after it was told."""
    from email.utils import formatdate

    monkeypatch.setattr(clock, "synchronised", lambda: False)
    assert not clock.is_right(bed.cloud.server_time)
    for skew, right in ((0, True), (60, True), (3600, False), (-86_400, False)):
        bed.server.answer = lambda asked, skew=skew: (200, {}, {"Date": formatdate(time.time() + skew, usegmt=True)})
        await bed.cloud.stats()
        assert clock.is_right(bed.cloud.server_time) is right, skew
    bed.server.answer = lambda asked: (200, {}, {"Date": formatdate(time.time(), usegmt=True)})
    await bed.cloud.stats()
    real, boot = time.time, time.clock_gettime
    monkeypatch.setattr(time, "time", lambda: real() + 1000)  # both clocks went on for 1,000 s
    monkeypatch.setattr(time, "clock_gettime", lambda which: boot(which) + 1000)
    assert clock.is_right(bed.cloud.server_time)
    monkeypatch.setattr(time, "clock_gettime", boot)  # ours alone was set
    assert not clock.is_right(bed.cloud.server_time)
