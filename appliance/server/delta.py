"""The delta library: what changed since a sequence number, in pages.

Changes have even numbers. A page that is not the last ends at the odd number after its last change, so a client that
comes with an odd number is in the middle of a set of pages. Where that set began is remembered for a while: a track
that changed meanwhile is still `added` for who began from nothing, and one who began from nothing may go on below the
oldest tombstone, where everybody else has to start over.
"""

from __future__ import annotations

import sqlite3
import time
from collections import OrderedDict

from appliance.server.db import Database
from appliance.server.errors import ApiError
from appliance.server.models import TRACK_COLUMNS, LibraryPage, Track

DEFAULT_LIMIT, MAX_LIMIT = 1000, 5000
_REMEMBERED, _REMEMBERED_SECONDS = 256, 3600
_PAGE = f"SELECT deleted_at, first_seq, added_seq, {TRACK_COLUMNS} FROM track WHERE seq > ? ORDER BY seq LIMIT ?"  # noqa: S608


class Delta:
    """Pages of changes. A track is on one page of a set only: changing moves it to the end."""

    def __init__(self, database: Database) -> None:
        self.db = database
        self.library = database.meta("library")
        self._begun: OrderedDict[int, tuple[int, float]] = OrderedDict()  # end of a page: begin of its set, and when

    def page(self, since: int, limit: int) -> LibraryPage:
        """At most `limit` changes after `since`; 0 begins from nothing, without deletions. Raises ApiError 410."""
        return self.db.snapshot(lambda sql: self._page(sql, since, limit))

    def _page(self, sql: sqlite3.Connection, since: int, limit: int) -> LibraryPage:
        meta = dict(sql.execute("SELECT key, CAST(value AS INTEGER) FROM meta WHERE key IN ('seq', 'horizon')"))
        origin = self._origin(since)
        if since > meta["seq"]:
            raise _expired("the sequence number is ahead of this library")
        if origin > 0 and since < meta["horizon"]:
            raise _expired("changes that far back are no longer known")
        rows = sql.execute(_PAGE, (since, limit + 1)).fetchall()
        more = len(rows) > limit
        page = LibraryPage(self.library, [], [], [], meta["seq"], more)
        for row in rows[:limit]:
            if row[0] is None:
                (page.added if row[2] > origin else page.updated).append(Track(*row[3:]))
            elif row[1] <= since:  # one that came and went after `since` was never on a page
                page.deleted.append(row[3])
        if more:
            page.seq = rows[limit - 1][-2] + 1
            self._begun[page.seq] = (min(origin, self._origin(page.seq)), time.monotonic())
            self._begun.move_to_end(page.seq)
            while len(self._begun) > _REMEMBERED:
                self._begun.popitem(last=False)
        return page

    def _origin(self, since: int) -> int:
        origin, when = self._begun.get(since, (since, 0.0))
        return origin if time.monotonic() - when < _REMEMBERED_SECONDS else since


def _expired(why: str) -> ApiError:
    return ApiError(410, "sequence_expired", f"{why}; sync the whole library again")
