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
from collections.abc import Awaitable, Callable

from appliance.drives import manifest as lists
from appliance.drives.drive import READY, Drive
from appliance.drives.errors import DriveError, explain
from appliance.drives.filling import Filling, WhatToFill
from appliance.drives.source import DriveSource, Found
from appliance.drives.supply import Supply
from appliance.drives.table import Table
from appliance.errors import ChadboxError, UsageError
from appliance.events import Bus, HealthChanged, LibraryChanged
from appliance.health import Health
from appliance.jobs import Jobs
from appliance.store import Store, meta

log = logging.getLogger(__name__)

BOX, ADOPTED = "box", "drives"  # keys of `meta`: this box's id, and uuid -> name of the drives it may write to
REMINDING = 60.0  # seconds for which a drive that was switched off is still shown as safe to remove


class Drives(Table):
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
        super().__init__(bus, health, lambda: supply.library)
        self.filling = Filling(self, jobs, supply, wanted, health)
        self._automatic = automatic
        self._source, self._store = source, store
        self._adopted: dict[str, str] = {}
        self.on_ready: Callable[[Drive], None] = lambda drive: None  # it can be read
        self.before_eject: Callable[[Drive], Awaitable[None]] = _nobody

    async def open(self) -> None:
        """Learn which drives were adopted and begin to look for them."""

        def load(db: sqlite3.Connection) -> tuple[str, dict[str, str]]:
            box = meta.get(db, BOX)
            if not box:
                meta.put(db, BOX, box := uuid.uuid4().hex)
            return str(box), dict(meta.get(db, ADOPTED, {}))

        self.box, self._adopted = await self._store.write(load)
        self._bus.subscribe(HealthChanged, self.filling.health_changed)
        self._bus.subscribe(LibraryChanged, lambda _: self.filling.fill_the_rest())
        self._source.start(self._plugged, self._pulled)

    async def close(self) -> None:
        """Let go of every drive; what was being filled goes on at the next start."""
        for task in tuple(self._tasks):
            task.cancel()
        await self._source.close()
        for drive in self._drives.values():
            drive.lose()

    # What people ask for ----------------------------------------------------------------------------------------------

    async def adopt(self, name: str) -> Drive:
        """The consent of C6: from now on the box may write to this drive, and begins to fill it."""
        drive = self.find(name)
        if drive.adopted and drive.state in READY:
            return drive
        async with self.lock(drive):
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
                await drive.thread.run(tree.write, lists.ADOPTED, self.box.encode() + b"\n")
            except (OSError, DriveError) as error:
                wrong = explain(error, drive.name) if isinstance(error, OSError) else error
                self.set_state(drive, "not-adopted", str(wrong))
                raise wrong from None
            self._adopted[drive.uuid] = drive.name
            await self._remember()
            await self._ready(drive)
        if self._automatic:
            await self.filling.submit(drive)
        return drive

    async def forget(self, name: str) -> Drive:
        """Take the consent back; the music on the drive stays."""
        drive = self.find(name)
        await self.filling.stop(drive)
        async with self.lock(drive):
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
                self.set_state(drive, "not-adopted")
        return drive

    async def fill(self, name: str) -> int:
        """Begin to fill; the job's number. A fill that runs already is the same one."""
        drive, _ = self.target(name)
        return await self.filling.submit(drive)

    async def eject(self, name: str) -> Drive:
        """Write everything out, unmount and, where possible, switch off."""
        drive = self.find(name)
        if drive.state == "safe-to-remove":
            return drive
        self.set_state(drive, "ejecting")
        await self.filling.stop(drive)
        await self.before_eject(drive)
        async with self.lock(drive):
            self.set_state(drive, "ejecting")
            try:
                await drive.close()
                await self._source.unmount(drive.node, power_off=False)
            except (OSError, ChadboxError) as error:
                wrong = explain(error, drive.name) if isinstance(error, OSError) else error
                self.set_state(drive, "error", str(wrong))
                raise wrong from None
            self.set_state(drive, "safe-to-remove")
            self.clear_health()
            drive.switching_off = True
            try:
                await self._source.unmount(drive.node, power_off=True)
            except (OSError, ChadboxError) as error:
                log.info("%s can be pulled out, but was not switched off: %s", drive.name, error)
            finally:
                drive.switching_off = False
        return drive

    # Coming and going -------------------------------------------------------------------------------------------------

    def _plugged(self, found: Found) -> None:
        for old in [d for d in self._drives.values() if d.node == found.node or (d.off and d.uuid == found.uuid)]:
            del self._drives[old.node]
            old.lose()
        drive = self._drives[found.node] = Drive(found)
        log.info("drive %s (%s, %s) is there", drive.name, drive.kind, drive.uuid)
        self.set_state(drive, "mounting")
        self.spawn(self._look_at(drive))

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
        self.announce(drive)
        self.clear_health()

    async def _look_at(self, drive: Drive) -> None:
        async with self.lock(drive):
            known = drive.uuid in self._adopted
            await self._mount(drive, writable=known)
            if drive.state == "error":
                return
            if known and not drive.adopted:  # the same file system without our mark, or a copy of the drive
                await self._mount(drive, writable=False)
            if not drive.adopted:
                self.set_state(drive, "not-adopted")
                self.on_ready(drive)
                return
            await self._ready(drive)
        if self._automatic:
            await self.filling.submit(drive)
        self.on_ready(drive)

    async def _mount(self, drive: Drive, *, writable: bool) -> None:
        """(Re)mount; `adopted` then says whether the drive carries our mark and we know it. Errors become its state."""
        drive.adopted = False
        try:
            await drive.close()
            mark = await drive.open(await self._source.mount(drive.node, writable=writable))
        except (OSError, ChadboxError) as error:
            self.set_state(drive, "error", str(explain(error, drive.name) if isinstance(error, OSError) else error))
            self._health.raise_("drive-error", drive.message)
            return
        drive.adopted = writable and mark == self.box and drive.uuid in self._adopted

    async def _ready(self, drive: Drive) -> None:
        drive.adopted = True
        try:
            await drive.show(self._library())
        except (OSError, DriveError) as error:
            self.fail(drive, error)
            return
        self.set_state(drive, "ready")

    async def _remember(self) -> None:
        known = dict(self._adopted)
        await self._store.write(lambda db: meta.put(db, ADOPTED, known))


async def _nobody(drive: Drive) -> None:
    """Nobody else has the drive open."""
