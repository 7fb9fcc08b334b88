"""Builds every part, connects them, runs until stopped: the only file that knows them all.

Order at the start: what a person waits for comes first. The engine's process is spawned before anything else is set up,
the command socket answers before the network has been looked at, and music that is cached plays without it.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import resource
import signal
import socket
import sys
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path

from appliance import clock
from appliance.app.about import about
from appliance.app.drives import Wanted, drive_source
from appliance.app.hardware import Hardware
from appliance.cloud.auth import TokenSource
from appliance.cloud.client import CloudClient
from appliance.cloud.sign_in import Login
from appliance.cloud.timing import Timing
from appliance.commute import Commute
from appliance.config import Settings
from appliance.control.commands import Commands
from appliance.control.commute import CommuteCommands
from appliance.control.drives import DriveCommands
from appliance.control.export import ExportCommands
from appliance.control.server import ControlServer
from appliance.control.signing import Signing
from appliance.control.status import StatusSource
from appliance.control.where import Where
from appliance.drives import Drives, Exports, Ingest, OwnMusic, Supply
from appliance.engine import Engine, EngineEvent
from appliance.errors import ChadboxError, TokenRejected
from appliance.events import Bus, LibraryChanged, StatusChanged, TrackPlayed
from appliance.health import CLOUD, Health, word_of
from appliance.jobs import Jobs
from appliance.library import Library
from appliance.library.reports import Reports
from appliance.notify import notify, watchdog_interval
from appliance.panel import Care, Panel, Peeker
from appliance.player.fetching import Fetching
from appliance.player.player import Player
from appliance.store import Store
from appliance.stream import Cache, Fetcher
from appliance.threads import Unjoined

log = logging.getLogger(__name__)

PART_CLOSES = 1.5  # seconds that one part may take to close; the engine alone may use most of it


class App:
    """One player. `open` connects the parts, `close` takes them down in reverse."""

    def __init__(self, settings: Settings, timing: Timing | None = None) -> None:
        self.settings = settings
        self.timing = timing or Timing()
        self.bus = Bus()
        self.health = Health(self.bus)
        self.engine = Engine(settings.audio, self._on_engine)
        self.tokens = TokenSource(settings.server.token_file, Path(settings.state.dir))
        self.cloud = CloudClient(settings.server.url, self.tokens, self.timing)
        self.player: Player | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._exit = contextlib.AsyncExitStack()
        self.hardware: Hardware | None = None
        self._look_again = asyncio.Event()

    async def open(self) -> None:
        """Raises ChadboxError when something without which there is no player cannot be had."""
        settings = self.settings
        engine_up = asyncio.create_task(self.engine.start())
        self.store = await Store.open(settings.database)
        self._on_close("store", self.store.close)
        self._on_close("connections", self.cloud.close)
        self.cache = Cache(self.store, settings.cache, self.health)
        self.cache.changed = lambda: self.bus.publish(StatusChanged())
        await self.cache.open()
        self._on_close("cache", self.cache.close)
        self.library = Library(self.store, self.cloud, self.bus)
        await self.library.open()
        self._on_close("library", self.library.close)
        self.fetcher = Fetcher(self.cloud, self.cache, self.health)
        self._on_close("fetcher", self.fetcher.close)
        self.cloud.on_token = self._on_token
        player = self.player = Player(
            settings.audio, self.store, self.library, self.cache, self.fetcher, self.engine, self.bus, self.health
        )
        self.jobs = Jobs(self.store, self.bus)
        fetching = Fetching(self.library, self.cache, self.fetcher)
        self.jobs.register(fetching.kind, fetching, attempts=2)
        commute = Commute(
            self.store, self.library, self.jobs, lambda: clock.is_right(self.cloud.server_time), self.cache.limit // 4
        )
        commute.job(fetching, fetching.take_result)
        self.library.commute = commute.ids
        status = StatusSource(player, self.library, self.cache, self.health)
        drives, exports = self._make_drives()
        own = OwnMusic(drives, self.library.own, self.bus, lambda: self.fetcher.urgent)
        self.fetcher.local = own.read
        where = Where(
            self.cache, lambda: self.library.library_id or "", lambda track: own.there(track) or drives.holds(track)
        )
        status.where = where
        status.drives = drives.documents
        ingest = Ingest(
            drives, self.store, self.jobs, self.cloud, self.bus, lambda: self.library.library_id or "",
            lambda: self.fetcher.urgent, automatic=settings.drives.import_,
        )  # fmt: skip
        ingest.uploaded = self._look_again.set
        hardware = self.hardware = Hardware(settings, self.health)
        panel = self._make_panel(player, status, hardware, drives, where)
        commands = Commands(player, self.library, self.cache, self.jobs, fetching, status, self.bus, panel, where)
        login = Login(self.cloud, self.bus, socket.gethostname())
        login.on_changed = self._look_again.set
        self._on_close("sign-in", login.close)
        table = {
            **commands.table(),
            **Signing(login).table(),
            **DriveCommands(drives, ingest, self.jobs, self.bus).table(),
            **ExportCommands(exports, player, self.library, self.jobs).table(),
            **CommuteCommands(commute).table(),
        }
        control = ControlServer(settings.control.socket, table)
        await control.start()
        self._on_close("control socket", control.close)
        await hardware.open_mixer(player)
        await player.open()
        self._on_close("player", player.close)
        await ingest.open()
        await self.jobs.open()
        self._on_close("jobs", self.jobs.close)
        await own.open()
        await drives.open()
        self._on_close("drives", drives.close)
        self._on_close("import", ingest.close)
        self._on_close("music on drives", own.close)
        self.bus.subscribe(TrackPlayed, lambda event: self._spawn(self._record(event)))
        self.bus.subscribe(LibraryChanged, lambda _: self.fetcher.retry_now())
        self.tokens.on_refreshed = self._token_refreshed
        self.reports = Reports(self.store, self.cloud, lambda: self.library.library_id)
        self._spawn(self.reports.run())
        self._spawn(self._keep_in_sync())
        self._spawn(commute.run())
        if interval := watchdog_interval():
            self._spawn(self._feed_watchdog(interval))
        hardware.open_display(panel)
        self._spawn(hardware.open_inputs(panel))
        await engine_up

    async def close(self) -> None:
        """Within 2 s, whatever a part does; what it had to save is saved first."""
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        closing = self.hardware.closing if self.hardware else []
        parts = [self._guarded("hardware", close) for close in closing]  # a wedged bus holds up nothing else
        await asyncio.gather(self._guarded("engine", self.engine.close), self._exit.aclose(), *parts)

    def _on_token(self, refusal: TokenRejected | None) -> None:
        self.health.set("token-rejected", refusal is not None, str(refusal or ""))

    def _on_engine(self, event: EngineEvent) -> None:
        if self.player:  # the engine is started first and may speak before there is a player
            self.player.on_engine(event)

    def _on_close(self, name: str, close: Callable[[], Awaitable[None]]) -> None:
        self._exit.push_async_callback(self._guarded, name, close)

    async def _guarded(self, name: str, close: Callable[[], Awaitable[None]]) -> None:
        """One part that hangs or fails while closing must not keep the others from it."""
        try:
            await asyncio.wait_for(close(), PART_CLOSES)
        except TimeoutError:
            log.error("%s did not close in time", name)
        except Exception:
            log.exception("closing %s failed", name)

    def _make_drives(self) -> tuple[Drives, Exports]:
        library = self.library
        wanted = Wanted(library, self.store)
        supply = Supply(library, self.cache, self.fetcher, self.cloud)
        source = drive_source(self.settings.drives)
        drives = Drives(
            source, self.store, self.jobs, supply, wanted, self.bus, self.health, automatic=self.settings.drives.fill
        )
        return drives, Exports(drives, supply, self.jobs, self.bus)

    def _make_panel(
        self, player: Player, status: StatusSource, hardware: Hardware, drives: Drives, where: Where
    ) -> Panel:
        settings = self.settings.panel
        display = hardware.wiring.display if hardware.wiring else None
        care = Care(settings.dim_after, settings.blank_after, settings.blank_playing_after)
        peeker = Peeker(self.library, self.cache, self.fetcher)
        self._on_close("peeker", peeker.close)
        panel = Panel(
            player, self.library, status.document, self.bus, jobs=self.jobs.list, peek=peeker,
            drives=drives, about=about(self.settings.server.url), where=where.of,
            height=display.height if display else 64, care=care if display else Care(0, 0, 0),
        )  # fmt: skip
        self._on_close("panel", panel.close)
        return panel

    async def _keep_in_sync(self) -> None:
        """Look for news now and then; while the server can't be used, look again soon."""
        timing = self.timing
        wait = timing.sync_retry[0]
        while True:
            try:
                await self.library.sync(routine=True)
            except ChadboxError as error:
                self.health.raise_(word_of(error), str(error))
                wait = min(wait * 2, timing.sync_retry[1])
            else:
                for word in CLOUD:
                    self.health.clear(word)
                self.health.set("clock-unset", not clock.is_right(self.cloud.server_time))
                self.reports.synced()
                wait = timing.sync
            self._look_again.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._look_again.wait(), wait)
                self.fetcher.retry_now()
                wait = timing.sync_retry[0]

    async def _record(self, event: TrackPlayed) -> None:
        try:
            await self.library.record_play(event.track_id, event.seconds, clock.is_right(self.cloud.server_time))
        except ChadboxError as error:
            log.error("the play could not be recorded: %s", error)
        else:
            self.reports.wake()

    def _token_refreshed(self) -> None:
        self.cache.counters.token_refreshes += 1
        self.fetcher.retry_now()
        self.bus.publish(StatusChanged())
        self._spawn(self._save_counters())

    async def _save_counters(self) -> None:
        try:
            await self.cache.save_counters()
        except ChadboxError as error:
            log.error("the counters could not be written: %s", error)

    async def _feed_watchdog(self, interval: float) -> None:
        """Only a loop that turns and a database that answers are alive."""
        while True:
            await self.store.read(lambda db: db.execute("SELECT 1").fetchone())
            notify("WATCHDOG=1")
            await asyncio.sleep(interval)

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def _main(settings: Settings, timing: Timing | None) -> int:
    app = App(settings, timing)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.set_default_executor(Unjoined())  # a name that nobody resolves must not hold up the end
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    opening = asyncio.create_task(app.open())
    stopped = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({opening, stopped}, return_when=asyncio.FIRST_COMPLETED)
        if opening.done():
            await opening
            notify("READY=1")
            gc.enable()
            gc.freeze()  # what is here now stays: the collector need not look at it again
            await stopped
        opening.cancel()
        return 0
    finally:
        notify("STOPPING=1")
        stopped.cancel()
        await app.close()


def run(settings: Settings, timing: Timing | None = None) -> int:
    """The player in the foreground, until SIGTERM or SIGINT; the exit code for the shell. Raises ChadboxError.

    `timing` is for tests that cannot wait for hours.
    """
    level = os.environ.get("CHADBOX_LOG", "INFO").upper()
    logging.basicConfig(
        stream=sys.stderr, level=level if level in logging.getLevelNamesMapping() else "INFO",
        format="%(levelname)s %(name)s: %(message)s",
    )  # fmt: skip
    logging.getLogger("httpcore").setLevel(logging.WARNING)  # its debug lines show headers
    os.umask(0o027)
    # The loop shares the interpreter with threads that search and decode; 99.9 % of answers come in 95 ms instead of
    # 145 on a machine that is five times overbooked.
    sys.setswitchinterval(0.001)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a memory image of this process would hold the token (P3)
    return asyncio.run(_main(settings, timing))
