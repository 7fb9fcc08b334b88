"""Lists of the library: categories, their values, and what a value holds (F5), read from the materialised tables.

What choosing a value shows is what people expect of a record shelf: an album shows its tracks in order; everything else
(an artist, a year, a genre, a label ...) shows its albums, an artist's from the oldest to the newest, others by name.
"""

from __future__ import annotations

import sqlite3
from typing import Any

from appliance.errors import NotFound, UsageError
from appliance.library.albums import CATEGORIES
from appliance.library.fold import plain, sort_key
from appliance.library.pages import COLUMNS, from_row
from appliance.library.search import album_item, facet_item

LIMIT = 1000  # most entries of one answer
RESOLVE = 50_000  # most tracks that one WHAT stands for: four months of music

_ALBUM = "a.album_id, a.int_id, a.name, a.tracks, a.artist, a.year"
_TRACK_COLUMNS = ", ".join(f"t.{c}" for c in COLUMNS)
Answer = dict[str, Any]


def categories() -> Answer:
    return {"categories": list(CATEGORIES)}


def check(category: str) -> str:
    """Raises UsageError, naming what there is, when `category` is none."""
    if category not in CATEGORIES:
        raise UsageError(f'"{category[:50]}" is not a category; there are {", ".join(CATEGORIES)}')
    return category


def values(con: sqlite3.Connection, category: str, offset: int, limit: int, text: str) -> Answer:
    """`{"items", "total"}` of a category; `text` narrows to names that contain it, case and diacritics aside."""
    offset, limit = max(0, offset), max(0, min(limit, LIMIT))
    key = plain(text)
    if check(category) == "album":
        where, args = "a.sort >= ''", []
        source, columns, order, make = "album a", _ALBUM, "a.sort, a.id", album_item
    else:
        where, args = "a.category = ?", [category]
        source, columns, order, make = "facet a", "a.value, a.tracks, a.albums", "a.sort, a.value", facet_item
    if key:
        where += " AND instr(a.sort, ?)"
        args.append(key)
    (total,) = con.execute(f"SELECT count(*) FROM {source} WHERE {where}", args).fetchone()  # noqa: S608
    sql = f"SELECT {columns} FROM {source} WHERE {where} ORDER BY {order} LIMIT ? OFFSET ?"  # noqa: S608
    return {"items": [make(row) for row in con.execute(sql, (*args, limit, offset))], "total": total}


def letters(con: sqlite3.Connection, category: str) -> list[tuple[str, int]]:
    """(first letter, offset of the first entry that begins so) of a category, for jumps."""
    args: tuple[str, ...] = ()
    if check(category) == "album":
        sql = "SELECT substr(sort, 1, 1), count(*) FROM album WHERE sort >= '' GROUP BY 1 ORDER BY 1"
    else:
        sql = "SELECT substr(sort, 1, 1), count(*) FROM facet WHERE category = ? GROUP BY 1 ORDER BY 1"
        args = (category,)
    found, offset = [], 0
    for letter, count in con.execute(sql, args):
        found.append((letter, offset))
        offset += count
    return found


def value(con: sqlite3.Connection, category: str, name: str, offset: int, limit: int, text: str) -> Answer:
    """The albums of a value, or `{"album", "tracks", "total"}` of an album. Raises NotFound."""
    offset, limit = max(0, offset), max(0, min(limit, LIMIT))
    key = plain(text)
    if check(category) == "album":
        n = album(con, name)
        sql = f"SELECT {_TRACK_COLUMNS} FROM track t WHERE album_n = ? ORDER BY disc, no, id LIMIT ? OFFSET ?"  # noqa: S608
        tracks = [from_row(row) for row in con.execute(sql, (n, limit, offset))]
        row = con.execute(f"SELECT {_ALBUM} FROM album a WHERE id = ?", (n,)).fetchone()  # noqa: S608
        return {"album": album_item(row), "tracks": tracks, "total": row[3]}
    ids = facets(con, category, name)
    where = f"f.facet IN ({', '.join('?' * len(ids))})" + (" AND instr(a.sort, ?)" if key else "")
    args = [*ids, key] if key else list(ids)
    source = f"album_facet f JOIN album a ON a.id = f.album WHERE {where}"
    order = "a.year, a.sort, a.id" if category == "artist" else "a.sort, a.id"
    (total,) = con.execute(f"SELECT count(DISTINCT a.id) FROM {source}", args).fetchone()  # noqa: S608
    sql = f"SELECT DISTINCT {_ALBUM} FROM {source} ORDER BY {order} LIMIT ? OFFSET ?"  # noqa: S608
    return {"items": [album_item(row) for row in con.execute(sql, (*args, limit, offset))], "total": total}


def album(con: sqlite3.Connection, name: str) -> int:
    """album.id of the server's album id, or else of the one album of that name. Raises NotFound."""
    row = con.execute("SELECT id FROM album WHERE album_id = ? AND sort IS NOT NULL", (name,)).fetchone()
    if row is None:
        rows = con.execute("SELECT id FROM album WHERE sort = ? LIMIT 2", (sort_key(name),)).fetchall()
        row = rows[0] if len(rows) == 1 else None
    if row is None:
        raise NotFound(f'there is no album "{name[:80]}"; `chadbox search` finds its id')
    return int(row[0])


def facets(con: sqlite3.Connection, category: str, name: str) -> list[int]:
    """facet.id of a value: the one spelt so, else those that differ in case and diacritics only. Raises NotFound."""
    rows = con.execute("SELECT id FROM facet WHERE category = ? AND value = ?", (category, name)).fetchall()
    if not rows and category != "year":
        sql = "SELECT id FROM facet WHERE category = ? AND sort = ? ORDER BY value LIMIT 20"
        rows = con.execute(sql, (category, sort_key(name))).fetchall()
    if not rows:
        raise NotFound(f'there is no {category} "{name[:80]}" in the library')
    return [n for (n,) in rows]


def album_tracks(con: sqlite3.Connection, n: int) -> list[str]:
    """Track ids of an album in disc and track order."""
    sql = "SELECT track_id FROM track WHERE album_n = ? ORDER BY disc, no, id LIMIT ?"
    return [t for (t,) in con.execute(sql, (n, RESOLVE))]


def facet_tracks(con: sqlite3.Connection, category: str, name: str) -> list[str]:
    """Track ids of an artist or another value: album after album, as its list shows them. Raises NotFound."""
    ids = facets(con, category, name)
    marks = ", ".join("?" * len(ids))
    order = "a.year, a.sort, a.id" if category == "artist" else "a.sort, a.id"
    names = [v for (v,) in con.execute(f"SELECT value FROM facet WHERE id IN ({marks})", ids)]  # noqa: S608
    column = f"t.{category} IN ({marks})"
    args = [*ids, *names]
    if category == "artist":
        column = f"({column} OR t.album_artist IN ({marks}))"
        args += names
    sql = f"""SELECT t.track_id FROM (SELECT DISTINCT a.id, a.year, a.sort
        FROM album_facet f JOIN album a ON a.id = f.album WHERE f.facet IN ({marks})) a
        CROSS JOIN track t ON t.album_n = a.id
        WHERE {column} ORDER BY {order}, t.disc, t.no, t.id LIMIT ?"""  # noqa: S608
    return [t for (t,) in con.execute(sql, (*args, RESOLVE))]
