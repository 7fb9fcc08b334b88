"""Music of drives in the index (C8, L4): beside the server's tracks while the drive is there, remembered afterwards.

`drive_file` remembers what was read of each file, so that a drive which comes back is not read again; `track` has the
rows of drives that are plugged in, and a sync neither counts nor deletes them.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

import msgspec
from msgspec import Struct

from appliance.cloud.models import Track
from appliance.library import albums, apply, pages
from appliance.own import AFTER, PREFIX, own_id
from appliance.store import Store, meta

T = TypeVar("T")
NAMES = "drives.music"  # key of `meta`: uuid -> name of the drives that are remembered, the last one seen last
REMEMBERED = 16  # drives
BATCH = 300  # files a transaction


class OwnFile(Struct):
    """A music file of a drive. `track` is None when nothing can be played there."""

    path: bytes
    size: int
    mtime_ns: int
    track: Track | None = None


class Place(Struct):
    """Where a track is: the drive's UUID and name, and the file there."""

    drive: str
    name: str
    path: bytes
    size: int
    mtime_ns: int


class OwnTracks:
    """All methods may raise StorageError. `changed` is called when the index has other contents than before."""

    def __init__(self, store: Store, changed: Callable[[], None]) -> None:
        self._store, self.changed = store, changed

    async def begin(self) -> None:
        """No drive is plugged in yet; the last run may have ended without a word."""
        drives = await self._store.read(
            lambda con: [d for (d,) in con.execute("SELECT DISTINCT drive FROM drive_file WHERE shown = 1")]
        )
        for drive in drives:
            await self.hide(drive)

    async def known(self, drive: str, name: str) -> dict[bytes, tuple[int, int]]:
        """Size and date (ns) of the files that are remembered of a drive, which is remembered from now on."""

        def load(con: sqlite3.Connection) -> dict[bytes, tuple[int, int]]:
            names = {uuid: n for uuid, n in meta.get(con, NAMES, {}).items() if uuid != drive} | {drive: name}
            for old in list(names)[:-REMEMBERED]:
                del names[old]
                con.execute("DELETE FROM drive_file WHERE drive = ? AND shown = 0", (old,))
            meta.put(con, NAMES, names)
            rows = con.execute("SELECT path, size, mtime_ns FROM drive_file WHERE drive = ?", (drive,))
            return {path: (size, mtime) for path, size, mtime in rows}

        return await self._store.write(load)

    async def show(self, drive: str, paths: Sequence[bytes]) -> None:
        """Files that are as they are remembered come into the index."""
        for part in _parts(paths):
            await self._store.write(lambda con, part=part: _show(con, drive, part))  # type: ignore[misc]
        await self._settle()

    async def learn(self, drive: str, files: Sequence[OwnFile]) -> None:
        """Remember files that were read just now, and put their tracks into the index."""

        def write(con: sqlite3.Connection) -> None:
            con.executemany(
                "INSERT OR REPLACE INTO drive_file (drive, path, size, mtime_ns, track_id, row) VALUES (?,?,?,?,?,?)",
                [
                    (drive, f.path, f.size, f.mtime_ns, own_id(drive, f.path),
                     None if f.track is None else msgspec.json.encode(f.track))
                    for f in files
                ],
            )  # fmt: skip
            gone = [own_id(drive, f.path) for f in files if f.track is None]
            _unindex(con, gone)
            _show(con, drive, [f.path for f in files])

        await self._store.write(write)
        await self._settle()

    async def forget(self, drive: str, paths: Sequence[bytes]) -> None:
        """Files that are not on the drive any more."""

        def write(con: sqlite3.Connection, part: Sequence[bytes]) -> None:
            _unindex(con, [own_id(drive, path) for path in part])
            con.executemany("DELETE FROM drive_file WHERE drive = ? AND path = ?", [(drive, path) for path in part])

        for part in _parts(paths):
            await self._store.write(lambda con, part=part: write(con, part))  # type: ignore[misc]
        await self._settle()

    async def hide(self, drive: str) -> None:
        """The drive is gone: its tracks leave the index and are remembered."""

        def write(con: sqlite3.Connection) -> bool:
            ids = [
                t for (t,) in con.execute("SELECT track_id FROM drive_file WHERE drive = ? AND shown = 1 LIMIT ?",
                                          (drive, BATCH))
            ]  # fmt: skip
            _unindex(con, ids)
            return len(ids) == BATCH

        while await self._store.write(write):
            pass
        await self._settle()

    async def place(self, track_id: str) -> Place | None:
        """Where a track of a drive is, or was when the drive was there; None when that was forgotten."""

        def load(con: sqlite3.Connection) -> Place | None:
            sql = "SELECT drive, path, size, mtime_ns FROM drive_file WHERE track_id = ?"
            row = con.execute(sql, (track_id,)).fetchone()
            if row is None:
                return None
            return Place(row[0], meta.get(con, NAMES, {}).get(row[0], row[0]), *row[1:])

        return await self._store.read(load)

    async def _settle(self) -> None:
        while await self._store.write(albums.settle):
            pass
        self.changed()


def remembered(con: sqlite3.Connection, track_ids: Iterable[str]) -> dict[str, Track]:
    """Tracks of drives, plugged in or not, by id."""
    sql = "SELECT track_id, row FROM drive_file WHERE row IS NOT NULL AND track_id IN (SELECT value FROM json_each(?))"
    rows = con.execute(sql, (msgspec.json.encode(list(track_ids)).decode(),))
    return {track_id: msgspec.json.decode(row, type=Track) for track_id, row in rows}


def restore(con: sqlite3.Connection) -> None:
    """The index was emptied: put back what is on the drives that are plugged in."""
    rows = [row for (row,) in con.execute("SELECT row FROM drive_file WHERE shown = 1 AND row IS NOT NULL")]
    _index(con, rows)


def count(con: sqlite3.Connection) -> int:
    """Tracks of drives in the index."""
    sql = "SELECT count(*) FROM track WHERE track_id >= ? AND track_id < ?"
    (found,) = con.execute(sql, (PREFIX, AFTER)).fetchone()
    return int(found)


def _show(con: sqlite3.Connection, drive: str, paths: Sequence[bytes]) -> None:
    rows = []
    for path in paths:
        sql = "SELECT row FROM drive_file WHERE drive = ? AND path = ? AND row IS NOT NULL"
        rows += [row for (row,) in con.execute(sql, (drive, path))]
        con.execute("UPDATE drive_file SET shown = 1 WHERE drive = ? AND path = ?", (drive, path))
    _index(con, rows)


def _index(con: sqlite3.Connection, rows: list[bytes]) -> None:
    tracks = [pages.to_row(msgspec.json.decode(row, type=Track)) for row in rows]
    apply.apply(con, pages.Page("", tracks, [], 0, more=False), seen=False)


def _unindex(con: sqlite3.Connection, ids: Sequence[str]) -> None:
    found = [
        n for track_id in ids for (n,) in con.execute("SELECT id FROM track WHERE track_id = ?", (track_id,)).fetchall()
    ]
    apply.delete(con, found)
    con.executemany("UPDATE drive_file SET shown = 0 WHERE track_id = ?", [(track_id,) for track_id in ids])


def _parts(items: Sequence[T]) -> Iterable[Sequence[T]]:
    return (items[at : at + BATCH] for at in range(0, len(items), BATCH))
