"""Filling a drive: the job that copies what its owner will want to hear (C3, C5).

    list of ids -> plan -> remove what has to make room -> for each track in play order:
        fetch (three at once, ahead of the copying) -> copy, sync, read back, rename -> manifest now and then
    -> playlist, MISSING.txt, manifest

Whatever happens in between, each file on the drive is whole, and what the manifest says is there and owned is so.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import time
from collections import deque
from collections.abc import Callable

from msgspec import Struct

from appliance.cloud.models import Track
from appliance.drives import copy
from appliance.drives import manifest as lists
from appliance.drives import plan as plans
from appliance.drives.copy import Part
from appliance.drives.errors import BROKEN, DriveError, Full, Pulled, explain
from appliance.drives.manifest import File, Manifest, Missing, Planned
from appliance.drives.names import FAT_LARGEST
from appliance.drives.plan import Item, Plan
from appliance.drives.supply import Source
from appliance.drives.thread import DriveThread
from appliance.drives.tree import Tree
from appliance.errors import ChadboxError, Offline
from appliance.stream import CacheEntry
from appliance.stream.entry import strong_etag

log = logging.getLogger(__name__)

AHEAD = 3  # tracks that are fetched at once
SAVE_FILES, SAVE_SECONDS = 50, 30.0  # how much may happen between two manifests
IN_A_ROW = 3  # failures of the drive after which it, and not a file, is at fault
PLAYLIST = "Commute"
Also = Callable[[Tree, list[tuple[Track, str]]], None]  # on the drive's thread: tracks and their paths in play order


class Target(Struct):
    """A drive that is adopted and mounted, as the fill sees it."""

    name: str
    kind: str
    box: str
    tree: Tree
    thread: DriveThread


class Result(Struct):
    """What a fill has done; `bytes` were written to the drive."""

    copied: int = 0
    kept: int = 0
    removed: int = 0
    bytes: int = 0
    missing: list[Missing] = []
    full: bool = False
    offline: bool = False


class Fill:
    """One run. `progress` gets 0-100 as bytes arrive on the drive; `known` gets the manifest when it has changed."""

    def __init__(
        self, target: Target, supply: Source, progress: Callable[[int], None], known: Callable[[Manifest], None]
    ) -> None:
        self._drive, self._supply, self._progress, self._known = target, supply, progress, known
        self._loop = asyncio.get_running_loop()
        self._run = target.thread.run
        self._tick = target.thread.tick
        self._manifest = Manifest()
        self._result = Result()
        self._done = 0  # bytes
        self._total = 1
        self._row = 0  # failures in a row
        self._no_room = False
        self._saved = time.monotonic()
        self._unsaved: list[File] = []
        self._fresh: list[File] = []  # of this run
        self._purpose = "commute"
        self._wanted: set[str] = set()
        self._before: list[Missing] = []  # of the runs before
        self.planned: Callable[[Plan], None] = lambda plan: None  # gets the plan before anything is copied

    @property
    def done(self) -> int:
        """Bytes of the plan that are through."""
        return self._done

    async def run(
        self, ids: list[str], purpose: str = "commute", playlist: str | None = PLAYLIST, also: Also | None = None
    ) -> Result:
        """Bring the tracks `ids` onto the drive, in this order; `also` writes something about them at the end.

        Raises DriveError when the drive fails; what is there by then stays and is owned.
        """
        self._purpose = purpose
        try:
            return await self._fill(ids, purpose, playlist, also)
        except OSError as error:
            raise explain(error, self._drive.name) from None

    async def _fill(self, ids: list[str], purpose: str, playlist: str | None, also: Also | None) -> Result:
        drive, result = self._drive, self._result
        ids = list(dict.fromkeys(ids))
        tracks = await self._supply.tracks.get_tracks(ids)
        there = {str(t.id) for t in tracks}
        result.missing = [Missing(i, "", "it is not in the library any more") for i in ids if i not in there]
        manifest = self._manifest = await self._run(
            plans.begin, drive.tree, drive.box, self._supply.library, self._tick
        )
        self._wanted, self._before = set(ids), list(manifest.missing)
        plan = await self._run(plans.make, drive.tree, drive.kind, manifest, tracks, self._tick, purpose)
        result.missing += plan.missing
        result.full = bool(plan.missing)
        result.kept, result.removed = plan.kept, len(plan.remove)
        self._total = max(1, plan.bytes)
        self.planned(plan)
        if purpose != "commute":  # what a commute brought and now is exported, no commute takes away again
            wanted = {str(track.id) for track, _ in plan.order}
            for file in manifest.files:
                if file.library is None and str(file.id) in wanted:
                    file.purpose = purpose
        manifest.planned = [
            Planned(i.track.id, i.path, i.track.size, i.track.sha256 and i.track.sha256.lower(), i.track.etag, purpose)
            for i in plan.items
        ]
        if plan.items:
            await self._run(lists.save, drive.tree, manifest)
        await self._run(plans.remove, drive.tree, drive.box, manifest, plan.remove, self._tick)
        try:
            await self._copy_all(plan, purpose)
        except BaseException:
            await self._save_quietly()
            raise
        await self._finish(plan, playlist, also)
        return result

    async def _finish(self, plan: Plan, playlist: str | None, also: Also | None) -> None:
        drive, manifest = self._drive, self._manifest
        owned = manifest.by_id()
        self._book_missing()
        order = [(track, owned[str(track.id)].path) for track, _ in plan.order if str(track.id) in owned]
        if playlist is not None and (order or plan.missing):
            await self._run(lists.write_playlist, drive.tree, manifest, playlist, order)
        if also is not None and order:
            await self._run(also, drive.tree, order)
        await self._run(lists.write_missing, drive.tree, manifest)
        manifest.planned = []
        await self._run(lists.save, drive.tree, manifest)
        self._known(manifest)

    # Copying ----------------------------------------------------------------------------------------------------------

    async def _copy_all(self, plan: Plan, purpose: str) -> None:
        """Copy in play order, with the next few being fetched meanwhile."""
        waiting = deque(plan.items)
        coming: deque[tuple[Item, asyncio.Task[CacheEntry | None]]] = deque()
        try:
            while (waiting or coming) and not self._no_room:
                while waiting and len(coming) <= AHEAD:  # one is copied while the others come
                    item = waiting.popleft()
                    coming.append((item, asyncio.create_task(self._get(item))))
                item, task = coming[0]
                before = self._done
                await asyncio.wait([task])
                coming.popleft()
                await self._one(item, task, purpose)
                self._moved(before + item.size - self._done)
            for item in [*(item for item, _ in coming), *waiting]:
                self._miss(item, f"{self._drive.name} is full")
        finally:
            for _, task in coming:
                task.cancel()
            for _, task in coming:
                await asyncio.wait([task])
                if not task.cancelled() and task.exception() is None and (entry := task.result()):
                    self._supply.release(entry)

    async def _get(self, item: Item) -> CacheEntry | None:
        return await self._supply.cached(item.track, network=not self._result.offline)

    async def _one(self, item: Item, task: asyncio.Task[CacheEntry | None], purpose: str) -> None:
        """Copy one track, or book why not. Raises DriveError when it is no use to go on."""
        entry: CacheEntry | None = None
        try:
            entry = task.result()
            if entry is None:
                digest, size, etag = await self._straight(item)
            else:
                digest, size, etag = await self._from_cache(item, entry)
        except FileExistsError:
            self._miss(item, "somebody else's file has its name on the drive")
        except OSError as error:
            if isinstance(error, (ChadboxError)) and not isinstance(error, DriveError):
                self._not_had(item, error)  # Offline is an OSError too
            else:
                await self._trouble(item, error)
        except ChadboxError as error:
            self._not_had(item, error)
        except ValueError as error:
            self._miss(item, str(error))
        else:
            self._row = 0
            file = File(item.track.id, item.path, size, digest, etag, purpose)
            await self._book(item, file)
        finally:
            if entry is not None:
                self._supply.release(entry)

    async def _from_cache(self, item: Item, entry: CacheEntry) -> tuple[str, int, str | None]:
        expected = entry.sha256 or entry.expected_sha256
        try:
            digest = await self._run(self._put, item, entry, expected)
        except ValueError:
            await self._supply.damaged(entry)
            raise
        return digest, entry.size or 0, entry.etag

    def _put(self, item: Item, entry: CacheEntry, expected: str | None) -> str:
        """On the drive's thread."""
        self._make_sure(item, entry.size or 0)
        return copy.put_file(
            self._drive.tree, item.path, entry.path, self._tick,
            replace=item.replace, expected=expected, known=expected if entry.just_checked else None, count=self._count,
        )  # fmt: skip

    async def _straight(self, item: Item) -> tuple[str, int, str | None]:
        """From the network to the drive: the cache has no room."""
        track = item.track
        self._make_sure(item, track.size or 0)
        part = await self._run(Part, self._drive.tree, item.path, self._tick, self._count)
        try:
            async for data in self._supply.download(track):
                await self._run(part.write, data)
            if track.sha256 and part.sha256 != track.sha256.lower():
                raise ValueError("what the server sent does not match its SHA-256")
            digest = await self._run(lambda: part.finish(replace=item.replace))
        except BaseException:
            if not (self._drive.thread.dead or self._drive.thread.pulled):
                await self._run(part.abandon)
            raise
        return digest, part.size, strong_etag(track.etag)

    def _make_sure(self, item: Item, size: int) -> None:
        """The size that the plan went by may have been a guess."""
        if size > FAT_LARGEST and self._drive.kind in plans.FAT:
            raise ValueError("it is larger than 4 GiB - 1 byte, the most that a file on FAT32 can hold; use exFAT")
        if size > item.size and size > self._drive.tree.room()[0]:
            raise Full(f"it does not fit: {plans.mib(size)} needed", errno.ENOSPC)

    # Booking ----------------------------------------------------------------------------------------------------------

    async def _book(self, item: Item, file: File) -> None:
        manifest, result = self._manifest, self._result
        if item.replace:
            was = next((f.purpose for f in manifest.files if f.path == file.path), file.purpose)
            file.purpose = file.purpose if was == "commute" else was  # exported once, it stays so
            manifest.files = [f for f in manifest.files if f.path != file.path]
        manifest.files.append(file)
        self._fresh.append(file)
        self._unsaved.append(file)
        result.copied += 1
        result.bytes += file.size
        if len(self._unsaved) >= SAVE_FILES or time.monotonic() - self._saved > SAVE_SECONDS:
            await self._run(lists.save, self._drive.tree, manifest)
            self._unsaved.clear()
            self._saved = time.monotonic()
            self._known(manifest)

    async def _save_quietly(self) -> None:
        """After a failure or a cancellation: book what is there, if the drive still takes it."""
        if self._drive.thread.dead or self._drive.thread.pulled:
            return
        try:
            self._book_missing()
            await self._run(lists.save, self._drive.tree, self._manifest)
            self._known(self._manifest)
        except (OSError, ChadboxError) as error:
            log.info("%s: the manifest could not be brought up to date: %s", self._drive.name, error)

    def _book_missing(self) -> None:
        lists.book_missing(self._manifest, self._before, self._result.missing, self._purpose, self._wanted)

    def _miss(self, item: Item, reason: str) -> None:
        log.warning("%s: %s is missing: %s", self._drive.name, item.path, reason)
        self._result.missing.append(Missing(item.track.id, item.track.title, reason))

    def _not_had(self, item: Item, error: BaseException) -> None:
        if isinstance(error, Offline):
            self._result.offline = True
        self._miss(item, str(error))

    async def _trouble(self, item: Item, error: OSError) -> None:
        """The drive would not take a file: is it the file, or the drive?"""
        drive = self._drive
        wrong = explain(error, drive.name)
        if isinstance(wrong, Pulled) or drive.thread.dead:
            raise wrong from None
        self._row += 1
        self._miss(item, str(wrong))
        if isinstance(wrong, Full):
            self._result.full = True
            self._no_room = self._row >= IN_A_ROW
            return
        if wrong.number is None:  # what was written is not there: how much of the rest is?
            await self._check_fresh()
            raise DriveError(f"{drive.name}: {wrong}") from None
        if wrong.number == errno.EROFS or (wrong.number in BROKEN and self._row >= IN_A_ROW):
            raise wrong from None

    async def _check_fresh(self) -> None:
        """Read everything of this run again; what is not what was written is removed and no longer counted."""
        for file in tuple(self._fresh):
            try:
                good = await self._run(copy.hash_of, self._drive.tree, file.path, self._tick) == file.sha256
            except OSError:
                good = False
            if not good:
                self._manifest.files.remove(file)
                self._result.copied -= 1
                self._result.bytes -= file.size
                self._result.missing.append(Missing(file.id, "", "the drive did not keep it"))
                try:
                    await self._run(self._drive.tree.remove, file.path)
                except OSError as error:
                    log.warning("%s: %s cannot be removed: %s", self._drive.name, file.path, error)

    def _moved(self, size: int) -> None:
        self._done += size
        self._progress(min(100, max(0, self._done * 100 // self._total)))

    def _count(self, size: int) -> None:
        """From the drive's thread."""
        self._loop.call_soon_threadsafe(self._moved, size)
