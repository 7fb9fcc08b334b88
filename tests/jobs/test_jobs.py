from __future__ import annotations

import asyncio
import signal
import sqlite3
import sys
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from appliance.errors import Gone, NotFound, Offline, ServerError, UsageError
from appliance.events import Bus, JobChanged
from appliance.jobs import Context, Info, Jobs, Retry, jobs, retry, rows
from appliance.store import Store

ROOT = Path(__file__).resolve().parents[2]


class Bench:
    def __init__(self, path: Path) -> None:
        self.path, self.bus, self.seen = path, Bus(), []
        self.bus.subscribe(JobChanged, self.seen.append)
        self.changed = asyncio.Event()
        self.bus.subscribe(JobChanged, lambda _: self.changed.set())

    async def open(self) -> None:
        self.store = await Store.open(self.path)
        self.jobs = Jobs(self.store, self.bus)

    async def close(self) -> None:
        await self.jobs.close()
        await self.store.close()

    async def state(self, n: int, *states: str) -> Info:
        """The job once it is in one of `states`."""
        while True:
            self.changed.clear()
            info = await self.jobs.get(n)
            if info.state in states:
                return info
            await asyncio.wait_for(self.changed.wait(), 10)

    def states(self, n: int) -> list[str]:
        return [e.state for e in self.seen if e.id == n]


@pytest.fixture
async def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Bench]:
    monkeypatch.setattr(retry, "BACKOFF", 0.01)
    bench = Bench(tmp_path / "x.db")
    await bench.open()
    yield bench
    await bench.close()


async def quick(context: Context) -> None:
    context.progress(50)


async def forever(context: Context) -> None:
    context.progress(30)
    await asyncio.Event().wait()


async def test_a_job_runs_and_everybody_hears_of_it(bench: Bench) -> None:
    got = []

    async def handler(context: Context) -> None:
        got.append((context.args, context.attempt))
        for percent in (10, 5, 10, 250.7, -1):
            context.progress(percent)

    bench.jobs.register("copy", handler)
    await bench.jobs.open()
    n = await bench.jobs.submit("copy", {"a": [1, "é"]})
    assert await bench.jobs.wait(n) == Info(n, "copy", "done", 100, 1, None)
    assert got == [({"a": [1, "é"]}, 1)]
    assert [(e.state, e.progress) for e in bench.seen] == [
        ("queued", 0), ("running", 0), ("running", 10), ("running", 99), ("done", 100),
    ]  # fmt: skip
    assert await bench.jobs.list() == [Info(n, "copy", "done", 100, 1, None)]
    assert (await bench.jobs.wait(n)).state == "done"


@pytest.mark.parametrize(
    ("error", "attempts"),
    [(Offline("no network"), 3), (ServerError("busy", status=503), 3), (Retry("not yet", after=0.001), 3),
     (ServerError("slow down", status=429, retry_after=0.01), 3), (ServerError("no", status=400), 1),
     (Gone("gone", status=404), 1), (ValueError("a bug\nin two lines"), 1)],
)  # fmt: skip
async def test_errors_are_retried_or_final(bench: Bench, error: Exception, attempts: int) -> None:
    tried = []

    async def handler(context: Context) -> None:
        tried.append(context.attempt)
        raise error

    bench.jobs.register("x", handler, attempts=3)
    await bench.jobs.open()
    info = await bench.jobs.wait(await bench.jobs.submit("x"))
    assert (info.state, info.attempt, tried) == ("failed", attempts, list(range(1, attempts + 1)))
    assert info.error is not None
    assert "\n" not in info.error
    with pytest.raises(UsageError):
        await bench.jobs.cancel(info.id)


async def test_retry_begins_anew(bench: Bench) -> None:
    results: list[Exception | None] = [Gone("no", status=404), None]

    async def handler(context: Context) -> None:
        context.progress(70)
        if (error := results.pop(0)) is not None:
            raise error

    bench.jobs.register("x", handler)
    await bench.jobs.open()
    n = await bench.jobs.submit("x")
    assert (await bench.jobs.wait(n)).progress == 70
    assert await bench.jobs.retry(n) == Info(n, "x", "queued", 0, 0, None)
    assert await bench.jobs.wait(n) == Info(n, "x", "done", 100, 1, None)
    with pytest.raises(UsageError, match="is done"):
        await bench.jobs.retry(n)
    with pytest.raises(NotFound):
        await bench.jobs.retry(999)


async def test_a_server_may_ask_for_a_pause_but_not_for_a_year(monkeypatch: pytest.MonkeyPatch) -> None:
    assert retry.delay(ServerError("x", retry_after=3e7), 1) == retry.LONGEST
    assert 20 <= retry.delay(Retry("x", after=20), 5) <= 25
    assert 16 <= retry.delay(Offline("x"), 4) <= 20
    assert retry.delay(Offline("x"), 4000 // 4) == retry.LONGEST


async def test_cancelled_while_it_runs_it_cleans_up_first(bench: Bench) -> None:
    cleaned = []

    async def handler(context: Context) -> None:
        context.progress(40)
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.01)
            cleaned.append(context.id)

    bench.jobs.register("x", handler)
    await bench.jobs.open()
    n = await bench.jobs.submit("x")
    waiting = asyncio.create_task(bench.jobs.wait(n))
    await bench.state(n, "running")
    assert await bench.jobs.cancel(n) == Info(n, "x", "cancelled", 40, 1, None)
    assert cleaned == [n]
    assert (await waiting).state == "cancelled"


