"""The commands about drives; see control/protocol.py for names, arguments and results."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from appliance.control.protocol import Handler, Request
from appliance.drives import Drive, Drives, Ingest
from appliance.errors import ChadboxError
from appliance.events import Bus, ImportChanged, JobChanged
from appliance.jobs import Jobs


class DriveCommands:
    """The table of handlers."""

    def __init__(self, drives: Drives, ingest: Ingest, jobs: Jobs, bus: Bus) -> None:
        self._drives, self._ingest, self._jobs, self._bus = drives, ingest, jobs, bus

    def table(self) -> dict[str, Handler]:
        drives = self._drives
        return {
            "drive": self._show,
            "drive_adopt": self._named(drives.adopt),
            "drive_forget": self._named(drives.forget),
            "drive_eject": self._named(drives.eject),
            "drive_fill": self._fill,
            "drive_import": self._import,
            "drive_queue": self._queue,
        }

    async def _show(self, request: Request) -> Any:
        return self._drives.documents()

    def _named(self, action: Callable[[str], Awaitable[Drive]]) -> Handler:
        async def handler(request: Request) -> Any:
            return (await action(request.args["name"])).document()

        return handler

    async def _fill(self, request: Request) -> Any:
        job = await self._drives.fill(request.args["name"])
        await self._ended(request, job, "fill")
        return self._drives.filling.take_result(job)

    async def _import(self, request: Request) -> Any:
        job = await self._ingest.start(request.args["name"])
        await self._ended(request, job, "import")
        return await self._ingest.result(job)

    async def _queue(self, request: Request) -> Any:
        return await self._ingest.queue(request.args["name"])

    async def _ended(self, request: Request, job: int, what: str) -> None:
        """Until a job has ended; a client that goes away (Ctrl-C) cancels it. ChadboxError when it is not done."""
        percent = 0

        def tell(event: JobChanged) -> None:
            nonlocal percent
            if event.id == job:
                percent = event.progress
                request.progress({"percent": percent})

        def tell_file(event: ImportChanged) -> None:
            if event.job == job:
                file = {"path": event.path, "state": event.state, "percent": event.percent, "reason": event.reason}
                request.progress({"percent": percent, "file": file})

        ends = self._bus.subscribe(JobChanged, tell), self._bus.subscribe(ImportChanged, tell_file)
        try:
            info = await self._jobs.wait(job)
        except asyncio.CancelledError:
            await self._jobs.cancel(job)
            raise
        finally:
            for end in ends:
                end()
        if info.state != "done":
            raise ChadboxError(info.error or f"the {what} was {info.state}")
