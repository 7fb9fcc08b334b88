"""A rotary encoder from line levels to detents. Pure: no pins, no clock, no threads.

The two lines A and B run through a Gray code; at rest the contacts are open and pull-ups hold both lines high:

        A  ---.   .---.   .---.        turning right, A leads:   AB = 11, 01, 00, 10, 11
              '---'   '---'   '---
        B  -----.   .---.   .---.      turning left, B leads:    AB = 11, 10, 00, 01, 11
                '---'   '---'   '-
          rest     rest    rest        (4 transitions a detent)

                        01
             + right  /    \\                  old  new:  00  01  10  11
                    11      00                  00        .   -   +   X
             - left   \\    /                   01        +   .   X   -
                        10                      10        -   X   .   +
                                                11        X   +   -   .

Every change of one line is a quarter-step (+1 or -1); `X`, both lines at once, says that at least one edge was missed
and not which way, so it moves nothing. A line that bounces walks to and fro over the same edge and sums to nothing,
however long it does so. Only where it still chatters when the other line moves does the order of edges no longer tell
the way; so a line that turns back within `CHATTER_NS` of its last edge is not believed before it stays. First edges
are never delayed, hence the filter costs no time.

Quarter-steps become a detent only where the part rests (the levels named in `REST`), and the sum starts from nought
there, so a missed edge costs at most that one detent and never shifts the following ones. A sum of less than 2 is a
return.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil

_X = 2  # an impossible jump

# index = old A, old B, new A, new B
TABLE = (0, -1, +1, _X, +1, 0, _X, -1, -1, _X, 0, +1, _X, +1, -1, 0)

# transitions a detent -> levels AB (as a 2-bit number) in which the part rests
REST: Mapping[int, frozenset[int]] = {
    4: frozenset({0b11}),
    2: frozenset({0b11, 0b00}),  # "half-step" parts: every other detent rests with both contacts closed
    1: frozenset({0b00, 0b01, 0b10, 0b11}),
}

# Contacts chatter at intervals of 10 to 200 us; a shaft at 1,000 transitions/s moves the same line every 2 ms.
CHATTER_NS = 250_000

# With 1 transition a detent each bounce is a step back and forth. No hand turns back over a detent within this time.
SETTLE_NS = 4_000_000


class Quadrature:
    """Counts detents from levels.

    `transitions` is the number of transitions a detent (1, 2 or 4; a part with 20 detents and 20 pulses has 4, with 10
    pulses 2). `reverse` swaps left and right. `a` and `b` are the real levels at the start, so that a part which rests
    low, or a knob that stands between two detents, does not lose the first click. `chatter_ns` = 0 switches the chatter
    filter off, for edges whose time is not the kernel's: a late thread reports a quick turn as if it were chatter.
    """

    def __init__(
        self, a: bool, b: bool, *, transitions: int = 4, reverse: bool = False, chatter_ns: int = CHATTER_NS
    ) -> None:
        if transitions not in REST:
            raise ValueError(f"an encoder has 1, 2 or 4 transitions a detent, not {transitions}")
        self._sign = -1 if reverse else 1
        self._chatter = chatter_ns
        self._rest = REST[transitions]
        self._single = transitions == 1
        self._state = a << 1 | b  # levels that are believed
        self._raw = self._state  # levels as last reported; a line that differs is held as chatter
        self._edge = [-chatter_ns, -chatter_ns]  # when B, A last moved
        self._sum = 0
        self._way = 0  # for 1 transition a detent: which way, and when, the last step went
        self._when = 0
        self.jumps = 0
        """Impossible transitions seen so far: a number that grows means missed edges (see `chadbox doctor`)."""

    @property
    def pending(self) -> bool:
        """True when something is held as possible bounce; call `settle` after `SETTLE_NS` without movement."""
        return self._raw != self._state or (self._single and self._sum != 0)

    def feed(self, timestamp_ns: int, a: bool, b: bool) -> int:
        """The levels are now `a` and `b`; how many detents that completes: -1, 0 or +1 (more only after `pending`).

        `timestamp_ns` counts nanoseconds from any fixed point.
        """
        found = self._believe(timestamp_ns) if self._raw != self._state else 0
        raw = a << 1 | b
        moved = raw ^ self._raw
        if not moved:
            return found
        self._raw = raw
        state = self._state
        for line in (0, 1):
            if moved >> line & 1:
                if timestamp_ns - self._edge[line] >= self._chatter:
                    state = state & ~(1 << line) | (raw & 1 << line)
                self._edge[line] = timestamp_ns
        return found + self._step(timestamp_ns, state)

    def settle(self, timestamp_ns: int) -> int:
        """Nothing has moved for a while: the detents that were held back as possible bounce."""
        found = self._believe(timestamp_ns)
        return found + (self._sign * self._lone(timestamp_ns) if self._single else 0)

    def resync(self, a: bool, b: bool) -> None:
        """Take over levels that were read, not reported by an edge, without counting them as movement."""
        self._state = self._raw = a << 1 | b

    def _believe(self, now: int) -> int:
        """Accept lines that were held and have stayed, in the order in which they moved."""
        found = 0
        for line in sorted((0, 1), key=self._edge.__getitem__):
            if (self._raw ^ self._state) >> line & 1 and now - self._edge[line] >= self._chatter:
                found += self._step(self._edge[line] + self._chatter, self._state ^ 1 << line)
        return found

    def _step(self, now: int, state: int) -> int:
        step = TABLE[self._state << 2 | state]
        self._state = state
        if step == 0:
            return 0
        if step == _X:
            self.jumps += 1
        else:
            self._sum += step
        if state not in self._rest:
            return 0
        return self._sign * (self._lone(now) if self._single else self._detent())

    def _detent(self) -> int:
        total, self._sum = self._sum, 0
        return (total > 1) - (total < -1)

    def _lone(self, now: int) -> int:
        way = (self._sum > 0) - (self._sum < 0)
        if way == 0 or (way == -self._way and now - self._when < SETTLE_NS):
            return 0
        detents, self._sum = self._sum, 0
        self._way, self._when = way, now
        return detents


@dataclass(frozen=True, slots=True)
class Acceleration:
    """How a fast turn is amplified.

    Up to `start` detents a second a detent is one step; from there each further `per` detents a second adds one, up to
    `most` steps a detent. `most = 1` switches it off.
    """

    start: float = 12.0
    per: float = 6.0
    most: int = 6


def accelerate(detents: int, interval_ns: int | None, options: Acceleration) -> int:
    """Steps for `detents` that came `interval_ns` after the one before in the same direction (None: no such one).

    Never turns the direction round and is never less than the detents themselves. Whole steps, so that a volume lands
    on whole numbers.
    """
    if not interval_ns or interval_ns < 0 or options.most <= 1:
        return detents
    rate = abs(detents) * 1e9 / interval_ns
    factor = 1 + max(0, ceil((rate - options.start) / options.per))
    return detents * min(factor, options.most)


@dataclass(frozen=True, slots=True)
class Turn:
    """The knob moved: `detents` as felt by the fingers (for menus), `steps` amplified by speed (for values)."""

    detents: int
    steps: int


class Knob:
    """Quadrature and acceleration together: levels in, `Turn` out."""

    def __init__(self, decoder: Quadrature, acceleration: Acceleration = Acceleration()) -> None:
        self.decoder = decoder
        self._options = acceleration
        self._last_ns: int | None = None
        self._last_way = 0

    def feed(self, timestamp_ns: int, a: bool, b: bool) -> Turn | None:
        """As `Quadrature.feed`; a Turn when a detent is complete, else None."""
        return self._turn(timestamp_ns, self.decoder.feed(timestamp_ns, a, b))

    def settle(self, timestamp_ns: int) -> Turn | None:
        """As `Quadrature.settle`."""
        return self._turn(timestamp_ns, self.decoder.settle(timestamp_ns))

    def _turn(self, now: int, detents: int) -> Turn | None:
        if detents == 0:
            return None
        way = 1 if detents > 0 else -1
        same = way == self._last_way and self._last_ns is not None
        interval = now - self._last_ns if same and self._last_ns is not None else None
        self._last_ns, self._last_way = now, way
        return Turn(detents, accelerate(detents, interval, self._options))
