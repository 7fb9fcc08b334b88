"""Search as you type: bounded work for every query, whatever its length and the size of the library (L3).

The index gives candidates in the order of row ids, cheaply, and stops after a fixed number. Three questions make sure
that the best are among them: what is called exactly so, what begins so, what has all the words. The few dozen
candidates are then ranked by reading their names.
"""

from __future__ import annotations

import sqlite3
from typing import Any

import msgspec
from msgspec import Struct

from appliance.cloud.models import Id, Track
from appliance.library.fold import Query
from appliance.library.pages import COLUMNS, from_row, typed

CANDIDATES = 100  # of a kind that are ranked for one search
LOOSE = 300  # candidates that are looked through for a long last word
LIMIT = 200  # most results of a kind

_TRACK_COLUMNS = ", ".join(f"t.{c}" for c in COLUMNS)
IN = "(SELECT value FROM json_each(?))"


class Item(Struct, kw_only=True, omit_defaults=True):
    """An entry of a list: an album (with artist and year), or a value of a category (its id is its name)."""

    id: Id
    name: str
    tracks: int = msgspec.field(default_factory=int)
    albums: int | None = None
    artist: str | None = None
    year: int | None = None


class Found(Struct):
    """Row ids in the order of rank."""

    exact: list[int]
    all: list[int]


def search(con: sqlite3.Connection, words: str, limit: int) -> dict[str, list[Any]]:
    """The three lists of `Library.search`."""
    limit = max(1, min(limit, LIMIT))
    query = Query(words)
    return {
        "tracks": load_tracks(con, find_tracks(con, query, limit).all),
        "albums": load_albums(con, find_albums(con, query, limit).all),
        "artists": load_artists(con, find_artists(con, query, limit).all),
    }


def find_tracks(con: sqlite3.Connection, query: Query, limit: int) -> Found:
    return _find(con, "track_fts", "SELECT id, 0, title, artist, album, album_artist FROM track", query, limit)


def find_albums(con: sqlite3.Connection, query: Query, limit: int) -> Found:
    return _find(con, "album_fts", "SELECT id, -tracks, name, artist FROM album", query, limit)


def find_artists(con: sqlite3.Connection, query: Query, limit: int) -> Found:
    return _find(con, "artist_fts", "SELECT id, -tracks, value FROM facet", query, limit)


def load_tracks(con: sqlite3.Connection, ids: list[int]) -> list[Track]:
    """Tracks by row id, in the order of `ids`."""
    sql = f"SELECT t.id, {_TRACK_COLUMNS} FROM track t WHERE t.id IN {IN}"  # noqa: S608
    return _in_order(ids, {n: from_row(tuple(row)) for n, *row in con.execute(sql, (_json(ids),))})


def tracks_by_id(con: sqlite3.Connection, track_ids: list[str]) -> list[Track]:
    """Tracks by the server's ids as text, in their order; those that the library does not have are left out."""
    sql = f"SELECT {_TRACK_COLUMNS} FROM track t WHERE t.track_id IN {IN}"  # noqa: S608
    return _in_order(track_ids, {row[0]: from_row(row) for row in con.execute(sql, (_json(track_ids),))})


def load_albums(con: sqlite3.Connection, ids: list[int]) -> list[Item]:
    sql = f"SELECT id, album_id, int_id, name, tracks, artist, year FROM album WHERE id IN {IN}"  # noqa: S608
    return _in_order(ids, {r[0]: album_item(r[1:]) for r in con.execute(sql, (_json(ids),))})


def load_artists(con: sqlite3.Connection, ids: list[int]) -> list[Item]:
    sql = f"SELECT id, value, tracks, albums FROM facet WHERE id IN {IN}"  # noqa: S608
    return _in_order(ids, {r[0]: facet_item(r[1:]) for r in con.execute(sql, (_json(ids),))})


def album_item(row: tuple[Any, ...]) -> Item:
    """Of album_id, int_id, name, tracks, artist, year."""
    return Item(id=typed(row[0], row[1]), name=row[2], tracks=row[3], artist=row[4], year=row[5])


def facet_item(row: tuple[Any, ...]) -> Item:
    """Of value, tracks, albums."""
    return Item(id=row[0], name=row[0], tracks=row[1], albums=row[2])


def _find(con: sqlite3.Connection, table: str, select: str, query: Query, limit: int) -> Found:
    """`select` gives row id, weight (less is better), title and the other texts."""
    most = max(CANDIDATES, limit)
    loaded: dict[int, Any] = {}

    def ask(match: str, count: int) -> list[int]:
        sql = f"SELECT rowid FROM {table} WHERE {table} MATCH ? LIMIT ?"  # noqa: S608
        ids = [n for (n,) in con.execute(sql, (match, count))] if match else []
        new = [n for n in ids if n not in loaded]
        loaded.update((row[0], row) for row in con.execute(f"{select} WHERE id IN {IN}", (_json(new),)))
        return [n for n in ids if n in loaded]

    maybe = {n for match in (query.exact, *query.begins) for n in ask(match, most)}
    sure: set[int] = set()
    for count in (most, LOOSE) if query.loose else ():
        # When these are not enough, the long prefix is rare among those of its beginning, and so cheap to ask for.
        if len(sure) < limit:
            sure = {n for n in ask(query.loose, count) if query.extends(*loaded[n][2:])}
    if len(sure) < limit:
        sure.update(ask(query.match, most))
    ranked = []
    for n in maybe | sure:
        _, weight, *texts = loaded[n]
        rank = query.rank(texts[0])
        if rank < 2 or (n in sure and query.fits(*texts)):
            ranked.append((rank, weight, n))
    ranked.sort()
    return Found([n for rank, _, n in ranked if rank == 0], [n for _, _, n in ranked[:limit]])


def _in_order(ids: list[Any], found: dict[Any, Any]) -> list[Any]:
    return [found[i] for i in ids if i in found]


def _json(values: list[Any]) -> str:
    return msgspec.json.encode(values).decode()
