"""Which bytes are needed first: the order of need, as a pure function of who reads what.

level   what                                                    at once
  0     current track, where its reader waits                   its own slot
  1     current track from the read position, a window
  2     next track: where its reader waits, head, index at the end
  3     current track: the rest
  4     next track: the rest
  5     head of what is highlighted in the menu
  6     jobs                                                    several
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from enum import IntEnum
from typing import NamedTuple

from appliance.cloud.models import Track
from appliance.stream.entry import CacheEntry
from appliance.stream.retry import Attempts

WINDOW = 4 << 20  # bytes ahead of the reader that come before the next track's head
HEAD = 512 << 10
TAIL = 64 << 10
FIRST = 256 << 10  # a first request must not take long, whatever the line
INDEX_AT_END = ("mp4", "m4a", "ogg", "oga", "opus")  # demuxers look at the tail of these before they play
ENDLESS = 1 << 62


class Role(IntEnum):
    CURRENT = 0
    NEXT = 1
    PEEK = 2
    JOB = 3


class Demand:
    """Somebody's wish for the bytes of a track; `finished` ends when all are here or can't be had."""

    def __init__(self, entry: CacheEntry, track: Track, role: Role) -> None:
        self.entry = entry
        self.track = track
        self.role = role
        self.position = 0  # of the reader, in bytes
        self.waiting = role is Role.CURRENT  # the reader has nothing to read
        self.attempts = Attempts()
        self.sequential = False  # the last answer was the whole file: one request at a time
        self.parts_work = False  # a part has come when one was asked for
        self.wholes = 0  # whole files in a row where parts were asked for
        self.ended_at: int | None = None  # where the connection closed when nobody had told the length
        self.resolving = asyncio.Lock()
        self.resolved_at: float | None = None  # loop time when the URL was asked for anew, since the last success
        self.finished: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.finished.add_done_callback(lambda f: f.cancelled() or f.exception())  # nobody has to look

    @property
    def end(self) -> int:
        """Where the file ends as far as anybody knows; of a live stream, how far ahead is enough."""
        if self.entry.hls is not None:
            if self.entry.hls.live:
                return self.position + WINDOW
            return self.entry.size if self.entry.size is not None else ENDLESS
        return self.entry.size if self.entry.size is not None else (self.track.size or ENDLESS)

    @property
    def looks_at_tail(self) -> bool:
        kind = (self.track.mime or self.track.url.partition("?")[0]).lower()
        return kind.endswith(INDEX_AT_END)


class Need(NamedTuple):
    level: int
    demand: Demand
    start: int
    stop: int


def order_of_need(demands: Iterable[Demand]) -> Iterator[Need]:
    """Spans wanted, most urgent first; spans may hold bytes that are here already."""
    by_role = sorted((d for d in demands if not d.finished.done()), key=lambda d: d.role)
    current = [d for d in by_role if d.role is Role.CURRENT]
    following = [d for d in by_role if d.role is Role.NEXT]
    for d in current:
        if d.waiting and d.position < d.end:
            yield Need(0, d, d.position, min(d.position + FIRST, d.end))
        if d.waiting and d.looks_at_tail and d.end < ENDLESS:
            yield Need(0, d, max(d.end - TAIL, 0), d.end)
    for d in current:
        yield Need(1, d, d.position, min(d.position + WINDOW, d.end))
    for d in following:
        if d.waiting:
            yield Need(2, d, d.position, min(d.position + FIRST, d.end))
        yield Need(2, d, 0, min(HEAD, d.end))
        if d.looks_at_tail and d.end < ENDLESS:
            yield Need(2, d, max(d.end - TAIL, 0), d.end)
    for level, group in ((3, current), (4, following)):
        for d in group:
            yield Need(level, d, d.position, d.end)
            yield Need(level, d, 0, min(d.position, d.end))
    for d in by_role:
        if d.role is Role.PEEK:
            yield Need(5, d, 0, min(HEAD, d.end))
        elif d.role is Role.JOB:
            yield Need(6, d, 0, d.end)
