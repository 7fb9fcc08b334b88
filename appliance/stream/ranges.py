"""A set of integers kept as disjoint half-open intervals: which bytes of a file are where they should be."""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from itertools import pairwise
from sys import byteorder


class IntervalSet:
    """Sorted, disjoint, never adjacent intervals [start, stop).

    Kept as one flat list of boundaries: a position with an odd number of boundaries at or before it is inside.
    Every operation costs a binary search and a slice of the list.
    """

    __slots__ = ("_bounds",)

    def __init__(self, intervals: Iterable[tuple[int, int]] = ()) -> None:
        self._bounds: list[int] = []
        for start, stop in intervals:
            self.add(start, stop)

    def add(self, start: int, stop: int) -> None:
        """Make every integer of [start, stop) a member; an empty or inverted interval changes nothing."""
        self._replace(start, stop, parity=0)

    def remove(self, start: int, stop: int) -> None:
        """Make no integer of [start, stop) a member."""
        self._replace(start, stop, parity=1)

    def _replace(self, start: int, stop: int, *, parity: int) -> None:
        if start >= stop:
            return
        left = bisect_left(self._bounds, start)
        right = bisect_right(self._bounds, stop)
        edges = [edge for edge, index in ((start, left), (stop, right)) if index % 2 == parity]
        self._bounds[left:right] = edges

    def covers(self, start: int, stop: int) -> bool:
        """Whether all of [start, stop) are members; true for an empty interval."""
        return start >= stop or self.run_end(start) >= stop

    def run_end(self, start: int) -> int:
        """The first integer from `start` on that is not a member (`start` itself when it is none)."""
        index = bisect_right(self._bounds, start)
        return self._bounds[index] if index % 2 else start

    def gaps(self, start: int, stop: int) -> Iterator[tuple[int, int]]:
        """The parts of [start, stop) that are not members, in order."""
        position = self.run_end(start)
        while position < stop:
            index = bisect_right(self._bounds, position)
            end = self._bounds[index] if index < len(self._bounds) else stop
            yield position, min(end, stop)
            position = self.run_end(end) if end < stop else stop

    def total(self) -> int:
        """How many integers are members."""
        return sum(self._bounds[1::2]) - sum(self._bounds[::2])

    def copy(self) -> IntervalSet:
        twin = IntervalSet()
        twin._bounds = self._bounds.copy()
        return twin

    def to_bytes(self) -> bytes:
        """Boundaries as little-endian int64, for the database."""
        values = array("q", self._bounds)
        if byteorder == "big":
            values.byteswap()
        return values.tobytes()

    @classmethod
    def from_bytes(cls, data: bytes) -> IntervalSet:
        """The inverse of `to_bytes`; raises ValueError when `data` is not what that wrote."""
        values = array("q")
        if len(data) % 16:
            raise ValueError("a list of ranges has a length that is no multiple of 16")
        values.frombytes(data)
        if byteorder == "big":
            values.byteswap()
        bounds = values.tolist()
        if any(a >= b for a, b in pairwise(bounds)) or (bounds and bounds[0] < 0):
            raise ValueError("ranges are not in order")
        result = cls()
        result._bounds = bounds
        return result

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return zip(self._bounds[::2], self._bounds[1::2], strict=True)

    def __bool__(self) -> bool:
        return bool(self._bounds)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, IntervalSet) and self._bounds == other._bounds

    __hash__ = None  # type: ignore[assignment]  # mutable

    def __repr__(self) -> str:
        return f"IntervalSet({list(self)})"
