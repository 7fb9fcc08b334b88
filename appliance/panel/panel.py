"""The panel at work: keys and events in, frames out. Lives on the event loop, and sleeps unless something changes.

    key(), events ---> state ---> at most 20 times a second: show() ---> frame to everybody who looks
                         ^                                    |
                         '--- rows of lists, read ahead <-----'--- timer: when the picture changes by itself

Nobody looks: no frames are made and no timer runs; keys still work. Dark for the display's sake: the same.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from typing import Any, Protocol

from msgspec import Struct
from msgspec.structs import replace

from appliance import words
from appliance.errors import ChadboxError
from appliance.events import Bus, DriveChanged, HealthChanged, JobChanged, LibraryChanged, SignIn, StatusChanged
from appliance.panel import asking, keys
from appliance.panel import drives as sticks
from appliance.panel.care import NONE, Care, Level, place
from appliance.panel.commands import Commands, Player
from appliance.panel.glyphs import Font, open_font
from appliance.panel.lists import About, JobLike, Library, Lists, Where
from appliance.panel.pieces import FRAME_S
from appliance.panel.screens import Shown, show
from appliance.panel.state import CHUNK, Code, Command, Key, Node, Page, State, take
from appliance.panel.text import Typesetter

log = logging.getLogger(__name__)

JUST_AFTER_S = 0.002  # a timer that fires a hair early would find the old picture
DRIFT_S = 0.4  # a position that is off by less is not worth a new picture
_PLAYING = ("playing", "buffering")


class Frame(Struct, frozen=True):
    """A picture for a display: `pages` as `Picture.pages`, `level` its brightness, `words` what stands there."""

    width: int
    height: int
    level: Level
    pages: bytes
    words: tuple[str, ...]


class Peek(Protocol):
    def look_at(self, what: str, /) -> None: ...


class Panel:
    """`status` gives the Status document; `jobs` lists the background work; `peek` is told what is highlighted;
    `drives` are those that can be plugged in, `about` tells of this box, `where` where tracks are.

    `height` is 64 or 32; `care` is for the display that it is shown on. All methods belong on the event loop; none
    blocks it.
    """

    def __init__(
        self, player: Player, library: Library, status: Callable[[], Mapping[str, Any]], bus: Bus, *,
        jobs: Callable[[], Awaitable[Sequence[JobLike]]] | None = None, peek: Peek | None = None,
        drives: sticks.Drives | None = None, about: About | None = None, where: Where | None = None,
        height: int = 64, care: Care = NONE, font: Font | None = None,
    ) -> None:  # fmt: skip
        self._status, self._peek, self._care = status, peek, care
        self._library = library
        self._font = font
        self._setter: Typesetter | None = None  # the font is opened when somebody looks
        self._loop = asyncio.get_running_loop()
        self._lists = Lists(library, player.queue, self._current, jobs, drives, lambda: player.loudness, about, where)
        self._commands = Commands(player, library, self._lists, self._tell, self._marked, drives)
        self._sinks: list[Callable[[Frame], None]] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._reading: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._drawn = -1e9
        self._running: dict[int, tuple[str, int]] = {}  # kind and percent of the jobs under way, by id
        self._last: Frame | None = None
        self._waking: asyncio.TimerHandle | None = None
        now = self._loop.time()
        self.state = State(height=height, touched=now)
        self.state = replace(self.state, now=take(status(), self.state.now, now))
        self._endings = [
            bus.subscribe(StatusChanged, lambda _: self._status_changed()),
            bus.subscribe(HealthChanged, self._health_changed),
            bus.subscribe(JobChanged, self._job_changed),
            bus.subscribe(SignIn, self._sign_in),
            bus.subscribe(DriveChanged, self._drive_changed),
            bus.subscribe(LibraryChanged, lambda _: self._set(keys.outdated(self.state))),
        ]

    async def close(self) -> None:
        """Stop; those who look get no more frames."""
        for end in self._endings:
            end()
        self._sinks.clear()
        self._cancel_timer()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=1.0)

    def attach(self, sink: Callable[[Frame], None]) -> Callable[[], None]:
        """Give every frame to `sink`, the present one at once; the returned function ends that.

        `sink` is called on the loop and must not wait; the last one to go puts the panel to sleep.
        """
        first = not self._sinks
        self._sinks.append(sink)
        if first:
            self._status_changed()
            self._spawn(self._learn_favourite(self.state.now.track))
            self._draw()
        elif self._last is not None:
            sink(self._last)

        def detach() -> None:
            if sink in self._sinks:
                self._sinks.remove(sink)
            if not self._sinks:
                self._cancel_timer()
                self._last = None
                self.state = replace(self.state, questions=())  # nobody is there to answer

        return detach

    def key(self, key: Key) -> None:
        """A key was pressed or the knob turned. A volume has reached the player when this returns (P10)."""
        now = self._loop.time()
        asleep = bool(self._sinks) and self._level(now)[0] == "off"
        if not self._sinks:  # nobody has kept it up to date
            self._refresh(now)
        self.state, commands = keys.press(self.state, key, now, asleep=asleep)
        for command in commands:
            if not self._commands.now(command):
                self._spawn(self._run(command))
        self._set(asking.current(self.state, now))

    # Events -----------------------------------------------------------------------------------------------------------

    def _status_changed(self) -> None:
        if not self._sinks:
            return
        now, before = self._loop.time(), self.state.now
        self._refresh(now)
        after = self.state.now
        if after.state in _PLAYING and before.state not in _PLAYING:
            self.state = replace(self.state, touched=now)  # somebody started it: they may want to see it
        if after.volume != before.volume:
            self.state = replace(self.state, turned=now)
        if after.track != before.track:
            self._spawn(self._learn_favourite(after.track))
        if after.track != before.track or (after.shuffle, after.repeat) != (before.shuffle, before.repeat):
            self.state = keys.outdated(self.state, frozenset({"queue", "menu", "settings"}))
        drift = abs(after.position_at(now) - before.position_at(now))
        if drift > DRIFT_S or replace(after, position=0, at=0) != replace(before, position=0, at=0):
            self._request()

    def _refresh(self, now: float) -> None:
        self.state = replace(self.state, now=take(self._status(), self.state.now, now))

    def _health_changed(self, event: HealthChanged) -> None:
        now, known = self._loop.time(), self.state.now.health
        self._refresh(now)
        new = [word for word in event.words if word not in known]
        state = keys.outdated(self.state, frozenset({"menu", "health"}))
        if new:
            advice = words.ADVICE.get(new[0]) or self.state.now.details.get(new[0], "")
            state = keys.tell(state, words.title(new[0]), advice, now)
        self._set(state)

    def _job_changed(self, event: JobChanged) -> None:
        self._running.pop(event.id, None)
        if event.state == "running":
            self._running[event.id] = (event.kind, event.progress)
        job = next(reversed(self._running.values()), None)  # the one that moved last, of those that still run
        self._set(keys.outdated(replace(self.state, job=job), frozenset({"jobs"})))

    def _sign_in(self, event: SignIn) -> None:
        now = self._loop.time()
        code = Code(event.code, event.url, now, now + event.expires_in) if event.code else None
        touched = now if code else self.state.touched  # somebody stands before it, waiting for the code
        self._set(asking.current(replace(self.state, code=code, touched=touched), now))

    def _drive_changed(self, event: DriveChanged) -> None:
        self._set(sticks.changed(self.state, event, self._loop.time(), seen=bool(self._sinks)))

    # Doing ------------------------------------------------------------------------------------------------------------

    async def _run(self, command: Command) -> None:
        try:
            await self._commands.run(command)
        except ChadboxError as error:
            self._tell("Not possible", str(error))
        self._set(keys.outdated(self.state, frozenset({"queue", "menu", "settings"})))

    def _tell(self, title: str, text: str) -> None:
        self._set(keys.tell(self.state, title, text, self._loop.time()))

    def _marked(self, track: str, on: bool) -> None:
        if track == self.state.now.track:
            self.state = replace(self.state, now=replace(self.state.now, favourite=on))
        self._set(keys.outdated(self.state, frozenset({"tracks"})))

    async def _learn_favourite(self, track: str) -> None:
        if track:
            self._marked(track, track in await self._library.favourites())

    def _current(self) -> Any:
        return self.state.now

    # Reading lists ----------------------------------------------------------------------------------------------------

    def _read_on(self) -> None:
        """Read what the open list lacks, one piece at a time, so that a fast turn leaves no queue behind it."""
        if self._reading is not None or not self.state.pages:
            return
        page = self.state.pages[-1]
        chunk = keys.missing(page, self.state.rows)
        if chunk is not None:
            self._reading = self._spawn(self._read(page, chunk))

    async def _read(self, page: Page, chunk: int) -> None:
        node = page.node
        try:
            rows, total = await self._lists.read(node, chunk * CHUNK, CHUNK)
            state = keys.arrived(self.state, node, chunk, rows, total)
            self._reading = None
            self._set(state)
            if total != page.total and total >= keys.LONG_LIST:
                letters = await self._lists.letters(node)
                self._set(keys.lettered(self.state, node, letters))
        except ChadboxError as error:
            self._close_page(node, str(error))
        except Exception:
            log.exception("reading %s failed", node)
            self._close_page(node, "the list cannot be read; see the log")

    def _close_page(self, node: Node, why: str) -> None:
        self._reading = None
        pages = tuple(page for page in self.state.pages if page.node != node)
        self._set(keys.tell(replace(self.state, pages=pages), "Not possible", why, self._loop.time()))

    def _look(self) -> None:
        if self._peek is not None:
            page = self.state.pages[-1] if self.state.pages else None
            row = page.row(page.cursor) if page else None
            self._peek.look_at(row.peek if row else "")

    # Drawing ----------------------------------------------------------------------------------------------------------

    def _set(self, state: State) -> None:
        self.state = state
        self._read_on()
        self._look()
        self._request()

    def _request(self) -> None:
        """Draw soon: at once, or when the last picture is old enough."""
        if not self._sinks:
            return
        now = self._loop.time()
        if self._last is not None and self._last.level == "off" and self._level(now)[0] == "off":
            return
        self._at(max(now, self._drawn + FRAME_S))

    def _at(self, when: float) -> None:
        if self._timer is not None:
            if self._timer.when() <= when:
                return
            self._timer.cancel()
        self._timer = self._loop.call_at(when, self._draw)

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _level(self, now: float) -> tuple[Level, float | None]:
        state = self.state
        if state.darkened:
            return "off", None
        if state.code is not None and now < state.code.until:
            return "on", state.code.until - now
        if (question := state.asked(now)) is not None:
            return "on", question.until - now
        return self._care.level(now - state.touched, state.now.state in _PLAYING)

    def _draw(self) -> None:
        self._cancel_timer()
        now = self._drawn = self._loop.time()
        self.state = asking.current(self.state, now)
        level, change = self._level(now)
        try:
            frame, until = self._frame(now, level)
        except Exception:  # a picture that cannot be drawn must not end the panel
            log.exception("drawing failed")
            return
        if frame != self._last:
            self._last = frame
            for sink in tuple(self._sinks):
                try:
                    sink(frame)
                except Exception:  # one display must not darken the others
                    log.exception("a display failed")
        if change is not None:
            until = now + change if until is None else min(until, now + change)
        if until is not None:
            self._at(max(until + JUST_AFTER_S, now + FRAME_S))

    def _frame(self, now: float, level: Level) -> tuple[Frame, float | None]:
        width, height = self.state.width, self.state.height
        if level == "off":
            return Frame(width, height, level, bytes(width * height // 8), ()), None
        if self._setter is None:
            self._setter = Typesetter(self._font or open_font())
        wall = None if "clock-unset" in self.state.now.health else time.time()
        shown: Shown = show(self.state, now, wall, self._setter)
        picture, until = shown.picture, shown.until
        if level == "dim":
            dx, dy, left = place(now)
            picture = picture.moved(dx, dy)
            until = now + left if until is None else min(until, now + left)
        return Frame(width, height, level, picture.pages(), shown.words), until

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = self._loop.create_task(self._guarded(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda _: work.close())  # of one that was cancelled before it began
        return task

    async def _guarded(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except ChadboxError as error:
            log.warning("panel: %s", error)
        except Exception:
            log.exception("panel")
