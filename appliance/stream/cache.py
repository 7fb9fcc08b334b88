"""The stream cache: which files there are, room for more, and what leaves first (P5, C1)."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import sqlite3
import time
from collections.abc import Callable, Collection, Coroutine
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from appliance.cloud.models import Id, Track
from appliance.config import Cache as CacheSettings
from appliance.errors import StorageError
from appliance.health import Health
from appliance.store import Store
from appliance.stream import files_on_disk, records
from appliance.stream.counters import Counters, load_counters
from appliance.stream.entry import SYNC_AT_LAST, SYNC_EVERY, CacheEntry, version_of
from appliance.stream.ranges import IntervalSet

log = logging.getLogger(__name__)

T = TypeVar("T")
UNKNOWN_SIZE = 16 << 20  # room asked for when nobody knows how large a track is
SETTLE = 0.5  # seconds that checks of whole files get at the end
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Cache:
    """All cached files. Everything here runs on the event loop; the disk is touched on two threads of its own."""

    def __init__(self, store: Store, settings: CacheSettings, health: Health) -> None:
        self.dir = Path(settings.dir)
        self.limit = settings.limit
        self.floor = settings.floor
        self.bytes = 0
        self.tracks = 0
        self.counters = Counters()
        self.changed: Callable[[], None] = lambda: None  # what `status` shows of the cache is different now
        self._store = store
        self._health = health
        self._disk = ThreadPoolExecutor(1, "disk")
        self._hashing = ThreadPoolExecutor(1, "hash")
        self._open: dict[tuple[str, str], CacheEntry] = {}
        self._closing = False
        self._syncing: set[CacheEntry] = set()
        self._mismatched: dict[tuple[str, str], str] = {}
        self._next_id = 1
        self._unkept: set[tuple[str, str]] = set()  # tracks whose bytes stay in memory
        self._going: set[int] = set()  # files of no use whose rows are being deleted
        self._committing = asyncio.Lock()
        self._making_room = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """Compare rows and files, remove leftovers of a crash (R8), load totals."""
        try:
            self.dir.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(f"{self.dir}: the cache folder cannot be made: {error.strerror}") from None
        rows = await self._store.read(records.every)
        missing = await self._on(self._disk, files_on_disk.tidy, self.dir, rows)
        if missing:
            await self._store.write(lambda db: records.delete(db, missing))
        self._next_id = await self._store.read(records.highest_id) + 1
        self.bytes, self.tracks = await self._store.read(records.totals)
        self.counters = await self._store.read(load_counters)

    async def close(self) -> None:
        """Record what has arrived and close every file."""
        self._closing = True
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=SETTLE)
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for entry in tuple(self._open.values()):
            try:
                await self.commit(entry)
            except (StorageError, OSError) as error:
                log.error("cache: %s", error)
            await self._on(self._disk, entry.close)
        self._open.clear()
        self._hashing.shutdown(wait=False, cancel_futures=True)
        self._disk.shutdown(wait=False)

    # Entries ----------------------------------------------------------------------------------------------------------

    async def acquire(self, library: str, track: Track, *, keep: bool = True) -> CacheEntry:
        """The entry of `track`, made if need be; pair with `release`. In memory only when the disk has no room, or when
        it need not be kept and is not there already.
        """
        key, version = (library, str(track.id)), version_of(track)
        entry = self._open.get(key)
        if (
            entry is None
            or entry.superseded
            or (version and entry.version and version not in (entry.version, entry.mark))
        ):
            row = await self._store.read(lambda db: records.find(db, *key, version))
            if row is not None and row.id in self._going:
                row = None
            room = row is not None and row.complete
            if not room and keep and key not in self._unkept:
                have = IntervalSet.from_bytes(row.ranges).total() if row else 0
                room = await self.make_room((track.size or UNKNOWN_SIZE) - have)
            again = self._open.get(key)  # somebody may have opened it meanwhile
            if again is not None and again is not entry and not again.superseded:
                entry = again
            else:
                entry = self._open[key] = self._entry(key, version, row, volatile=not room)
        # A hash that the library has of a playlist says nothing of the sound.
        listed = entry.hls is not None or (entry.mark or "").startswith("hls:")
        entry.expected_sha256 = track.sha256.lower() if track.sha256 and not listed else None
        entry.users += 1
        if entry.complete and entry.recorded and entry.sha256 is None and entry.users == 1:
            entry.checking = self._spawn(self._check(entry))  # the last run ended before it could
        return entry

    async def whole(self, library: str, track_ids: Collection[str]) -> set[str]:
        """Which of the tracks are here in one piece."""
        return await self._store.read(lambda db: records.whole(db, library, track_ids))

    def release(self, entry: CacheEntry) -> None:
        """The counterpart of `acquire`; the last one records what arrived and closes the file."""
        entry.users -= 1
        if entry.users <= 0 and not self._closing:
            self._spawn(self._retire(entry))

    def keep_in_memory(self, entry: CacheEntry, *, on: bool = True) -> None:
        """From the next `acquire` on this track is not kept on the disk: it has no end, or there is no room for it."""
        if on:
            self._unkept.add((entry.library, entry.track_id))
        else:
            self._unkept.discard((entry.library, entry.track_id))

    def is_unkept(self, entry: CacheEntry) -> bool:
        return (entry.library, entry.track_id) in self._unkept

    async def forget(self, entry: CacheEntry, start: int, stop: int) -> None:
        """Give back the memory of bytes [start, stop) of an entry that is in memory only."""
        await self._disk_work(entry, lambda: entry.forget(start, stop))

    def _entry(self, key: tuple[str, str], version: str, row: records.Row | None, *, volatile: bool) -> CacheEntry:
        if volatile:
            fd = os.memfd_create("chadbox-track")
            entry = CacheEntry(self._new_id(), key, version, Path(f"/proc/{os.getpid()}/fd/{fd}"), volatile=True)
            entry._fd = fd
            return entry
        if row is None:
            new_id = self._new_id()
            return CacheEntry(new_id, key, version, self.path(new_id))
        entry = CacheEntry(row.id, key, version or row.version, self.path(row.id))
        entry.size, entry.sha256, entry.mark, entry.recorded = row.size, row.sha256, row.mark, True
        if row.mark and row.mark.startswith("date:"):
            entry.modified = row.mark.removeprefix("date:").partition("W/")[0]
        entry.have = IntervalSet.from_bytes(row.ranges)
        entry.synced = entry.have.copy()
        return entry

    def path(self, file_id: int) -> Path:
        return self.dir / f"{file_id}.audio"

    def _new_id(self) -> int:
        self._next_id += 1
        return self._next_id - 1

    async def supersede(self, entry: CacheEntry) -> None:
        """Its bytes are of no use any more: the server has another version, or the hash is wrong."""
        entry.superseded = True
        if not entry.volatile:
            self._going.add(entry.id)
            await self._discard({entry.id: 0})
            self._going.discard(entry.id)

    async def _retire(self, entry: CacheEntry) -> None:
        try:
            await self.commit(entry)
            if entry.users > 0:
                return
            if entry.recorded and not entry.superseded:
                await self._store.write(lambda db: records.touch(db, entry.id))
        except (StorageError, OSError) as error:
            self._health.raise_("disk-full", str(error))
        if entry.users <= 0:
            if self._open.get((entry.library, entry.track_id)) is entry:
                del self._open[entry.library, entry.track_id]
            await self._on(self._disk, entry.close)

    # Bytes ------------------------------------------------------------------------------------------------------------

    async def write(self, entry: CacheEntry, offset: int, data: bytes) -> None:
        """Put `data` into the file and tell who waits for it. Raises StorageError when the disk is full or broken."""
        await self._disk_work(entry, lambda: entry.pwrite(offset, data))
        before = entry.have.total()
        entry.arrived(offset, offset + len(data))
        if not entry.volatile:
            self.bytes += entry.have.total() - before
        self.changed()
        if entry.unsynced >= SYNC_AT_LAST or (entry.complete and entry.unsynced):
            await self.commit(entry)
        elif entry.unsynced >= SYNC_EVERY and entry not in self._syncing:
            self._syncing.add(entry)
            self._spawn(self._commit_meanwhile(entry))

    async def _commit_meanwhile(self, entry: CacheEntry) -> None:
        """While more arrives: syncing takes as long as the line does for as much again."""
        try:
            await self.commit(entry)
        except StorageError as error:  # the write that comes next will run into it too
            log.warning("cache: %s", error)
        finally:
            self._syncing.discard(entry)

    async def commit(self, entry: CacheEntry) -> None:
        """Make what has arrived durable, then record it; a file that became whole is hashed."""
        if entry.volatile or entry.superseded:
            return
        async with self._committing:
            ranges, complete = entry.have.copy(), entry.complete
            if ranges == entry.synced and entry.recorded:
                return
            if not ranges and entry.size is None:
                return
            if entry.hls is not None and entry.hls.plan is not None:
                entry.mark = entry.hls.plan.mark()
            await self._disk_work(entry, entry.sync)

            def record(db: sqlite3.Connection) -> None:
                records.save(db, entry, ranges, complete=complete)
                self.counters.save(db)

            await self._store.write(record)
            became_whole = complete and not (entry.recorded and entry.size and entry.synced.covers(0, entry.size))
            entry.synced, entry.recorded = ranges, True
        if became_whole:
            self.tracks += 1
            self.changed()
            entry.checking = self._spawn(self._check(entry))

    async def settled(self, entry: CacheEntry) -> None:
        """Once the hash of a file that has become whole is known: then it is `just_checked`, or superseded."""
        if entry.checking is not None:
            await asyncio.wait([entry.checking])

    async def _check(self, entry: CacheEntry) -> None:
        """Take the hash of a whole file; a wrong one means that the bytes are not the track (P5)."""
        entry.users += 1
        try:
            digest = await self._on(self._hashing, files_on_disk.sha256, entry.path)
            key = (entry.library, entry.track_id)
            if entry.expected_sha256 not in (None, digest) and self._mismatched.get(key) != digest:
                log.error("track %s does not match the server's SHA-256; it will be fetched anew", entry.track_id)
                self._mismatched[key] = digest  # the same bytes twice: then it is the server's hash that is wrong
                self.counters.stream_errors += 1
                await self.supersede(entry)
                return
            entry.sha256, entry.checked_at = digest, time.monotonic()
            await self._store.write(lambda db: records.save(db, entry, entry.synced, complete=True))
        except (OSError, StorageError) as error:
            log.warning("track %s could not be checked: %s", entry.track_id, error)
        finally:
            self.release(entry)

    async def save_counters(self) -> None:
        await self._store.write(self.counters.save)

    async def _disk_work(self, entry: CacheEntry, work: Callable[[], None]) -> None:
        try:
            await self._on(self._disk, work)
        except OSError as error:
            if error.errno in _FULL:
                self._health.raise_("disk-full", f"{self.dir}: {error.strerror}")
            raise StorageError(f"{entry.path}: {error.strerror}; free some space or check the disk") from error

    # Room -------------------------------------------------------------------------------------------------------------

    async def make_room(self, need: int) -> bool:
        """Evict until `need` bytes fit under limit and above floor; false, and nothing evicted, if they can't."""
        async with self._making_room:
            free = await self._on(self._disk, files_on_disk.free, self.dir)
            over = max(self.bytes + need - self.limit, need + self.floor - free, 0)
            if over:
                keep = {e.id for e in self._open.values()}
                victims = await self._store.read(lambda db: records.evictable(db, keep))
                going: dict[int, int] = {}
                for file_id, size in victims:
                    if sum(going.values()) >= over:
                        break
                    going[file_id] = size
                if sum(going.values()) < over:
                    full_disk = need + self.floor - free > sum(going.values())
                    self._health.raise_("disk-full" if full_disk else "cache-full", f"no room for {need} bytes")
                    return False
                await self._discard(going)
            self._health.clear("cache-full")
            self._health.clear("disk-full")
            return True

    async def _discard(self, files: dict[int, int]) -> None:
        """Forget files (id -> bytes), then remove them: a crash in between leaves only what the next start removes."""
        await self._store.write(lambda db: records.delete(db, files.keys()))
        self.bytes, self.tracks = await self._store.read(records.totals)
        self.bytes += sum(e.unsynced for e in self._open.values() if not e.volatile)
        self.changed()
        await self._on(self._disk, files_on_disk.remove, [self.path(i) for i in files])

    # What people ask for ----------------------------------------------------------------------------------------------

    async def listing(self) -> list[records.Listed]:
        return await self._store.read(records.listing)

    async def pin(self, library: str, track_ids: Collection[str], *, on: bool) -> None:
        await self._store.write(lambda db: records.pin(db, library, track_ids, on=on))

    async def clear(self) -> tuple[int, int]:
        """Remove all that is neither pinned nor in use; how many files and bytes went."""
        keep = {e.id for e in self._open.values()}
        going = dict(await self._store.read(lambda db: records.evictable(db, keep)))
        await self._discard(going)
        return len(going), sum(going.values())

    async def verify(self, progress: Callable[[int], None]) -> tuple[int, list[dict[str, Id]]]:
        """Re-read every whole file against its hash: how many were checked, and which are bad (they are dropped)."""
        rows = await self._store.read(records.hashed)
        total, done = sum(size for *_, size, _ in rows) or 1, 0
        bad: list[dict[str, Id]] = []
        for file_id, track_id, title, size, digest in rows:
            reason = ""
            try:
                if await self._on(self._hashing, files_on_disk.sha256, self.path(file_id)) != digest:
                    reason = "its bytes are not the ones that were stored"
            except OSError as error:
                reason = str(error.strerror)
            if reason:
                bad.append({"id": track_id, "title": title, "reason": reason})
                if all(e.id != file_id for e in self._open.values()):
                    await self._discard({file_id: size})
            done += size
            progress(done * 100 // total)
        return len(rows), bad

    # Helpers ----------------------------------------------------------------------------------------------------------

    async def _on(self, pool: ThreadPoolExecutor, fn: Callable[..., T], *args: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(pool, fn, *args)

    def _spawn(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task
