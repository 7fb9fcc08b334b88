"""The commands about drives; see control/protocol.py for names, arguments and results."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from appliance.control.protocol import Handler, Request
from appliance.drives import Drive, Drives
from appliance.errors import ChadboxError
from appliance.events import Bus, JobChanged
from appliance.jobs import Jobs


class DriveCommands:
    """The table of handlers."""

    def __init__(self, drives: Drives, jobs: Jobs, bus: Bus) -> None:
        self._drives, self._jobs, self._bus = drives, jobs, bus

    def table(self) -> dict[str, Handler]:
        drives = self._drives
        return {
            "drive": self._show,
            "drive_adopt": self._named(drives.adopt),
            "drive_forget": self._named(drives.forget),
            "drive_eject": self._named(drives.eject),
            "drive_fill": self._fill,
        }

    async def _show(self, request: Request) -> Any:
        return self._drives.documents()

    def _named(self, action: Callable[[str], Awaitable[Drive]]) -> Handler:
        async def handler(request: Request) -> Any:
            return (await action(request.args["name"])).document()

        return handler

    async def _fill(self, request: Request) -> Any:
        """A job, and its end; a client that goes away (Ctrl-C) cancels it."""
        job = await self._drives.fill(request.args["name"])

        def tell(event: JobChanged) -> None:
            if event.id == job:
                request.progress({"percent": event.progress})

        end = self._bus.subscribe(JobChanged, tell)
        try:
            info = await self._jobs.wait(job)
        except asyncio.CancelledError:
            await self._jobs.cancel(job)
            raise
        finally:
            end()
        if info.state != "done":
            raise ChadboxError(info.error or f"the fill was {info.state}")
        return self._drives.take_result(job)
