"""The runner of durable jobs: claims rows, runs their handlers, books what becomes of them.

The row is written before anybody is told, so a screen never shows what a power cut could take back. One task hands out
work when it is woken or when a job becomes due; nothing polls.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any

from msgspec import Struct

from appliance.errors import ChadboxError, NotFound, UsageError
from appliance.events import Bus, JobChanged
from appliance.jobs import retry, rows
from appliance.jobs.rows import FINAL, Claimed, Info
from appliance.store import Store

log = logging.getLogger(__name__)

ATTEMPTS = 6
WRITES = 1.0  # seconds between two writes of one job's progress
CLOSING = 1.5  # seconds that handlers get to clean up when the player ends
CANCELLING = 10.0  # seconds that `cancel` waits for a handler to clean up


class Context:
    """What a handler gets: `id`, `kind`, `args` (as submitted), `attempt` (from 1), and `progress`."""

    def __init__(self, jobs: Jobs, job: Claimed) -> None:
        self.id, self.kind, self.args, self.attempt = job.id, job.kind, job.args, job.attempt
        self._jobs = jobs
        self._percent = job.progress
        self._written = time.monotonic()
        self._late: asyncio.TimerHandle | None = None

    def progress(self, percent: float) -> None:
        """Tell how far it is, 0-100. It never goes back, and 100 is shown when the handler has returned."""
        value = max(0, min(int(percent), 99))
        if value > self._percent:
            self._percent = value
            self._jobs._announce(Info(self.id, self.kind, "running", value, self.attempt, None))
            if self._late is None:
                wait = max(0.0, self._written + WRITES - time.monotonic())
                self._late = asyncio.get_running_loop().call_later(wait, self._write)

    def _write(self) -> None:
        self._late, self._written = None, time.monotonic()
        self._jobs._spawn(self._jobs._write_progress(self.id, self._percent))

    def _end(self) -> int:
        if self._late is not None:
            self._late.cancel()
        return self._percent


Handler = Callable[[Context], Awaitable[None]]


class _Kind(Struct):
    handler: Handler
    concurrency: int
    attempts: int
    running: int = 0


class _Run(Struct):
    context: Context
    task: asyncio.Task[None]
    asked: bool = False  # to be cancelled for good, and not only because the player ends
    cancelled: bool = False
    ended: bool = False  # the handler is through; what remains is to write that down, which nobody may interrupt

    def stop(self) -> None:
        if not self.cancelled and not self.ended:
            self.cancelled = self.task.cancel()


class Jobs:
    """`register` the kinds, then `open`. A handler is cancelled by `cancel` and by `close`: it cleans up its files in a
    `finally` and lets the cancellation through. Errors: Offline, ServerError (5xx or without status) and Retry are
    tried again with growing pauses; any other is final.
    """

    def __init__(self, store: Store, bus: Bus) -> None:
        self._store, self._bus = store, bus
        self._kinds: dict[str, _Kind] = {}
        self._runs: dict[int, _Run] = {}
        self._waiting: dict[int, list[asyncio.Future[Info]]] = {}
        self._lock = asyncio.Lock()  # a row changes hands (claim, cancel, retry) one at a time
        self._wake = asyncio.Event()
        self._dispatcher: asyncio.Task[None] | None = None
        self._writes: set[asyncio.Task[None]] = set()
        self._closing = False

    def register(self, kind: str, handler: Handler, concurrency: int = 1, attempts: int = ATTEMPTS) -> None:
        """Run jobs of `kind` with `handler`, at most `concurrency` at once, each at most `attempts` times."""
        self._kinds[kind] = _Kind(handler, concurrency, attempts)
        self._wake.set()

    async def open(self) -> None:
        """Queue again what was running when the process ended, and begin to work."""
        for info in await self._store.write(rows.recover):
            self._announce(info)
        self._dispatcher = asyncio.create_task(self._dispatch())

    async def close(self) -> None:
        """Stop within two seconds; what runs is queued again and goes on at the next start."""
        self._closing = True
        if self._dispatcher is not None:
            self._dispatcher.cancel()
            await asyncio.gather(self._dispatcher, return_exceptions=True)
        tasks = [run.task for run in self._runs.values()]
        for run in self._runs.values():
            run.stop()
        if tasks:
            await asyncio.wait(tasks, timeout=CLOSING)
        if self._writes:
            await asyncio.wait(self._writes, timeout=CLOSING / 5)
        for waiters in self._waiting.values():
            for waiter in waiters:
                waiter.cancel()

    async def submit(self, kind: str, args: Any = None, *, key: str | None = None) -> int:
        """Queue a job; `args` is anything JSON can hold. While a job of this kind with the same `key` is queued or
        running, that one's id is returned instead. Raises UsageError for a kind that nobody registered.
        """
        if kind not in self._kinds:
            raise UsageError(f'there is no job of kind "{kind[:50]}"')
        n, new = await self._store.write(lambda con: rows.insert(con, kind, args, key))
        if new:
            self._announce(Info(n, kind, "queued", 0, 0, None))
            self._wake.set()
        return n

    async def cancel(self, n: int) -> Info:
        """Cancel a queued or running job and wait until it has cleaned up. Raises NotFound, and UsageError when it is
        finished already.
        """
        async with self._lock:
            run = self._runs.get(n)
            if run is not None and run.ended:
                await asyncio.wait([run.task])
                run = None
            if run is None:
                info = await self.get(n)
                if info.state in FINAL:
                    raise UsageError(f"job {n} is {info.state} already")
                await self._finish(info, "cancelled", info.progress, None)
                return await self.get(n)
            run.asked = True
            run.stop()
        _, pending = await asyncio.wait([run.task], timeout=CANCELLING)
        if pending:
            log.error("job %d (%s) does not stop", n, run.context.kind)
        return await self.get(n)

    async def retry(self, n: int) -> Info:
        """Queue a failed or cancelled job anew. Raises NotFound, and UsageError when there is nothing to retry."""
        async with self._lock:
            before = await self.get(n)
            info = await self._store.write(lambda con: rows.again(con, n))
            if info is None:
                why = (
                    f"is {before.state}" if before.state not in ("failed", "cancelled") else "was queued again already"
                )
                raise UsageError(f"job {n} {why}; only a failed or cancelled job can be retried")
        self._announce(info)
        self._wake.set()
        return info

    async def get(self, n: int) -> Info:
        """Raises NotFound."""
        info = await self._store.read(lambda con: rows.get(con, n))
        if info is None:
            raise NotFound(f"there is no job {n}; `chadbox jobs` lists them")
        return self._live(info)

    async def list(self) -> list[Info]:
        """Running, queued, then the last finished ones, each newest first."""
        return [self._live(info) for info in await self._store.read(rows.everything)]

    async def wait(self, n: int) -> Info:
        """The job once it is done, failed or cancelled. Raises NotFound; is cancelled when the runner closes."""
        future: asyncio.Future[Info] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(n, []).append(future)
        try:
            # Asked after the future is in place: a job that ends in between is not missed.
            try:
                info = await self.get(n)
            except NotFound:
                if future.done():  # finished and pruned meanwhile
                    return future.result()
                raise
            return info if info.state in FINAL else await future
        finally:
            waiters = self._waiting.get(n, [])
            if future in waiters:
                waiters.remove(future)
            if not waiters:
                self._waiting.pop(n, None)

    # -- inside ----------------------------------------------------------------------------------------------------

    async def _dispatch(self) -> None:
        while True:
            self._wake.clear()
            wait: float | None = 5.0
            try:
                wait = await self._hand_out()
            except ChadboxError as error:  # a full disk: jobs rest, the music plays
                log.error("jobs cannot be started: %s", error)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), wait)

    async def _hand_out(self) -> float | None:
        async with self._lock:
            room = {name: k.concurrency - k.running for name, k in self._kinds.items() if k.running < k.concurrency}
            if not room:
                return None
            claiming = asyncio.ensure_future(self._store.write(lambda con: rows.claim(con, room, retry.LONGEST)))
            try:
                claimed, wait = await asyncio.shield(claiming)
            except asyncio.CancelledError:  # closing: give back what was just taken
                for job in (await claiming)[0]:
                    await self._give_back(job.id, job.progress)
                raise
            for job in claimed:
                self._kinds[job.kind].running += 1
                context = Context(self, job)
                self._runs[job.id] = _Run(context, asyncio.create_task(self._run(job, context)))
        for job in claimed:
            self._announce(Info(job.id, job.kind, "running", job.progress, job.attempt, None))
        return wait

    async def _run(self, job: Claimed, context: Context) -> None:
        kind = self._kinds[job.kind]
        info = Info(job.id, job.kind, "running", job.progress, job.attempt, None)
        error: BaseException | None = None
        try:
            await kind.handler(context)
        except asyncio.CancelledError as cancelled:
            error = cancelled
        except Exception as failure:
            error = failure
        percent = context._end()
        run = self._runs[job.id]
        run.ended = True
        try:
            await self._book(info, kind, run, error, percent)
        except ChadboxError as failure:
            log.error("job %d (%s): its end cannot be written: %s", job.id, job.kind, failure)
        finally:
            if self._runs.get(job.id) is run:  # a retry may have begun already
                del self._runs[job.id]
            kind.running -= 1
            self._wake.set()

    async def _book(self, info: Info, kind: _Kind, run: _Run, error: BaseException | None, percent: int) -> None:
        if error is None:
            await self._finish(info, "done", 100, None)
        elif run.asked:
            await self._finish(info, "cancelled", percent, None)
        elif self._closing:
            await self._give_back(info.id, percent)
            self._announce(Info(info.id, info.kind, "queued", percent, info.attempt - 1, None))
        else:
            text = retry.line(error)
            if not isinstance(error, ChadboxError):
                log.error("job %d (%s) failed", info.id, info.kind, exc_info=error)
            if retry.temporary(error) and info.attempt < kind.attempts:
                delay = retry.delay(error, info.attempt)
                log.info("job %d (%s): %s; again in %.0f s", info.id, info.kind, text, delay)
                await self._store.write(lambda con: rows.put_back(con, info.id, percent, delay, text, True))
                self._announce(Info(info.id, info.kind, "queued", percent, info.attempt, text))
            else:
                await self._finish(info, "failed", percent, text)

    async def _finish(self, info: Info, state: str, progress: int, error: str | None) -> None:
        # Shielded: a second cancellation must not keep the end of the job from being written.
        await asyncio.shield(self._store.write(lambda con: rows.finish(con, info.id, state, progress, error)))
        last = Info(info.id, info.kind, state, progress, info.attempt, error)
        self._announce(last)
        for waiter in self._waiting.pop(info.id, []):
            if not waiter.done():
                waiter.set_result(last)

    async def _give_back(self, n: int, percent: int) -> None:
        await asyncio.shield(self._store.write(lambda con: rows.put_back(con, n, percent, 0, None, False)))

    async def _write_progress(self, n: int, percent: int) -> None:
        try:
            await self._store.write(lambda con: rows.set_progress(con, n, percent))
        except ChadboxError as error:
            log.warning("progress of job %d cannot be written: %s", n, error)

    def _spawn(self, work: Any) -> None:
        task = asyncio.ensure_future(work)
        self._writes.add(task)
        task.add_done_callback(self._writes.discard)

    def _live(self, info: Info) -> Info:
        """With the progress that is not written yet."""
        run = self._runs.get(info.id)
        if run is not None and info.state == "running":
            info.progress = max(info.progress, run.context._percent)
        return info

    def _announce(self, info: Info) -> None:
        self._bus.publish(
            JobChanged(id=info.id, kind=info.kind, state=info.state, progress=info.progress, error=info.error)
        )
