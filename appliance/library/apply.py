"""Writing pages into the index: functions of a connection, each for one transaction of the store's writer."""

from __future__ import annotations

import sqlite3
from typing import Any

import msgspec

from appliance.library import albums, fold
from appliance.library.pages import COLUMNS, Page, Row
from appliance.own import AFTER, PREFIX
from appliance.store import meta

AT_ONCE = 300  # dirty albums that are settled with their page; more (a page in random order) wait for the end
SWEEP = 500  # tracks deleted a transaction at the end of a full resync

_AT = {name: i for i, name in enumerate(COLUMNS)}
_NAMES = ", ".join(COLUMNS)
_INSERT = f"INSERT INTO track (id, album_n, {_NAMES}) VALUES (?, ?{', ?' * len(COLUMNS)})"  # noqa: S608
_UPDATE = f"UPDATE track SET album_n = ?, {', '.join(c + ' = ?' for c in COLUMNS)} WHERE id = ?"  # noqa: S608
_OLD = f"SELECT id, album_n, {_NAMES} FROM track WHERE track_id IN (SELECT value FROM json_each(?))"  # noqa: S608
# What an album and its facets are made of; a new address or loudness of a track leaves them alone.
_ALBUM_PART = [_AT[c] for c in (
    "album_id", "int_album_id", "artist", "album", "album_artist", "disc", "no", "year", "publisher", "country",
    "genre", "type", "status",
)]  # fmt: skip
_WORDS = [_AT[c] for c in ("title", "artist", "album", "album_artist")]


class Applied(msgspec.Struct):
    """What one page changed, in tracks."""

    added: int = 0
    updated: int = 0
    deleted: int = 0


def apply(con: sqlite3.Connection, page: Page, *, seen: bool) -> Applied:
    """Write `page`; with `seen`, note its tracks as found by the full resync. The caller books the sequence number."""
    result = Applied()
    if page.deleted:
        # First, because a deleted track that is also told anew exists again.
        result.deleted = delete(con, [r[0] for r in _ids(con, page.deleted)])
    olds: dict[str, tuple[int, int, Row]] = {}
    for n, album_n, *row in con.execute(_OLD, (_json([r[0] for r in page.rows]),)):
        olds[row[0]] = (n, album_n, tuple(row))
    (next_id,) = con.execute("SELECT coalesce(max(id), 0) + 1 FROM track").fetchone()
    album_ns = _album_ids(con, page.rows)
    inserts: list[Row] = []
    updates: list[Row] = []
    words: list[tuple[int, str]] = []
    unwords: list[tuple[int, str]] = []
    dirty: set[int] = set()
    for row in page.rows:
        old = olds.get(row[0])
        album_n = album_ns[_key(row)]
        if old is None:
            inserts.append((next_id, album_n, *row))
            words.append((next_id, _text(row)))
            dirty.add(album_n)
            next_id += 1
            continue
        n, was_album, was = old
        if was == row and was_album == album_n:
            continue
        updates.append((album_n, *row, n))
        if any(was[i] != row[i] for i in _WORDS):
            unwords.append((n, _text(was)))
            words.append((n, _text(row)))
        if was_album != album_n or any(was[i] != row[i] for i in _ALBUM_PART):
            dirty |= {was_album, album_n}
    con.executemany(_INSERT, inserts)
    con.executemany(_UPDATE, updates)
    con.executemany("INSERT INTO track_fts (track_fts, rowid, t) VALUES ('delete', ?, ?)", unwords)
    con.executemany("INSERT INTO track_fts (rowid, t) VALUES (?, ?)", words)
    con.executemany("INSERT OR IGNORE INTO album_dirty (id) VALUES (?)", [(n,) for n in dirty])
    if seen:
        found = [(n,) for n, _, _ in olds.values()] + [(r[0],) for r in inserts]
        con.executemany("INSERT OR IGNORE INTO sync_seen (id) VALUES (?)", found)
    if len(dirty) <= AT_ONCE:
        albums.settle(con, AT_ONCE)
    result.added, result.updated = len(inserts), len(updates)
    return result


