"""Turns "now this track" into sound: one current play, one next play, and the engine's answers (P1, P6)."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine

from appliance.engine import (
    AudioChanged,
    Engine,
    EngineDown,
    EngineEvent,
    EngineUp,
    EntryEnded,
    EntryStarted,
    Idle,
    OutputBack,
    OutputLost,
    Position,
    ReadPosition,
)
from appliance.errors import ChadboxError, NotFound, StorageError
from appliance.events import Bus, StatusChanged, TrackPlayed
from appliance.health import Health
from appliance.player.deck import Deck, Play
from appliance.player.queue import Item, Queue
from appliance.player.saved import State
from appliance.stream import CacheEntry, Role

log = logging.getLogger(__name__)

COUNTS_AS_PLAYED = 30.0  # seconds heard, or half of the track


class Transport:
    """State of playing. `turn` must be held around `start` and `halt`; `work` is where slow consequences queue up."""

    def __init__(self, queue: Queue, deck: Deck, engine: Engine, bus: Bus, health: Health) -> None:
        self.queue = queue
        self.wanted: State = "stopped"
        self.now: Play | None = None
        self.next: Play | None = None
        self.resume_at = 0.0  # seconds; where `play` goes on when nothing is loaded
        self.audio: AudioChanged | None = None
        self.message = ""  # why the last track was passed over
        self.turn = asyncio.Lock()  # one change of track at a time
        self.broken_in_a_row = 0
        self.save: Callable[[], Coroutine[None, None, None]]
        self._deck = deck
        self._engine = engine
        self._bus = bus
        self._health = health
        self._buffering = False
        self._ended: int | None = None  # id of the entry that ended last
        self._work: asyncio.Queue[Callable[[], Coroutine[None, None, None]]] = asyncio.Queue()

    @property
    def position(self) -> float:
        """Seconds into the current track."""
        return self.now.position_at(time.monotonic()) if self.now else self.resume_at

    @property
    def state(self) -> str:
        """playing, paused, stopped or buffering."""
        return "buffering" if self.wanted == "playing" and self._buffering else self.wanted

    def later(self, work: Callable[[], Coroutine[None, None, None]]) -> None:
        """Do `work` after what is queued already."""
        self._work.put_nowait(work)

    async def run(self) -> None:
        """Work off what events have brought, until cancelled."""
        while True:
            work = await self._work.get()
            try:
                await work()
            except ChadboxError as error:
                log.error("%s", error)
            except Exception:  # a defect in one transition must not end all of them
                log.exception("a change of track failed")

    def changed(self) -> None:
        self._bus.publish(StatusChanged())

    # Changing tracks; with the turn taken -----------------------------------------------------------------------------

    async def resume(self) -> None:
        """Load what was playing or paused before the plug was pulled."""
        async with self.turn:
            if self.queue.current and self.now is None and self.wanted != "stopped":
                await self.start(self.queue.current, self.resume_at, paused=self.wanted == "paused")

    async def start(self, item: Item | None, position: float = 0.0, *, paused: bool = False) -> None:
        """Play `item` from `position` seconds; None stops. Tracks that can't be played are passed over."""
        old, prepared = self.now, self.next
        self._finish(old)
        play: Play | None = None
        while item is not None and play is None:
            if prepared is not None and prepared.item is item and not position and not prepared.file.superseded:
                play = prepared
                self._deck.promote(play)
                break
            try:
                play = await self._deck.open(item, Role.CURRENT, start=position, beside=self._after(item))
            except (NotFound, StorageError) as error:
                self._pass_over(item, str(error))
                item = self.queue.following(item, automatic=False) if self._may_go_on() else None
                position = 0.0
        if play is None or item is None:
            self.queue.current, self.resume_at = None, 0.0
            self.halt()
            return
        self.now, self.next = play, None
        self.queue.set_current(item)
        self.wanted = "paused" if paused else "playing"
        self._buffering = True
        self._engine.load(play.entry, paused=paused)
        self._deck.close(old)
        if prepared is not play:
            self._deck.close(prepared)
        self.changed()
        self.later(self.prepare_next)

    async def prepare_next(self) -> None:
        """Open what comes after the current track and hand it to the engine, so that the join is gapless."""
        async with self.turn:
            if self.now is None or self.wanted == "stopped":
                return
            item = self.queue.following(self.now.item, automatic=True)
            if self.next and (item is None or self.next.item is not item or self.next.file.superseded):
                self.unprepare()
            if item is None or self.next is not None:
                return
            try:
                self.next = await self._deck.open(item, Role.NEXT, beside=self.now.item)
            except (NotFound, StorageError) as error:
                log.warning("the next track cannot be prepared: %s", error)
                return
            self._engine.set_next(self.next.entry)

    def unprepare(self) -> None:
        """Take the prepared next track back."""
        if self.next:
            self._engine.set_next(None)
            self._deck.close(self.next)
            self.next = None

    def set_paused(self, paused: bool) -> None:
        """Hold or go on with what is loaded."""
        self.wanted = "paused" if paused else "playing"
        self._engine.set_paused(paused)
        self.changed()

    def seek(self, seconds: float) -> None:
        """Go to `seconds` of what is loaded."""
        if self.now:
            self.now.sought(seconds)
            self._engine.seek(seconds)
            self.changed()

    def let_go(self) -> None:
        """Close both plays; the engine is told nothing."""
        for play in (self.next, self.now):
            self._deck.close(play)
        self.now = self.next = None

    def halt(self) -> None:
        """Silence, and let go of both plays."""
        self._finish(self.now)
        self.wanted, self._buffering = "stopped", False
        self._engine.stop()
        self.let_go()
        self.changed()

    async def reload(self, file: CacheEntry) -> None:
        """The bytes of `file` are of no use any more: begin again where we are, with a new file."""
        if self.next and self.next.file is file:
            await self.prepare_next()
        async with self.turn:
            if self.now and self.now.file is file:
                await self.start(self.now.item, self.position, paused=self.wanted == "paused")

    def _finish(self, play: Play | None) -> None:
        """Count what was heard, once."""
        if play and play.heard and (play.heard >= COUNTS_AS_PLAYED or play.heard >= play.length / 2 > 0):
            self._bus.publish(TrackPlayed(play.item.track_id, round(play.heard, 1)))
        if play:
            play.heard = 0.0

    def _pass_over(self, item: Item, reason: str) -> None:
        self.broken_in_a_row += 1
        self.message = f"track {item.track_id} was passed over: {reason}"
        log.warning("%s", self.message)

    def _after(self, item: Item) -> Item | None:
        return self.queue.following(item, automatic=False)

    def _may_go_on(self) -> bool:
        """Whether trying the next track makes sense: not when every track of the queue has failed."""
        return self.broken_in_a_row < max(1, len(self.queue))

    # Events of the engine ---------------------------------------------------------------------------------------------

    def on_engine(self, event: EngineEvent) -> None:
        """The engine's callback. Positions are taken at once; what changes tracks waits for its turn."""
        match event:
            case Position():
                self._moved(event)
            case ReadPosition():
                self._deck.read_at(event.stream, event.offset, waiting=event.waiting)
            case EntryStarted():
                self.later(lambda: self._entry_started(event))
            case EntryEnded():
                self.later(lambda: self._entry_ended(event))
            case Idle():
                self.later(self._ran_out)
            case AudioChanged():
                self.audio = event
                self.changed()
            case OutputLost():
                self._health.raise_("output-lost", event.reason)
            case OutputBack():
                self._health.clear("output-lost")
            case EngineDown():
                log.error("the audio engine went down: %s", event.reason)
                if self.now:
                    self.now.moved(self.position, time.monotonic(), running=False)
            case EngineUp():
                log.info("the audio engine is up")

    def _moved(self, event: Position) -> None:
        play = self.now
        if play is None or event.entry.id != play.entry.id:
            return
        step = event.seconds - play.position
        if event.state == "playing" and step > 0:
            play.heard += step
        play.length = event.duration or play.length
        play.moved(max(0.0, event.seconds), time.monotonic(), running=event.state == "playing")
        play.started = True
        self._buffering = event.state == "buffering"
        self.changed()

    async def _entry_started(self, event: EntryStarted) -> None:
        async with self.turn:
            play = self.next
            if play is None or event.entry.id != play.entry.id:
                return
            old, self.now, self.next = self.now, play, None
            self._finish(old)
            self.queue.set_current(play.item)
            self._deck.promote(play)
            self._deck.close(old)
            self._buffering = False
            self.changed()
        await self.prepare_next()
        await self.save()

    async def _entry_ended(self, event: EntryEnded) -> None:
        self._ended = event.entry.id
        play = self.now if self.now and self.now.entry.id == event.entry.id else None
        if event.reason == "error" and play is None and self.next and self.next.entry.id == event.entry.id:
            play = self.next
        if event.reason == "error":
            if play:
                self._pass_over(play.item, event.message or "it cannot be played")
        elif event.reason == "eof":
            self.broken_in_a_row = 0
            if play:  # what sounded since the last word of its position
                play.heard += max(0.0, event.position - play.position)

    async def _ran_out(self) -> None:
        """mpv has nothing left: the end of the queue, or a next track that came too late or failed to open."""
        async with self.turn:
            if self.now is None or self.wanted == "stopped" or self._ended != self.now.entry.id:
                return  # something was loaded since
            item = self.queue.following(self.now.item, automatic=self.broken_in_a_row == 0)
            await self.start(item if self._may_go_on() else None)
        await self.save()
