"""Where the bytes of a track come from: the box's cache, filled over the network if need be; else straight from there.

A fill asks below playing in priority (Role.JOB). What comes over the network comes once: it stays in the cache, or goes
to the drive as it arrives when the cache has no room for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Protocol

from appliance.cloud.body import IsPlaylist
from appliance.cloud.client import CloudClient
from appliance.cloud.models import Track
from appliance.errors import CloudError, Gone, Offline, ServerError, StorageError
from appliance.stream import Cache, CacheEntry, Fetcher, Role
from appliance.stream.entry import strong_etag

BLOCK = 4 << 20  # bytes of a request that goes straight to a drive
ATTEMPTS = 5
YIELD = 0.05  # seconds between two looks whether playing still needs the line


class Tracks(Protocol):
    """What a fill asks of the library."""

    @property
    def library_id(self) -> str | None: ...
    async def get_tracks(self, track_ids: Sequence[str], /) -> Sequence[Track]: ...


class Source(Protocol):
    """What a fill asks for tracks: Supply in the player, and the player itself where the command copies."""

    @property
    def library(self) -> str: ...
    @property
    def tracks(self) -> Tracks: ...
    async def cached(self, track: Track, *, network: bool = True) -> CacheEntry | None: ...
    def release(self, entry: CacheEntry) -> None: ...
    async def damaged(self, entry: CacheEntry) -> None: ...
    def download(self, track: Track) -> AsyncIterator[bytes]: ...


class Supply:
    """Gets tracks ready to be copied."""

    def __init__(self, tracks: Tracks, cache: Cache, fetcher: Fetcher, cloud: CloudClient) -> None:
        self.tracks, self._cache, self._fetcher, self._cloud = tracks, cache, fetcher, cloud
        self._opening = asyncio.Lock()  # tracks that are wanted together are fetched in the order in which they were

    @property
    def cache(self) -> Cache:
        return self._cache

    @property
    def library(self) -> str:
        return self.tracks.library_id or ""

    async def cached(
        self, track: Track, *, network: bool = True, watch: Callable[[CacheEntry], None] = lambda entry: None
    ) -> CacheEntry | None:
        """The whole file in the cache, held there until `release`; None when the cache has no room for it.

        One that has just come is checked by then. Without `network`, only what is there already; `watch` gets the entry
        before it is fetched. Raises CloudError when it cannot be had, StorageError.
        """
        for attempt in (1, 2):
            demand = None
            async with self._opening:
                entry = await self._cache.acquire(self.library, track)
                if not entry.complete and network and not entry.volatile:
                    watch(entry)
                    demand = self._fetcher.demand(entry, track, Role.JOB)
            try:
                if demand is not None:
                    try:
                        await demand.finished
                    finally:
                        self._fetcher.withdraw(demand)
                elif not entry.complete:
                    if not network:
                        raise Offline("the music server cannot be reached")
                    self._cache.release(entry)
                    return None
                await self._cache.settled(entry)
                if not entry.superseded:
                    return entry
            except StorageError:  # replaced by another version while it was fetched
                if attempt == 2:
                    self._cache.release(entry)
                    raise
            except BaseException:
                self._cache.release(entry)
                raise
            self._cache.release(entry)
        raise StorageError("its file on the box was replaced while it was copied")

    def release(self, entry: CacheEntry) -> None:
        self._cache.release(entry)

    async def damaged(self, entry: CacheEntry) -> None:
        """The cache's bytes are not the track: never use them again."""
        await self._cache.supersede(entry)

    async def download(self, track: Track) -> AsyncIterator[bytes]:
        """The track's bytes from the first to the last, each once over the network. Raises CloudError."""
        position, failures, fresh = 0, 0, False
        etag, url, size = strong_etag(track.etag), track.url, track.size
        try:
            while size is None or position < size:
                while self._fetcher.urgent:  # noqa: ASYNC110 - between two blocks of 4 MiB, while music plays
                    await asyncio.sleep(YIELD)
                before = position
                try:
                    async with self._cloud.open(url, position, position + BLOCK, etag=etag) as body:
                        if body.start != position or (body.etag and etag and body.etag != etag):
                            raise ServerError("the server's file changed while it was copied", status=409)
                        size, etag = body.size if body.size is not None else size, body.etag or etag
                        async for chunk in body.response.chunks():
                            self._cache.counters.network_bytes += len(chunk)
                            position += len(chunk)
                            yield chunk
                    if not body.ranged:
                        return
                    if position == before:
                        raise ServerError("the server sent nothing")
                    failures = 0
                except IsPlaylist:
                    raise CloudError("its HLS segments need room in the cache before they can be copied") from None
                except Gone:
                    if fresh or track.album_id is None:
                        raise
                    fresh = True
                    url = await self._fresh(track)
                except (Offline, ServerError) as error:
                    failures = 1 if position > before else failures + 1
                    if failures >= ATTEMPTS or getattr(error, "status", None) == 409:
                        raise
                    await asyncio.sleep(0.25 * failures)
        finally:
            await asyncio.shield(self._cache.save_counters())

    async def _fresh(self, track: Track) -> str:
        if track.album_id is not None:
            for other in await self._cloud.album_tracks(track.album_id):
                if str(other.id) == str(track.id):
                    return other.url
        raise CloudError("the server does not have it any more")
