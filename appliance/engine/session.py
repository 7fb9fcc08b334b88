"""The child's half of the protocol: orders in, libmpv's events out as messages.

mpv's playlist holds the entry that plays and at most one that follows. An entry's life:

    load/next --> queued --START_FILE--> current --END_FILE--> ended
                    |                      hooks: on_preloaded (exact end, format of a WAV), on_unload (how far it got)
                    +-- replaced before it started: nobody hears of it

Everything runs on the child's main thread; only `post` is called from another.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Any

from appliance.engine import output, sniff
from appliance.engine.item import SCHEME, Item, judge
from appliance.engine.libmpv import END_REASONS, NOTHING, Core, Id, error_text
from appliance.engine.readers import Readers
from appliance.engine.watch import OutputWatch

_TIME, _ADVANCE, _FIRST_TAG = 1, 2, 100
_CORE_PATIENCE = 8.0  # seconds: opening a sluggish USB sound card takes a few
_LATENCY = 1.0  # seconds; no output holds more
_AGAIN = 0.3  # seconds heard twice rather than never when the output comes back
_MPV_STOPPED = 0.3  # seconds after which an idle core with an entry waiting is told to go on


class Session:
    """One core and what it plays. `setup` has output, rate and volume; `send` never blocks."""

    def __init__(self, setup: dict[str, Any], send: Callable[..., None], readers: Readers) -> None:
        chosen = output.options(setup["output"], setup["rate"])
        self._send = send
        self._readers = readers
        output.prepare(setup["output"])
        self._file = output.WavFile(setup["output"], setup["rate"], chosen)
        chosen["volume"] = str(setup["volume"])
        self._core = Core(chosen, output.OPTIONAL)
        self._core.serve(SCHEME, readers.opener)
        self._core.hook("on_preloaded")
        self._core.hook("on_unload")
        self._core.observe("paused-for-cache", "idle-active", "current-ao", "audio-out-params", "duration")
        self._watch = OutputWatch(self._core, output.driver(setup["output"]), send, self._apply_pause)
        self._inbox: deque[list[Any]] = deque()
        self._replies: dict[int, Item] = {}
        self._items: dict[int, Item] = {}  # by mpv's id of the playlist entry
        self._tag = _FIRST_TAG
        self._generation = 0
        self._latest: Item | None = None  # loaded, not yet started
        self._current: Item | None = None
        self._next: Item | None = None
        self._paused = False
        self._buffering = self._idle = False
        self._asked = 0.0  # when the position was asked for; 0 when nothing is outstanding
        self._ended_at = 0.0
        self._said: tuple[Any, ...] = ()
        self._returning = False  # the output is back, the seek to where it was lost is under way
        self._ran_out = False  # an entry has come to its own end
        self._quit_at: float | None = None

    def post(self, message: list[Any]) -> None:
        """Take an order from another thread."""
        self._inbox.append(message)
        self._core.wake()

    def step(self, timeout: float) -> bool:
        """Wait for something to do and do it; False when it is time to leave."""
        event = self._core.wait(timeout)
        while event is not None:
            self._event(event)
            event = self._core.wait(0)
        while self._inbox:
            kind, *args = self._inbox.popleft()
            getattr(self, f"_order_{kind}")(*args)
        if self._quit_at is None:
            return True
        if (self._idle and self._watch.name is None) or time.monotonic() > self._quit_at:
            self._file.mend()
            return False
        return True

    def tick(self, now: float) -> bool:
        """A few times a second: the position, the output's health. False when the core has stopped answering."""
        if self._asked and now - self._asked > _CORE_PATIENCE:
            return False
        self._ask(now)
        item = self._current
        busy = item is not None and item.loaded and not self._paused and not self._readers.waiting(item.id)
        if self._watch.tick(now, item.position if item and busy else None, bool(item and item.playing)) and item:
            self._seek(item, item.position)
        self._file.tick(now)
        self._say_idle()
        stuck = item is None and self._latest is None and self._idle and now - self._ended_at > _MPV_STOPPED
        if stuck and self._next is not None and self._next.queued:
            self._load(self._next)  # it was queued in the moment in which mpv ran out
        return True

    # orders

    def _order_load(self, entry: dict[str, Any], paused: bool, generation: int, start: float | None) -> None:
        self._generation = generation
        self._paused, self._returning = paused, False
        self._apply_pause()
        following = self._next
        if following is not None and following.id == entry["id"] and following.queued and self._current is not None:
            self._latest = following
            self._core.command(_ADVANCE, "playlist-play-index", index="1")
        else:
            self._load(Item(entry, start))

    def _order_next(self, entry: dict[str, Any] | None) -> None:
        if self._next is not None and self._next.queued:
            self._core.command(0, "playlist-clear")  # keeps the one that plays, whichever that is by now
        self._next = None if entry is None else Item(entry)
        if self._next is not None and (self._current is not None or self._latest is not None):
            self._queue(self._next, "append")

    def _order_pause(self, paused: bool) -> None:
        self._paused = paused
        self._apply_pause()
        self._ask(time.monotonic())

    def _order_seek(self, seconds: float) -> None:
        item = self._latest or self._current
        if item is None:
            return
        if item.loaded and item is self._current:
            self._seek(item, seconds)
        else:
            item.pending_seek = seconds

    def _order_stop(self, generation: int) -> None:
        self._generation = generation
        self._returning = False
        self._latest = self._next = None
        self._core.command(0, "stop")

    def _order_volume(self, percent: float) -> None:
        self._core.set("volume", f"{percent:.3f}")

    def _order_quit(self) -> None:
        self._latest = self._next = None
        self._quit_at = time.monotonic() + 0.5
        self._readers.cancel_all()
        self._core.command(0, "stop")

    # doing it

    def _load(self, item: Item) -> None:
        self._next = None
        self._latest = item
        self._queue(item, "replace")

    def _queue(self, item: Item, flags: str) -> None:
        self._tag += 1
        self._replies[self._tag] = item
        item.queued = True
        if flags == "append" and self._items:
            self._core.command(0, "playlist-clear")  # what has been played goes
        self._core.command(self._tag, "loadfile", url=item.uri, flags=flags, options=item.options)

    def _seek(self, item: Item, seconds: float) -> None:
        item.position = item.sought = max(0.0, seconds)
        item.playing = False
        self._readers.before_seek(item.id)
        self._core.command(0, "seek", target=f"{item.position:.6f}", flags="absolute+exact")

    def _apply_pause(self) -> None:
        self._core.set("pause", "yes" if self._paused or self._watch.lost or self._returning else "no")

    def _ask(self, now: float) -> None:
        if self._current is not None and not self._asked:
            self._asked = now
            self._core.ask(_TIME, "time-pos")

    # events

    def _event(self, event: Any) -> None:
        kind = event.event_id.value
        if kind == Id.PROPERTY_CHANGE:
            self._property(event.data.name, event.data.value)
        elif kind == Id.GET_PROPERTY_REPLY:
            self._asked = 0.0
            self._position(event.data.value if event.error >= 0 else None)
        elif kind == Id.COMMAND_REPLY:
            self._reply(event)
        elif kind == Id.START_FILE:
            self._start(self._items.get(event.data.playlist_entry_id))
        elif kind == Id.END_FILE:
            data = event.data
            self._end(self._items.pop(data.playlist_entry_id, None), END_REASONS.get(data.reason, "error"), data.error)
        elif kind == Id.FILE_LOADED and self._current is not None:
            self._current.loaded = True
            if self._current.pending_seek is not None:
                self._seek(self._current, self._current.pending_seek)
                self._current.pending_seek = None
        elif kind == Id.SEEK:
            self._readers.after_seek()
        elif kind == Id.PLAYBACK_RESTART and self._current is not None:
            self._current.playing = True
            if self._returning:
                self._returning = False
                self._apply_pause()
            self._watch.restarted(time.monotonic())
            self._ask(time.monotonic())
        elif kind == Id.HOOK:
            try:
                self._hook(event.data.name)
            finally:
                self._core.resume(event.data.id)
        elif kind == Id.LOG_MESSAGE:
            data = event.data
            text = f"{data.prefix}: {str(data.text).strip()}"
            self._watch.log(text, time.monotonic())
            self._send("log", data.level, text[:500])
        elif kind == Id.SHUTDOWN:
            raise RuntimeError("libmpv shut itself down")

    def _reply(self, event: Any) -> None:
        item = self._replies.pop(event.reply_userdata, None)
        if event.reply_userdata == _ADVANCE and event.error < 0 and self._latest is not None:
            self._load(Item(self._latest.entry))  # mpv had run out in that moment
        elif item is not None and event.error >= 0:
            result = event.data.result
            self._items[result["playlist_entry_id"]] = item
        elif item is not None and item is self._latest:
            self._start(item)
            self._end(item, "error", event.error)

    def _property(self, name: str, value: Any) -> None:
        if name == "paused-for-cache":
            self._buffering = bool(value)
            self._ask(time.monotonic())
        elif name == "idle-active":
            self._idle = bool(value)
            self._say_idle()
        elif name == "duration" and self._current is not None and isinstance(value, float):
            self._current.measured = value
        elif name == "current-ao":
            if value is None:
                self._file.mend()
            if self._watch.opened(value):
                if self._current is not None and self._current.loaded:
                    # mpv's stand-in has swallowed what came before we noticed.
                    self._seek(self._current, max(self._current.start, self._current.position - _AGAIN))
                    self._returning = True  # not a sound before the seek is done
                self._apply_pause()
        elif name == "audio-out-params" and value:
            self._watch.format(value.get("samplerate", 0), value.get("format", ""), value.get("channel-count", 0))

    def _start(self, item: Item | None) -> None:
        if item is None:
            return
        self._current = item
        if self._latest is item:
            self._latest = None
        if self._next is item:
            self._next = None
        if not item.started:
            item.started = True
            self._send("started", item.id)
        self._say(item, force=True)

    def _hook(self, name: str) -> None:
        item = self._current
        if item is None:
            return
        if name == "on_unload":
            position = self._core.get_now("time-pos")
            if isinstance(position, float):
                item.final = position
            item.interrupted = self._readers.interrupted(item.id)
            return
        tracks = [t for t in self._core.get_now("track-list") or () if t.get("type") == "audio"]
        if tracks:
            with self._readers.descriptor(item.stream) as descriptor:
                self._file.decide(self._core, tracks[0], descriptor)
                end = (
                    sniff.end(descriptor, tracks[0].get("codec") or "")
                    if item.end is None and descriptor >= 0
                    else None
                )
            if tracks[0].get("demux-channel-count") == 1 and self._file.channels == 2:
                self._core.set_now("file-local-options/af", item.filters(mono=True))
            if end is not None:
                item.end = end
                self._core.set_now("file-local-options/end", f"{end:.9f}")

    def _end(self, item: Item | None, reason: str, code: int) -> None:
        if item is None or not item.started:
            return
        if self._current is item:
            self._current = None
        error = self._readers.error(item.id)
        position = max(0.0, item.position if item.final is None else item.final)
        if item.interrupted and (reason == "eof" or (reason == "error" and code == NOTHING and error is None)):
            # A read that was ended for a seek was taken for the end of the file: do the seek from the start.
            following = self._next
            again = Item(item.entry, position if item.playing else item.position)
            again.started = True
            self._load(again)
            if following is not None:
                self._order_next(following.entry)
            return
        message = None
        if reason == "error":
            message = error or error_text(code)
        elif reason == "eof":
            reason, message = judge(item, position, error)
        elif reason != "stop":
            reason, message = "error", "the file points to another one"
        self._ended_at = time.monotonic()
        self._send("ended", item.id, reason, position, message)
        self._ran_out = reason != "stop"

    def _say_idle(self) -> None:
        """Once mpv has played out what it held, not when the decoder is done."""
        following = self._next is not None and self._next.queued
        if self._idle and self._ran_out and not following and self._current is None and self._latest is None:
            self._ran_out = False
            self._file.mend()
            self._send("idle", self._generation)

    # position

    def _position(self, value: Any) -> None:
        item = self._current
        if item is None:
            return
        if isinstance(value, float) and item.playing and not self._watch.lost:
            # mpv counts back by what its output holds, also when that is the silence before the first sample.
            early = item.sought - _LATENCY < value < item.sought
            item.position = item.sought if early else value
            item.sought = item.sought if early else -1.0
        self._say(item)

    def _say(self, item: Item, force: bool = False) -> None:
        if self._paused or self._watch.lost:
            state = "paused"
        elif (self._buffering or not item.playing) and self._readers.waiting(item.id):
            state = "buffering"
        else:
            state = "playing"
        said = (item.id, round(max(0.0, item.position), 3), item.duration or item.measured, state)
        if force or said != self._said:
            self._said = said
            self._send("pos", *said)
