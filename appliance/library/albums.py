"""Albums and facets: what people browse, kept beside the tracks so that no list has to be computed when it is shown.

Everything hangs on the album. When a track changes, its album (and the one it left) is put on `album_dirty` in the
same transaction; settling an album counts its tracks anew and books the difference. One changed track costs one album,
a full sync costs every album once, and both take the same way, so they cannot disagree. A crash leaves the dirty list.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from typing import Any

from appliance.library import fold

CATEGORIES = ("artist", "year", "album", "publisher", "country", "genre", "type", "status")
VARIOUS = "Various Artists"
BATCH = 200  # albums a transaction: some 20 ms of the writer's time on a desktop, a few hundred on the smallest Pi

_TRACKS = """SELECT artist, album_artist, album, year, publisher, country, genre, type, status, album_id, int_album_id
    FROM track WHERE album_n = ? ORDER BY disc, no, id"""
_SINGLE = (("publisher", 4), ("country", 5), ("genre", 6), ("type", 7), ("status", 8))
Facet = tuple[str, str]


def key_of(album_id: str | None, artist: str, album_artist: str | None, album: str) -> str:
    """The id under which a track's album is kept; tracks without an album id are grouped by artist and album name."""
    return album_id if album_id is not None else f"~{album_artist or artist}/{album}"


def settle(con: sqlite3.Connection, limit: int = BATCH) -> int:
    """Settle up to `limit` dirty albums inside the caller's transaction; returns how many are left."""
    ids = [n for (n,) in con.execute("SELECT id FROM album_dirty ORDER BY id LIMIT ?", (limit,))]
    book = _Book(con)
    for n in ids:
        _settle_one(con, n, book)
    book.close()
    con.executemany("DELETE FROM album_dirty WHERE id = ?", [(n,) for n in ids])
    (left,) = con.execute("SELECT count(*) FROM album_dirty").fetchone() if len(ids) == limit else (0,)
    return int(left)


def _settle_one(con: sqlite3.Connection, n: int, book: _Book) -> None:
    tracks = con.execute(_TRACKS, (n,)).fetchall()
    book.set_facets(n, _count(tracks))
    was = con.execute("SELECT name, artist, year, tracks, sort FROM album WHERE id = ?", (n,)).fetchone()
    if was is None:
        return
    if was[4] is not None and (not tracks or was[:2] != _names(tracks)):
        con.execute(
            "INSERT INTO album_fts (album_fts, rowid, t) VALUES ('delete', ?, ?)", (n, fold.index_text(*was[:2]))
        )
    if not tracks:
        con.execute("DELETE FROM album WHERE id = ?", (n,))
        return
    name, artist = _names(tracks)
    if was[4] is None or was[:2] != (name, artist):
        con.execute("INSERT INTO album_fts (rowid, t) VALUES (?, ?)", (n, fold.index_text(name, artist)))
    now = (name, artist, tracks[0][3], len(tracks), fold.sort_key(name))
    if now != was:
        con.execute("UPDATE album SET name=?, artist=?, year=?, tracks=?, sort=? WHERE id=?", (*now, n))


def _names(tracks: list[Any]) -> tuple[str, str]:
    """Name and artist of an album: the first track's, or many artists' when they differ and none is named for all."""
    artist, album_artist, album = tracks[0][:3]
    if not album_artist:
        album_artist = artist if all(t[0] == artist for t in tracks) else VARIOUS
    return album, album_artist


def _count(tracks: list[Any]) -> dict[Facet, int]:
    counts: Counter[Facet] = Counter()
    for track in tracks:
        for artist in {track[0], track[1]}:
            if artist:
                counts["artist", artist] += 1
        if track[3] is not None:
            counts["year", str(track[3])] += 1
        for category, column in _SINGLE:
            if track[column]:
                counts[category, track[column]] += 1
    return counts


class _Book:
    """Collects what a batch of albums changes in the facets and writes it in one go."""

    def __init__(self, con: sqlite3.Connection) -> None:
        self.con = con
        self.ids: dict[Facet, int] = {}
        self.change: dict[int, list[int]] = {}  # facet id: [tracks, albums]

    def set_facets(self, album: int, counts: dict[Facet, int]) -> None:
        """Make the facets of `album` those of `counts`."""
        old = dict(self.con.execute("SELECT facet, tracks FROM album_facet WHERE album = ?", (album,)).fetchall())
        new = {self._id(facet): count for facet, count in counts.items()}
        if old == new:
            return
        for facet in old.keys() - new.keys():
            self._add(facet, -old[facet], -1)
        for facet, count in new.items():
            self._add(facet, count - old.get(facet, 0), 0 if facet in old else 1)
        self.con.executemany(
            "DELETE FROM album_facet WHERE facet = ? AND album = ?", [(f, album) for f in old.keys() - new.keys()]
        )
        self.con.executemany(
            "INSERT OR REPLACE INTO album_facet (facet, album, tracks) VALUES (?, ?, ?)",
            [(f, album, c) for f, c in new.items() if old.get(f) != c],
        )

    def close(self) -> None:
        rows = [(tracks, albums, n) for n, (tracks, albums) in self.change.items()]
        self.con.executemany("UPDATE facet SET tracks = tracks + ?, albums = albums + ? WHERE id = ?", rows)
        for n in self.change:
            row = self.con.execute("SELECT category, value FROM facet WHERE id = ? AND albums <= 0", (n,)).fetchone()
            if row is not None:
                self.con.execute("DELETE FROM facet WHERE id = ?", (n,))
                if row[0] == "artist":
                    self.con.execute(
                        "INSERT INTO artist_fts (artist_fts, rowid, t) VALUES ('delete', ?, ?)",
                        (n, fold.index_text(row[1])),
                    )

    def _add(self, facet: int, tracks: int, albums: int) -> None:
        entry = self.change.setdefault(facet, [0, 0])
        entry[0] += tracks
        entry[1] += albums

    def _id(self, facet: Facet) -> int:
        n = self.ids.get(facet)
        if n is None:
            row = self.con.execute("SELECT id FROM facet WHERE category = ? AND value = ?", facet).fetchone()
            n = self.ids[facet] = row[0] if row else self._new(*facet)
        return n

    def _new(self, category: str, value: str) -> int:
        sort = fold.year_key(int(value)) if category == "year" else fold.sort_key(value)
        cursor = self.con.execute("INSERT INTO facet (category, value, sort) VALUES (?, ?, ?)", (category, value, sort))
        n = cursor.lastrowid or 0
        if category == "artist":
            self.con.execute("INSERT INTO artist_fts (rowid, t) VALUES (?, ?)", (n, fold.index_text(value)))
        return n
