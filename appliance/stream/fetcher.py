"""Gets missing bytes from the server, in order of need, each of them once (P4, P5, P6).

Requests are for blocks of half a second or so, and every block that was begun is read to its end: a seek or a skip
changes what is asked for next, never throws away what is on its way. So the bytes fetched for a track are the bytes of
the track.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from appliance.cloud.body import IsPlaylist
from appliance.cloud.client import CloudClient
from appliance.cloud.models import Track
from appliance.errors import BadAddress, ChadboxError, CloudError, Gone, ServerError, SettingsError, StorageError
from appliance.health import CLOUD, Health, word_of
from appliance.stream.cache import Cache
from appliance.stream.copies import Local, from_copy
from appliance.stream.entry import CacheEntry
from appliance.stream.need import FIRST, Demand, Need, Role, order_of_need
from appliance.stream.ranges import IntervalSet
from appliance.stream.retry import ATTEMPTS, PROGRESS
from appliance.stream.segments import Segments
from appliance.stream.transfer import Changed, Flight, Untagged, fly, largest

log = logging.getLogger(__name__)

BACKGROUND = 5  # levels from here on wait until nothing of the ones before is under way
BLOCK_SECONDS = 0.5
URGENT_SLOTS = 3
JOB_SLOTS = 3
LANDING = 0.8  # seconds that blocks under way get at the end


class Fetcher:
    """Serves demands; the caller makes and withdraws them and hears of what can't be had.

    `on_failed(entry, reason)`: the track can't be had and waiting is no use. `on_superseded(entry)`: the bytes so far
    are no use, acquire the track anew. Both are called on the event loop.
    """

    def __init__(self, cloud: CloudClient, cache: Cache, health: Health) -> None:
        self._cloud = cloud
        self._cache = cache
        self._health = health
        self._demands: list[Demand] = []
        self._flights: dict[asyncio.Task[None], Flight] = {}
        self._segments = Segments(cloud, cache, self._dispatch)
        self._timer: asyncio.TimerHandle | None = None
        self._ranges_work = False  # a 206 was seen
        self._rate = 0.0  # bytes a second, smoothed; 0: not measured yet
        self._closed = False
        self.local: Local | None = None  # asked before the network: a drive may have the bytes (C8)
        self.on_failed: Callable[[CacheEntry, str], None] = lambda entry, reason: None
        self.on_superseded: Callable[[CacheEntry], None] = lambda entry: None

    def demand(self, entry: CacheEntry, track: Track, role: Role) -> Demand:
        """Want all of `entry`; hold on to the result and give it to `withdraw` when it is not wanted any more."""
        demand = Demand(entry, track, role)
        self._demands.append(demand)
        self._dispatch()
        return demand

    def withdraw(self, demand: Demand) -> None:
        if demand in self._demands:
            self._demands.remove(demand)
            demand.finished.cancel()
            self._dispatch()

    def set_role(self, demand: Demand, role: Role) -> None:
        demand.role = role
        if role is Role.CURRENT:
            demand.attempts.hurry(asyncio.get_running_loop().time(), self._cloud.timing)
        self._dispatch()

    def read_at(self, entry: CacheEntry, position: int, *, waiting: bool) -> None:
        """The reader of `entry` is at byte `position`, and `waiting` when that byte is not here."""
        for demand in self._demands:
            if demand.entry is entry and demand.role in (Role.CURRENT, Role.NEXT):
                demand.position, demand.waiting = position, waiting
        self._segments.read_at(entry, position)
        self._dispatch()

    @property
    def urgent(self) -> bool:
        """Whether playing needs the line just now."""
        return any(f.level < BACKGROUND for f in self._flights.values())

    def retry_now(self) -> None:
        """The network or the token is back: do not sit out the waiting times."""
        for demand in self._demands:
            demand.attempts.not_before = 0.0
        self._dispatch()

    async def close(self) -> None:
        self._closed = True
        self._segments.close()
        if self._timer:
            self._timer.cancel()
        if self._flights:  # what the server has sent already should not have to be sent again
            await asyncio.wait(self._flights, timeout=LANDING)
        for task in tuple(self._flights):
            task.cancel()
        await asyncio.gather(*self._flights, return_exceptions=True)
        for demand in self._demands:
            demand.finished.cancel()

    # Deciding ---------------------------------------------------------------------------------------------------------

    def _dispatch(self) -> None:
        """Start what should be under way and is not. Called after everything that can change the answer."""
        if self._closed:
            return
        now = asyncio.get_running_loop().time()
        retry_at: float | None = None
        for demand in self._demands:
            if demand.entry.complete and not demand.finished.done():
                demand.finished.set_result(None)
        for need in order_of_need(self._demands):
            gap, in_flight = self._gap(need)
            source = need.demand.entry.hls
            if source is not None and (later := source.wake_at(now)) is not None:
                retry_at = min(retry_at or later, later)
            if gap is None:
                if in_flight and need.level < BACKGROUND:
                    break  # it is on its way; whatever is less urgent waits for it
                continue
            if (later := need.demand.attempts.not_before) > now:
                retry_at = min(retry_at or later, later)
                continue
            flights = self._flights.values()
            slots = {0: URGENT_SLOTS, 6: JOB_SLOTS}.get(need.level, 1)
            if sum(f.level <= need.level for f in flights) >= slots:
                break
            if need.level >= BACKGROUND and any(f.level < BACKGROUND for f in flights):
                break
            if source is None and not self._ranges_work and any(f.entry is need.demand.entry for f in flights):
                continue  # a server without Range would send the whole file twice
            self._start(need, *gap)
        if self._timer:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_at(retry_at, self._dispatch) if retry_at else None

    def _gap(self, need: Need) -> tuple[tuple[int, int] | None, bool]:
        """The first block of `need` that is neither here nor on its way, and whether some of it is on its way."""
        entry = need.demand.entry
        flying = [
            (f.start, f.stop)
            for f in self._flights.values()
            if f.entry is entry and f.start < need.stop and f.stop > need.start
        ]
        if (source := self._segments.source(need.demand)) is not None:
            every = [(f.start, f.stop) for f in self._flights.values() if f.entry is entry]
            return source.gap(need.start, need.stop, entry.have, every, asyncio.get_running_loop().time())
        known = entry.have
        if flying:
            known = IntervalSet([*known, *flying])
        if need.demand.sequential and flying:
            return None, not entry.have.covers(need.start, need.stop)
        for start, stop in known.gaps(need.start, need.stop):
            return (start, min(stop, start + self._block(need.demand))), bool(flying)
        return None, bool(flying) and not entry.have.covers(need.start, need.stop)

    def _block(self, demand: Demand) -> int:
        if demand.waiting or (demand.entry.size is None and demand.role is not Role.JOB):
            return FIRST
        return int(min(max(self._rate * BLOCK_SECONDS, FIRST), largest(demand)))

    def _start(self, need: Need, start: int, stop: int) -> None:
        flight = Flight(need.demand, start, stop, need.level)
        task = asyncio.create_task(self._fetch(flight))
        self._flights[task] = flight
        need.demand.entry.users += 1  # the file stays open until the block has landed, whoever has left meanwhile

        def landed(_: asyncio.Task[None]) -> None:
            self._cache.release(self._flights.pop(task).entry)
            self._dispatch()

        task.add_done_callback(landed)

    # Fetching ---------------------------------------------------------------------------------------------------------

    async def _fetch(self, flight: Flight) -> None:
        """One request; every outcome ends in a state from which `_dispatch` goes on."""
        try:
            await self._try(flight)
        except Exception as error:  # a defect must not stop the music
            log.exception("fetching track %s failed", flight.entry.track_id)
            await self._failed(flight, ServerError(f"internal error: {error}"))

    async def _try(self, flight: Flight) -> None:
        entry = flight.entry

        def alone() -> bool:
            return not any(f.bound for f in self._flights.values() if f.entry is entry and f is not flight)

        try:
            if self.local is not None and await from_copy(flight, self.local, self._cache):
                return
            if entry.hls is not None:
                if not await self._segments.fetch(flight, entry.hls):
                    return
            else:
                await fly(flight, self._cloud, self._cache, alone)
        except IsPlaylist as error:
            if not self._segments.begin(flight):
                log.warning("track %s is a playlist now: %s", entry.track_id, error)
                await self._supersede(entry)
        except Gone as error:
            await self._gone(flight, error)
        except Changed as error:
            log.warning("%s; starting it anew", error)
            await self._supersede(entry)
        except BadAddress as error:
            self._give_up(flight.demand, str(error))
        except (CloudError, SettingsError) as error:
            await self._failed(flight, error)
        except StorageError as error:
            log.error("%s", error)
            await self._supersede(entry)
        except ChadboxError as error:
            self._give_up(flight.demand, str(error))
        else:
            if flight.new or entry.complete or entry.superseded:
                self._worked(flight)
            else:  # it keeps to the form of an answer, but we would ask for ever
                await self._failed(flight, ServerError("the server sent no byte that was asked for"))

    def _worked(self, flight: Flight) -> None:
        demand = flight.demand
        if flight.received:
            took = max(asyncio.get_running_loop().time() - flight.began, 1e-3)
            rate = flight.received / took
            self._rate = rate if not self._rate else 0.7 * self._rate + 0.3 * rate
        if demand.entry.hls is None:
            self._ranges_work = not demand.sequential
        demand.attempts.got_on()
        demand.resolved_at = None
        for word in CLOUD:
            self._health.clear(word)

    # When it goes wrong -----------------------------------------------------------------------------------------------

    async def _failed(self, flight: Flight, error: ChadboxError) -> None:
        """Count it, say it, and try again later, unless the answers make no sense or it is a job, which has its own."""
        demand, now = flight.demand, asyncio.get_running_loop().time()
        self._cache.counters.stream_errors += 1
        if flight.new >= PROGRESS:
            demand.attempts.got_on()
        heard = demand.role is Role.CURRENT
        wait = demand.attempts.failed(error, flight.began, now, self._cloud.timing, heard=heard)
        log.debug("track %s: %s; again in %.1f s", demand.entry.track_id, error, wait)
        if wait > 0:  # what the second attempt puts right need not trouble anybody
            self._health.raise_(word_of(error), str(error))
        if demand.role is Role.JOB and demand.attempts.failures >= ATTEMPTS:
            self._give_up(demand, str(error), error)
        elif demand.attempts.nonsense >= ATTEMPTS and isinstance(error, Untagged):
            await self._supersede(demand.entry)  # from now on the server does without, so what is here proves nothing
        elif demand.attempts.nonsense >= ATTEMPTS and await self._cloud.is_itself():
            self._give_up(demand, str(error))

    async def _gone(self, flight: Flight, error: Gone) -> None:
        """The URL may have expired: ask for a fresh one. If that is of no use either, the track is gone."""
        demand, loop, timing = flight.demand, asyncio.get_running_loop(), self._cloud.timing
        async with demand.resolving:
            since = demand.resolved_at
            if demand.track.url != flight.url or (since is not None and flight.began < since):
                return  # a fresh one has come meanwhile
            tried = since is not None and flight.began - since < timing.fresh
            if tried and error.status == 403:  # forbidden is not gone
                await self._failed(flight, ServerError(str(error), status=403))
                return
            if tried or demand.track.album_id is None:
                self._give_up(demand, str(error))
                return
            self._cache.counters.url_refreshes += 1
            try:
                tracks = await self._cloud.album_tracks(demand.track.album_id)
            except Gone:
                tracks = []
            except CloudError as trouble:
                await self._failed(flight, trouble)
                return
            demand.resolved_at = loop.time()
            fresh = next((t.url for t in tracks if str(t.id) == str(demand.track.id)), None)
            if fresh is None:
                self._give_up(demand, str(error))
            else:
                demand.track.url = fresh
                if demand.entry.hls is not None:
                    demand.entry.hls.stale = True

    async def _supersede(self, entry: CacheEntry) -> None:
        await self._cache.supersede(entry)
        for demand in [d for d in self._demands if d.entry is entry]:
            self._demands.remove(demand)
            if not demand.finished.done():
                demand.finished.set_exception(StorageError("its file was replaced"))
        self.on_superseded(entry)

    def _give_up(self, demand: Demand, reason: str, error: ChadboxError | None = None) -> None:
        self._cache.counters.stream_errors += 1
        if not demand.finished.done():
            demand.finished.set_exception(error or CloudError(reason))
        if demand.role in (Role.CURRENT, Role.NEXT):
            self.on_failed(demand.entry, reason)
