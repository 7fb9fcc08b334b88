"""What the user is looking at in the menu is fetched ahead, so that a press sounds at once (P6).

highlight --- rests for REST_S ---> head of its first track asked for (below everything that plays)
    moves on: what was asked for is withdrawn, a moment later, so that a press can take it over
"""

from __future__ import annotations

import asyncio
import logging
from typing import Protocol

from appliance.cloud.models import Track
from appliance.errors import ChadboxError
from appliance.own import is_own
from appliance.stream import Cache, CacheEntry, Demand, Fetcher, Role

log = logging.getLogger(__name__)

REST_S = 0.3


class Tracks(Protocol):
    @property
    def library_id(self) -> str | None: ...
    async def track(self, track_id: str, /) -> Track: ...
    async def resolve(self, what: str, /) -> list[str]: ...


class Peeker:
    """`look_at` is called with WHAT a press would play first, or "" for nothing; the newest one counts."""

    def __init__(self, tracks: Tracks, cache: Cache, fetcher: Fetcher) -> None:
        self._tracks, self._cache, self._fetcher = tracks, cache, fetcher
        self._wanted = ""
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None
        self._held: tuple[str, CacheEntry, Demand | None] | None = None

    @property
    def held(self) -> str:
        """WHAT is being fetched ahead right now; empty for nothing."""
        return self._held[0] if self._held else ""

    def look_at(self, what: str) -> None:
        """Returns at once."""
        if what == self._wanted:
            return
        self._wanted = what
        if self._timer is None and self._task is None:
            self._rest()
        elif self._timer is not None:
            self._timer.cancel()
            self._rest()

    async def close(self) -> None:
        """Withdraw what was asked for."""
        self._wanted = ""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        self._let_go()

    def _rest(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(REST_S, self._rested)

    def _rested(self) -> None:
        self._timer = None
        self._task = asyncio.create_task(self._swap(self._wanted))

    async def _swap(self, what: str) -> None:
        try:
            if what != self.held:
                self._let_go()
                if what:
                    await self._take(what)
        except ChadboxError as error:
            log.debug("%s is not fetched ahead: %s", what, error)
        except Exception:  # a convenience that fails must not take the menu with it
            log.exception("fetching ahead failed")
        finally:
            self._task = None
        if self._wanted != what:
            self._rest()

    async def _take(self, what: str) -> None:
        kind, _, key = what.partition(":")
        track_id = key if kind == "track" else (await self._tracks.resolve(what))[0]
        if is_own(track_id):
            return  # on a drive it is near enough
        track = await self._tracks.track(track_id)
        entry = await self._cache.acquire(self._tracks.library_id or "", track)
        demand = None if entry.complete else self._fetcher.demand(entry, track, Role.PEEK)
        self._held = (what, entry, demand)

    def _let_go(self) -> None:
        held, self._held = self._held, None
        if held is not None:
            _, entry, demand = held
            if demand is not None:
                self._fetcher.withdraw(demand)
            self._cache.release(entry)
