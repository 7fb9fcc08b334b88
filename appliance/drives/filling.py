"""The jobs that fill drives, one at a time on each drive, and who else writes to one."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

from appliance.drives.drive import Drive
from appliance.drives.errors import DriveError
from appliance.drives.fill import Fill, Result, Target
from appliance.drives.supply import Supply
from appliance.drives.table import Table
from appliance.errors import NotFound, UsageError
from appliance.events import HealthChanged
from appliance.health import Health
from appliance.jobs import Context, Jobs

log = logging.getLogger(__name__)

KIND = "fill"
CANCELLING = 5.0  # seconds that a fill gets to end before its drive is ejected
WhatToFill = Callable[[], Awaitable[Sequence[str]]]


class Filling:
    """`wanted` gives the track ids of a fill in play order."""

    def __init__(self, table: Table, jobs: Jobs, supply: Supply, wanted: WhatToFill, health: Health) -> None:
        self.wanted = wanted
        self._table, self._jobs, self._supply, self._health = table, jobs, supply, health
        self._results: dict[int, Result] = {}
        jobs.register(KIND, self._fill_job, concurrency=2, attempts=3)

    async def submit(self, drive: Drive) -> int:
        """Begin to fill it; the job's number."""
        job = await self._jobs.submit(KIND, {"uuid": drive.uuid, "name": drive.name}, key=drive.uuid)
        drive.job = job
        return job

    def take_result(self, job: int) -> Result:
        """What job number `job` did in this run of the player; empty when it ran in an earlier one."""
        return self._results.pop(job, Result())

    async def _fill_job(self, context: Context) -> None:
        """The handler of the job kind `fill`, args `{"uuid", "name"}`."""
        key, name = context.args["uuid"], context.args["name"]
        drive = next((d for d in self._table.every() if d.uuid == key and d.adopted), None)
        if drive is None:
            raise DriveError(f"{name} is not plugged in; it will be filled when it is")
        async with self._table.lock(drive):
            _, target = self._table.target(drive.node)
            drive.job = context.id
            drive.progress = 0
            self._table.set_state(drive, "filling")

            def progress(percent: int) -> None:
                context.progress(percent)
                if percent != drive.progress:
                    drive.progress = percent
                    self._table.announce(drive)

            fill = Fill(target, self._supply, progress, drive.take)
            try:
                result = await fill.run(list(await self.wanted()))
            except DriveError as error:
                self._table.fail(drive, error)
                raise
            except BaseException:
                self._table.set_state(drive, "ready")
                raise
            self._results[context.id] = result
            drive.progress = 100
            drive.offline = result.offline or not self._supply.library
            self._table.set_state(drive, "full" if result.full else "ready", _summary(result))
            self._health.clear("drive-error")
            self._health.set("drive-full", result.full, f"{drive.name}: not everything fits")

    async def stop(self, drive: Drive) -> None:
        """End what writes to it, or waits to."""
        jobs = drive.exports | ({drive.job} if drive.job is not None else set())
        await asyncio.gather(*(self._cancel(drive, job) for job in jobs))  # at once: none is to begin as another ends

    async def _cancel(self, drive: Drive, job: int) -> None:
        try:
            await asyncio.wait_for(self._jobs.cancel(job), CANCELLING)
        except (UsageError, NotFound):
            pass  # it has ended already
        except TimeoutError:
            log.error("job %d on %s does not end", job, drive.name)

    def health_changed(self, event: HealthChanged) -> None:
        if "offline" not in event.words:
            self.fill_the_rest()

    def fill_the_rest(self) -> None:
        """The server is back, or there is a library at last: fetch what a fill had to leave out."""
        for drive in self._table.every():
            if drive.offline and drive.adopted:
                drive.offline = False
                self._table.spawn(self._refill(drive))

    async def _refill(self, drive: Drive) -> None:
        await self.submit(drive)

    # Others that write ------------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def writing(self, drive: Drive, job: int) -> AsyncIterator[Target]:
        """The drive for job number `job` alone, which `eject` and `forget` cancel. Raises as `target`."""
        drive.exports.add(job)
        try:
            async with self._table.lock(drive):
                _, target = self._table.target(drive.node)
                before = drive.state, drive.message
                drive.progress = 0
                self._table.set_state(drive, "filling")
                try:
                    yield target
                except DriveError as error:
                    self._table.fail(drive, error)
                    raise
                finally:
                    if drive.state == "filling":
                        drive.progress = 100
                        self._table.set_state(drive, *before)
        finally:
            drive.exports.discard(job)

    def moved(self, drive: Drive, percent: int) -> None:
        """Whoever is `writing` is so far."""
        if percent != drive.progress:
            drive.progress = percent
            self._table.announce(drive)


def _summary(result: Result) -> str:
    if not result.missing:
        return ""
    count = len(result.missing)
    return f"{count} track{'' if count == 1 else 's'} missing, see MISSING.txt: {result.missing[0].reason}"
