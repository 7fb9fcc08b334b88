"""A cache file as the engine process knows it: a path, perhaps a size, and which of its bytes are there."""

from __future__ import annotations

import os
from bisect import bisect_left, bisect_right


class Stream:
    """One cache file: where it is and which bytes of it may be read."""

    def __init__(self, path: str, size: int | None) -> None:
        self.path = path
        self.size = size
        self.failed: str | None = None
        self.dropped = False
        self.fd = -1
        self.users = 0
        self._starts: list[int] = []
        self._stops: list[int] = []

    def add(self, start: int, stop: int) -> None:
        """Bytes [start, stop) can be read from now on."""
        if stop <= start:
            return
        first = bisect_left(self._stops, start)
        last = bisect_right(self._starts, stop)
        if first < last:
            start, stop = min(start, self._starts[first]), max(stop, self._stops[last - 1])
        self._starts[first:last] = [start]
        self._stops[first:last] = [stop]

    def until(self, pos: int) -> int:
        """End of the unbroken run of bytes at `pos`; `pos` itself when that byte is missing."""
        at = bisect_right(self._starts, pos) - 1
        return max(pos, self._stops[at]) if at >= 0 else pos

    def open(self) -> int:
        """A file descriptor; raises OSError."""
        if self.fd < 0:
            self.fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOCTTY)
        return self.fd

    def close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1
