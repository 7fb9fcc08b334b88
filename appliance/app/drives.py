"""Connects the drives to the machine: where they come from, and what a fill takes."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable
from pathlib import Path

from appliance.config import Drives as DriveSettings
from appliance.drives import DriveSource, Found
from appliance.errors import ChadboxError
from appliance.library import Library
from appliance.own import is_own
from appliance.store import Store

log = logging.getLogger(__name__)

MOST = 5_000  # tracks of a fill
HEARD = 1_000  # most played, recently played: so many of each
ENOUGH = 200  # tracks; a box that has heard less than that brings the newest albums as well


class Wanted:
    """What a fill takes: the prediction where there is one, then favourites, then most played, then recently played.

    A new box has heard nothing: lest its first drive stays empty, the newest albums of the library follow.
    """

    def __init__(self, library: Library, store: Store) -> None:
        self._library, self._store = library, store

    async def __call__(self) -> list[str]:
        """Track ids in play order."""
        predicted: list[str] = []
        if self._library.commute is not None:
            predicted = await self._library.commute()
        library = self._library.library_id or ""

        def most(db: sqlite3.Connection) -> list[str]:
            sql = (
                "SELECT track_id FROM playcount WHERE library = ? AND plays > 0 ORDER BY plays DESC, last DESC LIMIT ?"
            )
            return [track for (track,) in db.execute(sql, (library, HEARD))]

        recent = [str(track.id) for track in await self._library.recently_played(HEARD)]
        ids = [*predicted, *await self._library.favourites(), *await self._store.read(most), *recent]
        if len(ids) < ENOUGH:
            ids += await self._store.read(_newest)
        return [i for i in dict.fromkeys(ids) if not is_own(i)][:MOST]


def _newest(db: sqlite3.Connection) -> list[str]:
    """The albums that came to the library last, each whole and in its order; about ENOUGH tracks."""
    found: list[str] = []
    for (album,) in db.execute("SELECT id FROM album WHERE tracks > 0 ORDER BY id DESC LIMIT ?", (ENOUGH,)).fetchall():
        found += [
            t for (t,) in db.execute("SELECT track_id FROM track WHERE album_n = ? ORDER BY disc, no, id", (album,))
        ]
        if len(found) >= ENOUGH:
            break
    return found


class Sources:
    """Several sources as one; a part that is missing on this machine is told once and missed by nobody."""

    def __init__(self, sources: list[DriveSource]) -> None:
        self._sources = sources
        self._of: dict[str, DriveSource] = {}

    def start(self, added: Callable[[Found], None], removed: Callable[[str], None]) -> None:
        for source in self._sources:

            def came(found: Found, source: DriveSource = source) -> None:
                self._of[found.node] = source
                added(found)

            try:
                source.start(came, removed)
            except ChadboxError as error:
                log.info("%s", error)

    async def mount(self, node: str, *, writable: bool) -> Path:
        return await self._of[node].mount(node, writable=writable)

    async def unmount(self, node: str, *, power_off: bool) -> None:
        await self._of[node].unmount(node, power_off=power_off)

    async def close(self) -> None:
        for source in self._sources:
            await source.close()


def drive_source(settings: DriveSettings) -> DriveSource:
    """USB drives where the machine has udev and udisks, and the folders of the settings."""
    from hw.drives import FolderDrives

    sources: list[DriveSource] = []
    if Path("/run/udev/control").exists():
        from hw.udisks import UdisksDrives

        sources.append(UdisksDrives())
    else:
        log.info("no udev on this machine, so no USB drives")
    if settings.folders:
        sources.append(FolderDrives(settings.folders))
    return Sources(sources)
