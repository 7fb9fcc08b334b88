"""A drive's life: plugged in, looked at, adopted, filled, ejected or pulled (C3, C6, C7).

plugged --> mounting --> not-adopted --adopt--> ready <--> filling --> full
                |             ^                   |
                |             '------forget-------+--eject--> ejecting --> safe-to-remove --> (pulled)
                '--> error (message says why)
Pulled at any time: it is gone, its fill has failed, and the next plug-in cleans up and goes on.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import Any

from appliance.cloud.models import Track
from appliance.drives import manifest as lists
from appliance.drives.drive import READY, Drive
from appliance.drives.errors import DriveError, explain
from appliance.drives.fill import Fill, Result, Target
from appliance.drives.manifest import File
from appliance.drives.music import read_first
from appliance.drives.source import DriveSource, Found
from appliance.drives.supply import Supply
from appliance.errors import ChadboxError, NotFound, UsageError
from appliance.events import Bus, DriveChanged, HealthChanged, LibraryChanged, StatusChanged
from appliance.health import Health
from appliance.jobs import Context, Jobs
from appliance.store import Store, meta
from appliance.stream import CacheEntry

log = logging.getLogger(__name__)

BOX, ADOPTED = "box", "drives"  # keys of `meta`: this box's id, and uuid -> name of the drives it may write to
KIND = "fill"
CANCELLING = 5.0  # seconds that a fill gets to end before its drive is ejected
REMINDING = 60.0  # seconds for which a drive that was switched off is still shown as safe to remove
WhatToFill = Callable[[], Awaitable[Sequence[str]]]


class Drives:
    """All drives. Everything here runs on the event loop and waits for a drive only on that drive's own thread.

    `wanted` gives the track ids of a fill in play order; `automatic`: adopted drives are filled without being asked.
    Errors are ChadboxErrors: NotFound for a name that no drive has, UsageError for one that is ambiguous or a wish that
    makes no sense, DriveError.
    """

    def __init__(
        self,
        source: DriveSource,
        store: Store,
        jobs: Jobs,
        supply: Supply,
        wanted: WhatToFill,
        bus: Bus,
        health: Health,
        *,
        automatic: bool = True,
    ) -> None:
        self.wanted = wanted
        self._automatic = automatic
        self._source, self._store, self._jobs, self._supply = source, store, jobs, supply
        self._bus, self._health = bus, health
        self._drives: dict[str, Drive] = {}
        self._box = ""
        self._adopted: dict[str, str] = {}
        self._results: dict[int, Result] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._turn: dict[str, asyncio.Lock] = {}
        self.on_ready: Callable[[Drive], None] = lambda drive: None  # it can be read
        self.before_eject: Callable[[Drive], Awaitable[None]] = _nobody
        jobs.register(KIND, self._fill_job, concurrency=2, attempts=3)

    async def open(self) -> None:
        """Learn which drives were adopted and begin to look for them."""

        def load(db: sqlite3.Connection) -> tuple[str, dict[str, str]]:
            box = meta.get(db, BOX)
            if not box:
                meta.put(db, BOX, box := uuid.uuid4().hex)
            return str(box), dict(meta.get(db, ADOPTED, {}))

        self._box, self._adopted = await self._store.write(load)
        self._bus.subscribe(HealthChanged, self._health_changed)
        self._bus.subscribe(LibraryChanged, lambda _: self._fill_the_rest())
        self._source.start(self._plugged, self._pulled)

    async def close(self) -> None:
        """Let go of every drive; what was being filled goes on at the next start."""
        for task in tuple(self._tasks):
            task.cancel()
        await self._source.close()
        for drive in self._drives.values():
            drive.lose()

    def documents(self) -> list[dict[str, object]]:
        """One for each drive, in the order in which they came."""
        return [drive.document() for drive in self._drives.values()]

    def every(self) -> list[Drive]:
        """Those that are plugged in."""
        return list(self._drives.values())

    def holds(self, track_id: str) -> bool:
        """Whether a drive has the box's copy of a track of the server."""
        return any(d.shelf is not None and track_id in d.shelf.files for d in self._drives.values())

    def find(self, name: str) -> Drive:
        """The drive of that label, UUID or device node."""
        wish = name.strip().casefold()
        drives = list(self._drives.values())
        found = [d for d in drives if wish in (d.uuid.casefold(), d.node.casefold())]
        found = found or [d for d in drives if d.name.casefold() == wish]
        if not found:
            there = ", ".join(d.name for d in drives) or "none is plugged in"
            raise NotFound(f'there is no drive "{name[:80]}"; drives: {there}')
        if len(found) > 1:
            raise UsageError(
                f'two drives are called "{name[:80]}"; say which by its UUID: {found[0].uuid}, {found[1].uuid}'
            )
        return found[0]

    def target(self, name: str) -> tuple[Drive, Target]:
        """An adopted drive that is ready to be written to, for whoever writes (fill, export)."""
        drive = self.find(name)
        if not drive.adopted:
            raise UsageError(
                f"{drive.name} is not adopted; `chadbox drive adopt {drive.name}` allows the box to write to it"
            )
        if drive.tree is None or drive.state not in READY:
            raise DriveError(drive.message or f"{drive.name} is not ready ({drive.state})")
        return drive, Target(drive.name, drive.kind, self._box, drive.tree, drive.thread)

    @asynccontextmanager
    async def writing(self, drive: Drive, job: int) -> AsyncIterator[Target]:
        """The drive for job number `job` alone, which `eject` and `forget` cancel. Raises as `target`."""
        drive.exports.add(job)
        try:
            async with self._lock(drive):
                _, target = self.target(drive.node)
                before = drive.state, drive.message
                drive.progress = 0
                self._set(drive, "filling")
                try:
                    yield target
                except DriveError as error:
                    self._fail(drive, error)
                    raise
                finally:
                    if drive.state == "filling":
                        drive.progress = 100
                        self._set(drive, *before)
        finally:
            drive.exports.discard(job)

    def moved(self, drive: Drive, percent: int) -> None:
        """Whoever is `writing` is so far."""
        if percent != drive.progress:
            drive.progress = percent
            self._announce(drive)

    # What people ask for ----------------------------------------------------------------------------------------------

    async def adopt(self, name: str) -> Drive:
        """The consent of C6: from now on the box may write to this drive, and begins to fill it."""
        drive = self.find(name)
        if drive.adopted and drive.state in READY:
            return drive
        async with self._lock(drive):
            if drive.adopted and drive.state in READY:
                return drive
            if drive.state == "safe-to-remove":
                raise UsageError(f"{drive.name} was ejected; pull it out and plug it in again")
            await self._mount(drive, writable=True)
            tree = drive.tree
            if tree is None:
                raise DriveError(drive.message)
            try:
                if not await drive.thread.run(lambda: tree.writable):
                    raise DriveError(f"{drive.name} is write-protected or damaged, it can only be read; check it")
                await drive.thread.run(tree.write, lists.ADOPTED, self._box.encode() + b"\n")
            except (OSError, DriveError) as error:
                wrong = explain(error, drive.name) if isinstance(error, OSError) else error
                self._set(drive, "not-adopted", str(wrong))
                raise wrong from None
            self._adopted[drive.uuid] = drive.name
            await self._remember()
            await self._ready(drive)
        if self._automatic:
            await self._submit(drive)
        return drive

    async def forget(self, name: str) -> Drive:
        """Take the consent back; the music on the drive stays."""
        drive = self.find(name)
        await self._stop_fill(drive)
        async with self._lock(drive):
            self._adopted.pop(drive.uuid, None)
            await self._remember()
            if drive.tree is not None and drive.adopted:
                try:
                    await drive.thread.run(drive.tree.remove, lists.ADOPTED)
                except OSError as error:
                    log.warning("the mark on the drive stays: %s", explain(error, drive.name))
            drive.adopted = False
            if drive.state != "safe-to-remove":
                await self._mount(drive, writable=False)
                self._set(drive, "not-adopted")
        return drive

    async def fill(self, name: str) -> int:
        """Begin to fill; the job's number. A fill that runs already is the same one."""
        drive, _ = self.target(name)
        return await self._submit(drive)

    def take_result(self, job: int) -> Result:
        """What job number `job` did in this run of the player; empty when it ran in an earlier one."""
        return self._results.pop(job, Result())

    async def eject(self, name: str) -> Drive:
        """Write everything out, unmount and, where possible, switch off."""
        drive = self.find(name)
        if drive.state == "safe-to-remove":
            return drive
        self._set(drive, "ejecting")
        await self._stop_fill(drive)
        await self.before_eject(drive)
        async with self._lock(drive):
            self._set(drive, "ejecting")
            try:
                await drive.close()
                await self._source.unmount(drive.node, power_off=False)
            except (OSError, ChadboxError) as error:
                wrong = explain(error, drive.name) if isinstance(error, OSError) else error
                self._set(drive, "error", str(wrong))
                raise wrong from None
            self._set(drive, "safe-to-remove")
            self._clear_health()
            drive.switching_off = True
            try:
                await self._source.unmount(drive.node, power_off=True)
            except (OSError, ChadboxError) as error:
                log.info("%s can be pulled out, but was not switched off: %s", drive.name, error)
            finally:
                drive.switching_off = False
        return drive

    # Playing from a drive ---------------------------------------------------------------------------------------------

    async def read(self, track: Track, entry: CacheEntry, start: int, stop: int) -> tuple[bytes, File] | None:
        """The fetcher's question before it asks the network: bytes [start, stop) of a drive's copy of `track`."""
        shelves = [d.shelf for d in self._drives.values() if d.shelf is not None and str(track.id) in d.shelf.files]
        return await read_first(lambda: shelves, self._supply.library, track, entry, start, stop) if shelves else None

    # Coming and going -------------------------------------------------------------------------------------------------

    def _plugged(self, found: Found) -> None:
        for old in [d for d in self._drives.values() if d.node == found.node or (d.off and d.uuid == found.uuid)]:
            del self._drives[old.node]
            old.lose()
        drive = self._drives[found.node] = Drive(found)
        log.info("drive %s (%s, %s) is there", drive.name, drive.kind, drive.uuid)
        self._set(drive, "mounting")
        self._spawn(self._look_at(drive))

    def _pulled(self, node: str) -> None:
        drive = self._drives.get(node)
        if drive is None:
            return
        if drive.switching_off and not drive.off:  # a drive that is switched off goes as if it was pulled
            drive.off = True
            asyncio.get_running_loop().call_later(REMINDING, self._forget_ejected, drive)
            return
        self._gone(drive)

    def _forget_ejected(self, drive: Drive) -> None:
        if self._drives.get(drive.node) is drive:
            self._gone(drive)

    def _gone(self, drive: Drive) -> None:
        del self._drives[drive.node]
        log.info("drive %s is gone", drive.name)
        drive.lose()
        drive.state = "gone"
        self._announce(drive)
        self._clear_health()

    async def _look_at(self, drive: Drive) -> None:
        async with self._lock(drive):
            known = drive.uuid in self._adopted
            await self._mount(drive, writable=known)
            if drive.state == "error":
                return
            if known and not drive.adopted:  # the same file system without our mark, or a copy of the drive
                await self._mount(drive, writable=False)
            if not drive.adopted:
                self._set(drive, "not-adopted")
                self.on_ready(drive)
                return
            await self._ready(drive)
        if self._automatic:
            await self._submit(drive)
        self.on_ready(drive)

    async def _mount(self, drive: Drive, *, writable: bool) -> None:
        """(Re)mount; `adopted` then says whether the drive carries our mark and we know it. Errors become its state."""
        drive.adopted = False
        try:
            await drive.close()
            mark = await drive.open(await self._source.mount(drive.node, writable=writable))
        except (OSError, ChadboxError) as error:
            self._set(drive, "error", str(explain(error, drive.name) if isinstance(error, OSError) else error))
            self._health.raise_("drive-error", drive.message)
            return
        drive.adopted = writable and mark == self._box and drive.uuid in self._adopted

    async def _ready(self, drive: Drive) -> None:
        drive.adopted = True
        try:
            await drive.show(self._supply.library)
        except (OSError, DriveError) as error:
            self._fail(drive, error)
            return
        self._set(drive, "ready")

    # Filling ----------------------------------------------------------------------------------------------------------

    async def _submit(self, drive: Drive) -> int:
        job = await self._jobs.submit(KIND, {"uuid": drive.uuid, "name": drive.name}, key=drive.uuid)
        drive.job = job
        return job

    async def _fill_job(self, context: Context) -> None:
        """The handler of the job kind `fill`, args `{"uuid", "name"}`."""
        key, name = context.args["uuid"], context.args["name"]
        drive = next((d for d in self._drives.values() if d.uuid == key and d.adopted), None)
        if drive is None:
            raise DriveError(f"{name} is not plugged in; it will be filled when it is")
        async with self._lock(drive):
            _, target = self.target(drive.node)
            drive.job = context.id
            drive.progress = 0
            self._set(drive, "filling")

            def progress(percent: int) -> None:
                context.progress(percent)
                if percent != drive.progress:
                    drive.progress = percent
                    self._announce(drive)

            fill = Fill(target, self._supply, progress, drive.take)
            try:
                result = await fill.run(list(await self.wanted()))
            except DriveError as error:
                self._fail(drive, error)
                raise
            except BaseException:
                self._set(drive, "ready")
                raise
            self._results[context.id] = result
            drive.progress = 100
            drive.offline = result.offline or not self._supply.library
            self._set(drive, "full" if result.full else "ready", _summary(result))
            self._health.clear("drive-error")
            self._health.set("drive-full", result.full, f"{drive.name}: not everything fits")

    def _fail(self, drive: Drive, error: BaseException) -> None:
        if drive.node not in self._drives or drive.state == "gone":
            return  # pulled: nothing is wrong with it
        wrong = explain(error, drive.name) if isinstance(error, OSError) else error
        self._set(drive, "error", str(wrong))
        self._health.raise_("drive-error", str(wrong))

    async def _stop_fill(self, drive: Drive) -> None:
        jobs = drive.exports | ({drive.job} if drive.job is not None else set())
        await asyncio.gather(*(self._stop(drive, job) for job in jobs))  # at once: none is to begin as another ends

    async def _stop(self, drive: Drive, job: int) -> None:
        try:
            await asyncio.wait_for(self._jobs.cancel(job), CANCELLING)
        except (UsageError, NotFound):
            pass  # it has ended already
        except TimeoutError:
            log.error("job %d on %s does not end", job, drive.name)

    def _health_changed(self, event: HealthChanged) -> None:
        if "offline" not in event.words:
            self._fill_the_rest()

    def _fill_the_rest(self) -> None:
        """The server is back, or there is a library at last: fetch what a fill had to leave out."""
        for drive in self._drives.values():
            if drive.offline and drive.adopted:
                drive.offline = False
                self._spawn(self._refill(drive))

    async def _refill(self, drive: Drive) -> None:
        await self._submit(drive)

    # Helpers ----------------------------------------------------------------------------------------------------------

    async def _remember(self) -> None:
        known = dict(self._adopted)
        await self._store.write(lambda db: meta.put(db, ADOPTED, known))

    def _set(self, drive: Drive, state: str, message: str = "") -> None:
        if drive.state == "gone":
            return
        drive.state, drive.message = state, message
        self._announce(drive)

    def _announce(self, drive: Drive) -> None:
        self._bus.publish(
            DriveChanged(drive.name, drive.uuid, drive.state, drive.adopted, drive.progress, drive.message)
        )
        self._bus.publish(StatusChanged())

    def _clear_health(self) -> None:
        """What is wrong with a drive that is gone is not wrong any more."""
        states = {d.state for d in self._drives.values()}
        if "error" not in states:
            self._health.clear("drive-error")
        if "full" not in states:
            self._health.clear("drive-full")

    def _lock(self, drive: Drive) -> asyncio.Lock:
        return self._turn.setdefault(drive.node, asyncio.Lock())

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        async def guarded() -> None:
            try:
                await work
            except ChadboxError as error:
                log.error("drives: %s", error)
            except Exception:
                log.exception("drives")

        task = asyncio.create_task(guarded())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def _nobody(drive: Drive) -> None:
    """Nobody else has the drive open."""


def _summary(result: Result) -> str:
    if not result.missing:
        return ""
    count = len(result.missing)
    return f"{count} track{'' if count == 1 else 's'} missing, see MISSING.txt: {result.missing[0].reason}"
