"""The library on the box: what the player, the panel and the control socket ask about music."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from appliance.cloud.models import Id, Track
from appliance.errors import NotFound, UsageError
from appliance.events import Bus, LibraryChanged
from appliance.library import browse, history, own, search
from appliance.library.fold import Query
from appliance.library.sync import Cloud, Syncer, SyncResult
from appliance.own import is_own
from appliance.store import Store

WORDS = 100  # most tracks that words to search for stand for
CLOSING = 1.5  # seconds that a cancelled sync gets


class Library:
    """One per process. All methods may be called at any time between `open` and `close`; none blocks the event loop.

    `commute`, if set, answers the WHAT of that name with track ids in play order.
    """

    def __init__(self, store: Store, cloud: Cloud, bus: Bus) -> None:
        self._store, self._bus = store, bus
        self._syncer = Syncer(store, cloud, bus)
        self._running: asyncio.Task[SyncResult] | None = None
        self._running_depth = 0
        self._waiters = 0
        self._filled = asyncio.Event()
        self.own = own.OwnTracks(store, lambda: bus.publish(LibraryChanged(seq=self.seq)))
        self.commute: Callable[[], Awaitable[list[str]]] | None = None

    async def open(self) -> None:
        """Read where the index stands."""
        await self._syncer.load()
        if self._syncer.state.filled:
            self._filled.set()

    async def close(self) -> None:
        """End a running sync; what it wrote stays and the next one goes on from there."""
        if self._running is not None:
            self._running.cancel()
            await asyncio.wait([self._running], timeout=CLOSING)

    @property
    def library_id(self) -> str | None:
        """The server's library id as text; None before the first page ever."""
        return self._syncer.state.library

    @property
    def seq(self) -> int | None:
        return self._syncer.state.seq

    @property
    def tracks(self) -> int:
        """Number of tracks in the index."""
        return self._syncer.state.tracks

    @property
    def syncing(self) -> bool:
        return self._running is not None

    # -- sync ------------------------------------------------------------------------------------------------------

    async def sync(self, *, full: bool = False, routine: bool = False) -> SyncResult:
        """Bring the index up to date; a second caller joins the running sync.

        With `full`, everything is asked for again (after a lesser sync that is under way); with `routine`, a server
        that has no delta library is not crawled whole each time. When the last caller is cancelled, so is the sync.
        Raises CloudError or StorageError; what was written before stays.
        """
        depth = 2 if full else 0 if routine else 1
        while self._running is not None and self._running_depth < depth:
            await asyncio.wait([self._running])
            await asyncio.sleep(0)
        if self._running is None:
            self._running_depth = depth
            self._running = asyncio.create_task(self._sync(full, routine))
        task = self._running
        self._waiters += 1
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if self._waiters == 1 and not task.done():
                task.cancel()
                await asyncio.wait([task], timeout=CLOSING)
            raise
        finally:
            self._waiters -= 1

    async def _sync(self, full: bool, routine: bool) -> SyncResult:
        before = self._syncer.state
        was = (before.library, before.seq, before.tracks)
        result = None
        try:
            result = await self._syncer.run(full=full, routine=routine)
        finally:
            self._running = None
            after = self._syncer.state
            if after.filled:
                self._filled.set()
            crawled = after.older and (result is None or result.updated)  # such a server has no sequence
            if (after.library, after.seq, after.tracks) != was or after.resync is not None or crawled:
                self._bus.publish(LibraryChanged(seq=after.seq))
        return result

    async def wait_first_sync(self, timeout: float | None = None) -> bool:
        """True at once when the index was ever filled; False when that does not happen within `timeout` seconds."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._filled.wait(), timeout)
        return self._filled.is_set()

    # -- tracks ----------------------------------------------------------------------------------------------------

    async def track(self, track_id: Id) -> Track:
        """Raises NotFound."""
        found = await self.get_tracks([track_id])
        if not found:
            raise NotFound(f'there is no track "{str(track_id)[:80]}" in the library')
        return found[0]

    async def get_tracks(self, track_ids: Iterable[Id]) -> list[Track]:
        """Tracks in the order asked for; those that the library does not have are left out.

        Music of a drive that is not plugged in is remembered, and told all the same: the queue may hold it.
        """
        ids = [str(i) for i in track_ids]
        return await self._store.read(lambda con: _known(con, ids)) if ids else []

    # -- finding ---------------------------------------------------------------------------------------------------

    async def search(self, words: str, limit: int = 20) -> dict[str, list[Any]]:
        """`{"tracks": [Track], "albums": [Item], "artists": [Item]}`, best first, at most `limit` (200) of each.

        Every word must be found, the last one as a prefix, in title, artist or album; case, diacritics and
        punctuation do not count. First comes what is called exactly so, then what begins so, then the rest.
        """
        return await self._store.read(lambda con: search.search(con, words, limit))

    async def browse(
        self, category: str | None = None, value: str | None = None, offset: int = 0, limit: int = 100, filter: str = ""
    ) -> dict[str, Any]:
        """Lists as in the server's API (`filter`: names that contain it; at most 1,000 entries an answer).

        Nothing given: `{"categories": [...]}`. A category: `{"items": [Item], "total": n}`. The value `album` of a
        category: `{"album": Item, "tracks": [Track], "total": n}`; another category's value: its albums as
        `{"items", "total"}`, an artist's by year, others by name. Raises UsageError (category), NotFound (value).
        """
        if category is None:
            return browse.categories()
        if value is None:
            return await self._store.read(lambda con: browse.values(con, category, offset, limit, filter))
        return await self._store.read(lambda con: browse.value(con, category, value, offset, limit, filter))

    async def letters(self, category: str) -> list[tuple[str, int]]:
        """(first letter of the sort key, offset in `browse(category)`), for letter jumps. Raises UsageError."""
        return await self._store.read(lambda con: browse.letters(con, category))

    async def resolve(self, what: str) -> list[str]:
        """Track ids, as text and in play order, of `track:ID`, `album:ID`, `artist:NAME`, `genre:NAME`,
        `playlist:NAME`, `favourites`, `commute`, or words to search for.

        Words that name an artist or album exactly, and no track, stand for it; else for the tracks found, best first.
        Names need not match in case and diacritics. Raises NotFound, also for what is empty, and UsageError.
        """
        what = what.strip()
        kind, colon, name = what.partition(":")
        name = name.strip()
        library = self.library_id or ""
        if colon and kind in _KINDS:
            if not name:
                raise UsageError(f"{kind}: needs {_KINDS[kind]} after the colon")
            ids = await self._store.read(lambda con: _resolve(con, library, kind, name))
        elif what == "favourites":
            ids = await self._store.read(lambda con: _present(con, history.favourites(con, library)))
        elif what == "commute":
            if self.commute is None:
                raise UsageError("commute prediction is not running")
            ids = await self.commute()
        elif what:
            ids = await self._store.read(lambda con: _words(con, what))
        else:
            raise UsageError("say what: track:ID album:ID artist:NAME genre:NAME playlist:NAME or words to search for")
        if not ids:
            raise NotFound(f'nothing found for "{what[:80]}"')
        return ids

    # -- the listener's own ----------------------------------------------------------------------------------------

    async def record_play(self, track_id: Id, seconds: float, clock_ok: bool) -> str:
        """Book that a track was heard for `seconds`; returns the play's UUID."""
        library, text = self.library_id or "", str(track_id)
        return await self._store.write(lambda con: history.record(con, library, text, seconds, clock_ok))

    async def recently_played(self, limit: int = 50) -> list[Track]:
        """The tracks heard last, newest first, each once."""
        library = self.library_id or ""
        return await self._store.read(lambda con: search.tracks_by_id(con, history.recent(con, library, limit)))

    async def play_count(self, track_id: Id) -> int:
        """How often a track was heard for half its length, or four minutes."""
        library, text = self.library_id or "", str(track_id)
        return await self._store.read(lambda con: history.plays(con, library, text))

    async def set_favourite(self, track_id: Id, on: bool = True) -> None:
        """Raises NotFound for a track that the library does not have."""
        if on:
            await self.track(track_id)
        library, text = self.library_id or "", str(track_id)
        await self._store.write(lambda con: history.set_favourite(con, library, text, on))

    async def favourites(self) -> list[str]:
        library = self.library_id or ""
        return await self._store.read(lambda con: history.favourites(con, library))

    async def playlists(self) -> list[tuple[str, int]]:
        """(name, number of tracks) in alphabetical order."""
        library = self.library_id or ""
        return await self._store.read(lambda con: history.playlists(con, library))

    async def set_playlist(self, name: str, track_ids: Iterable[Id]) -> None:
        """Make or replace a playlist. Raises UsageError for a bad name."""
        library, ids = self.library_id or "", [str(i) for i in track_ids]
        await self._store.write(lambda con: history.set_playlist(con, library, name, ids))

    async def drop_playlist(self, name: str) -> None:
        """Raises NotFound."""
        library = self.library_id or ""
        if not await self._store.write(lambda con: history.drop_playlist(con, library, name)):
            raise NotFound(f'there is no playlist "{name[:80]}"')


