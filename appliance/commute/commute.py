"""The commute: the plan for a time, and its prefetch ten minutes before listening is expected.

All reading is done on the store's readers, from the tables, each time anew. The timer looks at the wall clock every
SLICE seconds, so that a clock that is set late or jumps moves it along.
"""

from __future__ import annotations

import asyncio
import datetime
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any

from appliance.commute import plan, times
from appliance.commute.habits import moment
from appliance.commute.plan import Choice, Limits
from appliance.errors import ChadboxError, UsageError
from appliance.jobs import Context, Jobs
from appliance.library import Library
from appliance.store import Store, meta

log = logging.getLogger(__name__)

KIND = "prefetch"
MINUTES = 120.0  # of music that a prefetch and the list of choices hold
LEAD = 600.0  # seconds before the expected time at which fetching begins
SLICE = 20.0  # seconds between two looks at the clock
RELEARN = 600.0  # seconds
SOON = 24 * 3600.0  # seconds within which an expected time is what a plan is made for
_DONE = "commute.prefetched"  # meta: the expected time (Unix) whose prefetch was submitted


class Commute:
    """`right` tells whether the clock can be believed; `room` is the most bytes that a prefetch may take."""

    def __init__(self, store: Store, library: Library, jobs: Jobs, right: Callable[[], bool], room: int) -> None:
        self._store, self._library, self._jobs, self._right = store, library, jobs, right
        self.limits = Limits(minutes=MINUTES, bytes=room)
        self._learned: tuple[tuple[object, ...], dict[bool, list[int]]] | None = None

    async def next_time(self) -> float | None:
        """Unix time at which listening is expected next; None when that is not known, or the time is not."""
        if not self._right():
            return None
        library, now = self._library.library_id or "", time.time()
        return await self._store.read(lambda con: times.predict(con, library, now))

    async def choices(self, at: float | None = None, limits: Limits | None = None) -> list[Choice]:
        """The plan for Unix time `at`, without one for the next expected time, in play order."""
        timed = at is not None or self._right()
        if at is None:
            now = time.time()
            expected = await self.next_time()
            at = expected if expected is not None and expected - now < SOON else now
        library, when, bounds = self._library.library_id or "", moment(at, timed=timed), limits or self.limits
        return await self._store.read(lambda con: plan.plan(con, library, when, bounds))

    async def ids(self) -> list[str]:
        """What `commute` stands for as WHAT: track ids in play order."""
        return [str(choice.id) for choice in await self.choices()]

    def job(self, fetch: Callable[[Context], Awaitable[Any]], forget: Callable[[int], Any]) -> None:
        """Let jobs of kind `prefetch` be done by `fetch`; `forget` drops what it remembers of a job."""

        async def prefetch(context: Context) -> None:
            try:
                if context.args["tracks"]:
                    await fetch(context)
            finally:
                forget(context.id)

        self._jobs.register(KIND, prefetch, attempts=2)

    async def run(self) -> None:
        """Submit a prefetch before each expected time, until cancelled."""
        while True:
            try:
                await self.look()
            except ChadboxError as error:
                log.error("the commute cannot be prepared: %s", error)
            except Exception:  # whatever it is, tomorrow's trip is still to be prepared
                log.exception("the commute cannot be prepared")
            await asyncio.sleep(SLICE)

    async def look(self) -> int | None:
        """Submit the prefetch if it is due and was not yet; its job."""
        expected = await self._expected()
        if expected is None or expected - time.time() > LEAD:
            return None
        # a habit moves by minutes as it is learned: the same trip is not prepared twice
        done = await self._store.read(lambda con: meta.get(con, _DONE))
        if isinstance(done, (int, float)) and abs(done - expected) < LEAD * 3:
            return None
        tracks = [str(choice.id) for choice in await self.choices(expected) if not choice.cached]
        job = await self._jobs.submit(KIND, {"tracks": tracks}, key="commute") if tracks else None
        await self._store.write(lambda con: meta.put(con, _DONE, expected))
        return job

    async def _expected(self) -> float | None:
        """`next_time` from habits that are read again every RELEARN seconds, and when the clock has jumped."""
        if not self._right():
            return None
        now, steady, library = time.time(), time.monotonic(), self._library.library_id or ""
        key = (steady // RELEARN, (now - steady) // 60, library)
        if self._learned is None or self._learned[0] != key:
            peaks = await self._store.read(lambda con: times.habits(times.starts(con, library, now), now))
            self._learned = (key, peaks)
        return times.following(self._learned[1], now)


def parse_time(text: str, now: float) -> float:
    """Unix time of ISO 8601 or of HH:MM, which is today's or else tomorrow's. Raises UsageError."""
    wrong = UsageError(f'"{text[:40]}" is not a time; write HH:MM or, for example, 2026-03-31T07:30')
    text = text.strip()
    try:
        if len(text) <= 5 and ":" in text:
            clock = datetime.time.fromisoformat(text.zfill(5))
            today = datetime.datetime.fromtimestamp(now).astimezone()
            at = datetime.datetime.combine(today.date(), clock).astimezone()
            if at.timestamp() < now:
                at = datetime.datetime.combine(today.date() + datetime.timedelta(days=1), clock).astimezone()
            return at.timestamp()
        found = datetime.datetime.fromisoformat(text).timestamp()
        return found if 0 <= found < 32503680000 else _raise(wrong)
    except (ValueError, OverflowError, OSError):
        raise wrong from None


def _raise(error: UsageError) -> float:
    raise error
