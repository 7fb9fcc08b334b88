"""The commands about exports; see control/protocol.py for names, arguments and results."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

from appliance.control.protocol import Handler, Request
from appliance.drives import Exports
from appliance.drives.export import Wish
from appliance.drives.fill import Result
from appliance.drives.manifest import Missing
from appliance.errors import ChadboxError, NotFound
from appliance.jobs import Jobs
from appliance.library import Library
from appliance.player.player import Player

FIRST_SYNC = 30.0  # seconds that an export waits for the very first sync


class ExportCommands:
    """The table of handlers."""

    def __init__(self, exports: Exports, player: Player, library: Library, jobs: Jobs) -> None:
        self._exports, self._player, self._library, self._jobs = exports, player, library, jobs

    def table(self) -> dict[str, Handler]:
        return {
            "export_check": self._check,
            "export_drive": self._drive,
            "export_folder": self._folder,
            "export_lend": self._lend,
            "export_damaged": self._damaged,
            "export_moved": self._moved,
            "export_ended": self._ended,
        }

    async def _check(self, request: Request) -> Any:
        wish = await self._wish(request.args["what"])
        drive = request.args.get("drive")
        return wish if drive is None else await self._exports.check(wish, drive)

    async def _drive(self, request: Request) -> Any:
        """A job, and its end; a client that goes away (Ctrl-C) cancels it."""
        args = request.args
        job = await self._exports.to_drive(await self._wish(args["what"]), args["drive"], project=args["reaper"])
        end = self._exports.listen(job, request.progress)
        try:
            info = await self._jobs.wait(job)
        except asyncio.CancelledError:
            await self._cancel(job)
            raise
        finally:
            end()
        result = self._exports.take_result(job)
        if result is None:
            raise ChadboxError(info.error or f"the export was {info.state}")
        return result

    async def _folder(self, request: Request) -> Any:
        """The job of a command that copies by itself; it lasts until the command says that it is through, or goes."""
        args = request.args
        job = await self._exports.to_folder(args["what"], args["to"], lambda job: request.event({"job": job}))
        try:
            info = await self._jobs.wait(job)
        except asyncio.CancelledError:
            await self._cancel(job)
            raise
        finally:
            self._exports.forget_folder(job)
        if self._exports.take_result(job) is None:
            raise ChadboxError(info.error or f"the export was {info.state}")
        return {"job": job}

    async def _lend(self, request: Request) -> Any:
        """A whole file of the cache, which stays there until the client goes."""
        entry = await self._exports.lend(request.args["track"], request.args["network"], request.progress)
        try:
            request.event(
                {
                    "path": str(entry.path), "size": entry.size, "sha256": entry.sha256 or entry.expected_sha256,
                    "etag": entry.etag,
                }
            )  # fmt: skip
            await asyncio.Event().wait()
        finally:
            self._exports.give_back(entry)

    async def _damaged(self, request: Request) -> Any:
        await self._exports.damaged(request.args["track"])
        return {}

    async def _moved(self, request: Request) -> Any:
        self._exports.folder_moved(request.args["job"], request.args["percent"])
        return {}

    async def _ended(self, request: Request) -> Any:
        args = request.args
        missing = [Missing(**item) for item in args["missing"]]
        result = Result(copied=args["copied"], kept=args["kept"], bytes=args["bytes"], missing=missing)
        self._exports.folder_ended(args["job"], result, args.get("error"))
        return {}

    async def _wish(self, what: str) -> Wish:
        if what.strip() == "queue":
            ids = [item.track_id for item in self._player.queue.items]
            if not ids:
                raise NotFound("the queue is empty")
        else:
            ids = await self._resolve(what)
        return await self._exports.wish(what, ids)

    async def _resolve(self, what: str) -> list[str]:
        try:
            return await self._library.resolve(what)
        except NotFound:
            if self._library.tracks or not self._library.syncing:
                raise
        await self._library.wait_first_sync(FIRST_SYNC)
        return await self._library.resolve(what)

    async def _cancel(self, job: int) -> None:
        with contextlib.suppress(ChadboxError):  # it has ended already
            await self._jobs.cancel(job)