def delete(con: sqlite3.Connection, ids: list[int]) -> int:
    """Delete tracks by row id, their words and their place in the album; returns how many there were."""
    columns = "id, album_n, title, artist, album, album_artist"
    query = f"SELECT {columns} FROM track WHERE id IN (SELECT value FROM json_each(?))"  # noqa: S608
    rows = con.execute(query, (_json(ids),)).fetchall()
    con.executemany(
        "INSERT INTO track_fts (track_fts, rowid, t) VALUES ('delete', ?, ?)",
        [(r[0], fold.index_text(*r[2:])) for r in rows],
    )
    con.executemany("INSERT OR IGNORE INTO album_dirty (id) VALUES (?)", {(r[1],) for r in rows})
    con.executemany("DELETE FROM track WHERE id = ?", [(r[0],) for r in rows])
    return len(rows)


def sweep(con: sqlite3.Connection, after: int) -> tuple[int, int | None]:
    """Delete some of the tracks beyond row id `after` that the finished resync did not see.

    Returns how many, and the row id to go on from (None at the end).
    """
    query = """SELECT id FROM track WHERE id > ? AND id NOT IN (SELECT id FROM sync_seen)
        AND NOT (track_id >= ? AND track_id < ?) ORDER BY id LIMIT ?"""  # those of drives are not the server's
    ids = [n for (n,) in con.execute(query, (after, PREFIX, AFTER, SWEEP))]
    return delete(con, ids), ids[-1] if len(ids) == SWEEP else None


def empty(con: sqlite3.Connection) -> None:
    """Forget every track, album and facet; history, pins, playlists and cached files stay."""
    for table in ("track", "album", "facet", "album_facet", "album_dirty", "sync_seen"):
        con.execute(f"DELETE FROM {table}")  # noqa: S608
    for table in ("track_fts", "album_fts", "artist_fts"):
        con.execute(f"INSERT INTO {table} ({table}) VALUES ('delete-all')")  # noqa: S608


def begin_reindex(con: sqlite3.Connection) -> None:
    """The folding rules changed: empty everything made with them. `reindex` then builds it again from the tracks."""
    for table in ("track_fts", "album_fts", "artist_fts"):
        con.execute(f"INSERT INTO {table} ({table}) VALUES ('delete-all')")  # noqa: S608
    con.execute("DELETE FROM facet")
    con.execute("DELETE FROM album_facet")
    con.execute("UPDATE album SET sort = NULL")
    con.execute("INSERT OR IGNORE INTO album_dirty (id) SELECT id FROM album")
    meta.put(con, "library.reindex", {"version": fold.VERSION, "after": 0})


def reindex(con: sqlite3.Connection) -> bool:
    """One batch of the rebuild that `begin_reindex` started; True while more is to do. Survives a crash between two."""
    state = meta.get(con, "library.reindex")
    rows = con.execute(
        "SELECT id, title, artist, album, album_artist FROM track WHERE id > ? ORDER BY id LIMIT 1000",
        (state["after"],),
    ).fetchall()
    con.executemany("INSERT INTO track_fts (rowid, t) VALUES (?, ?)", [(r[0], fold.index_text(*r[1:])) for r in rows])
    if rows:
        meta.put(con, "library.reindex", {**state, "after": rows[-1][0]})
        return True
    meta.put(con, "library.fold", fold.VERSION)
    meta.drop(con, "library.reindex")
    return False


def _text(row: Row) -> str:
    title, artist, album, album_artist = (row[i] for i in _WORDS)
    return fold.index_text(title, artist, album, album_artist)


def _key(row: Row) -> str:
    return albums.key_of(row[_AT["album_id"]], row[_AT["artist"]], row[_AT["album_artist"]], row[_AT["album"]])


def _album_ids(con: sqlite3.Connection, rows: list[Row]) -> dict[str, int]:
    """album.id of every album named in `rows`; new ones are made, empty until they are settled."""
    keys = {_key(row): row[_AT["int_album_id"]] for row in rows}
    query = "SELECT album_id, id FROM album WHERE album_id IN (SELECT value FROM json_each(?))"
    found: dict[str, int] = dict(con.execute(query, (_json(list(keys)),)).fetchall())
    (next_id,) = con.execute("SELECT coalesce(max(id), 0) + 1 FROM album").fetchone()
    new = [(n, key, keys[key]) for n, key in enumerate((k for k in keys if k not in found), start=next_id)]
    con.executemany("INSERT INTO album (id, album_id, int_id) VALUES (?, ?, ?)", new)
    return found | {key: n for n, key, _ in new}


def _ids(con: sqlite3.Connection, track_ids: list[str]) -> list[Any]:
    query = "SELECT id FROM track WHERE track_id IN (SELECT value FROM json_each(?))"
    return con.execute(query, (_json(track_ids),)).fetchall()


def _json(values: list[Any]) -> str:
    return msgspec.json.encode(values).decode()
