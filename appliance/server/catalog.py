"""The writing side of the library: tracks come, change and go, each change with a sequence number of its own."""

from __future__ import annotations

import logging
import os
import re
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from operator import attrgetter
from typing import Any

import msgspec

from appliance.server import paths
from appliance.server.db import CACHE_KIB, STEP, Database, Tx
from appliance.server.errors import not_found
from appliance.server.models import TRACK_COLUMNS, Facts, Track
from appliance.server.text import fold

log = logging.getLogger(__name__)
TOMBSTONE_SECONDS = 30 * 86_400
VARIOUS = "Various Artists"
Gone = Callable[[int, bytes], bool]  # (root id, path below it)
PATCHABLE = (
    "title", "artist", "album", "album_artist", "disc", "no", "year", "genre", "publisher", "country", "type", "status",
)  # fmt: skip
_FACTS = (
    "title", "artist", "album", "album_artist", "disc", "no", "year", "genre", "publisher", "country", "type", "status",
    "duration", "samples", "sample_rate", "lufs", "true_peak", "album_lufs", "album_true_peak",
)  # fmt: skip
_STORED = ("seq", "deleted_at", "folder_id", "name", "size", "mtime_ns", "content", "album_id", *_FACTS,
           "mime", "sha256", "url", "overlay", "added_seq")  # fmt: skip
_INSERT = f"INSERT INTO track ({', '.join(_STORED)}, first_seq) VALUES ({', '.join('?' * (len(_STORED) + 1))})"  # noqa: S608
_UPDATE = f"UPDATE track SET {', '.join(f'{c} = ?' for c in _STORED)} WHERE id = ?"  # noqa: S608
_DISC_FOLDER = re.compile(rb"(?i)(?:cd|dis[ck])[ _-]*\d+[^/]*\Z")


