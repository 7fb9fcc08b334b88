"""Crawling a server that has only the older API: its album list, then each album's tracks (L2).

    look: the list ---> plan: what to ask for ---> albums, two at a time ---> sweep: delete what no album had
                          (table crawl_album)        (each batch one            (only after all albums
                                                      transaction)               were asked for)

A kill in mid-crawl costs one batch; the next crawl finishes the plan. Now and then everything is asked for; in between
only albums that are new in the list or stand in it with other words. Nothing is deleted because the network, the list
or an album's answer failed: an album that left the list is asked for once more, and only "no such album" counts.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import time
from collections.abc import Callable
from typing import Any, Protocol

import msgspec
from msgspec import Struct

from appliance.cloud import older
from appliance.cloud.models import Id
from appliance.errors import ChadboxError, Gone, Offline, SequenceExpired, ServerError
from appliance.library import apply, pages
from appliance.library.apply import Applied
from appliance.library.pages import Page
from appliance.store import Store, meta

log = logging.getLogger(__name__)

UNDER_WAY, DONE = "library.crawl", "library.crawled"  # {"complete": bool}; when the last complete one ended, Unix time
KEYS = (UNDER_WAY, DONE)
EVERY = 6 * 3600.0  # seconds between two complete crawls that nobody asked for
AT_ONCE = 2
PAUSE = 0.02  # seconds after each answer
LIST_PAGE = 500
BATCH = 16  # albums a transaction
TRIES = 3
LONGEST_WAIT = 30.0  # seconds of Retry-After that are sat out here; more ends the sync, and the next one goes on
HOPELESS = 10  # albums in a row without a sensible answer: the server is broken, not the albums
TODO, ASKED, UNLISTED = 0, 1, 2

_json = msgspec.json


class Cloud(Protocol):
    """What a crawl needs of the music server."""

    async def older_albums(self, offset: int, limit: int) -> bytes: ...
    async def older_tracks(self, album_id: Id) -> bytes: ...


class _Due(Struct):
    """An album to ask for; `kept`: it gave no answer, so what is known of it stays."""

    n: int
    id: Id
    fields: dict[str, Any]
    unlisted: bool
    tracks: list[dict[str, Any]] = []
    gone: bool = False
    kept: bool = False
    error: ChadboxError | None = None


class Crawler:
    """One crawl. `progress(running, done, total)` counts albums."""

    def __init__(self, store: Store, cloud: Cloud, progress: Callable[..., None]) -> None:
        self._store, self._cloud, self._progress = store, cloud, progress
        self._polite = asyncio.Semaphore(AT_ONCE)
        self._failed_in_a_row = 0
        self._over: ChadboxError | None = None  # why no more is asked for

    async def look(self, *, full: bool) -> list[older.Album]:
        """The server's whole album list.

        Raises CloudError, also when a server that had albums lists none: more often that is a folder which is not
        mounted than the truth, so only `full` believes it.
        """
        self._progress(running=True, done=0, total=0)
        found: dict[str, older.Album] = {}
        offset = 0
        while True:
            body = await self._get(self._cloud.older_albums, offset, LIST_PAGE)
            page = await asyncio.to_thread(older.albums, body)
            before = len(found)
            for album in page.albums:
                found.setdefault(str(album.id), album)
            offset += page.length
            # Some servers heed neither offset nor limit, some have a lower limit: only a page without news is the end.
            if len(found) == before or (page.total is not None and offset >= page.total):
                break
            if len(found) > older.MAX_ALBUMS:
                raise ServerError(f"the server lists more than {older.MAX_ALBUMS} albums")
        if not found and not full and await self._store.read(_known):
            raise ServerError("the server lists no albums any more; if that is right, run `chadbox sync --full`")
        return list(found.values())

    async def crawl(self, listed: list[older.Album], library: str, *, complete: bool, result: Applied) -> bool:
        """Bring the index to what the server has; whether every album was asked for. Adds to `result` as it goes."""

        def plan(con: sqlite3.Connection) -> bool:
            return _plan(con, listed, complete or _is_due(con))

        complete = await self._store.write(plan)
        total = await self._store.read(_count_due)
        done = 0
        self._progress(running=True, done=0, total=total)
        while due := await self._store.read(_due):
            await asyncio.gather(*[self._ask(album) for album in due])
            broken = next((album.error for album in due if album.error is not None), None)
            due = [album for album in due if album.error is None]
            rows = await asyncio.to_thread(pages.to_rows, [t for album in due for t in album.tracks])
            page = Page(library, rows, [], 0, True)

            def write(con: sqlite3.Connection, page: Page = page, due: list[_Due] = due) -> Applied:
                applied = apply.apply(con, page, seen=complete)
                _book(con, due, seen=complete)
                return applied

            applied = await self._store.write(write)
            result.added += applied.added
            result.updated += applied.updated
            done += len(due)
            self._progress(running=True, done=done, total=max(total, done))
            if broken is not None:
                raise broken
        after: int | None = 0
        while complete and after is not None:
            start = after

            def sweep(con: sqlite3.Connection, start: int = start) -> tuple[int, int | None]:
                return apply.sweep(con, start)

            gone, after = await self._store.write(sweep)
            result.deleted += gone
        await self._store.write(lambda con: _finish(con, complete))
        return complete

    async def _ask(self, album: _Due) -> None:
        """Fill in the album's tracks or what became of them; `error` when there is no use in going on."""
        async with self._polite:
            if self._over:
                album.error = self._over
                return
            try:
                body = await self._get(self._cloud.older_tracks, album.id)
                album.tracks = await asyncio.to_thread(older.tracks, body, album.id, album.fields)
                album.gone = album.unlisted and not album.tracks
                self._failed_in_a_row = 0
            except (Gone, SequenceExpired) as error:
                album.gone = album.unlisted
                album.kept = not album.unlisted  # listed and yet not there: rather a fault than a wish to delete
                if album.kept:
                    log.warning("album %.80r is listed but cannot be had: %s", album.id, error)
            except ServerError as error:
                album.kept = True
                self._failed_in_a_row += 1
                log.warning("album %.80r was left as it is: %s", album.id, error)
                if error.status in (429, 503) or self._failed_in_a_row >= HOPELESS:
                    album.error = self._over = error
            except ChadboxError as error:
                album.error = self._over = error
            await asyncio.sleep(PAUSE)

    async def _get(self, ask: Callable[..., Any], *arguments: Any) -> bytes:
        """One answer, with a second and third try where that makes sense."""
        for attempt in range(1, TRIES + 1):
            wait = 0.5 * attempt
            try:
                body: bytes = await ask(*arguments)
                return body
            except Offline:
                if attempt == TRIES:
                    raise
            except ServerError as error:
                wait = max(wait, error.retry_after or 0.0)
                if attempt == TRIES or ((error.status or 0) < 500 and error.status != 429) or wait > LONGEST_WAIT:
                    raise
            await asyncio.sleep(wait)
        raise AssertionError("unreachable")


