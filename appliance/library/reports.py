"""Tells the server what was heard (L5): each play once, later when the server is away.

The rows of `play` are the queue: `reported` is 0 until the server has a play, then 1, 2 when it does not want it, and 3
from the beginning for music that is on a drive alone. A play has a UUID under which the server counts it once, so a
crash between its answer and our row costs nothing. Only plays of the library that the last sync found are sent: the ids
of another server's tracks mean other tracks.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Protocol

import msgspec

from appliance.errors import ChadboxError, Gone, ServerError
from appliance.jobs import retry
from appliance.store import Store

log = logging.getLogger(__name__)

BATCH = 200  # plays a request
ATTEMPTS = 8  # tries in a row; then a new play or the next sync has to wake us
OFF = 86_400.0  # seconds until a server that takes no plays is asked again: it may have been updated
WAITING, TAKEN, REFUSED = 0, 1, 2

Row = tuple[int, str, str, int | None, float | None, float]


class Cloud(Protocol):
    async def report_plays(self, plays: bytes) -> None: ...


class Reports:
    """`run` is a task for the life of the player; `wake` after each play, `synced` after each sync that worked.

    Until the first sync nothing is sent: it tells whose library this is.
    """

    def __init__(self, store: Store, cloud: Cloud, library: Callable[[], str | None]) -> None:
        self._store, self._cloud, self._library = store, cloud, library
        self._news = asyncio.Event()
        self._hurry = asyncio.Event()
        self._synced = False
        self._off_until = 0.0  # by the loop's clock: the server takes no plays

    def wake(self) -> None:
        """There is something to tell."""
        if self._synced and not self._off:
            self._news.set()

    def synced(self) -> None:
        """The server is there, and its library is known."""
        self._synced = True
        self._hurry.set()
        self.wake()

    @property
    def _off(self) -> bool:
        return asyncio.get_running_loop().time() < self._off_until

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self._news.wait()
            self._news.clear()
            failures = 0
            while failures < ATTEMPTS and not self._off:
                try:
                    if not await self._send_some():
                        break
                    failures = 0
                except ChadboxError as error:
                    failures += 1
                    log.info("plays are reported later: %s", error)
                    await self._pause(retry.delay(error, failures))
                except Exception:  # a defect here must not cost more than the reports
                    log.exception("reporting plays failed")
                    break

    async def _pause(self, seconds: float) -> None:
        self._hurry.clear()
        try:
            await asyncio.wait_for(self._hurry.wait(), seconds)
        except TimeoutError:
            return

    async def _send_some(self) -> bool:
        """One batch; whether there may be more."""
        library = self._library()
        if not library:
            return False
        rows = await self._store.read(lambda con: waiting(con, library, BATCH))
        if rows:
            await self._send(rows)
        return len(rows) == BATCH and not self._off

    async def _send(self, rows: list[Row]) -> None:
        """Send `rows`, in halves when the server does not want all of them: one bad play must not hold up the rest."""
        try:
            await self._cloud.report_plays(msgspec.json.encode([_play(row) for row in rows]))
        except Gone as error:
            if not await self._takes_plays():
                self._off_until = asyncio.get_running_loop().time() + OFF
                log.info("%s: plays are kept on the box", error)
                return
            refusal: ChadboxError = error
        except ServerError as error:
            if error.status is None or not 400 <= error.status < 500 or retry.temporary(error) or error.status == 408:
                raise
            refusal = error
        else:
            await self._mark(rows, TAKEN)
            return
        if len(rows) == 1:
            log.warning("the server does not want play %s: %s", rows[0][1], refusal)
            await self._mark(rows, REFUSED)
        else:
            half = len(rows) // 2
            await self._send(rows[:half])
            if not self._off:
                await self._send(rows[half:])

    async def _takes_plays(self) -> bool:
        """Whether "not found" was about a play and not the route: nothing to count must be fine."""
        try:
            await self._cloud.report_plays(b"[]")
        except Gone:
            return False
        except ServerError as error:
            if error.status is not None and 400 <= error.status < 500:
                return False
            raise
        return True

    async def _mark(self, rows: list[Row], how: int) -> None:
        numbers = [(how, row[0]) for row in rows]
        await self._store.write(
            lambda con: con.executemany("UPDATE play SET reported = ? WHERE n = ?", numbers) and None
        )


def waiting(con: sqlite3.Connection, library: str, limit: int) -> list[Row]:
    """Plays that the server does not have yet, the oldest first: (n, id, track id, is a number, when, seconds)."""
    sql = """SELECT p.n, p.id, p.track_id, (SELECT t.int_id FROM track t WHERE t.track_id = p.track_id), p.played_at,
        p.seconds FROM play p WHERE p.reported = 0 AND p.library = ? ORDER BY p.n LIMIT ?"""
    return con.execute(sql, (library, limit)).fetchall()


def _play(row: Row) -> dict[str, Any]:
    _, play_id, track_id, number, played_at, seconds = row
    wanted: int | str = int(track_id) if number and track_id.isascii() and track_id.isdigit() else track_id
    return {
        "id": play_id,
        "track_id": wanted,
        "played_at": _iso(played_at),
        "seconds": seconds,
    }


def _iso(at: float | None) -> str | None:
    if at is None:
        return None
    try:
        return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    except (ValueError, OverflowError, OSError):
        return None  # no time is better than no report