class Catalog:
    """Changes to the library; every method is one transaction and blocks.

    `version` goes up whenever something that categories or search show has changed, so that readers can keep answers.
    """

    def __init__(self, database: Database) -> None:
        self.db = database
        self.version = 0

    # -- roots --------------------------------------------------------------------------------------------------------

    def roots(self, directories: Sequence[bytes]) -> dict[int, bytes]:
        """Ids of the music folders, in their order; a folder keeps its id for good."""
        with self.db.write() as tx:
            found: dict[int, bytes] = {}
            for path in directories:
                tx.sql.execute("INSERT OR IGNORE INTO root (path) VALUES (?)", (path,))
                (root_id,) = tx.sql.execute("SELECT id FROM root WHERE path = ?", (path,)).fetchone()
                found[root_id] = path
            return found

    # -- files --------------------------------------------------------------------------------------------------------

    def put(self, folders: Iterable[tuple[int, bytes, Sequence[Facts]]], gone: Gone) -> list[int]:
        """Add or update files, given as (root id, folder, facts); the ids of their tracks.

        A file that is not known by its path but by its content takes over the track of one that `gone(root id, path)`
        says is no longer there: it was renamed.
        """
        with self.db.write() as tx:
            ids = [i for root_id, folder, files in folders for i in self.put_in(tx, root_id, folder, files, gone)]
        self.version += 1
        return ids

    def put_in(self, tx: Tx, root_id: int, folder: bytes, files: Iterable[Facts], gone: Gone) -> list[int]:
        """`put` inside a transaction of the caller, who raises `version` afterwards."""
        folder_id = _folder(tx.sql, root_id, folder)
        touched: set[int] = set()
        ids = [self._put_one(tx, root_id, folder, folder_id, facts, gone, touched) for facts in files]
        _refresh_albums(tx.sql, touched)
        return ids

    def _put_one(
        self, tx: Tx, root_id: int, folder: bytes, folder_id: int, facts: Facts,
        gone: Gone, touched: set[int],
    ) -> int:  # fmt: skip
        sql = tx.sql
        columns = "id, overlay, size, mtime_ns, sha256, album_id, deleted_at, added_seq"
        old = sql.execute(
            f"SELECT {columns} FROM track WHERE folder_id = ? AND name = ? AND deleted_at IS NULL",  # noqa: S608
            (folder_id, facts.name),
        ).fetchone()
        if old is None:
            old = _same_content(sql, columns, facts, gone)
        overlay = msgspec.json.decode(old[1]) if old and old[1] else {}
        values = {name: getattr(facts, name) for name in _FACTS} | overlay
        album_id = _album(sql, root_id, folder, values)
        touched.add(album_id)
        sha256, seq = facts.sha256, tx.next_seq()
        if old and sha256 is None and (old[2], old[3]) == (facts.size, facts.mtime_ns):
            sha256 = old[4]
        if old:
            touched.add(old[5])
        path = folder + b"/" + facts.name if folder else facts.name
        row = [
            seq, None, folder_id, facts.name, facts.size, facts.mtime_ns, facts.content, album_id,
            *(values[name] for name in _FACTS),
            paths.mime(facts.name) or "application/octet-stream", sha256, paths.to_url(root_id, path),
            old[1] if old else None, old[7] if old and old[6] is None else seq,
        ]  # fmt: skip
        if old:
            sql.execute(_UPDATE, (*row, old[0]))
            return int(old[0])
        return int(sql.execute(_INSERT, (*row, seq)).lastrowid or 0)

    def delete(self, ids: Sequence[int]) -> int:
        """Turn tracks into tombstones; how many there were."""
        count, touched = 0, set()
        with self.db.write() as tx:
            for track_id in ids:
                row = tx.sql.execute(
                    "SELECT album_id FROM track WHERE id = ? AND deleted_at IS NULL", (track_id,)
                ).fetchone()
                if row:
                    tx.sql.execute(
                        "UPDATE track SET seq = ?, deleted_at = ? WHERE id = ?", (tx.next_seq(), time.time(), track_id)
                    )
                    touched.add(row[0])
                    count += 1
            _refresh_albums(tx.sql, touched)
        self.version += 1
        return count

    def purge(self, now: float | None = None) -> int:
        """Forget tombstones older than 30 days; who has not asked since then has to start over."""
        before = (time.time() if now is None else now) - TOMBSTONE_SECONDS
        with self.db.write() as tx:
            old = "FROM track WHERE deleted_at IS NOT NULL AND deleted_at < ?"
            count, newest = tx.sql.execute(f"SELECT count(*), max(seq) {old}", (before,)).fetchone()
            if count:
                tx.sql.execute(f"DELETE {old}", (before,))
                tx.sql.execute(
                    "UPDATE meta SET value = max(CAST(value AS INTEGER), ?) WHERE key = 'horizon'", (newest,)
                )
            # an upload is not repeated after that long either
            tx.sql.execute("DELETE FROM idempotency WHERE created < ?", (before,))
        return int(count)

    def set_hashes(self, hashes: Sequence[tuple[int, int, int, str]]) -> None:
        """Note (track, size, mtime_ns, SHA-256) where that version of the file is still the one in the library."""
        with self.db.write() as tx:
            for track_id, size, mtime_ns, digest in hashes:
                cursor = tx.sql.execute(
                    "UPDATE track SET sha256 = ?, seq = ? WHERE id = ? AND size = ? AND mtime_ns = ? "
                    "AND sha256 IS NULL AND deleted_at IS NULL",
                    (digest, tx.seq + STEP, track_id, size, mtime_ns),
                )
                if cursor.rowcount:
                    tx.next_seq()

    # -- what people change -------------------------------------------------------------------------------------------

    def patch(self, track_id: int, changes: dict[str, Any]) -> Track:
        """Lay `changes` over the file's tags for good; the file itself is not touched. Raises ApiError 404."""
        with self.db.write() as tx:
            sql = tx.sql
            row = sql.execute(
                f"SELECT overlay, album_id, folder_id, {', '.join(PATCHABLE)} FROM track "  # noqa: S608
                "WHERE id = ? AND deleted_at IS NULL",
                (track_id,),
            ).fetchone()
            if row is None:
                raise not_found(f"track {track_id}")
            values = dict(zip(PATCHABLE, row[3:], strict=True)) | changes
            root_id, folder = sql.execute("SELECT root_id, path FROM folder WHERE id = ?", (row[2],)).fetchone()
            overlay = (msgspec.json.decode(row[0]) if row[0] else {}) | changes
            album_id = _album(sql, root_id, folder, values)
            assignments = ", ".join(f"{name} = ?" for name in PATCHABLE)
            sql.execute(
                f"UPDATE track SET {assignments}, album_id = ?, overlay = ?, seq = ? WHERE id = ?",  # noqa: S608
                (*values.values(), album_id, msgspec.json.encode(overlay).decode(), tx.next_seq(), track_id),
            )
            _refresh_albums(sql, {album_id, row[1]})
            track = Track(*sql.execute(f"SELECT {TRACK_COLUMNS} FROM track WHERE id = ?", (track_id,)).fetchone())  # noqa: S608
        self.version += 1
        return track

    def add_plays(self, plays: Sequence[tuple[str, str, float | None, float]]) -> int:
        """Count (id, track id, Unix time or None, seconds); how many were not known yet."""
        now = time.time()
        with self.db.write() as tx:
            return sum(
                tx.sql.execute("INSERT OR IGNORE INTO play VALUES (?, ?, ?, ?, ?)", (*play, now)).rowcount
                for play in plays
            )

    # -- for benches --------------------------------------------------------------------------------------------------

    def bulk_add(self, root_id: int, folders: Iterable[tuple[bytes, Sequence[Facts]]]) -> int:
        """Add very many new files fast, an album per folder: nothing is looked up, indexes are made at the end."""
        with self.db.write() as tx:
            sql = tx.sql
            made = sql.execute(
                "SELECT type, name, sql FROM sqlite_master WHERE sql IS NOT NULL AND "
                "(type = 'trigger' OR (type = 'index' AND tbl_name = 'track'))"
            ).fetchall()
            for kind, name, _ in made:
                sql.execute(f"DROP {kind} {name}")
            cursor = sql.executemany(_INSERT, self._bulk_rows(tx, root_id, folders))
            sql.execute("PRAGMA cache_size=-65536")
            for _, _, text in made:
                sql.execute(text)
            # a large table of words in memory spares most merging
            sql.execute("INSERT INTO words (words, rank) VALUES ('hashsize', 67108864)")
            sql.execute("INSERT INTO words (words) VALUES ('rebuild')")
            sql.execute("INSERT INTO words (words, rank) VALUES ('hashsize', 1048576)")
            sql.execute(f"PRAGMA cache_size=-{CACHE_KIB}")
        self.version += 1
        return cursor.rowcount

    def _bulk_rows(
        self, tx: Tx, root_id: int, folders: Iterable[tuple[bytes, Sequence[Facts]]]
    ) -> Iterator[tuple[Any, ...]]:
        values = attrgetter(*_FACTS)
        for folder, files in folders:
            first = files[0]
            folder_id = _folder(tx.sql, root_id, folder)
            album_id = _album(tx.sql, root_id, folder, {"album": first.album, "album_artist": first.album_artist})
            tx.sql.execute("UPDATE album SET artist = ?, year = ? WHERE id = ?", (first.artist, first.year, album_id))
            url = paths.to_url(root_id, folder + b"/")
            for f in files:
                seq = tx.next_seq()
                yield (
                    seq, None, folder_id, f.name, f.size, f.mtime_ns, f.content, album_id, *values(f),
                    paths.mime(f.name), f.sha256, url + paths.quote(f.name), None, seq, seq,
                )  # fmt: skip


