"""What each command of the control socket does: arguments in, a document out; the work is done in the rooms."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from appliance.control.protocol import Handler, Request
from appliance.control.status import StatusSource, playing_of
from appliance.control.where import Where
from appliance.errors import ChadboxError, NotFound
from appliance.events import Bus, Event, HealthChanged, JobChanged, LibraryChanged, StatusChanged, SyncProgress
from appliance.jobs import Jobs
from appliance.library import Library
from appliance.panel import Key, Panel
from appliance.player.fetching import Fetching
from appliance.player.player import Player
from appliance.stream import Cache

WATCH_INTERVAL = 0.1  # seconds between two documents of `watch` at most
FIRST_SYNC = 30.0  # seconds that a command waits for the very first sync
MOST_SHOWN = 10_000  # queue items in one document


class Commands:
    """The table of handlers; see control/protocol.py for names, arguments and results."""

    def __init__(
        self, player: Player, library: Library, cache: Cache, jobs: Jobs, fetching: Fetching,
        status: StatusSource, bus: Bus, panel: Panel, where: Where,
    ) -> None:  # fmt: skip
        self._player = player
        self._library = library
        self._cache = cache
        self._jobs = jobs
        self._fetching = fetching
        self._status = status
        self._bus = bus
        self._panel = panel
        self._where = where

    def table(self) -> dict[str, Handler]:
        player = self._player
        return {
            "status": self._show_status,
            "watch": self._watch,
            "play": self._play,
            "pause": self._transport(player.pause),
            "toggle": self._transport(player.toggle),
            "stop": self._transport(player.stop),
            "next": self._transport(player.next),
            "prev": self._transport(player.previous),
            "seek": self._seek,
            "volume": self._volume,
            "queue": self._queue,
            "queue_add": self._queue_add,
            "queue_remove": self._queue_remove,
            "queue_move": self._queue_move,
            "queue_clear": self._queue_clear,
            "queue_shuffle": self._queue_shuffle,
            "queue_repeat": self._queue_repeat,
            "search": self._search,
            "browse": self._browse,
            "sync": self._sync,
            "cache": self._show_cache,
            "cache_pin": self._pin,
            "cache_unpin": self._pin,
            "cache_verify": self._verify,
            "cache_clear": self._clear,
            "fetch": self._fetch,
            "jobs": self._list_jobs,
            "job_cancel": self._job,
            "job_retry": self._job,
            "panel": self._show_panel,
            "panel_key": self._panel_key,
        }

    # State ------------------------------------------------------------------------------------------------------------

    async def _show_status(self, request: Request) -> Any:
        return self._status.document()

    async def _watch(self, request: Request) -> Any:
        """A document now and after every change: of what is played at once, of the rest a few a second at most."""
        changed = asyncio.Event()
        loop = asyncio.get_running_loop()
        told: dict[str, Any] = {}
        told_at = 0.0

        def tell() -> None:
            nonlocal told, told_at
            document = self._status.document()
            if {**document, "uptime": 0} != told:
                request.event(document)
                told, told_at = {**document, "uptime": 0}, loop.time()

        def news(_: Event) -> None:
            if self._status.playing != playing_of(told):
                tell()  # a track may start and end within the interval, and nobody is to miss it
            else:
                changed.set()

        tell()
        kinds = (StatusChanged, HealthChanged, LibraryChanged, SyncProgress)
        endings = [self._bus.subscribe(kind, news) for kind in kinds]
        try:
            while True:
                await changed.wait()
                await asyncio.sleep(WATCH_INTERVAL)
                if loop.time() < told_at + WATCH_INTERVAL:
                    continue  # one went out at once meanwhile
                changed.clear()
                tell()
        finally:
            for end in endings:
                end()

    # Transport --------------------------------------------------------------------------------------------------------

    def _transport(self, action: Callable[[], Awaitable[None]]) -> Handler:
        async def handler(request: Request) -> Any:
            await action()
            return self._status.document()

        return handler

    async def _play(self, request: Request) -> Any:
        what = request.args.get("what")
        await self._when_synced(lambda: self._player.play(what))
        return self._status.document()

    async def _when_synced(self, action: Callable[[], Awaitable[Any]]) -> Any:
        """On a box that never had a library, "not found" may only mean "not yet": wait for the first sync."""
        try:
            return await action()
        except NotFound as error:
            if self._library.tracks or not self._library.syncing:
                self._explain(error)
                raise
        await self._library.wait_first_sync(FIRST_SYNC)
        try:
            return await action()
        except NotFound as error:
            self._explain(error)
            raise

    def _explain(self, error: NotFound) -> None:
        """An empty library is a consequence: name the cause."""
        details = self._status.document()["health_details"]
        if not self._library.tracks and details:
            word, detail = next(iter(details.items()))
            raise ChadboxError(f"the library is empty because of {word}: {detail}") from error

    async def _seek(self, request: Request) -> Any:
        await self._player.seek(request.args["seconds"], relative=request.args["relative"])
        return self._status.document()

    async def _volume(self, request: Request) -> Any:
        value = request.args.get("value")
        if value is not None:
            self._player.set_volume(self._player.volume + value if request.args["relative"] else value)
            await self._player.save()
        return {"volume": self._player.volume}

    # Queue ------------------------------------------------------------------------------------------------------------

    async def _queue(self, request: Request) -> Any:
        queue = self._player.queue
        shown = queue.items[:MOST_SHOWN]
        found = await self._library.get_tracks({i.track_id for i in shown})
        tracks = {str(t.id): t for t in await self._where.located(found)}
        return {
            "items": [
                {
                    "track": tracks.get(i.track_id) or {"id": i.track_id, "title": "?", "where": []},
                    "current": i is queue.current,
                }
                for i in shown
            ],
            "index": queue.index,
            "length": len(queue),
            "shuffle": queue.shuffle,
            "repeat": queue.repeat,
        }

    async def _queue_add(self, request: Request) -> Any:
        what, following = request.args["what"], request.args["next"]
        added = await self._when_synced(lambda: self._player.enqueue(what, following=following))
        return {"added": added, "length": len(self._player.queue)}

    def _length(self) -> dict[str, int]:
        return {"length": len(self._player.queue)}

    async def _queue_remove(self, request: Request) -> Any:
        await self._player.remove(request.args["index"])
        return self._length()

    async def _queue_move(self, request: Request) -> Any:
        await self._player.move(request.args["from"], request.args["to"])
        return self._length()

    async def _queue_clear(self, request: Request) -> Any:
        await self._player.clear()
        return self._length()

    async def _queue_shuffle(self, request: Request) -> Any:
        await self._player.set_shuffle(request.args["on"])
        return self._length()

    async def _queue_repeat(self, request: Request) -> Any:
        await self._player.set_repeat(request.args["mode"])
        return self._length()

    # Library ----------------------------------------------------------------------------------------------------------

    async def _search(self, request: Request) -> Any:
        found = await self._library.search(request.args["words"], request.args["limit"])
        return found | {"tracks": await self._where.located(found["tracks"])}

    async def _browse(self, request: Request) -> Any:
        args = request.args
        found = await self._library.browse(
            args.get("category"), args.get("value"), args["offset"], args["limit"], args.get("filter", "")
        )
        return found | {"tracks": await self._where.located(found["tracks"])} if "tracks" in found else found

    async def _sync(self, request: Request) -> Any:
        def tell(event: SyncProgress) -> None:
            request.progress({"done": event.done, "total": event.total})

        end = self._bus.subscribe(SyncProgress, tell)
        try:
            return msgspec.to_builtins(await self._library.sync(full=request.args["full"]))
        finally:
            end()

    # Cache and jobs ---------------------------------------------------------------------------------------------------

    async def _show_cache(self, request: Request) -> Any:
        cache = self._cache
        files = await cache.listing()
        return {"bytes": cache.bytes, "limit": cache.limit, "tracks": cache.tracks, "files": files}

    async def _pin(self, request: Request) -> Any:
        ids = await self._library.resolve(request.args["what"])
        await self._cache.pin(self._library.library_id or "", ids, on=request.cmd == "cache_pin")
        return {"tracks": len(ids)}

    async def _verify(self, request: Request) -> Any:
        checked, bad = await self._cache.verify(lambda percent: request.progress({"percent": percent}))
        return {"checked": checked, "bad": bad}

    async def _clear(self, request: Request) -> Any:
        removed, size = await self._cache.clear()
        return {"removed": removed, "bytes": size}

    async def _fetch(self, request: Request) -> Any:
        """A job, and its end; a client that goes away (Ctrl-C) cancels it."""
        ids = await self._when_synced(lambda: self._library.resolve(request.args["what"]))
        job = await self._jobs.submit(self._fetching.kind, {"tracks": ids})

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
        result = self._fetching.take_result(job)
        if info.state != "done":
            raise ChadboxError(info.error or f"fetch was {info.state}")
        return result

    async def _list_jobs(self, request: Request) -> Any:
        return await self._jobs.list()

    async def _job(self, request: Request) -> Any:
        action = self._jobs.cancel if request.cmd == "job_cancel" else self._jobs.retry
        return await action(request.args["id"])

    # Panel ------------------------------------------------------------------------------------------------------------

    async def _show_panel(self, request: Request) -> Any:
        """Every frame of the panel, until the client goes."""
        detach = self._panel.attach(request.event)
        try:
            await asyncio.Event().wait()
        finally:
            detach()

    async def _panel_key(self, request: Request) -> Any:
        self._panel.key(Key(**request.args))
        return {}
