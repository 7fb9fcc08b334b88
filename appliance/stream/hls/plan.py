"""Which byte of the one file is in which segment (P2, P5)."""

from __future__ import annotations

import hashlib
import re
from bisect import bisect_right
from collections.abc import Sequence
from urllib.parse import urlsplit

from appliance.stream.hls.playlist import Media, Segment
from appliance.stream.ranges import IntervalSet

ENDLESS = 1 << 62
MARK = "hls:"
KEPT = 500  # segments of a stream without end
_MARK = re.compile(r"hls:([0-9a-f]{32})((?: (?:[0-9]{1,13}|-))*)")


class Plan:
    """The segments in order, and how large they are as far as anybody knows.

    `offsets` are where the first segments begin, one more than there are known sizes in a row: what comes after a
    segment of unknown size has no place yet, and is fetched when that one is here.
    """

    def __init__(self, media: Media) -> None:
        self.segments = list(media.segments) if media.ended or media.event else _edge(media)
        self.ended = media.ended
        self.target = media.target
        self.identity = identity(media.segments)
        self.sizes: list[int | None] = [s.span[1] if s.span else None for s in self.segments]
        self.offsets = [0]
        self._head = _head(self.segments)
        self._settle()

    @property
    def size(self) -> int | None:
        """Bytes of the whole file; None while they are not known."""
        return self.offsets[-1] if self.ended and self.settled else None

    @property
    def settled(self) -> bool:
        """Whether every size is known."""
        return len(self.offsets) > len(self.segments)

    def learn(self, index: int, size: int) -> bool:
        """Segment `index` has `size` bytes; false when another size was known, which stays."""
        known = self.sizes[index]
        if known is None:
            self.sizes[index] = size
            self._settle()
        return known in (None, size)

    def segment_at(self, position: int) -> int | None:
        """The segment that byte `position` of the file is in; None when that is not known, or nothing is there."""
        index = bisect_right(self.offsets, position) - 1
        return index if 0 <= index < len(self.segments) else None

    def block(self, position: int, have: IntervalSet) -> tuple[int, int] | None:
        """What to ask for to get on with byte `position`: [start, stop) of the file, all that is missing of a segment.

        That is the segment of `position`, or the first one of unknown size when its place is not known yet; such a
        block has no end. None when no segment is left.
        """
        index = self.segment_at(position)
        if index is None:
            return None
        start = self.offsets[index]
        size = self.sizes[index]
        return have.run_end(start), ENDLESS if size is None else start + size

    def unknown(self) -> list[int]:
        """Indices of the segments whose size is not known."""
        return [i for i, size in enumerate(self.sizes) if size is None]

    def renew(self, fresh: Plan) -> None:
        """Take the addresses of a playlist that was loaded anew; it is of the same `identity`."""
        self.segments = fresh.segments

    def extend(self, media: Media) -> bool:
        """Append what a live playlist has more than before; whether there was something."""
        last = max((s.number for s in self.segments if s.number is not None), default=-1)
        new: list[Segment] = []
        waiting: Segment | None = None
        for segment in media.segments:
            if segment.number is None:
                waiting = segment
            elif segment.number > last:
                if waiting is not None and waiting != self._head:
                    new.append(waiting)
                    self._head = waiting
                new.append(segment)
        self.ended = media.ended
        self.target = media.target or self.target
        self.segments += new
        self.sizes += [s.span[1] if s.span else None for s in new]
        self._settle()
        self._forget()
        return bool(new)

    def mark(self) -> str:
        """Identity and sizes for the database."""
        return f"{MARK}{self.identity}" + "".join(f" {'-' if size is None else size}" for size in self.sizes)

    def recall(self, mark: str) -> bool:
        """Take the sizes from what `mark` gave once; false when that was of other segments."""
        match = _MARK.fullmatch(mark)
        sizes = match[2].split() if match else []
        if match is None or match[1] != self.identity or len(sizes) != len(self.sizes):
            return False
        return all(self.learn(i, int(size)) for i, size in enumerate(sizes) if size != "-")

    def _settle(self) -> None:
        while len(self.offsets) <= len(self.segments):
            size = self.sizes[len(self.offsets) - 1]
            if size is None:
                break
            self.offsets.append(self.offsets[-1] + size)

    def _forget(self) -> None:
        """Of a stream without end the beginning is not remembered for ever."""
        gone = min(len(self.segments) - KEPT, len(self.offsets) - 1)
        if gone > KEPT:
            del self.segments[:gone], self.sizes[:gone], self.offsets[:gone]


def identity(segments: Sequence[Segment]) -> str:
    """Tells two playlists apart by what cannot differ between two signings of one: no hosts, folders and queries."""
    digest = hashlib.sha256()
    for segment in segments:
        name = urlsplit(segment.url).path.rpartition("/")[2]
        digest.update(f"{name}\n{segment.seconds:.3f}\n{segment.span}\n".encode("utf-8", "surrogatepass"))
    return digest.hexdigest()[:32]


def _edge(media: Media) -> list[Segment]:
    """Where a live stream is taken up: three target durations before its end (RFC 8216, 6.3.3)."""
    numbered = [s for s in media.segments if s.number is not None]
    seconds, first = 0.0, 0
    for first in range(len(numbered) - 1, -1, -1):
        seconds += numbered[first].seconds or media.target
        if seconds >= 3 * media.target:
            break
    taken = numbered[first:]
    if not taken:
        return []
    at = media.segments.index(taken[0])
    head = _head(media.segments[:at])
    return [*([head] if head else []), *media.segments[at:]]


def _head(segments: Sequence[Segment]) -> Segment | None:
    """The initialisation section in force at the end of `segments`."""
    return next((s for s in reversed(segments) if s.number is None), None)