def album_folder(folder: bytes) -> bytes:
    """The folder that makes an album one: `CD 1`, `Disc 2` ... belong to the folder above."""
    above, _, last = folder.rpartition(b"/")
    return above if above and _DISC_FOLDER.match(last) else folder


def _folder(sql: sqlite3.Connection, root_id: int, path: bytes) -> int:
    row = sql.execute("SELECT id FROM folder WHERE root_id = ? AND path = ?", (root_id, path)).fetchone()
    if row is None:
        return int(sql.execute("INSERT INTO folder (root_id, path) VALUES (?, ?)", (root_id, path)).lastrowid or 0)
    return int(row[0])


def _album(sql: sqlite3.Connection, root_id: int, folder: bytes, values: dict[str, Any]) -> int:
    title, artist = values["album"], values["album_artist"]
    where = os.fsdecode(album_folder(folder)).encode("utf-8", "backslashreplace").decode()
    key = "\x1f".join((str(root_id), where, fold(title), fold(artist or "")))
    row = sql.execute("SELECT id FROM album WHERE key = ?", (key,)).fetchone()
    if row is None:
        cursor = sql.execute("INSERT INTO album (key, title, album_artist) VALUES (?, ?, ?)", (key, title, artist))
        return int(cursor.lastrowid or 0)
    return int(row[0])


def _refresh_albums(sql: sqlite3.Connection, ids: Iterable[int]) -> None:
    """What an album shows of its tracks: one artist or several, the first year."""
    for album_id in ids:
        lowest, highest, year = sql.execute(
            "SELECT min(artist), max(artist), min(year) FROM track WHERE album_id = ? AND deleted_at IS NULL",
            (album_id,),
        ).fetchone()
        sql.execute(
            "UPDATE album SET artist = coalesce(album_artist, ?, artist), year = ? WHERE id = ?",
            (lowest if lowest == highest else VARIOUS, year, album_id),
        )


def _same_content(sql: sqlite3.Connection, columns: str, facts: Facts, gone: Gone) -> tuple[Any, ...] | None:
    """The track, living or dead, whose file this was under another path."""
    candidates = sql.execute(
        f"SELECT track.{columns.replace(', ', ', track.')}, track.name, folder.root_id, folder.path "  # noqa: S608
        "FROM track JOIN folder ON folder.id = track.folder_id WHERE track.content = ? AND track.size = ? "
        "ORDER BY track.deleted_at IS NOT NULL, track.id LIMIT 16",
        (facts.content, facts.size),
    ).fetchall()
    for row in candidates:
        name, root_id, folder = row[-3:]
        if row[6] is not None or gone(root_id, folder + b"/" + name if folder else name):
            return tuple(row[:-3])
    return None
