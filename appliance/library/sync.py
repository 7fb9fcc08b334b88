"""Delta sync: asks the server for what changed since a sequence number and writes it page by page (L1).

                 +-------- 410, seq backwards, --full --------+
                 v                                            |
    seq = n --> [resync: pages from 0, tracks noted as seen] [delta: pages since n] <-- next sync
                 |                                            ^  ^
                 v                                            |  |
                [sweep: delete what was not seen] -- seq := N +  |
    another library id --> [empty index, seq = 0] ---------------+

Each page is one transaction together with the place to go on from, so a power cut at any moment costs one page. Where
it stands is in the table `meta`: library.id, library.seq, library.filled (the index was whole once), library.resync.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import logging
import sqlite3
import sys
from typing import Protocol

from msgspec import Struct

from appliance.cloud.models import Id, Stats
from appliance.errors import ChadboxError, Gone, SequenceExpired, ServerError
from appliance.events import Bus, SyncProgress
from appliance.library import albums, apply, crawl, fold, own, pages
from appliance.library.apply import Applied
from appliance.library.crawl import Crawler
from appliance.library.pages import Page
from appliance.store import Store, meta

log = logging.getLogger(__name__)

PAGE = 1000
RESTARTS = 2  # times that one sync starts over before the server counts as confused
SWITCH = 0.0005  # seconds; measured: worst hold-up of the loop 12 ms instead of 19, for no time that can be seen
EMPTY_PAGES = 100  # pages in a row without content, all saying `more`, that are believed


class Cloud(Protocol):
    """What the library needs of the music server."""

    async def library_page(self, since: int, limit: int) -> bytes:
        """The raw JSON of `GET /api/v1/library`.

        Raises SequenceExpired (410), Gone (404: an older server), Offline, TokenRejected or ServerError.
        """
        ...

    async def stats(self) -> Stats: ...

    @property
    def older_library(self) -> str: ...
    async def older_albums(self, offset: int, limit: int) -> bytes: ...
    async def older_tracks(self, album_id: Id) -> bytes: ...


class SyncResult(Struct, frozen=True):
    """What a sync changed, in tracks; `full` when everything was asked for and not only what changed."""

    added: int
    updated: int
    deleted: int
    seq: int | None
    full: bool


class State(Struct):
    """Where the sync stands, as the database has it."""

    library: str | None
    seq: int | None
    filled: bool
    resync: int | None  # the place of a full resync under way, None when there is none
    sweeping: bool
    tracks: int
    older: bool = False  # the server was crawled

    @property
    def since(self) -> int:
        return self.resync if self.resync is not None else self.seq or 0


class Syncer:
    """One sync at a time; `state` is kept current and is what `Library` shows."""

    def __init__(self, store: Store, cloud: Cloud, bus: Bus) -> None:
        self._store, self._cloud, self._bus = store, cloud, bus
        self.state = State(None, None, False, None, False, 0)
        self._ahead: asyncio.Task[bytes] | None = None

    async def load(self) -> None:
        """Read `state`; behind everything that was queued for writing."""
        self.state = await self._store.write(_load)

    async def run(self, *, full: bool, routine: bool = False) -> SyncResult:
        """Sync until the server has no more. Raises CloudError and StorageError; what was written until then stays.

        A server of the older kind is crawled; `routine`: not all of it, when that was done lately.
        """
        total = Applied()
        patience = sys.getswitchinterval()
        # While two threads write and decode, the event loop gets the interpreter back ten times sooner than usual.
        sys.setswitchinterval(SWITCH)
        try:
            await self._finish_reindex()
            await self.load()
            was_full = await self._bring(full, routine, total)
            await self._settle()
        finally:
            sys.setswitchinterval(patience)
            self._drop_ahead()
            self._progress(running=False, done=0, total=0)
            await self.load()
            asyncio.get_running_loop().run_in_executor(None, release_memory)  # up to 200 ms: not on the loop
        return SyncResult(total.added, total.updated, total.deleted, self.state.seq, was_full)

    async def _bring(self, full: bool, routine: bool, result: Applied) -> bool:
        """By the delta library where there is one, else by crawling; whether everything was asked for."""
        crawler = Crawler(self._store, self._cloud, self._progress)
        try:
            if self.state.older:
                await self._cloud.library_page(0, 1)  # has it been brought up to date?
            return await self._pages(full, result)
        except Gone as error:
            if error.status != 404:
                raise
            log.debug("%s: asking for albums instead", error)
        listed = await crawler.look(full=full)
        library = self._cloud.older_library
        if self.state.library != library:
            result.deleted += await self._adopt(library)
        return await crawler.crawl(listed, library, complete=not routine, result=result)

    async def _pages(self, full: bool, result: Applied) -> bool:
        if self.state.sweeping:
            await self._sweep(result)
        if full and self.state.filled and self.state.resync is None:
            await self._begin_resync()
        was_full = self.state.resync is not None or not self.state.filled
        total = await self._expected() if was_full else 0
        done = empty = restarts = 0
        self._progress(running=True, done=0, total=total)
        more = True
        while more:
            since = self.state.since
            page = await self._next(since)
            other = page is not None and page.library != self.state.library
            if page is not None and other:
                restarts += self.state.library is not None
                result.deleted += await self._adopt(page.library)
            elif page is None or page.seq < since:
                log.warning("the server cannot go on from sequence %d: reading its whole library again", since)
                restarts += 1 if since else RESTARTS + 1  # there is nothing before the beginning
                await self._begin_resync()
            if restarts > RESTARTS:
                raise ServerError("the server cannot tell its library: its id or sequence keeps changing")
            if page is None or page.seq < since or (other and since):
                was_full, done, total = True, 0, await self._expected()
                continue
            if page.more and page.seq == since:
                raise ServerError(f"the server says there is more after sequence {since} but does not get on")
            empty = empty + 1 if page.more and not page.rows and not page.deleted else 0
            if empty > EMPTY_PAGES:
                raise ServerError("the server sends empty library pages without end")
            await self._apply(page, result)
            done, more = done + len(page.rows), page.more
            self._progress(running=True, done=done, total=max(total, done) if total else 0)
        if self.state.resync is not None:
            done_at = {"seq": self.state.resync, "sweep": True}
            await self._store.write(lambda con: meta.put(con, "library.resync", done_at))
            self.state.sweeping = True
            await self._sweep(result)
        return was_full

    async def _next(self, since: int) -> Page | None:
        """The page after `since`; None when the server says that it cannot go on from there."""
        ahead, self._ahead = self._ahead, None
        try:
            body = await (ahead or self._cloud.library_page(since, PAGE))
        except SequenceExpired:
            return None
        page = await asyncio.to_thread(pages.decode, body)
        if page.more and page.seq > since and page.library == self.state.library:
            # The next page travels while this one is written.
            self._ahead = asyncio.create_task(self._fetch(page.seq))
        return page

    async def _fetch(self, since: int) -> bytes:
        return await self._cloud.library_page(since, PAGE)

    async def _apply(self, page: Page, result: Applied) -> None:
        resync = self.state.resync is not None
        first = self.state.library is None

        def write(con: sqlite3.Connection) -> Applied:
            applied = apply.apply(con, page, seen=resync)
            if resync:
                meta.put(con, "library.resync", {"seq": page.seq, "sweep": False})
            else:
                meta.put(con, "library.seq", page.seq)
                if not page.more:
                    meta.put(con, "library.filled", True)
            if first:
                meta.put(con, "library.id", page.library)
            return applied

        applied = await self._store.write(write)
        state = self.state
        state.library = page.library
        state.tracks += applied.added - applied.deleted
        if resync:
            state.resync = page.seq
        else:
            state.seq = page.seq
            state.filled = state.filled or not page.more
        result.added += applied.added
        result.updated += applied.updated
        result.deleted += applied.deleted

    async def _begin_resync(self) -> None:
        def write(con: sqlite3.Connection) -> None:
            con.execute("DELETE FROM sync_seen")
            meta.put(con, "library.resync", {"seq": 0, "sweep": False})

        self._drop_ahead()
        await self._store.write(write)
        self.state.resync, self.state.sweeping = 0, False

    async def _adopt(self, library: str) -> int:
        """Begin with another library. Its ids mean other songs, so nothing of the old index may stay."""
        first = self.state.library is None

        def write(con: sqlite3.Connection) -> None:
            if not first:
                apply.empty(con)
                own.restore(con)
            for key in ("library.seq", "library.filled", "library.resync", *crawl.KEYS):
                meta.drop(con, key)
            crawl.forget(con)
            meta.put(con, "library.id", library)
            meta.put(con, "library.fold", fold.VERSION)

        if not first:
            log.warning("the server has another library (%s) than before: starting over", library)
        self._drop_ahead()
        await self._store.write(write)
        gone = self.state.tracks
        self.state = State(library, None, False, None, False, 0)
        return gone

    async def _sweep(self, result: Applied) -> None:
        """Delete what the resync did not see, then make its sequence number ours."""
        after: int | None = 0
        while after is not None:
            start = after

            def write(con: sqlite3.Connection, start: int = start) -> tuple[int, int | None]:
                return apply.sweep(con, start)

            gone, after = await self._store.write(write)
            result.deleted += gone
            self.state.tracks -= gone

        def finish(con: sqlite3.Connection) -> None:
            meta.put(con, "library.seq", self.state.resync)
            meta.put(con, "library.filled", True)
            meta.drop(con, "library.resync")
            con.execute("DELETE FROM sync_seen")

        await self._store.write(finish)
        state = self.state
        state.seq, state.filled, state.resync, state.sweeping = state.resync, True, None, False

    async def _settle(self) -> None:
        while await self._store.write(albums.settle):
            pass

    async def _finish_reindex(self) -> None:
        """Build the index again when the folding rules are other ones than those it was made with."""

        def check(con: sqlite3.Connection) -> bool:
            under_way = meta.get(con, "library.reindex")
            if under_way and under_way["version"] == fold.VERSION:
                return True
            if not under_way and meta.get(con, "library.fold", fold.VERSION) == fold.VERSION:
                return False
            apply.begin_reindex(con)
            return True

        if await self._store.write(check):
            log.info("building the search index again")
            while await self._store.write(apply.reindex):
                pass
            await self._settle()

    async def _expected(self) -> int:
        """How many tracks a full sync will bring, for the progress bar; 0 when the server does not say."""
        try:
            return max(0, (await self._cloud.stats()).tracks)
        except ChadboxError:
            return 0

    def _drop_ahead(self) -> None:
        if self._ahead is not None:
            self._ahead.cancel()
            self._ahead = None

    def _progress(self, *, running: bool, done: int, total: int) -> None:
        self._bus.publish(SyncProgress(running=running, done=done, total=total))


def _load(con: sqlite3.Connection) -> State:
    resync = meta.get(con, "library.resync")
    (tracks,) = con.execute("SELECT count(*) FROM track").fetchone()
    return State(
        library=meta.get(con, "library.id"),
        seq=meta.get(con, "library.seq"),
        filled=meta.get(con, "library.filled", False),
        resync=resync["seq"] if resync else None,
        sweeping=bool(resync and resync["sweep"]),
        tracks=tracks - own.count(con),
        older=meta.get(con, crawl.DONE) is not None or meta.get(con, crawl.UNDER_WAY) is not None,
    )


def release_memory() -> None:
    """Give freed memory back to the system: glibc keeps what the pages of a full sync took."""
    with contextlib.suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL(None).malloc_trim(0)
