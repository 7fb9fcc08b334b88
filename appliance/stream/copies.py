"""Whole copies of tracks that are nearer than the server: what a drive has need not come over the network (C8)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

from appliance.cloud.models import Track
from appliance.errors import StorageError
from appliance.stream.cache import Cache
from appliance.stream.entry import CacheEntry, strong_etag
from appliance.stream.transfer import Flight


class Copy(Protocol):
    """A whole copy of a track somewhere else than on the server; `size` in bytes."""

    @property
    def size(self) -> int: ...
    @property
    def sha256(self) -> str: ...
    @property
    def etag(self) -> str | None: ...


Local = Callable[[Track, CacheEntry, int, int], Awaitable[tuple[bytes, Copy] | None]]


async def from_copy(flight: Flight, local: Local, cache: Cache) -> bool:
    """Whether a copy had the bytes; they go where those of the server would have gone. Raises StorageError."""
    entry, demand = flight.entry, flight.demand
    start, stop = flight.wanted
    found = await local(demand.track, entry, start, stop)
    if found is None or entry.superseded:
        return False
    data, copy = found
    if not entry.volatile and not entry.have and not await cache.make_room(stop - start):
        raise StorageError("the cache has no room")
    entry.version = entry.version or f"sha256:{copy.sha256}"
    tag = strong_etag(copy.etag)
    if entry.mark is None and tag:
        entry.mark = f"etag:{tag}"
    entry.from_drive = True
    entry.learn_size(copy.size)
    for first, last in list(entry.have.gaps(start, start + len(data))):
        await cache.write(entry, first, data[first - start : last - start])
    demand.attempts.got_on()
    return True