async def test_cancelled_at_the_moment_it_ends_everybody_still_hears_of_the_end(bench: Bench) -> None:
    """The handler is through and the row is being written: too late to cancel, and no waiter may be forgotten."""
    real, loop = rows.finish, asyncio.get_running_loop()
    writing, go = asyncio.Event(), threading.Event()

    def finish(*args: Any) -> None:
        loop.call_soon_threadsafe(writing.set)
        go.wait(10)
        real(*args)

    bench.jobs.register("x", quick)
    await bench.jobs.open()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rows, "finish", finish)
        n = await bench.jobs.submit("x")
        await asyncio.wait_for(writing.wait(), 10)
        waiting = asyncio.create_task(bench.jobs.wait(n))
        cancelling = asyncio.create_task(bench.jobs.cancel(n))
        await asyncio.sleep(0.02)
        go.set()
        with pytest.raises(UsageError, match="is done already"):
            await asyncio.wait_for(cancelling, 10)
        assert (await asyncio.wait_for(waiting, 10)).state == "done"


async def test_a_second_cancel_does_not_disturb_the_clean_up(bench: Bench) -> None:
    cleaned = asyncio.Event()

    async def handler(context: Context) -> None:
        try:
            context.progress(1)
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.05)
            cleaned.set()

    bench.jobs.register("x", handler)
    await bench.jobs.open()
    n = await bench.jobs.submit("x")
    await bench.state(n, "running")
    both = await asyncio.gather(bench.jobs.cancel(n), bench.jobs.cancel(n))
    assert {info.state for info in both} == {"cancelled"}
    assert cleaned.is_set()


async def test_cancelled_while_queued_it_never_runs(bench: Bench) -> None:
    bench.jobs.register("x", forever)
    await bench.jobs.open()
    first, second = await bench.jobs.submit("x"), await bench.jobs.submit("x")
    await bench.state(first, "running")
    assert (await bench.jobs.get(second)).state == "queued"
    assert (await bench.jobs.cancel(second)).state == "cancelled"
    await bench.jobs.cancel(first)
    assert bench.states(second) == ["queued", "cancelled"]
    with pytest.raises(NotFound):
        await bench.jobs.cancel(12345)


async def test_concurrency_is_kept_per_kind(bench: Bench) -> None:
    most: dict[str, int] = {}
    now: dict[str, int] = {"three": 0}
    all_three = asyncio.Event()

    async def handler(context: Context) -> None:
        now[context.kind] = now.get(context.kind, 0) + 1
        most[context.kind] = max(most.get(context.kind, 0), now[context.kind])
        if now["three"] == 3:
            all_three.set()
        await all_three.wait()
        await asyncio.sleep(0)
        now[context.kind] -= 1

    bench.jobs.register("one", handler)
    bench.jobs.register("three", handler, concurrency=3)
    await bench.jobs.open()
    ids = [await bench.jobs.submit(kind) for kind in ("one", "three") * 6]
    await asyncio.wait_for(asyncio.gather(*(bench.jobs.wait(n) for n in ids)), 20)
    assert most == {"one": 1, "three": 3}


async def test_one_key_one_live_job(bench: Bench) -> None:
    bench.jobs.register("x", forever)
    bench.jobs.register("y", quick)
    await bench.jobs.open()
    n = await bench.jobs.submit("x", key="a")
    assert await bench.jobs.submit("x", key="a") == n
    other = await bench.jobs.submit("x", key="b")
    assert other != n
    assert await bench.jobs.submit("y", key="a") not in (n, other)
    await bench.state(n, "running")
    await bench.jobs.cancel(n)
    again = await bench.jobs.submit("x", key="a")
    assert again != n
    with pytest.raises(UsageError, match="queued again already"):
        await bench.jobs.retry(n)
    with pytest.raises(UsageError):
        await bench.jobs.submit("unheard of")


async def test_closing_is_quick_and_loses_nothing(bench: Bench) -> None:
    bench.jobs.register("x", forever)

    async def stubborn(context: Context) -> None:
        while True:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                await asyncio.sleep(60)

    bench.jobs.register("stubborn", stubborn)
    await bench.jobs.open()
    n, bad = await bench.jobs.submit("x"), await bench.jobs.submit("stubborn")
    await bench.state(n, "running")
    await bench.state(bad, "running")
    started = time.monotonic()
    await bench.close()
    assert time.monotonic() - started < 2
    await bench.open()
    attempts = []

    async def second(context: Context) -> None:
        attempts.append(context.attempt)

    bench.jobs.register("x", second)
    bench.jobs.register("stubborn", quick)
    before = await bench.jobs.get(n)
    assert (before.state, before.progress, before.attempt) == ("queued", 30, 0)
    await bench.jobs.open()
    assert (await bench.jobs.wait(n)).state == "done"
    assert (await bench.jobs.wait(bad)).state == "done"
    assert attempts == [1]


