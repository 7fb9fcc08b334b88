"""What was heard (L5), favourites and playlists (L6): rows that belong to the listener and survive every resync."""

from __future__ import annotations

import sqlite3
import time
from typing import Any

from appliance.errors import NotFound, UsageError
from appliance.library.fold import sort_key
from appliance.own import is_own

COUNTS = 240.0  # seconds after which a long track counts as played; a shorter one counts after half of it
UNKNOWN = 30.0  # the same for a track of unknown length
UNTOLD = 3  # `play.reported` of music on a drive: the server does not know it (reports.py has the others)
NAME = 200  # most characters of a playlist's name


def record(con: sqlite3.Connection, library: str, track_id: str, seconds: float, clock_ok: bool) -> str:
    """Add a play; returns its id, a UUID, under which the server will count it once.

    The time goes in only when the clock is known to be right. Sums are kept beside, so nothing is counted by scanning.
    """
    seconds = max(0.0, seconds) if seconds < 1e9 else 0.0  # also NaN
    row = con.execute("SELECT duration FROM track WHERE track_id = ?", (track_id,)).fetchone()
    needed = min(COUNTS, row[0] / 2) if row and row[0] > 0 else UNKNOWN
    import uuid  # 7 ms that the start of the player need not wait for

    play_id = str(uuid.uuid4())
    cursor = con.execute(
        "INSERT INTO play (id, library, track_id, played_at, seconds, reported) VALUES (?, ?, ?, ?, ?, ?)",
        (play_id, library, track_id, time.time() if clock_ok else None, seconds, UNTOLD if is_own(track_id) else 0),
    )
    con.execute(
        """INSERT INTO playcount (library, track_id, plays, seconds, last) VALUES (?, ?, ?, ?, ?)
        ON CONFLICT DO UPDATE SET
            plays = plays + excluded.plays, seconds = seconds + excluded.seconds, last = excluded.last""",
        (library, track_id, int(seconds >= needed), seconds, cursor.lastrowid),
    )
    return play_id


def recent(con: sqlite3.Connection, library: str, limit: int) -> list[str]:
    """Track ids, the one heard last first, each once; those that the library no longer has are left out."""
    sql = """SELECT p.track_id FROM playcount p WHERE p.library = ? AND EXISTS
        (SELECT 1 FROM track t WHERE t.track_id = p.track_id) ORDER BY p.last DESC LIMIT ?"""
    return [t for (t,) in con.execute(sql, (library, max(0, min(limit, 1000))))]


def plays(con: sqlite3.Connection, library: str, track_id: str) -> int:
    """How often a track was heard long enough to count."""
    row = con.execute("SELECT plays FROM playcount WHERE library = ? AND track_id = ?", (library, track_id)).fetchone()
    return int(row[0]) if row else 0


def set_favourite(con: sqlite3.Connection, library: str, track_id: str, on: bool) -> None:
    if on:
        con.execute("INSERT OR IGNORE INTO favourite (library, track_id) VALUES (?, ?)", (library, track_id))
    else:
        con.execute("DELETE FROM favourite WHERE library = ? AND track_id = ?", (library, track_id))


def favourites(con: sqlite3.Connection, library: str) -> list[str]:
    """Track ids in the order in which they were marked."""
    return [t for (t,) in con.execute("SELECT track_id FROM favourite WHERE library = ? ORDER BY n", (library,))]


def playlists(con: sqlite3.Connection, library: str) -> list[tuple[str, int]]:
    """(name, number of tracks) in alphabetical order."""
    sql = """SELECT p.name, (SELECT count(*) FROM playlist_item i WHERE i.playlist = p.id)
        FROM playlist p WHERE p.library = ? ORDER BY p.sort, p.name"""
    return con.execute(sql, (library,)).fetchall()


def set_playlist(con: sqlite3.Connection, library: str, name: str, track_ids: list[str]) -> None:
    """Make or replace a playlist. Raises UsageError for a name that cannot be one."""
    name = name.strip()
    if not name or len(name) > NAME or not name.isprintable():
        raise UsageError(f"a playlist's name has 1 to {NAME} printable characters")
    drop_playlist(con, library, name)
    cursor = con.execute("INSERT INTO playlist (library, name, sort) VALUES (?, ?, ?)", (library, name, sort_key(name)))
    rows: list[Any] = [(cursor.lastrowid, n, t) for n, t in enumerate(track_ids)]
    con.executemany("INSERT INTO playlist_item (playlist, ord, track_id) VALUES (?, ?, ?)", rows)


def drop_playlist(con: sqlite3.Connection, library: str, name: str) -> bool:
    """False when there was none of that name."""
    return con.execute("DELETE FROM playlist WHERE library = ? AND name = ?", (library, name)).rowcount > 0


def playlist(con: sqlite3.Connection, library: str, name: str) -> list[str]:
    """Track ids of the playlist spelt so, else of the one that differs in case and diacritics only. Raises NotFound."""
    sql = "SELECT id FROM playlist WHERE library = ? AND (name = ? OR sort = ?) ORDER BY name <> ?, name LIMIT 1"
    row = con.execute(sql, (library, name, sort_key(name), name)).fetchone()
    if row is None:
        raise NotFound(f'there is no playlist "{name[:80]}"')
    return [t for (t,) in con.execute("SELECT track_id FROM playlist_item WHERE playlist = ? ORDER BY ord", (row[0],))]
