"""Where a track is (L4): on the server, in the cache, on a drive; nowhere, when its drive is not plugged in."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from msgspec import structs

from appliance.cloud.models import Track
from appliance.own import is_own
from appliance.stream import Cache


class Located(Track, kw_only=True, omit_defaults=True, gc=False):
    """A track as clients see it; `where` holds words of `network`, `cache`, `drive`."""

    where: list[str]


class Where:
    """`on_drive` tells whether a drive that is plugged in has the track, `library` the server's library id."""

    def __init__(self, cache: Cache, library: Callable[[], str], on_drive: Callable[[str], bool]) -> None:
        self._cache, self._library, self._on_drive = cache, library, on_drive

    async def of(self, tracks: Sequence[Track]) -> list[list[str]]:
        """For each track the places where it is, the nearest last."""
        whole = await self._cache.whole(self._library(), [str(track.id) for track in tracks]) if tracks else set()
        return [self.words(track, cached=str(track.id) in whole) for track in tracks]

    async def located(self, tracks: Sequence[Track]) -> list[Located]:
        """The same tracks with their places."""
        places = await self.of(tracks)
        return [located(track, where) for track, where in zip(tracks, places, strict=True)]

    def words(self, track: Track, *, cached: bool) -> list[str]:
        """The places of one track of which it is known whether the cache has all of it."""
        key = str(track.id)
        found = [] if is_own(key) else ["network"]
        return found + ["cache"] * cached + ["drive"] * self._on_drive(key)


def located(track: Track, where: list[str]) -> Located:
    return Located(**structs.asdict(track), where=where)
