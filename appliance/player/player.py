"""What people ask of the player, and what survives the plug (P7, P8, P10)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Protocol

from appliance.cloud.models import Track
from appliance.config import Audio
from appliance.engine import Engine, EngineEvent
from appliance.errors import NotFound, StorageError, UsageError
from appliance.events import Bus
from appliance.health import Health
from appliance.player import saved
from appliance.player.deck import Deck, Tracks
from appliance.player.loudness import Mode
from appliance.player.queue import Queue, Repeat
from appliance.player.transport import Transport
from appliance.store import Store
from appliance.stream import Cache, Fetcher

CHECKPOINT = 8.0  # seconds of playing between two records of the position; a power cut may cost 10
RESTART_AFTER = 3.0  # seconds into a track from which "previous" goes back to its beginning
QUIET_SAVE = 2.0  # seconds that a turned knob may rest before the volume is written


class Library(Tracks, Protocol):
    async def resolve(self, what: str) -> Sequence[str]: ...


class Player:
    """Commands return when they have taken effect and are durable; they raise ChadboxError."""

    def __init__(
        self, audio: Audio, store: Store, library: Library, cache: Cache, fetcher: Fetcher,
        engine: Engine, bus: Bus, health: Health,
    ) -> None:  # fmt: skip
        self.queue = Queue()
        self.volume = audio.max_startup_volume
        self._set_loudness = audio.loudness
        self._cap = audio.max_startup_volume
        self._store = store
        self._library = library
        self._cache = cache
        self._engine = engine
        self._output_volume: Callable[[int], None] = engine.set_volume
        self._health = health
        self._deck = Deck(library, cache, fetcher, engine, audio)
        self._transport = Transport(self.queue, self._deck, engine, bus, health)
        self._transport.save = self.save
        self._idle_track: Track | None = None  # what `status` shows while nothing is loaded
        self._tasks: list[asyncio.Task[None]] = []
        self._volume_timer: asyncio.TimerHandle | None = None
        fetcher.on_failed = lambda file, reason: engine.stream_failed(file.id, reason)
        fetcher.on_superseded = lambda file: self._transport.later(lambda: self._transport.reload(file))

    async def open(self) -> None:
        """Restore what was before the plug was pulled: volume first, then the queue; what played plays on."""
        before, items = await self._store.read(saved.load)
        if before.loudness is not None and before.loudness[0] == self._set_loudness:  # else the settings were changed
            self._deck.loudness = before.loudness[1]
        self.volume = min(self._cap if before.volume is None else before.volume, self._cap)
        self._output_volume(self.volume)
        self.queue.restore(items, before.item, shuffle=before.shuffle, repeat=before.repeat)
        transport = self._transport
        self._tasks = [asyncio.create_task(transport.run()), asyncio.create_task(self._checkpoints())]
        if self.queue.current is None:
            return
        transport.resume_at = max(0.0, before.position)
        if before.state == "stopped":
            await self._show_idle()
        else:
            transport.wanted = before.state
            transport.later(transport.resume)

    async def close(self) -> None:
        """Record where we are and let go of the files."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._volume_timer:
            self._volume_timer.cancel()
        await self.save()
        self._transport.let_go()

    def on_engine(self, event: EngineEvent) -> None:
        self._transport.on_engine(event)

    @property
    def transport(self) -> Transport:
        """For looking: state, position, what plays, output."""
        return self._transport

    @property
    def track(self) -> Track | None:
        """The current track; also while stopped, as long as the queue has a current place."""
        return self._transport.now.track if self._transport.now else self._idle_track

    # Transport --------------------------------------------------------------------------------------------------------

    async def play(self, what: str | None = None) -> None:
        """Replace the queue by `what` and start; without it, go on. NotFound when there is nothing to play."""
        transport = self._transport
        if what is not None:
            track_ids = await self._library.resolve(what)
            async with transport.turn:
                self.queue.replace(track_ids)
                transport.broken_in_a_row = 0
                await transport.start(self.queue.following(None, automatic=False))
        else:
            async with transport.turn:
                if transport.now is not None:
                    transport.set_paused(False)
                else:
                    item = self.queue.current or self.queue.following(None, automatic=False)
                    if item is None:
                        raise NotFound("the queue is empty; say what to play, for example `chadbox play album:1`")
                    transport.broken_in_a_row = 0
                    await transport.start(item, transport.resume_at if item is self.queue.current else 0.0)
        await self.save()

    async def play_list(self, track_ids: Sequence[str], first: int = 0) -> None:
        """Replace the queue by `track_ids` and start with number `first`, from 0. Raises NotFound."""
        async with self._transport.turn:
            self.queue.replace(track_ids)
            self.queue.begin_with(first)
            await self._start_current()
        await self.save()

    async def play_at(self, index: int) -> None:
        """Go on with place `index` of the queue, from 0. Raises NotFound."""
        async with self._transport.turn:
            self.queue.begin_with(index)
            await self._start_current()
        await self.save()

    async def _start_current(self) -> None:
        self._transport.broken_in_a_row = 0
        await self._transport.start(self.queue.current)

    async def pause(self) -> None:
        if self._transport.wanted == "playing":
            self._transport.set_paused(True)
            await self.save()
            await self._commit()

    async def toggle(self) -> None:
        await (self.pause() if self._transport.wanted == "playing" else self.play())

    async def stop(self) -> None:
        """Silence; `play` starts the current track from its beginning."""
        async with self._transport.turn:
            await self._commit()
            self._transport.halt()
            self._transport.resume_at = 0.0
            await self._show_idle()
        await self.save()

    async def next(self) -> None:
        """The next track of the queue; past its end the state is stopped."""
        await self._go_on(automatic=False)

    async def _go_on(self, *, automatic: bool) -> None:
        async with self._transport.turn:
            paused = automatic and self._transport.wanted == "paused"  # a seek does not unpause
            item = self.queue.following(self.queue.current, automatic=automatic)
            await self._transport.start(item, paused=paused)
        await self.save()

    async def previous(self) -> None:
        """The start of this track, or the one before when this one has only begun."""
        async with self._transport.turn:
            item = self.queue.current
            if item is not None and self._transport.position < RESTART_AFTER:
                item = self.queue.preceding(item) or item
            await self._transport.start(item or self.queue.following(None, automatic=False))
        await self.save()

    async def seek(self, seconds: float, *, relative: bool = False) -> None:
        """Go to `seconds` of the track (or by `seconds`); before the start is the start, past the end is what comes
        when the track ends by itself.
        """
        now = self._transport.now
        if now is None:
            raise UsageError("nothing is playing; start something with `chadbox play`")
        target = max(0.0, self._transport.position + seconds if relative else seconds)
        if now.length and target >= now.length:
            await self._go_on(automatic=True)
            return
        self._transport.seek(target)
        await self.save()

    def set_volume(self, percent: int) -> None:
        """0-100, beyond is the nearest. Reaches the output at once, the disk when the knob has come to rest (P10)."""
        self.volume = max(0, min(100, percent))
        self._output_volume(self.volume)
        self._transport.changed()
        if self._volume_timer:
            self._volume_timer.cancel()
        loop = asyncio.get_running_loop()
        self._volume_timer = loop.call_later(QUIET_SAVE, lambda: self._transport.later(self.save))

    def use_volume(self, control: Callable[[int], None] | None) -> None:
        """From now on the volume is set by `control`, which must not wait, and the engine leaves the bits alone; None:
        by the engine again.
        """
        if control is None:
            self._output_volume = self._engine.set_volume
            self._output_volume(self.volume)
        else:
            self._output_volume = control
            control(self.volume)
            self._engine.set_volume(100)

    @property
    def loudness(self) -> Mode:
        """How tracks are evened out: as the settings say, or as was chosen since (P9)."""
        return self._deck.loudness

    async def set_loudness(self, mode: Mode) -> None:
        """From the next track on: the gain of one that sounds does not change."""
        self._deck.loudness = mode
        async with self._transport.turn:
            self._transport.unprepare()
        await self._queue_changed()

    # Queue ------------------------------------------------------------------------------------------------------------

    async def enqueue(self, what: str, *, following: bool) -> int:
        """Append `what`, or put it right after the current track; how many tracks that were."""
        track_ids = await self._library.resolve(what)
        (self.queue.insert_next if following else self.queue.append)(track_ids)
        await self._queue_changed()
        return len(track_ids)

    async def remove(self, index: int) -> None:
        """Take out the item at `index`, from 0; when it is the one that plays, the next one does."""
        transport = self._transport
        async with transport.turn:
            item = self.queue.at(index)
            after = self.queue.following(item, automatic=False)
            current = item is self.queue.current
            self.queue.remove(index)
            if current and transport.now is not None:
                await transport.start(after if after is not item else None, paused=transport.wanted == "paused")
            elif current:
                transport.resume_at = 0.0
        await self._queue_changed()

    async def move(self, source: int, target: int) -> None:
        self.queue.move(source, target)
        await self._queue_changed()

    async def clear(self) -> None:
        """Empty the queue and stop."""
        async with self._transport.turn:
            self.queue.clear()
            self._transport.halt()
            self._transport.resume_at = 0.0
            self._idle_track = None
        await self._queue_changed()

    async def set_shuffle(self, on: bool) -> None:
        self.queue.set_shuffle(on)
        await self._queue_changed()

    async def set_repeat(self, mode: Repeat) -> None:
        self.queue.repeat = mode
        await self._queue_changed()

    async def _queue_changed(self) -> None:
        self._transport.changed()
        await self.save()
        await self._transport.prepare_next()

    # Durability -------------------------------------------------------------------------------------------------------

    async def _checkpoints(self) -> None:
        while True:
            await asyncio.sleep(CHECKPOINT)
            if self._transport.wanted == "playing":
                await self.save()

    async def save(self) -> None:
        """Make queue and transport durable. A full disk is a word in `status`, never an end of the music."""
        current = self.queue.current
        state = saved.Saved(
            state=self._transport.wanted, item=current.id if current else None,
            position=round(self._transport.position, 2), volume=self.volume,
            shuffle=self.queue.shuffle, repeat=self.queue.repeat,
            loudness=None if self.loudness == self._set_loudness else (self._set_loudness, self.loudness),
        )  # fmt: skip
        changes = self.queue.take_changes()
        try:
            await self._store.write(lambda db: saved.save(db, state, changes))
        except StorageError as error:
            self.queue.all_changed()
            self._health.raise_("disk-full", str(error))

    async def _commit(self) -> None:
        """Pause and stop are moments to make what was fetched durable."""
        for play in (self._transport.now, self._transport.next):
            if play:
                await self._cache.commit(play.file)

    async def _show_idle(self) -> None:
        current, self._idle_track = self.queue.current, None
        if current is not None:
            try:
                self._idle_track = await self._library.track(current.track_id)
            except NotFound:
                return
