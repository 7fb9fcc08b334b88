"""Push buttons from contact changes to gestures. Pure: no pins, no clock, no threads; the caller brings a timer.

One button, on its own:

             down, still down                    long_s              repeat_s
             after confirm_s                    ---------> Long ---------------> Repeat ...
    idle -------------------------> pressed ---|
      ^                                |        `--------> (no long, no repeat: the press went out at once)
      |     up, still up after         |
      '--------------------------------'  Press, unless a Long, a Repeat, a chord or a turn came of it

When a Press goes out decides how quick the panel feels: a button with neither long press nor repeat and in no chord
sends it when it goes down, the others when they come up again.

Debouncing is done here and not in the GPIO library: lgpio's delays the event by the whole bounce time and RPi.GPIO's
drops the last edge, which leaves a button stuck. Here a contact is believed once it is still there `confirm_s` after
its first edge (a shorter pulse is interference), and then left alone for `lockout_s`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

log = logging.getLogger(__name__)


class Cancellable(Protocol):
    def cancel(self) -> None: ...


class Timer(Protocol):
    """What an asyncio event loop offers; a test passes a clock of its own."""

    def call_later(self, delay: float, callback: Callable[[], None], /) -> Cancellable: ...


class Kind(Enum):
    PRESS = "press"
    LONG = "long"
    REPEAT = "repeat"
    CHORD = "chord"


@dataclass(frozen=True, slots=True)
class Gesture:
    """What a hand did: `buttons` in alphabetical order (one, or all of a chord); `count` numbers the repeats from 1."""

    kind: Kind
    buttons: tuple[str, ...]
    count: int = 0


@dataclass(frozen=True, slots=True)
class Timing:
    """Times in seconds."""

    confirm_s: float = 0.003
    lockout_s: float = 0.012
    long_s: float = 0.6
    first_repeat_s: float = 0.4
    repeat_s: float = 0.12


@dataclass(slots=True)
class _Button:
    name: str
    long: bool = False
    repeat: bool = False
    chorded: bool = False
    level: bool = False  # as last reported
    down: bool = False  # as believed
    spent: bool = False  # something else than a Press has come of it
    repeats: int = 0
    checking: Cancellable | None = None  # confirm or lockout is running
    holding: Cancellable | None = None


class Buttons:
    """All buttons of a panel.

    `names` are the buttons; `long` and `repeat` name those which have a long press or repeat while held (a button with
    both only repeats); `chords` are sets of at least two that mean something when down together. `emit` gets every
    Gesture. Not thread-safe: `feed`, the timer's callbacks and `turned` belong on one thread, the event loop's.
    Raises ValueError when a chord or option names a button that is not there.
    """

    def __init__(
        self,
        names: Iterable[str],
        timer: Timer,
        emit: Callable[[Gesture], None],
        *,
        long: Iterable[str] = (),
        repeat: Iterable[str] = (),
        chords: Iterable[frozenset[str]] = (),
        turning: Iterable[str] = (),
        timing: Timing = Timing(),
    ) -> None:
        self._buttons: Mapping[str, _Button] = {name: _Button(name) for name in names}
        self._timer, self._emit, self._timing = timer, emit, timing
        self._chords = sorted({frozenset(chord) for chord in chords}, key=lambda chord: (-len(chord), sorted(chord)))
        wanted = {*long, *repeat, *turning, *(name for chord in self._chords for name in chord)}
        unknown = wanted - self._buttons.keys()
        if unknown or any(len(chord) < 2 for chord in self._chords):
            what = f"no such button: {', '.join(sorted(unknown))}" if unknown else "a chord takes two buttons"
            raise ValueError(what)
        for name in long:
            self._buttons[name].long = True
        for name in repeat:
            self._buttons[name].repeat = True
        for name in [*turning, *(name for chord in self._chords for name in chord)]:
            self._buttons[name].chorded = True

    @property
    def held(self) -> tuple[str, ...]:
        """The buttons that are down, in alphabetical order."""
        return tuple(sorted(name for name, button in self._buttons.items() if button.down))

    def feed(self, name: str, down: bool) -> None:
        """The contact of `name` closed (`down`) or opened. Raises KeyError for a button that is not there."""
        button = self._buttons[name]
        button.level = down
        if button.checking is None and down != button.down:
            button.checking = self._timer.call_later(self._timing.confirm_s, lambda: self._confirm(button))

    def turned(self) -> None:
        """The knob was turned: what is held down now was held for that, and will be no Press or Long."""
        for button in self._buttons.values():
            if button.down and button.chorded:
                self._spend(button)

    def close(self) -> None:
        """Cancel all timers."""
        for button in self._buttons.values():
            for timer in (button.checking, button.holding):
                if timer is not None:
                    timer.cancel()
            button.checking = button.holding = None

    def _confirm(self, button: _Button) -> None:
        button.checking = None
        if button.level == button.down:
            return  # shorter than confirm_s: interference
        button.down = button.level
        button.checking = self._timer.call_later(self._timing.lockout_s, lambda: self._unlock(button))
        if button.down:
            self._pressed(button)
        else:
            self._released(button)

    def _unlock(self, button: _Button) -> None:
        button.checking = None
        if button.level != button.down:  # it moved while nobody looked: what counts is where it stayed
            self.feed(button.name, button.level)

    def _pressed(self, button: _Button) -> None:
        button.spent, button.repeats = False, 0
        for chord in self._chords:
            members = [self._buttons[name] for name in chord]
            if button.name in chord and all(member.down and not member.spent for member in members):
                for member in members:
                    self._spend(member)
                self._send(Kind.CHORD, *sorted(chord))
                return
        if button.repeat:
            button.holding = self._timer.call_later(self._timing.first_repeat_s, lambda: self._repeat(button))
        elif button.long:
            button.holding = self._timer.call_later(self._timing.long_s, lambda: self._long(button))
        elif not button.chorded:
            button.spent = True
            self._send(Kind.PRESS, button.name)

    def _released(self, button: _Button) -> None:
        spent = button.spent
        self._spend(button)
        if not spent:
            self._send(Kind.PRESS, button.name)

    def _long(self, button: _Button) -> None:
        self._spend(button)
        self._send(Kind.LONG, button.name)

    def _repeat(self, button: _Button) -> None:
        self._spend(button)
        button.repeats += 1
        button.holding = self._timer.call_later(self._timing.repeat_s, lambda: self._repeat(button))
        self._send(Kind.REPEAT, button.name, count=button.repeats)

    def _spend(self, button: _Button) -> None:
        button.spent = True
        if button.holding is not None:
            button.holding.cancel()
            button.holding = None

    def _send(self, kind: Kind, *names: str, count: int = 0) -> None:
        try:
            self._emit(Gesture(kind, names, count))
        except Exception:  # a broken action must not leave the panel dead
            log.exception("the action of button %s failed", "+".join(names))