def forget(con: sqlite3.Connection) -> None:
    con.execute("DELETE FROM crawl_album")


def _known(con: sqlite3.Connection) -> bool:
    return con.execute("SELECT 1 FROM crawl_album LIMIT 1").fetchone() is not None


def _is_due(con: sqlite3.Connection) -> bool:
    """Whether the last complete crawl is long ago; also when the clock has gone back since."""
    last = meta.get(con, DONE)
    return last is None or not 0 <= time.time() - last < EVERY


def _plan(con: sqlite3.Connection, listed: list[older.Album], complete: bool) -> bool:
    """Write down what is to be asked for; goes on with a complete crawl that was cut short. Whether it is complete."""
    before = meta.get(con, UNDER_WAY)
    going_on = bool(before and before["complete"])
    known = {i: (n, bytes(p), s) for n, i, p, s in con.execute("SELECT n, album_id, print, state FROM crawl_album")}
    afresh = complete and not going_on
    for album in listed:
        key, row = str(album.id), _json.encode(album.fields).decode()
        was = known.pop(key, None)
        if was is None:
            con.execute(
                "INSERT INTO crawl_album (album_id, int_id, row, print, state) VALUES (?, ?, ?, ?, ?)",
                (key, type(album.id) is int, row, album.print, TODO),
            )
        elif afresh or was[1] != album.print or was[2] == UNLISTED:
            con.execute(
                "UPDATE crawl_album SET int_id = ?, row = ?, print = ?, state = ? WHERE n = ?",
                (type(album.id) is int, row, album.print, TODO, was[0]),
            )
    if complete or going_on:
        con.executemany("UPDATE crawl_album SET state = ? WHERE n = ?", [(UNLISTED, n) for n, _, _ in known.values()])
    if afresh:
        con.execute("DELETE FROM sync_seen")
    meta.put(con, UNDER_WAY, {"complete": complete or going_on})
    return complete or going_on


def _count_due(con: sqlite3.Connection) -> int:
    return int(con.execute("SELECT count(*) FROM crawl_album WHERE state <> 1").fetchone()[0])


def _due(con: sqlite3.Connection) -> list[_Due]:
    rows = con.execute(
        "SELECT n, album_id, int_id, row, state FROM crawl_album WHERE state <> 1 ORDER BY n LIMIT ?", (BATCH,)
    )
    return [_Due(n, pages.typed(i, is_int), _json.decode(row), state == UNLISTED) for n, i, is_int, row, state in rows]


def _book(con: sqlite3.Connection, asked: list[_Due], *, seen: bool) -> None:
    """These albums have been asked for. The tracks of one that gave no answer count as seen."""
    con.executemany("DELETE FROM crawl_album WHERE n = ?", [(a.n,) for a in asked if a.gone])
    con.executemany("UPDATE crawl_album SET state = ? WHERE n = ?", [(ASKED, a.n) for a in asked if not a.gone])
    if seen:
        con.executemany(
            "INSERT OR IGNORE INTO sync_seen (id) SELECT id FROM track WHERE album_id = ?",
            [(str(a.id),) for a in asked if a.kept],
        )


def _finish(con: sqlite3.Connection, complete: bool) -> None:
    if complete:
        con.execute("DELETE FROM sync_seen")
        meta.put(con, DONE, time.time())
    meta.put(con, "library.filled", True)
    meta.drop(con, UNDER_WAY)