async def test_progress_is_told_at_once_and_written_rarely(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "WRITES", 0.05)
    writes: list[int] = []
    real, loop, written = rows.set_progress, asyncio.get_running_loop(), asyncio.Event()

    def set_progress(con: sqlite3.Connection, n: int, percent: int) -> None:
        writes.append(percent)
        real(con, n, percent)
        loop.call_soon_threadsafe(written.set)

    monkeypatch.setattr(rows, "set_progress", set_progress)

    async def handler(context: Context) -> None:
        for percent in range(100):
            context.progress(percent)
        await asyncio.Event().wait()

    bench.jobs.register("x", handler)
    await bench.jobs.open()
    n = await bench.jobs.submit("x")
    await asyncio.wait_for(written.wait(), 10)
    assert [e.progress for e in bench.seen if e.state == "running"] == list(range(100))
    assert writes == [99]
    assert (await bench.jobs.get(n)).progress == 99


async def test_only_the_last_hundred_finished_are_kept(bench: Bench) -> None:
    bench.jobs.register("x", quick, concurrency=8)
    bench.jobs.register("y", forever)
    await bench.jobs.open()
    live = await bench.jobs.submit("y")
    ids = [await bench.jobs.submit("x") for _ in range(rows.KEPT + 20)]
    while len({e.id for e in bench.seen if e.state == "done"}) < len(ids):
        bench.changed.clear()
        await asyncio.wait_for(bench.changed.wait(), 10)
    found = await bench.jobs.list()
    assert len([i for i in found if i.state == "done"]) == rows.KEPT
    assert found[0].id == live


async def test_a_clock_that_jumps_back_holds_nothing_up(bench: Bench) -> None:
    bench.jobs.register("x", quick)
    n = await bench.store.write(lambda con: rows.insert(con, "x", None, None)[0])
    year = time.time() + 365 * 86400
    await bench.store.write(lambda con: con.execute("UPDATE job SET not_before = ?", (year,)))
    await bench.jobs.open()
    assert (await asyncio.wait_for(bench.jobs.wait(n), 10)).state == "done"


RUN = """
import asyncio, sys
from pathlib import Path
from appliance.events import Bus
from appliance.jobs import Jobs
from appliance.store import Store

async def handler(context):
    print(context.attempt, flush=True)
    await asyncio.Event().wait()

async def main():
    jobs = Jobs(await Store.open(Path(sys.argv[1])), Bus())
    jobs.register("x", handler)
    await jobs.open()
    if sys.argv[2] == "new":
        await jobs.submit("x", [1])
    await asyncio.Event().wait()

asyncio.run(main())
"""


async def kill_once(path: Path, mode: str) -> str:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", RUN, str(path), mode, cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    line = await asyncio.wait_for(process.stdout.readline(), 20)
    process.send_signal(signal.SIGKILL)
    await process.wait()
    return line.decode().strip()


async def test_killed_it_runs_again_without_losing_an_attempt(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    assert [await kill_once(path, mode) for mode in ("new", "old", "old")] == ["1", "1", "1"]
    bench = Bench(path)
    await bench.open()
    bench.jobs.register("x", quick)
    await bench.jobs.open()
    assert (await bench.jobs.wait(1)).state == "done"
    await bench.close()


async def test_a_job_that_kills_the_player_again_and_again_fails(tmp_path: Path) -> None:
    store = await Store.open(tmp_path / "x.db")
    await store.write(lambda con: rows.insert(con, "x", None, None))
    for _ in range(rows.CRASHES):
        await store.write(lambda con: con.execute("UPDATE job SET state = 'running', attempt = attempt + 1"))
        (info,) = await store.write(rows.recover)
    assert (info.state, info.attempt) == ("failed", 0)
    assert info.error is not None
    await store.close()


async def test_a_full_disk_does_not_end_the_runner(bench: Bench) -> None:
    bench.jobs.register("x", quick)
    await bench.jobs.open()
    await bench.jobs.wait(await bench.jobs.submit("x"))
    real, failures = bench.store._transact, 3

    def full(fn: object) -> object:
        nonlocal failures
        if "claim" in getattr(fn, "__code__", real.__code__).co_names and failures:
            failures -= 1
            error = sqlite3.OperationalError("database or disk is full")
            error.sqlite_errorname = "SQLITE_FULL"
            from appliance.store.db import _storage_error

            raise _storage_error(error, bench.path)
        return real(fn)  # type: ignore[arg-type]

    bench.store._transact = full  # type: ignore[method-assign,assignment]
    n = await bench.jobs.submit("x")
    for _ in range(3):
        bench.jobs.register("x", quick)
        await asyncio.sleep(0.02)
    assert (await asyncio.wait_for(bench.jobs.wait(n), 10)).state == "done"
