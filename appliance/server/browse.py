"""Reading the library: categories, albums, search, numbers. Answers to whole lists are kept until something changes."""

from __future__ import annotations

import heapq
import re
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

from appliance.server.catalog import Catalog
from appliance.server.errors import bad_request, not_found
from appliance.server.models import TRACK_COLUMNS, Album, Item, Stats, Track
from appliance.server.text import clean, fold, words

_WORD = re.compile(r"[^\W_]+")
CATEGORIES = ("artist", "year", "album", "publisher", "country", "genre", "type", "status")
KEPT_LISTS = 6
CANDIDATES = 400  # tracks that are looked at for the best of a search
_IDS = "SELECT rowid FROM words WHERE words MATCH ? LIMIT ?"


class Browser:
    """Blocking reads for the API."""

    def __init__(self, catalog: Catalog) -> None:
        self.catalog = catalog
        self.db = catalog.db
        self._kept: OrderedDict[tuple[Any, ...], Any] = OrderedDict()

    def stats(self) -> Stats:
        def count() -> Stats:
            sql = self.db.reader
            tracks, albums, duration, size = sql.execute(
                "SELECT count(*), count(DISTINCT album_id), coalesce(sum(duration), 0), coalesce(sum(size), 0) "
                "FROM track WHERE deleted_at IS NULL"
            ).fetchone()
            (artists,) = sql.execute("SELECT count(DISTINCT artist) FROM track WHERE deleted_at IS NULL").fetchone()
            return Stats(self.db.meta("library"), tracks, albums, artists, round(duration, 3), size, 0)

        stats: Stats = self._keep(("stats",), count)
        stats.seq = int(self.db.meta("seq"))
        return stats

    def category(
        self, name: str, text: str, offset: int, limit: int, narrow: Mapping[str, str]
    ) -> tuple[list[Item], int]:
        """(items, how many there are) of a category whose names contain `text`; `narrow` has ids of others."""
        if name not in CATEGORIES:
            raise not_found(f"category {clean(name)[:40]}")
        where, values = _narrowed(narrow)
        key = ("cat", name, where, values)
        items: list[tuple[str, Item]] = self._keep(key, lambda: self._items(name, where, values))
        wanted = words(text)
        if text and not wanted:
            return [], 0
        if wanted:
            items = [pair for pair in items if all(w in pair[0] for w in wanted)]
        return [item for _, item in items[offset : offset + limit]], len(items)

    def album(self, album_id: int) -> tuple[Album, list[Track]]:
        """An album and its tracks in disc and track order. Raises ApiError 404."""
        sql = self.db.reader
        row = sql.execute("SELECT id, title, artist, year FROM album WHERE id = ?", (album_id,)).fetchone()
        tracks = [
            Track(*t)
            for t in sql.execute(
                f"SELECT {TRACK_COLUMNS} FROM track WHERE album_id = ? AND deleted_at IS NULL "  # noqa: S608
                "ORDER BY coalesce(disc, 0), no IS NULL, no, title, id",
                (album_id,),
            )
        ]
        if row is None or not tracks:
            raise not_found(f"album {album_id}")
        return Album(row[0], row[1], row[2], row[3], len(tracks)), tracks

    def track(self, track_id: int, *, deleted: bool = False) -> Track:
        """One track. Raises ApiError 404."""
        row = self.db.reader.execute(
            f"SELECT {TRACK_COLUMNS} FROM track WHERE id = ? AND (deleted_at IS NULL OR ?)",  # noqa: S608
            (track_id, deleted),
        ).fetchone()
        if row is None:
            raise not_found(f"track {track_id}")
        return Track(*row)

    def search(self, query: str, limit: int) -> tuple[list[Track], list[Item], list[Item]]:
        """(tracks, albums, artists) that have every word of `query`, the last one as a beginning; best first."""
        wanted = words(query)
        if not wanted:
            return [], [], []
        match = " ".join(f'"{w}"' for w in wanted) + " *"
        rows = self.db.reader.execute(
            f"SELECT {TRACK_COLUMNS} FROM track WHERE id IN ({_IDS})",  # noqa: S608
            (match, max(CANDIDATES, limit)),
        ).fetchall()
        joined = " ".join(wanted)

        def rank(track: Track) -> tuple[int, str, str, int]:
            title = " ".join(words(track.title))
            best = 0 if title == joined else 1 if title.startswith(joined) else 2 if joined in title else 3
            return best, title, fold(track.artist), track.id

        tracks = sorted((Track(*row) for row in rows), key=rank)[:limit]

        def named(category: str) -> list[Item]:
            pairs: list[tuple[str, Item]] = self._keep(("cat", category, "", ()), lambda: self._items(category, "", ()))
            begins, last = f" {joined}", f" {wanted[-1]}"
            whole = [f" {w} " for w in wanted[:-1]]
            hits = (
                (not key.startswith(begins), key, n)
                for n, (key, _) in enumerate(pairs)
                if last in key and all(w in key for w in whole)
            )
            return [pairs[n][1] for _, _, n in heapq.nsmallest(limit, hits)]

        return tracks, named("album"), named("artist")

    def find(self, sha256: str | None, artist: str | None, title: str | None, duration: float | None) -> int | None:
        """The track that a file is already: by its hash, else by artist, title and a duration within 2 s (S3)."""
        sql = self.db.reader
        if sha256:
            row = sql.execute(
                "SELECT id FROM track WHERE sha256 = ? AND deleted_at IS NULL ORDER BY id", (sha256,)
            ).fetchone()
            if row:
                return int(row[0])
        if not artist or not title or duration is None or not words(title):
            return None
        match = f"title : ({' '.join(_quoted(title))})"
        if words(artist):
            match += f" AND artist : ({' '.join(_quoted(artist))})"
        rows = sql.execute(
            "SELECT t.id, t.title, t.artist FROM words JOIN track t ON t.id = words.rowid WHERE words MATCH ? "
            "AND abs(t.duration - ?) <= 2 ORDER BY t.id LIMIT 100",
            (match, duration),
        )
        same = (fold(clean(title)), fold(clean(artist)))
        return next((int(i) for i, t, a in rows if (fold(t), fold(a)) == same), None)

    # -- lists --------------------------------------------------------------------------------------------------------

    def _items(self, name: str, where: str, values: tuple[Any, ...]) -> list[tuple[str, Item]]:
        """(folded words of the name, each after a space; item) of a whole category, in order."""
        sql = self.db.reader
        live = f"FROM track WHERE deleted_at IS NULL{where}"
        if name == "album":
            albums = {row[0]: row for row in sql.execute("SELECT id, title, artist, year FROM album")}
            counts = sql.execute(f"SELECT album_id, count(*) {live} GROUP BY album_id", values)
            pairs = [
                (_key(f"{albums[i][1]} {albums[i][2]}"),
                 Item(i, albums[i][1], tracks=n, artist=albums[i][2], year=albums[i][3]))
                for i, n in counts if i in albums
            ]  # fmt: skip
        else:
            rows = sql.execute(
                f"SELECT {name}, count(*), count(DISTINCT album_id) {live} AND {name} IS NOT NULL GROUP BY {name}",
                values,
            )
            pairs = [(_key(str(value)), Item(value, str(value), tracks=n, albums=albums)) for value, n, albums in rows]
        pairs.sort(key=lambda pair: pair[0])
        return pairs

    def _keep(self, key: tuple[Any, ...], make: Any) -> Any:
        """`make()`, or what it gave before if nothing has changed since."""
        version = self.catalog.version
        kept = self._kept.get(key)
        if kept is not None and kept[0] == version:
            return kept[1]
        value = make()
        self._kept[key] = (version, value)
        while len(self._kept) > KEPT_LISTS:
            self._kept.popitem(last=False)
        return value


def _key(name: str) -> str:
    return f" {' '.join(_WORD.findall(fold(name)))} "


def _narrowed(narrow: Mapping[str, str]) -> tuple[str, tuple[Any, ...]]:
    """SQL and its values for `artist=`, `year=` ...; an album and a year are numbers."""
    where = ""
    values: list[Any] = []
    for name, value in sorted(narrow.items()):
        if name in ("album", "year"):
            if not value.isascii() or not value.isdigit() or len(value) > 18:
                raise bad_request(f"{name} must be a number")
            values.append(int(value))
        else:
            values.append(value)
        where += f" AND {'album_id' if name == 'album' else name} = ?"
    return where, tuple(values)


def _quoted(text: str) -> list[str]:
    return [f'"{word}"' for word in words(text)]
