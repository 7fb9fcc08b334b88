"""Music on a drive that is not the box's own copy: found, read for its tags, and played from there (C8, L4).

    plugged --> known files shown --> new ones read, a batch at a time, while playing needs nothing --> all there
    pulled, ejected --> hidden          remounted (adopted, forgotten) --> looked at again; what plays waits that long

A drive needs no adoption for it, as it is only read. What is played goes into memory, not into the cache: on the drive
it is at hand already, so writing it to the SD card would only wear that, and a drive that hangs or is pulled in the
middle of a song hangs nothing else. Very large files do go through the cache.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import os
import re
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Protocol

from msgspec import Struct

from appliance.cloud.models import Track
from appliance.drives import manifest as lists
from appliance.drives.drive import READY, Drive
from appliance.drives.drives import Drives
from appliance.drives.errors import DriveError
from appliance.drives.ingest_reader import IngestReader
from appliance.drives.ingest_rows import File
from appliance.drives.thread import DriveThread, Stopped
from appliance.drives.tree import Tree
from appliance.errors import ChadboxError, NotFound
from appliance.events import Bus, DriveChanged
from appliance.own import drive_part, is_own, own_id
from appliance.server.models import Facts
from appliance.server.paths import mime
from appliance.stream import CacheEntry

log = logging.getLogger(__name__)
MOST = 20_000  # files of a drive
BATCH = 32  # files whose tags are read at once
YIELD = 0.1  # seconds between two looks whether playing still needs the drive or the line
PATIENCE = 15.0  # seconds: a disk that slept has to spin up
PLUGGED = 10.0  # seconds after the start in which a drive may still be found
REMOUNT = 5.0  # seconds
NO_TAGS = "music on drives is not shown: the tag library mutagen is not installed; install chadbox[drives]"
_LOOKED_AT = (*READY, "not-adopted")
_LEFT = ("gone", "safe-to-remove", "error")


class Place(Protocol):
    """Where a track is; `appliance.library.own.Place` is one."""

    @property
    def drive(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def path(self) -> bytes: ...
    @property
    def size(self) -> int: ...
    @property
    def mtime_ns(self) -> int: ...


class Index(Protocol):
    """Where tracks of drives are kept; `appliance.library.own.OwnTracks` is one."""

    async def begin(self) -> None: ...
    async def known(self, drive: str, name: str, /) -> dict[bytes, tuple[int, int]]: ...
    async def show(self, drive: str, paths: Sequence[bytes], /) -> None: ...
    async def learn(self, drive: str, files: Sequence[Any], /) -> None: ...
    async def forget(self, drive: str, paths: Sequence[bytes], /) -> None: ...
    async def hide(self, drive: str, /) -> None: ...
    async def place(self, track_id: str, /) -> Place | None: ...


class Found(Struct):
    """A file that was read; as `appliance.library.own.OwnFile`."""

    path: bytes
    size: int
    mtime_ns: int
    track: Track | None = None


class Original(Struct):
    """The file itself, as the fetcher sees a copy."""

    size: int
    etag: str | None
    sha256: str = ""


class OwnShelf:
    """An open drive: a guest that lets go when it is unmounted. Playing has a thread of its own."""

    def __init__(self, drive: Drive) -> None:
        assert drive.path is not None  # noqa: S101 - it is mounted
        self.drive, self.closed, self.ready = drive, False, False
        self._path = drive.path
        self.reader = IngestReader(drive.name, drive.path)
        self._thread = DriveThread(f"{drive.name} own", PATIENCE)
        self._tree: Tree | None = None

    async def open(self) -> None:
        """OSError, DriveError."""
        self._tree = await self._thread.run(Tree, self._path)
        await self.reader.open()
        self.ready = True

    async def read(self, place: Place, start: int, stop: int) -> bytes | None:
        """Bytes [start, stop) of the file; None when it cannot be read, or is not the one that it was."""
        try:
            data = await self._thread.run(self._pread, place, start, min(stop, place.size))
        except (OSError, DriveError) as error:
            log.warning("%s: %s", self.drive.name, error)
            return None
        return data if len(data) == min(stop, place.size) - start else None

    def _pread(self, place: Place, start: int, stop: int) -> bytes:
        if self._tree is None:
            return b""
        opened = self._tree.open(os.fsdecode(place.path))
        try:
            status = os.fstat(opened)
            if (status.st_size, status.st_mtime_ns) != (place.size, place.mtime_ns):
                return b""
            return os.pread(opened, stop - start, start)
        finally:
            os.close(opened)

    async def close(self) -> None:
        self.closed = True
        await self.reader.close()
        tree, self._tree = self._tree, None
        if tree is not None and not self._thread.dead:
            with contextlib.suppress(OSError, DriveError):
                await self._thread.run(tree.close)
        self._thread.close()

    def lose(self) -> None:
        self.closed = True
        self.reader.lose()
        self._thread.lose(*([self._tree.close] if self._tree is not None else []))


class OwnMusic:
    """`busy` says that playing needs the line or the drive just now. Belongs on the event loop."""

    def __init__(self, drives: Drives, index: Index, bus: Bus, busy: Callable[[], bool]) -> None:
        self._drives, self._index, self._bus, self._busy = drives, index, bus, busy
        self._shelves: dict[str, OwnShelf] = {}
        self._scans: dict[str, asyncio.Task[None]] = {}
        self._turn: dict[str, asyncio.Lock] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._news = asyncio.Event()
        self._began = asyncio.get_running_loop().time()  # what was playing may ask before drives are looked for

    async def open(self) -> None:
        """Before drives are opened. Raises StorageError."""
        await self._index.begin()
        if not IngestReader.usable():
            log.warning("%s", NO_TAGS)
            return
        self._bus.subscribe(DriveChanged, self._changed)

    async def close(self) -> None:
        """Before the drives are let go of."""
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def there(self, track_id: str) -> bool:
        """Whether the drive of a track is plugged in."""
        return any(track_id.startswith(drive_part(uuid)) for uuid in self._shelves)

    async def read(
        self, track: Track, entry: CacheEntry, start: int, stop: int
    ) -> tuple[bytes, Original | lists.File] | None:
        """The fetcher's question before it asks the network. Raises NotFound for a drive's track that is not there."""
        if not is_own(track.id):
            return await self._drives.read(track, entry, start, stop)
        place = await self._index.place(str(track.id))
        if place is None:
            raise NotFound("it was on a drive that is not known any more")
        shelf = await self._shelf(place.drive)
        if shelf is None:
            raise NotFound(f"it is on the drive {place.name}, which is not plugged in")
        data = await shelf.read(place, start, stop)
        if data is None and shelf.closed and (shelf := await self._shelf(place.drive)) is not None:
            data = await shelf.read(place, start, stop)  # it was mounted anew meanwhile
        if data is None:
            there = place.drive in self._shelves
            raise NotFound(f"{place.name} {'cannot be read' if there else 'was pulled out'}")
        return data, Original(place.size, _etag(place.size, place.mtime_ns))

    async def _shelf(self, uuid: str) -> OwnShelf | None:
        """The open drive; waits while it is mounted anew, and after the start until drives have been found."""
        loop = asyncio.get_running_loop()
        until = max(self._began + PLUGGED, loop.time() + REMOUNT if uuid in self._shelves else 0.0)
        while (shelf := self._shelves.get(uuid)) is None or shelf.closed or not shelf.ready:
            if loop.time() >= (until if shelf is not None else self._began + PLUGGED):
                return None
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._news.wait(), until - loop.time())
        return shelf

    # Coming and going -------------------------------------------------------------------------------------------------

    def _changed(self, event: DriveChanged) -> None:
        if event.state in _LEFT:
            if self._shelves.pop(event.uuid, None) is not None:
                self._tell()
                self._stop_scan(event.uuid)
                self._spawn(self._hide(event.uuid))
        elif event.state in _LOOKED_AT:
            before = self._shelves.get(event.uuid)
            drive = next((d for d in self._drives.every() if d.uuid == event.uuid and d.tree is not None), None)
            if drive is None or (before is not None and not before.closed):
                return
            shelf = self._shelves[event.uuid] = OwnShelf(drive)
            drive.guests.append(shelf)
            self._stop_scan(event.uuid)
            self._scans[event.uuid] = self._spawn(self._look(shelf))

    def _tell(self) -> None:
        self._news.set()
        self._news = asyncio.Event()

    def _stop_scan(self, uuid: str) -> None:
        if (task := self._scans.pop(uuid, None)) is not None:
            task.cancel()

    def _lock(self, uuid: str) -> asyncio.Lock:
        return self._turn.setdefault(uuid, asyncio.Lock())

    async def _hide(self, uuid: str) -> None:
        async with self._lock(uuid):
            if uuid not in self._shelves:
                await self._index.hide(uuid)

    async def _look(self, shelf: OwnShelf) -> None:
        async with self._lock(shelf.drive.uuid):
            try:
                await shelf.open()
                self._tell()
                await self._scan(shelf)
            except (Stopped, DriveError, OSError) as error:
                if not shelf.closed:  # else it is being unmounted, or was pulled
                    log.warning("%s: its music cannot be shown: %s", shelf.drive.name, error)

    async def _scan(self, shelf: OwnShelf) -> None:
        drive = shelf.drive
        known = await self._index.known(drive.uuid, drive.name)
        files = await shelf.reader.walk(())
        tree = drive.tree
        if tree is not None:  # after the walk: what is copied meanwhile was planned by then
            owned = await drive.thread.run(lists.load, tree) if drive.adopted else lists.Manifest()
            ours = {os.fsencode(f.path) for f in owned.files} | {os.fsencode(f.path) for f in owned.planned}
            files = [f for f in files if f.path not in ours]
        if len(files) > MOST:
            log.warning("%s: only %d of %d music files are shown", drive.name, MOST, len(files))
            files = files[:MOST]
        there = {f.path for f in files}
        await self._index.forget(drive.uuid, [path for path in known if path not in there])
        same = [f for f in files if known.get(f.path) == (f.size, f.mtime_ns)]
        await self._index.show(drive.uuid, [f.path for f in same])
        new = [f for f in files if known.get(f.path) != (f.size, f.mtime_ns)]
        for at in range(0, len(new), BATCH):
            while self._busy():  # noqa: ASYNC110 - below playing
                await asyncio.sleep(YIELD)
            part = new[at : at + BATCH]
            facts = await shelf.reader.facts(part)
            await self._index.learn(drive.uuid, [_found(drive.uuid, *pair) for pair in zip(part, facts, strict=True)])
        if new:
            await asyncio.to_thread(shelf.reader.rest)
        log.info("%s: %d music files, %d of them new", drive.name, len(files), len(new))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        async def guarded() -> None:
            try:
                await work
            except ChadboxError as error:
                log.error("music on drives: %s", error)
            except Exception:
                log.exception("music on drives")

        task = asyncio.create_task(guarded())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda _: work.close())
        return task


def _etag(size: int, mtime_ns: int) -> str:
    return f'"{size:x}-{mtime_ns:x}"'


def _found(uuid: str, file: File, facts: Facts) -> Found:
    if facts.error is not None or (facts.size, facts.mtime_ns) != (file.size, file.mtime_ns) or facts.duration <= 0:
        return Found(file.path, file.size, file.mtime_ns)
    folder = re.sub(rb"(?i)/(cd|dis[ck])\s*\d+\Z", b"", file.path.rpartition(b"/")[0])
    whose = (facts.album_artist or "").encode() or folder
    album = hashlib.blake2b(whose + b"\0" + facts.album.encode("utf-8", "replace"), digest_size=8).hexdigest()
    track = Track(
        id=own_id(uuid, file.path), album_id=drive_part(uuid) + album, title=facts.title, artist=facts.artist,
        album=facts.album, album_artist=facts.album_artist, disc=facts.disc, no=facts.no, year=facts.year,
        genre=facts.genre, publisher=facts.publisher, country=facts.country, type=facts.type, status=facts.status,
        duration=facts.duration, samples=facts.samples, sample_rate=facts.sample_rate, size=file.size,
        mime=mime(file.path), etag=_etag(file.size, file.mtime_ns), lufs=facts.lufs, true_peak=facts.true_peak,
        album_lufs=facts.album_lufs, album_true_peak=facts.album_true_peak,
    )  # fmt: skip
    return Found(file.path, file.size, file.mtime_ns, track)
