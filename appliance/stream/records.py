"""The cache's rows: SQL only, called inside Store.read and Store.write."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Collection

import msgspec
from msgspec import Struct

from appliance.cloud.models import Id
from appliance.stream.entry import CacheEntry
from appliance.stream.ranges import IntervalSet


class Row(Struct):
    """A file as recorded. `size` in bytes, None while unknown."""

    id: int
    version: str
    size: int | None
    ranges: bytes
    complete: bool
    sha256: str | None
    mark: str | None


class Listed(Struct):
    """A file as `chadbox cache` shows it."""

    id: Id
    title: str
    bytes: int
    size: int | None
    complete: bool
    pinned: bool


def find(db: sqlite3.Connection, library: str, track_id: str, version: str) -> Row | None:
    """The file of this version; any version, the fullest first, when `version` is "".

    The library may tell another ETag than the file's own answers, which are kept as `etag`: either will do.
    """
    row = db.execute(
        "SELECT id, version, size, ranges, complete, sha256, etag FROM cache_file"
        " WHERE library = ? AND track_id = ? AND (version = ?3 OR etag = ?3 OR ?3 = '')"
        " ORDER BY complete DESC, bytes DESC LIMIT 1",
        (library, track_id, version),
    ).fetchone()
    return Row(row[0], row[1], row[2], row[3], bool(row[4]), row[5], row[6]) if row else None


def save(db: sqlite3.Connection, entry: CacheEntry, ranges: IntervalSet, *, complete: bool) -> None:
    """Write what is known of a file; `ranges` are synced. A row of the same key but another file gives way."""
    now = time.time()
    db.execute(
        "DELETE FROM cache_file WHERE library = ? AND track_id = ? AND version = ? AND id <> ?",
        (entry.library, entry.track_id, entry.version, entry.id),
    )
    db.execute(
        "INSERT INTO cache_file (id, library, track_id, version, size, ranges, bytes, complete, sha256, etag, created,"
        " last_used) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET version"
        " = excluded.version, size = excluded.size, ranges = excluded.ranges, bytes = excluded.bytes, complete ="
        " excluded.complete, sha256 = excluded.sha256, etag = excluded.etag, last_used = excluded.last_used",
        (entry.id, entry.library, entry.track_id, entry.version, entry.size, ranges.to_bytes(), ranges.total(),
         complete, entry.sha256, entry.mark, now, now),
    )  # fmt: skip


def touch(db: sqlite3.Connection, file_id: int) -> None:
    db.execute("UPDATE cache_file SET last_used = ? WHERE id = ?", (time.time(), file_id))


def delete(db: sqlite3.Connection, file_ids: Collection[int]) -> None:
    db.executemany("DELETE FROM cache_file WHERE id = ?", [(i,) for i in file_ids])


def evictable(db: sqlite3.Connection, keep: Collection[int]) -> list[tuple[int, int]]:
    """(id, bytes) of what may go, least recently used first: not pinned, not in `keep`."""
    rows = db.execute(
        "SELECT f.id, f.bytes FROM cache_file f LEFT JOIN pin p ON p.library = f.library AND p.track_id = f.track_id"
        " WHERE p.track_id IS NULL ORDER BY f.last_used, f.id"
    )
    return [(i, size) for i, size in rows if i not in keep]


def every(db: sqlite3.Connection) -> list[tuple[int, bytes]]:
    """(id, ranges) of all files."""
    return db.execute("SELECT id, ranges FROM cache_file").fetchall()


def highest_id(db: sqlite3.Connection) -> int:
    return int(db.execute("SELECT coalesce(max(id), 0) FROM cache_file").fetchone()[0])


def totals(db: sqlite3.Connection) -> tuple[int, int]:
    """Bytes kept, and how many tracks are whole."""
    size, tracks = db.execute("SELECT coalesce(sum(bytes), 0), coalesce(sum(complete), 0) FROM cache_file").fetchone()
    return int(size), int(tracks)


def listing(db: sqlite3.Connection) -> list[Listed]:
    """All files, last used first, with titles where the library still knows them."""
    rows = db.execute(
        "SELECT iif(t.int_id, CAST(f.track_id AS INTEGER), f.track_id),"  # of the server's type
        " coalesce(t.artist || ' - ' || t.title, ''), f.bytes, f.size, f.complete,"
        " p.track_id IS NOT NULL FROM cache_file f LEFT JOIN track t ON t.track_id = f.track_id"
        " LEFT JOIN pin p ON p.library = f.library AND p.track_id = f.track_id ORDER BY f.last_used DESC"
    )
    return [Listed(i, title, size, whole, bool(done), bool(pinned)) for i, title, size, whole, done, pinned in rows]


def hashed(db: sqlite3.Connection) -> list[tuple[int, Id, str, int, str]]:
    """(id, track, title, size, sha256) of the whole files whose hash is recorded."""
    return db.execute(
        "SELECT f.id, iif(t.int_id, CAST(f.track_id AS INTEGER), f.track_id),"
        " coalesce(t.title, ''), f.size, f.sha256 FROM cache_file f"
        " LEFT JOIN track t ON t.track_id = f.track_id WHERE f.complete AND f.sha256 IS NOT NULL"
    ).fetchall()


def pin(db: sqlite3.Connection, library: str, track_ids: Collection[str], *, on: bool) -> None:
    sql = "INSERT OR IGNORE INTO pin VALUES (?, ?)" if on else "DELETE FROM pin WHERE library = ? AND track_id = ?"
    db.executemany(sql, [(library, t) for t in track_ids])


def whole(db: sqlite3.Connection, library: str, track_ids: Collection[str]) -> set[str]:
    """Those of `track_ids` of which every byte is on the disk."""
    sql = """SELECT track_id FROM cache_file WHERE complete = 1 AND library = ?
        AND track_id IN (SELECT value FROM json_each(?))"""
    return {t for (t,) in db.execute(sql, (library, msgspec.json.encode(list(track_ids)).decode()))}
