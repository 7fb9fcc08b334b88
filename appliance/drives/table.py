"""The drives that are plugged in: finding one, and telling of its state."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

from appliance.cloud.models import Track
from appliance.drives.drive import READY, Drive
from appliance.drives.errors import DriveError, explain
from appliance.drives.fill import Target
from appliance.drives.manifest import File
from appliance.drives.music import read_first
from appliance.errors import ChadboxError, NotFound, UsageError
from appliance.events import Bus, DriveChanged, StatusChanged
from appliance.health import Health
from appliance.stream import CacheEntry

log = logging.getLogger(__name__)


class Table:
    """By device node. `library` gives the id of the library that tracks are of. Belongs on the event loop."""

    def __init__(self, bus: Bus, health: Health, library: Callable[[], str]) -> None:
        self.box = ""  # this box's id, the mark on drives that it may write to
        self._bus, self._health, self._library = bus, health, library
        self._drives: dict[str, Drive] = {}
        self._turn: dict[str, asyncio.Lock] = {}
        self._tasks: set[asyncio.Task[None]] = set()

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
        return drive, Target(drive.name, drive.kind, self.box, drive.tree, drive.thread)

    async def read(self, track: Track, entry: CacheEntry, start: int, stop: int) -> tuple[bytes, File] | None:
        """The fetcher's question before it asks the network: bytes [start, stop) of a drive's copy of `track`."""
        shelves = [d.shelf for d in self._drives.values() if d.shelf is not None and str(track.id) in d.shelf.files]
        return await read_first(lambda: shelves, self._library(), track, entry, start, stop) if shelves else None

    # Telling ----------------------------------------------------------------------------------------------------------

    def set_state(self, drive: Drive, state: str, message: str = "") -> None:
        """Change its state (see drive.Drive) and tell everybody; one that was pulled stays gone."""
        if drive.state == "gone":
            return
        drive.state, drive.message = state, message
        self.announce(drive)

    def announce(self, drive: Drive) -> None:
        """Tell everybody what it is like now."""
        self._bus.publish(
            DriveChanged(drive.name, drive.uuid, drive.state, drive.adopted, drive.progress, drive.message)
        )
        self._bus.publish(StatusChanged())

    def fail(self, drive: Drive, error: BaseException) -> None:
        """Work on it went wrong: its state is `error`, with the reason, unless it was only pulled."""
        if drive.node not in self._drives or drive.state == "gone":
            return  # pulled: nothing is wrong with it
        wrong = explain(error, drive.name) if isinstance(error, OSError) else error
        self.set_state(drive, "error", str(wrong))
        self._health.raise_("drive-error", str(wrong))

    def clear_health(self) -> None:
        """What is wrong with a drive that is gone is not wrong any more."""
        states = {d.state for d in self._drives.values()}
        if "error" not in states:
            self._health.clear("drive-error")
        if "full" not in states:
            self._health.clear("drive-full")

    def lock(self, drive: Drive) -> asyncio.Lock:
        """Who holds it mounts, unmounts or writes; also across a pull, as it is the device node's."""
        return self._turn.setdefault(drive.node, asyncio.Lock())

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Do `work` in the background; what it raises is logged."""

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