_KINDS = {
    "track": "a track id", "album": "an album id", "artist": "a name", "genre": "a name", "playlist": "a name",
}  # fmt: skip


def _resolve(con: Any, library: str, kind: str, name: str) -> list[str]:
    if kind == "track":
        if not (ids := _present(con, [name])):
            raise NotFound(f'there is no track "{name[:80]}" in the library')
        return ids
    if kind == "album":
        return browse.album_tracks(con, browse.album(con, name))
    if kind == "playlist":
        return _present(con, history.playlist(con, library, name))
    return browse.facet_tracks(con, kind, name)


def _known(con: Any, ids: list[str]) -> list[Track]:
    found = {str(track.id): track for track in search.tracks_by_id(con, ids)}
    if absent := [i for i in ids if is_own(i) and i not in found]:
        found |= own.remembered(con, absent)
    return [found[i] for i in ids if i in found]


def _words(con: Any, what: str) -> list[str]:
    query = Query(what)
    tracks = search.find_tracks(con, query, WORDS)
    if not tracks.exact:
        if artists := search.find_artists(con, query, WORDS).exact:
            return browse.facet_tracks(con, "artist", search.load_artists(con, artists[:1])[0].name)
        if albums := search.find_albums(con, query, WORDS).exact:
            return browse.album_tracks(con, albums[0])
    return [str(t.id) for t in search.load_tracks(con, tracks.all)]


def _present(con: Any, track_ids: list[str]) -> list[str]:
    """Those of `track_ids` that the library has, in their order."""
    return [str(t.id) for t in search.tracks_by_id(con, track_ids)]
