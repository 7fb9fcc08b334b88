"""`fetch`: tracks to the cache ahead of time, as a durable job below playing in priority (R5)."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from msgspec import Struct

from appliance.cloud.models import Id
from appliance.errors import ChadboxError, CloudError, NotFound, StorageError
from appliance.jobs import Context
from appliance.player.deck import Tracks
from appliance.stream import Cache, Fetcher, Role

AT_ONCE = 3


class Failure(Struct):
    """A track that could not be had, and why, in one line."""

    id: Id
    title: str
    reason: str


class Result(Struct):
    """What a fetch has done; `bytes` are those that came over the network."""

    tracks: int = 0
    bytes: int = 0
    failed: list[Failure] = []


class Fetching:
    """The handler of the job kind `fetch`, args `{"tracks": [id]}`."""

    kind = "fetch"

    def __init__(self, tracks: Tracks, cache: Cache, fetcher: Fetcher) -> None:
        self._tracks = tracks
        self._cache = cache
        self._fetcher = fetcher
        self._results: dict[int, Result] = {}

    def take_result(self, job: int) -> Result:
        """What job number `job` did in this run; empty when it ran in an earlier one."""
        return self._results.pop(job, Result())

    async def __call__(self, context: Context) -> Any:
        ids: Sequence[str] = [str(i) for i in context.args["tracks"]]
        result = self._results[context.id] = Result()
        done = 0
        slots = asyncio.Semaphore(AT_ONCE)

        async def one(track_id: str) -> None:
            nonlocal done
            async with slots:
                try:
                    result.bytes += await self._fetch(track_id)
                    result.tracks += 1
                except ChadboxError as error:
                    result.failed.append(await self._failure(track_id, str(error)))
            done += 1
            context.progress(done * 100 // len(ids))

        async with asyncio.TaskGroup() as group:
            for track_id in ids:
                group.create_task(one(track_id))
        if result.failed and not result.tracks:
            raise CloudError(f"none of the {len(ids)} tracks could be fetched: {result.failed[0].reason}")

    async def _fetch(self, track_id: str) -> int:
        """Bytes that had to come over the network. A file that changed meanwhile on the server is begun anew, once."""
        try:
            return await self._fetch_once(track_id)
        except StorageError:
            return await self._fetch_once(track_id)

    async def _fetch_once(self, track_id: str) -> int:
        track = await self._tracks.track(track_id)
        file = await self._cache.acquire(self._tracks.library_id or "", track)
        try:
            if file.volatile and self._cache.is_unkept(file):
                raise CloudError("it is a live stream, or too large for the cache; it cannot be kept")
            if file.volatile:
                raise CloudError("the cache has no room for it; raise cache.max_bytes or free some space")
            before = file.have.total()
            if not file.complete:
                demand = self._fetcher.demand(file, track, Role.JOB)
                try:
                    await demand.finished
                finally:
                    self._fetcher.withdraw(demand)
            return file.have.total() - before
        finally:
            self._cache.release(file)

    async def _failure(self, track_id: str, reason: str) -> Failure:
        try:
            track = await self._tracks.track(track_id)
        except NotFound:
            return Failure(track_id, "", reason)
        return Failure(track.id, track.title, reason)
