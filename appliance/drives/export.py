"""Exports: music that somebody asks for, onto an adopted drive or into a folder (C9).

Both are runs of Fill with the purpose `export`, so a drive and a folder look alike (CONTRACT section 5), what is there
is not copied again, nothing of others is replaced, and what cannot be had is told.

Who writes. A drive is the player's: its thread, its manifest, and a durable job that goes on after a restart or when
the drive is plugged in again. A folder belongs to the person who asks: the player runs sandboxed as a user of its own
and must not be able to write to people's homes, and what it wrote there would not belong to them. So the command itself
writes the folder, with the person's rights and below their working directory, and the player only *lends* it
whole files of the cache to read: one at a time fetched, checked and held for as long as the command keeps the
connection open. The files of the cache can be read by the control socket's group, so whoever may ask may read. The job
is here all the same: it is listed, can be cancelled from anywhere, and ends with the command.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

from msgspec import Struct

from appliance.cloud.models import Track
from appliance.drives import reaper
from appliance.drives.drive import READY, Drive
from appliance.drives.drives import Drives
from appliance.drives.errors import DriveError, Pulled, explain
from appliance.drives.fill import Fill, Result
from appliance.drives.manifest import Manifest, Missing
from appliance.drives.preflight import Meter, Pace, Preflight, look, preflight, title
from appliance.drives.supply import Supply, Tracks
from appliance.errors import ChadboxError, NotFound, StorageError
from appliance.events import Bus, DriveChanged
from appliance.jobs import Context, Jobs
from appliance.stream import CacheEntry

log = logging.getLogger(__name__)

KIND = "export"
PURPOSE = "export"
PLUGGED = 20.0  # seconds that an export waits for its drive after a start
LOOK = 0.25  # seconds between two looks at how much has arrived
NO_ROOM = "the box's cache has no room for it; raise cache.max_bytes or free some space"

Tell = Callable[[dict[str, int]], None]


class Wish(Struct):
    """What is to be exported: `ids` in play order, `have` bytes of them in the cache, `missing` what nobody has."""

    name: str
    library: str
    tracks: list[Track]
    have: dict[str, int]
    missing: list[Missing]


class Watched:
    """A Supply that counts into a meter what arrives."""

    def __init__(self, supply: Supply, meter: Meter) -> None:
        self._supply, self._meter = supply, meter
        self._coming: dict[int, tuple[CacheEntry, int]] = {}
        self._done = 0

    @property
    def library(self) -> str:
        return self._supply.library

    @property
    def tracks(self) -> Tracks:
        return self._supply.tracks

    def count(self) -> None:
        """Bring the meter up to date."""
        self._meter.downloaded = self._done + sum(e.have.total() - was for e, was in self._coming.values())

    async def cached(self, track: Track, *, network: bool = True) -> CacheEntry | None:
        seen: list[CacheEntry] = []

        def watch(entry: CacheEntry) -> None:
            seen.append(entry)
            self._coming[id(entry)] = (entry, entry.have.total())

        try:
            return await self._supply.cached(track, network=network, watch=watch)
        finally:
            for entry in seen:
                _, was = self._coming.pop(id(entry), (entry, entry.have.total()))
                self._done += entry.have.total() - was
            self.count()

    def release(self, entry: CacheEntry) -> None:
        self._supply.release(entry)

    async def damaged(self, entry: CacheEntry) -> None:
        await self._supply.damaged(entry)

    async def download(self, track: Track) -> AsyncIterator[bytes]:
        async for data in self._supply.download(track):
            self._done += len(data)
            self.count()
            yield data


class Exports:
    """The handler of the job kind `export`. Errors are ChadboxErrors."""

    def __init__(self, drives: Drives, supply: Supply, jobs: Jobs, bus: Bus) -> None:
        self._drives, self._supply, self._jobs, self._bus = drives, supply, jobs, bus
        self._pace = Pace()
        self._results: dict[int, Result] = {}
        self._tell: dict[int, Tell] = {}
        self._lending = asyncio.Lock()  # tracks come in the order in which they are asked for
        self._folders: dict[int, Folder] = {}
        self._stranded: dict[str, set[int]] = {}  # uuid -> jobs whose drive was pulled
        self._tasks: set[asyncio.Task[None]] = set()
        jobs.register(KIND, self._job, concurrency=4, attempts=3)
        bus.subscribe(DriveChanged, self._drive_changed)

    async def wish(self, what: str, ids: Sequence[str]) -> Wish:
        """What is known of the tracks `ids` that WHAT stands for."""
        ids = list(dict.fromkeys(ids))
        tracks = list(await self._supply.tracks.get_tracks(ids))
        there = {str(track.id) for track in tracks}
        missing = [Missing(i, "", "it is not in the library any more") for i in ids if i not in there]
        files = await self._supply.cache.listing()
        have = {str(file.id): file.bytes for file in files if str(file.id) in there}
        return Wish(title(what, tracks), self._supply.library, tracks, have, missing)

    # A drive ----------------------------------------------------------------------------------------------------------

    async def check(self, wish: Wish, drive_name: str) -> Preflight:
        """What an export to a drive is going to do. Raises NotFound, UsageError, DriveError."""
        drive, target = self._drives.target(drive_name)
        try:
            plan, _ = await target.thread.run(
                look, target.tree, target.kind, wish.library, wish.tracks, target.thread.tick
            )
        except OSError as error:
            raise explain(error, drive.name) from None
        return preflight(wish.name, plan, wish.missing, wish.have, self._pace)

    async def to_drive(self, wish: Wish, drive_name: str, *, project: bool) -> int:
        """Begin; the job's number. Raises as `check`."""
        drive, _ = self._drives.target(drive_name)
        ids = [*(str(t.id) for t in wish.tracks), *(str(m.id) for m in wish.missing)]
        args = {"ids": ids, "uuid": drive.uuid, "drive": drive.name, "name": wish.name, "reaper": project}
        return await self._jobs.submit(KIND, args)

    def listen(self, job: int, tell: Tell) -> Callable[[], None]:
        """Tell how far job number `job` is; the returned function ends that."""
        self._tell[job] = tell
        return lambda: self._tell.pop(job, None) and None

    def take_result(self, job: int) -> Result | None:
        """What job number `job` did in this run of the player; None when it has not ended in it."""
        return self._results.pop(job, None)

    async def _job(self, context: Context) -> None:
        if "to" in context.args:
            await self._folder_job(context)
        else:
            await self._drive_job(context)

    async def _drive_job(self, context: Context) -> None:
        """Args `{"ids", "uuid", "drive": its name, "name": of the playlist, "reaper"}`."""
        args = context.args
        try:
            drive = await self._plugged(args["uuid"], args["drive"])
            async with self._drives.filling.writing(drive, context.id) as target:
                meter = Meter()
                source = Watched(self._supply, meter)

                def progress(percent: int) -> None:
                    meter.copied = min(meter.to_copy, fill.done)
                    context.progress(percent)
                    self._drives.filling.moved(drive, percent)

                fill = Fill(target, source, progress, drive.take)
                have = {str(file.id): file.bytes for file in await self._supply.cache.listing()}
                fill.planned = lambda plan: meter.plan(plan, have)
                telling = asyncio.create_task(self._keep_telling(context.id, source, meter))
                try:
                    result = await fill.run(args["ids"], PURPOSE, args["name"], also(args["name"], args["reaper"]))
                finally:
                    telling.cancel()
                source.count()
                self._pace.learn(meter, time.monotonic() - meter.begun)
        except Pulled:
            self._stranded.setdefault(args["uuid"], set()).add(context.id)
            raise
        self._results[context.id] = result
        fail_if_nothing(result)

    async def _keep_telling(self, job: int, source: Watched, meter: Meter) -> None:
        while True:
            source.count()
            if tell := self._tell.get(job):
                tell(meter.document())
            await asyncio.sleep(LOOK)

    async def _plugged(self, uuid: str, name: str) -> Drive:
        """The drive, once it is there: after a start, drives come later than jobs. Raises Pulled."""

        def find() -> Drive | None:
            try:
                drive = self._drives.find(uuid)
            except ChadboxError:
                return None
            return drive if drive.adopted and drive.state in READY else None

        came = asyncio.Event()
        end = self._bus.subscribe(DriveChanged, lambda event: came.set())
        try:
            async with asyncio.timeout(PLUGGED):
                while (drive := find()) is None:
                    await came.wait()
                    came.clear()
                return drive
        except TimeoutError:
            raise Pulled(f"{name} is not plugged in; plug it in and the export goes on") from None
        finally:
            end()

    def _drive_changed(self, event: DriveChanged) -> None:
        """A drive that is back gets what it was to get when it was pulled."""
        if event.adopted and event.state == "ready":
            for job in self._stranded.pop(event.uuid, ()):
                task = asyncio.create_task(self._again(job))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    async def _again(self, job: int) -> None:
        try:
            await self._jobs.retry(job)
        except ChadboxError as error:  # somebody was faster, or it is so old that it is forgotten
            log.info("export %d: %s", job, error)

    # A folder ---------------------------------------------------------------------------------------------------------

    async def to_folder(self, what: str, path: str, began: Callable[[int], None]) -> int:
        """Begin a job that lasts as long as the command copies; its number. `began` is called when it is its turn."""
        job = await self._jobs.submit(KIND, {"what": what, "to": path})
        self._folders[job] = Folder(began)
        return job

    def folder_moved(self, job: int, percent: int) -> None:
        """The command is so far. Raises NotFound when there is no such job."""
        self._folder(job).percent(percent)

    def folder_ended(self, job: int, result: Result, error: str | None = None) -> None:
        """The command is through, or failed with `error`. Raises NotFound."""
        folder = self._folder(job)
        self._results[job] = result
        if folder.ended.done():
            return
        if error is not None:
            folder.ended.set_exception(DriveError(error))
        else:
            folder.ended.set_result(result)

    def forget_folder(self, job: int) -> None:
        self._folders.pop(job, None)

    async def lend(self, track_id: str, network: bool, tell: Tell) -> CacheEntry:
        """The whole file of a track, held until `give_back`. Raises NotFound, CloudError, StorageError.

        `tell` gets `{"have": bytes, "lacked": bytes at first}` while it is fetched.
        """
        meter = Meter()
        source = Watched(self._supply, meter)
        async with self._lending:
            found = await self._supply.tracks.get_tracks([track_id])
            if not found:
                raise NotFound("it is not in the library any more")
            getting = asyncio.create_task(source.cached(found[0], network=network))
            tell({"downloaded": 0})  # it has its turn: the command may ask for the next one
        try:
            while not getting.done():
                await asyncio.wait([getting], timeout=LOOK)
                source.count()
                tell({"downloaded": meter.downloaded})
        except asyncio.CancelledError:
            getting.cancel()
            await asyncio.wait([getting])
            if not getting.cancelled() and getting.exception() is None and (entry := getting.result()):
                self.give_back(entry)
            raise
        entry = getting.result()
        if entry is None:
            raise StorageError(NO_ROOM)
        return entry

    def give_back(self, entry: CacheEntry) -> None:
        self._supply.release(entry)

    async def damaged(self, track_id: str) -> None:
        """The command read other bytes than the track's: never use them again. Raises NotFound, CloudError."""
        entry = await self.lend(track_id, False, lambda doc: None)
        try:
            await self._supply.damaged(entry)
        finally:
            self.give_back(entry)

    async def _folder_job(self, context: Context) -> None:
        """Args `{"what", "to"}`."""
        folder = self._folders.get(context.id)
        if folder is None:
            raise DriveError("only the command writes to a folder; run the export again, it goes on where it was")
        folder.percent = context.progress
        folder.began(context.id)
        fail_if_nothing(await folder.ended)

    def _folder(self, job: int) -> Folder:
        folder = self._folders.get(job)
        if folder is None:
            raise NotFound(f"there is no export {job}; it has ended")
        return folder


class Folder:
    """A command that is writing to a folder."""

    def __init__(self, began: Callable[[int], None]) -> None:
        self.began = began
        self.percent: Callable[[float], None] = lambda percent: None
        self.ended: asyncio.Future[Result] = asyncio.get_running_loop().create_future()


def also(name: str, project: bool) -> Any:
    """What Fill is to write at the end."""
    return (lambda tree, order: reaper.write(tree, name, order) and None) if project else None


def fail_if_nothing(result: Result) -> None:
    """Raises DriveError when none of what was wanted is there."""
    if result.missing and not result.copied and not result.kept:
        raise DriveError(f"none of the {len(result.missing)} tracks could be had: {result.missing[0].reason}")


def ignore(manifest: Manifest) -> None:
    """For whoever need not know what is there now."""
