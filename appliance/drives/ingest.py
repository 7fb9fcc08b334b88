"""Auto-ingest: music found on a drive goes to the server (C10). Off by default; `drive import` works all the same.

A drive needs no adoption for it, as it is only read. An import is a job of the kind `import`, one at a time. One that
was pulled, crashed or had no server goes on at the next plug-in, at the next start, or when the server is back: that it
was wanted is written down until it is done or somebody cancels it.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Callable
from typing import Any

from msgspec import Struct

from appliance.cloud.client import CloudClient
from appliance.cloud.upload import Uploader
from appliance.drives import ingest_rows as rows
from appliance.drives import manifest as lists
from appliance.drives.drive import Drive
from appliance.drives.drives import Drives
from appliance.drives.errors import DriveError, Pulled, explain
from appliance.drives.ingest_reader import IngestReader, Moved
from appliance.drives.ingest_rows import File, Result
from appliance.drives.ingest_run import IngestRun
from appliance.drives.thread import Stopped
from appliance.errors import ChadboxError, NotFound, UsageError
from appliance.events import Bus, HealthChanged, JobChanged
from appliance.jobs import Context, Jobs, Retry
from appliance.store import Store, meta

log = logging.getLogger(__name__)
KIND = "import"
WISHES = "imports"  # key of `meta`: uuid of drives whose import is not done -> whether somebody asked for it
PLUGGED = 10.0  # seconds that a job waits for its drive, which at a start is mounted after jobs begin
NO_TAGS = "importing needs the tag library mutagen, which is not installed; install chadbox[drives]"


class Line(Struct):
    """A file of the queue, for people."""

    path: str
    state: str
    percent: int
    size: int
    reason: str | None


class Ingest:
    """`library` gives the server's library id, `busy` says that playing needs the line; `uploaded` is called when
    there is something new on the server."""

    def __init__(
        self, drives: Drives, store: Store, jobs: Jobs, cloud: CloudClient, bus: Bus,
        library: Callable[[], str], busy: Callable[[], bool], *, automatic: bool,
    ) -> None:  # fmt: skip
        self._drives, self._store, self._jobs, self._cloud, self._bus = drives, store, jobs, cloud, bus
        self._library, self._busy, self._automatic = library, busy, automatic
        self._uploader = Uploader(cloud)
        self._wishes: dict[str, bool] = {}
        self._ready: dict[str, Drive] = {}  # drives that can be read, by uuid
        self._news = asyncio.Event()
        self._live: dict[str, int] = {}
        self._ejecting: set[int] = set()
        self._closing = False
        self._tasks: set[asyncio.Task[None]] = set()
        self.uploaded: Callable[[], None] = lambda: None
        jobs.register(KIND, self._work, attempts=6)

    async def open(self) -> None:
        """Before jobs and drives are opened."""
        self._wishes = dict(await self._store.read(lambda con: meta.get(con, WISHES, {})))
        self._drives.on_ready = self._plugged
        self._drives.before_eject = self._let_go
        self._bus.subscribe(JobChanged, self._job_changed)
        self._bus.subscribe(HealthChanged, self._health_changed)
        if self._automatic and not IngestReader.usable():
            log.warning("%s", NO_TAGS)

    async def close(self) -> None:
        """Before the drives are let go of; what is being imported goes on at the next start."""
        self._closing = True
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def start(self, name: str) -> int:
        """Begin to import from a drive because somebody asks; the job's number. Raises ChadboxError."""
        drive = self._drives.find(name)
        if not IngestReader.usable():
            raise DriveError(NO_TAGS)
        if drive.tree is None or drive.path is None:
            raise DriveError(drive.message or f"{drive.name} cannot be read now ({drive.state})")
        self._ready[drive.uuid] = drive
        return await self._submit(drive, asked=True)

    async def result(self, job: int) -> Result:
        """What a job has done so far."""
        return await self._store.read(lambda con: rows.result(con, job))

    async def queue(self, name: str) -> list[Line]:
        """Every file of a drive's last import and what became of it."""
        drive = self._drives.find(name)

        def load(con: sqlite3.Connection) -> list[File]:
            (job,) = con.execute("SELECT max(job) FROM import_file WHERE drive = ?", (drive.uuid,)).fetchone()
            return rows.of_job(con, job) if job is not None else []

        return [Line(f.shown, f.state, f.percent, f.size, f.reason) for f in await self._store.read(load)]

    # -- beginning and going on ---------------------------------------------------------------------------------------

    async def _submit(self, drive: Drive, *, asked: bool) -> int:
        await self._wish(drive.uuid, asked or self._wishes.get(drive.uuid, False))
        args = {"uuid": drive.uuid, "name": drive.name, "asked": asked}
        job = await self._jobs.submit(KIND, args, key=drive.uuid)
        self._live[drive.uuid] = job
        return job

    def _plugged(self, drive: Drive) -> None:
        self._ready[drive.uuid] = drive
        self._news.set()
        self._go_on(drive)

    def _go_on(self, drive: Drive) -> None:
        wished = self._wishes.get(drive.uuid)
        if (self._automatic or wished is not None) and IngestReader.usable():
            self._spawn(self._submit(drive, asked=bool(wished)))

    def _health_changed(self, event: HealthChanged) -> None:
        """The server is back: what had to be given up goes on."""
        if {"offline", "server-error", "token-rejected"} & set(event.words):
            return
        for drive in tuple(self._ready.values()):
            if drive.uuid in self._wishes and drive.uuid not in self._live and drive.tree is not None:
                self._go_on(drive)

    def _job_changed(self, event: JobChanged) -> None:
        if event.kind != KIND or event.state not in ("done", "failed", "cancelled"):
            return
        uuid = next((u for u, job in self._live.items() if job == event.id), None)
        if uuid is None:
            return
        del self._live[uuid]
        if event.state == "done" or (event.state == "cancelled" and event.id not in self._ejecting):
            self._spawn(self._wish(uuid, None))

    async def _let_go(self, drive: Drive) -> None:
        """The drive is about to be ejected: end its import; it goes on when the drive comes again."""
        job = self._live.get(drive.uuid)
        self._ready.pop(drive.uuid, None)
        if job is None:
            return
        self._ejecting.add(job)
        try:
            await self._jobs.cancel(job)
        except (UsageError, NotFound):
            pass  # it has ended already
        finally:
            self._ejecting.discard(job)

    async def _wish(self, uuid: str, asked: bool | None) -> None:
        if self._wishes.get(uuid) == asked:
            return
        if asked is None:
            self._wishes.pop(uuid, None)
        else:
            self._wishes[uuid] = asked
        wishes = dict(self._wishes)
        await self._store.write(lambda con: meta.put(con, WISHES, wishes))

    # -- the job ------------------------------------------------------------------------------------------------------

    async def _work(self, context: Context) -> None:
        """The handler of the job kind `import`, args `{"uuid", "name", "asked"}`."""
        uuid, name = context.args["uuid"], context.args["name"]
        self._live[uuid] = context.id
        drive = await self._there(uuid, name)
        assert drive.path is not None  # noqa: S101 - it is there
        reader = IngestReader(drive.name, drive.path)
        drive.guests.append(reader)
        try:
            await reader.open()
            run = IngestRun(
                context.id, uuid, drive.name, self._library(), reader, self._uploader, self._store, self._bus,
                self._cloud.timing, self._busy, context.progress,
            )  # fmt: skip
            await run.run(await self._owned(drive), bool(context.args.get("asked")))
        except (Moved, Stopped):
            raise Retry(f"{drive.name} was mounted anew; going on", after=1.0) from None
        except Pulled:
            if self._closing:  # nobody has pulled anything: the player ends, and with it, in a moment, this job
                await asyncio.Event().wait()
            raise
        except OSError as error:
            raise (error if isinstance(error, ChadboxError) else explain(error, drive.name)) from None
        finally:
            if reader in drive.guests:
                drive.guests.remove(reader)
            await asyncio.shield(reader.close())
            if (await self.result(context.id)).uploaded:
                self.uploaded()

    async def _there(self, uuid: str, name: str) -> Drive:
        try:
            async with asyncio.timeout(PLUGGED):
                while True:
                    drive = self._ready.get(uuid)
                    if drive is not None and drive.tree is not None and drive.path is not None:
                        return drive
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            raise DriveError(f"{name} is not plugged in; the import goes on when it is") from None

    async def _owned(self, drive: Drive) -> list[str]:
        """Files that a box has put on the drive come from a library, and are not brought back to it."""
        tree = drive.tree
        if tree is None:
            raise Moved(f"{drive.name} is being mounted anew")
        manifest = await drive.thread.run(lists.load, tree)
        return [f.path for f in manifest.files] + [p.path for p in manifest.planned]

    def _spawn(self, work: Any) -> None:
        async def guarded() -> None:
            try:
                await work
            except ChadboxError as error:
                log.error("import: %s", error)

        task = asyncio.create_task(guarded())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
