"""`Engine`: the audio engine as the player knows it.

Every call is remembered before it is passed on, so it makes no difference whether the child process is up, starting or
dead: whenever it comes up it is told the whole state, and goes on with the same entry at the last known place.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Any

from appliance import config
from appliance.engine import wav
from appliance.engine.child import BEAT
from appliance.engine.model import (
    AudioChanged,
    EngineDown,
    EngineEvent,
    EngineUp,
    Entry,
    EntryEnded,
    EntryStarted,
    Idle,
    OutputBack,
    OutputLost,
    Position,
    ReadPosition,
    StreamView,
)
from appliance.engine.process import Child
from appliance.errors import EngineError

log = logging.getLogger(__name__)

_BACKOFF = (0.0, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)  # seconds before each start in a row of failures
_START = 20.0  # seconds for the first start, which reads a hundred megabytes of libraries
_STABLE = 10.0  # seconds of running after which a failure counts as the first again
_GOT_ON = 1.0  # seconds between two deaths on one entry that make the second another matter
_HOPELESS = 3  # deaths on one entry, without getting on in it, after which the entry is given up
_RANGES_A_PACKET = 1000


class Engine:
    """The child process and what it has to play. All methods but `start` and `close` return at once and never raise.

    `on_event` is called on the running loop, in order, and must not block.
    """

    def __init__(self, audio: config.Audio, on_event: Callable[[EngineEvent], None]) -> None:
        self._audio = audio
        self._on_event = on_event
        self._timed = not audio.output.startswith("wav:")  # a file takes sound as fast as it comes
        self._child: Child | None = None
        self._closing = False
        self._restart: asyncio.TimerHandle | None = None
        self._first: asyncio.Future[None] | None = None  # done when the first child answers or fails
        self._spawned_at = 0.0
        self._failures = 0
        self._down = False
        self._streams: dict[int, StreamView] = {}
        self._failed: dict[int, str] = {}
        self._current: Entry | None = None
        self._next: Entry | None = None
        self._known: dict[int, Entry] = {}
        self._started: int | None = None
        self._position = 0.0
        self._running_since: float | None = None  # when that was said (monotonic), while it sounds in real time
        self._blamed: tuple[int, int, float] = (0, 0, 0.0)  # entry, deaths while it played, position of the last
        self._paused = False
        self._lost = False
        self._volume = 100.0
        self._generation = 0

    @property
    def pid(self) -> int | None:
        """Process id of the child, None while there is none."""
        return self._child.pid if self._child else None

    async def start(self) -> None:
        """Start the child and wait until it answers. Raises EngineError when the output cannot be used at all."""
        kind, _, path = self._audio.output.partition(":")
        if kind == "wav":
            try:
                await asyncio.to_thread(wav.create, path)
            except OSError as error:
                raise EngineError(f"{path}: the WAV file cannot be written: {error.strerror}") from None
        self._closing = False
        self._first = asyncio.get_running_loop().create_future()
        self._spawn()
        try:
            await asyncio.wait_for(self._first, _START)
        except (EngineError, TimeoutError) as error:
            await self.close()
            raise EngineError(f"the audio engine cannot start: {str(error) or 'it does not answer'}") from None

    async def close(self) -> None:
        """End the child, within 2 s whatever it is doing."""
        self._closing = True
        if self._restart is not None:
            self._restart.cancel()
        child, self._child = self._child, None
        if child is not None:
            await child.close(1.2)
        kind, _, path = self._audio.output.partition(":")
        if kind == "wav":
            try:
                await asyncio.to_thread(wav.mend, path, cut=True)
            except OSError as error:
                log.warning("%s: %s", path, error.strerror)

    # streams

    def add_stream(self, view: StreamView) -> None:
        """Make a cache file known; what it has so far is asked of `view.available`."""
        self._streams[view.id] = view
        self._failed.pop(view.id, None)
        self._send_stream(view)

    def drop_stream(self, id: int) -> None:
        """Forget a stream; an entry that still reads it ends in error."""
        self._streams.pop(id, None)
        self._failed.pop(id, None)
        self._send("drop", id)

    def stream_available(self, id: int, start: int, stop: int) -> None:
        """Bytes [start, stop) can be read now; lifts a `stream_failed`."""
        self._failed.pop(id, None)
        self._send("bytes", id, [(start, stop)])

    def stream_size(self, id: int, size: int) -> None:
        """The whole size in bytes is known now."""
        self._send("size", id, size)

    def stream_failed(self, id: int, reason: str) -> None:
        """Missing bytes cannot be had: who waits for them gets an error with `reason`; what is there stays readable."""
        self._failed[id] = reason
        self._send("failed", id, reason)

    # playing

    def load(self, entry: Entry, *, paused: bool) -> None:
        """Play `entry` now and forget the next one; if that is this one, it starts with what mpv has read of it."""
        self._generation += 1
        self._current, self._next = entry, None
        self._known[entry.id] = entry
        self._paused = paused
        self._at(entry.start)
        self._send("load", _plain(entry), paused, self._generation, None)

    def set_next(self, entry: Entry | None) -> None:
        """What follows the current entry without a gap; None: nothing."""
        if entry == self._next:
            return
        self._next = entry
        if entry is not None:
            self._known[entry.id] = entry
        self._send("next", None if entry is None else _plain(entry))

    def set_paused(self, paused: bool) -> None:
        self._paused = paused
        self._send("pause", paused)

    def seek(self, seconds: float) -> None:
        """Go to `seconds` in the current entry, exactly."""
        self._at(max(0.0, seconds))
        self._send("seek", self._position)

    def stop(self) -> None:
        """Silence; current and next are forgotten."""
        self._generation += 1
        self._current = self._next = None
        self._send("stop", self._generation)

    def set_volume(self, percent: float) -> None:
        """Software volume, 0 to 100 on mpv's cubic scale; 100 leaves the bits alone."""
        self._volume = min(100.0, max(0.0, percent))
        self._send("volume", self._volume)

    # the child

    def _spawn(self) -> None:
        self._restart = None
        self._spawned_at = time.monotonic()
        try:
            self._child = Child(self._message, self._ended)
        except OSError as error:
            self._ended(f"it cannot be started: {error.strerror}")
            return
        setup = {"output": self._audio.output, "rate": self._audio.rate, "volume": self._volume}
        self._child.send("init", setup)
        for view in self._streams.values():
            self._send_stream(view)
        for stream, reason in self._failed.items():
            self._send("failed", stream, reason)
        if self._current is not None:
            self._send("load", _plain(self._current), self._paused, self._generation, self._position)
            self._send("next", None if self._next is None else _plain(self._next))

    def _ended(self, reason: str) -> None:
        self._child = None
        if self._running_since is not None:  # it goes on where it was heard last, not where it was told last
            self._at(self._position + min(time.monotonic() - self._running_since, BEAT))
        if self._first is not None and not self._first.done():
            self._first.set_exception(EngineError(reason))
            return
        if self._closing:
            return
        if time.monotonic() - self._spawned_at > _STABLE:
            self._failures = 0
        delay = _BACKOFF[min(self._failures, len(_BACKOFF) - 1)]
        self._failures += 1
        log.warning("the audio engine is down: %s; it starts again in %.1f s", reason, delay)
        if not self._down:
            self._down = True
            self._emit(EngineDown(reason))
        self._give_up_on_a_killer()
        if not self._closing:
            self._restart = asyncio.get_running_loop().call_later(delay, self._spawn)

    def _give_up_on_a_killer(self) -> None:
        """A file on which the child dies again and again must not take the music away for good."""
        entry = self._current
        if entry is None:
            return
        last, deaths, place = self._blamed
        again = last == entry.id and self._failures > 1 and abs(self._position - place) < _GOT_ON
        deaths = deaths + 1 if again else 1
        self._blamed = (entry.id, deaths, self._position)
        if deaths < _HOPELESS:
            return
        if self._started != entry.id:
            self._emit(EntryStarted(entry))
        self._started = None
        self._current, self._next = self._next, None
        self._at(self._current.start if self._current else 0.0)
        self._emit(EntryEnded(entry, "error", self._position, "the audio engine dies of this file"))
        if self._current is None:
            self._emit(Idle())

    def _message(self, message: list[Any]) -> None:
        kind, *args = message
        if kind == "ready":
            if self._first is not None and not self._first.done():
                self._first.set_result(None)
            if self._down:
                self._down = False
                self._emit(EngineUp())
        elif kind == "read":
            self._emit(ReadPosition(*args))
        elif kind == "audio":
            self._emit(AudioChanged(*args))
        elif kind == "lost":
            self._lost = True
            self._emit(OutputLost(*args))
        elif kind == "back":
            self._lost = False
            self._emit(OutputBack())
        elif kind == "idle":
            if args[0] != self._generation:
                return  # something has been loaded since
            if self._next is not None:
                self.load(self._next, paused=self._paused)  # it was named in the moment in which the last one ended
                return
            self._current = None
            self._emit(Idle())
        elif (entry := self._known.get(args[0])) is not None:
            self._about(entry, kind, args[1:])

    def _about(self, entry: Entry, kind: str, args: list[Any]) -> None:
        if kind == "started":
            if entry == self._next:
                self._current, self._next = entry, None
                self._at(entry.start)
            if self._started != entry.id:  # after a restart of the child it has started before
                self._started = entry.id
                self._emit(EntryStarted(entry))
        elif kind == "ended":
            if self._started == entry.id:
                self._started = None
            self._known.pop(entry.id, None)
            if self._current is not None:
                self._known[self._current.id] = self._current
            self._emit(EntryEnded(entry, *args))
        elif kind == "pos":
            if self._current is not None and entry.id == self._current.id:
                self._at(args[0], running=args[2] == "playing" and self._timed)
            self._emit(Position(entry, *args))

    def _at(self, seconds: float, *, running: bool = False) -> None:
        self._position, self._running_since = seconds, time.monotonic() if running else None

    def _send(self, *message: Any) -> None:
        if self._child is not None:
            self._child.send(*message)

    def _send_stream(self, view: StreamView) -> None:
        ranges = view.available()
        self._send("stream", view.id, str(view.path), view.size, ranges[:_RANGES_A_PACKET])
        for at in range(_RANGES_A_PACKET, len(ranges), _RANGES_A_PACKET):
            self._send("bytes", view.id, ranges[at : at + _RANGES_A_PACKET])

    def _emit(self, event: EngineEvent) -> None:
        try:
            self._on_event(event)
        except Exception:  # a broken listener must not stop the music
            log.exception("handler of %s failed", type(event).__name__)


def _plain(entry: Entry) -> dict[str, Any]:
    return {
        "id": entry.id,
        "stream": entry.stream,
        "start": entry.start,
        "end": entry.exact_end,
        "gain_db": entry.gain_db,
        "duration": entry.duration,
    }
