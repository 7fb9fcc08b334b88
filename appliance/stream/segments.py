"""The fetcher's hands for tracks that are playlists of HLS (P2)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from urllib.parse import urlsplit

from appliance.cloud.client import CloudClient
from appliance.errors import StorageError
from appliance.stream import hls
from appliance.stream.cache import Cache
from appliance.stream.entry import CacheEntry
from appliance.stream.need import Demand, Role
from appliance.stream.transfer import Changed, Flight

BEHIND = 8 << 20  # bytes of a live stream that stay readable behind its reader
STEP = 1 << 20


class Segments:
    """Loads playlists, asks for sizes in the background, fetches segments. `news` is called when that changes gaps."""

    def __init__(self, cloud: CloudClient, cache: Cache, news: Callable[[], None]) -> None:
        self._cloud = cloud
        self._cache = cache
        self._news = news
        self._tasks: set[asyncio.Task[None]] = set()

    def close(self) -> None:
        for task in self._tasks:
            task.cancel()

    def source(self, demand: Demand) -> hls.Source | None:
        """Where the bytes of a demand come from when its track is a playlist; asks for sizes where a seek may come."""
        entry = demand.entry
        if entry.hls is None and _is_listed(demand):
            entry.hls, entry.expected_sha256 = hls.Source(entry.mark), None
        source = entry.hls
        if source is not None and source.plan is not None and not source.measured and demand.role <= Role.NEXT:
            source.measured = True
            source.hold_until = asyncio.get_running_loop().time() + hls.PATIENCE
            self._spawn(self._measure(entry, source))
        return source

    def begin(self, flight: Flight) -> bool:
        """An answer has shown that the track is a playlist; false when bytes of something else are here already."""
        entry = flight.entry
        if entry.have:
            return False
        entry.hls, entry.expected_sha256, entry.size = hls.Source(), None, None
        return True

    async def fetch(self, flight: Flight, source: hls.Source) -> bool:
        """Do what `flight` is for; whether that was to bring bytes. Raises as `transfer.fly` does, and Unplayable."""
        entry = flight.entry
        if not source.due(asyncio.get_running_loop().time(), flight.start):
            await hls.receive(flight, source, self._cloud, self._cache)
            return not source.stale
        await hls.load(source, flight.url, self._cloud)
        plan = source.plan
        if source.live and not entry.volatile:
            self._cache.keep_in_memory(entry)
            raise Changed(f"track {entry.track_id} is a live stream, which is not kept")
        if plan is not None and plan.ended:
            self._cache.keep_in_memory(entry, on=False)
            entry.version = entry.version or f"hls:{plan.identity}"
            if plan.size is not None:
                entry.learn_size(plan.size)
        return False

    def read_at(self, entry: CacheEntry, position: int) -> None:
        """The reader has come to byte `position`: of a live stream, what is far behind it is given up."""
        source = entry.hls
        if source is None or not source.live or not entry.volatile:
            return
        stop = (position - BEHIND) // STEP * STEP
        if stop > source.forgotten:
            start, source.forgotten = source.forgotten, stop
            self._spawn(self._forget(entry, start, stop))

    async def _forget(self, entry: CacheEntry, start: int, stop: int) -> None:
        try:
            await self._cache.forget(entry, start, stop)
        except StorageError:
            return  # then it takes memory

    async def _measure(self, entry: CacheEntry, source: hls.Source) -> None:
        await hls.measure(source, self._cloud)
        source.hold_until = 0.0
        if source.plan is not None and source.plan.size is not None:
            entry.learn_size(source.plan.size)
        self._news()

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _is_listed(demand: Demand) -> bool:
    if (demand.entry.mark or "").startswith("hls:"):
        return True
    try:
        return not demand.entry.have and urlsplit(demand.track.url).path.lower().endswith((".m3u8", ".m3u"))
    except ValueError:
        return False
