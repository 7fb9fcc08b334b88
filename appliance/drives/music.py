"""The drive's own copy of a track, read instead of the network (C8).

The bytes go through the cache, so a drive that is pulled in the middle of a song only means that the rest comes from
the server. A copy that turned out not to be the track is not asked again.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable

from appliance.cloud.models import Track
from appliance.drives.manifest import File
from appliance.drives.plan import current
from appliance.drives.thread import DriveThread
from appliance.drives.tree import Tree
from appliance.stream import CacheEntry

STALL = 3.0  # seconds; a drive that is slower than this is no help while somebody listens


class Shelf:
    """The files of one mounted drive that are tracks of the library, with a thread of their own for reading."""

    def __init__(self, name: str, tree: Tree, files: dict[str, File], library: str) -> None:
        self.files, self.library = files, library
        self._tree, self._thread = tree, DriveThread(f"{name} play", STALL)
        self._given: dict[str, CacheEntry] = {}

    async def read(self, track: Track, entry: CacheEntry, start: int, stop: int) -> tuple[bytes, File] | None:
        """Bytes [start, stop) of the drive's copy, fewer at its end; None when there is none that can be used."""
        key = str(track.id)
        file = self.files.get(key)
        if file is None or self._thread.dead or not current(file, track) or entry.size not in (None, file.size):
            return None
        before = self._given.get(key)
        if before is not None and before is not entry and before.superseded:
            return None  # its bytes were found to be wrong
        self._given[key] = entry
        try:
            data = await self._thread.run(self._pread, file, start, min(stop, file.size))
        except OSError:
            self.files.pop(key, None)
            return None
        return (data, file) if len(data) == min(stop, file.size) - start else None

    def _pread(self, file: File, start: int, stop: int) -> bytes:
        if self._tree.size(file.path) != file.size:
            return b""
        opened = self._tree.open(file.path)
        try:
            return os.pread(opened, stop - start, start)
        finally:
            os.close(opened)

    async def close(self) -> None:
        """Let go of the drive, so that it can be unmounted."""
        self.files = {}
        if not self._thread.dead:
            with contextlib.suppress(OSError):
                await self._thread.run(self._tree.close)
        self._thread.close()

    def lose(self) -> None:
        """The drive is gone."""
        self.files = {}
        self._thread.lose(self._tree.close)


async def read_first(
    shelves: Callable[[], Iterable[Shelf]], library: str, track: Track, entry: CacheEntry, start: int, stop: int
) -> tuple[bytes, File] | None:
    """From whichever drive has it."""
    for shelf in tuple(shelves()):
        if shelf.library == library and (found := await shelf.read(track, entry, start, stop)):
            return found
    return None
