"""A timer whose time passes when the test says so."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from itertools import count


class Handle:
    def __init__(self, callback: Callable[[], None]) -> None:
        self.callback: Callable[[], None] | None = callback

    def cancel(self) -> None:
        self.callback = None


class Clock:
    """Implements hw.buttons.Timer; `now` in seconds."""

    def __init__(self) -> None:
        self.now = 0.0
        self._number = count()
        self._queue: list[tuple[float, int, Handle]] = []

    def call_later(self, delay: float, callback: Callable[[], None], /) -> Handle:
        handle = Handle(callback)
        heapq.heappush(self._queue, (self.now + delay, next(self._number), handle))
        return handle

    def run_until(self, moment: float) -> None:
        while self._queue and self._queue[0][0] <= moment:
            self.now, _, handle = heapq.heappop(self._queue)
            if handle.callback is not None:
                handle.callback()
        self.now = moment

    def run(self, seconds: float) -> None:
        self.run_until(self.now + seconds)

    @property
    def waiting(self) -> int:
        return sum(handle.callback is not None for *_, handle in self._queue)
