"""One request for a part of a file: what of the answer is believed, and its bytes on their way to the disk (P4, P5).

Bytes of two versions never meet in one file. The first answer binds the entry to what it says of itself (`mark`: strong
ETag, else date; and the size). An answer that says something else is not believed at once, as it may be a lie: it is
dropped and asked for again. When the next one says the same, the file has changed, and what is here is of no use.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from appliance.cloud.body import Body, IsPlaylist, is_page, is_playlist
from appliance.cloud.client import CloudClient
from appliance.cloud.http import host_of
from appliance.errors import Offline, ServerError, StorageError
from appliance.stream.cache import Cache
from appliance.stream.entry import CacheEntry
from appliance.stream.need import Demand, Role

LARGEST = 1 << 20  # bytes of a block that somebody hears: soon through when something else is needed more
LARGEST_JOB = 4 << 20  # of one that nobody waits for: fewer requests
PLAIN_AFTER = 3  # answers without sense to a request for a part, after which the whole is asked for
WRITE_AT = 256 << 10  # bytes gathered before a write, unless somebody waits for them


class Changed(ServerError):
    """The server has another version of the file now."""


class Untagged(ServerError):
    """The answer does not say of which version it is, though earlier ones did."""


class Flight:
    """A request that is under way for bytes [start, stop), and how urgent it was when it began (loop time)."""

    def __init__(self, demand: Demand, start: int, stop: int, level: int) -> None:
        self.demand = demand
        self.entry = demand.entry
        self.wanted = (start, min(stop, start + largest(demand)))
        self.start, self.stop = (0, demand.end) if demand.sequential else (start, stop)  # what may come
        self.level = level
        self.url = demand.track.url
        self.began = asyncio.get_running_loop().time()
        self.received = 0  # bytes of the body
        self.new = 0  # of them, bytes that were not here yet
        self.bound = False  # the answer has been believed


def largest(demand: Demand) -> int:
    """Bytes of one request at most."""
    return LARGEST_JOB if demand.role is Role.JOB else LARGEST


async def fly(flight: Flight, cloud: CloudClient, cache: Cache, alone: Callable[[], bool]) -> None:
    """Do it. `alone`: whether no other answer for this entry has been believed and is being written.

    Raises Gone, Offline, ServerError, TokenRejected, Changed; StorageError when the disk has no room. What came before
    the error is kept.
    """
    entry = flight.entry
    start: int
    stop: int | None
    start, stop = flight.wanted
    if not entry.volatile and not entry.have and not await cache.make_room(flight.wanted[1] - start):
        raise StorageError("the cache has no room")
    if flight.demand.attempts.nonsense >= PLAIN_AFTER:  # perhaps the server can do whole files at least
        start, stop = 0, None
    async with cloud.open(flight.url, start, stop, etag=entry.etag) as body:
        if stop is not None:
            _only_parts_where_parts_work(flight, body)
        if body.ranged:  # of a whole file the beginning is looked at first: it may be a page that says what is wrong
            doubt(flight, body, cloud, alone=alone())
        await _receive(flight, body, cache, cloud, alone)


async def _receive(flight: Flight, body: Body, cache: Cache, cloud: CloudClient, alone: Callable[[], bool]) -> None:
    entry, demand = flight.entry, flight.demand
    position, pending, host = body.start, bytearray(), host_of(body.response.url)
    try:
        async for chunk in body.response.chunks():
            if not flight.bound and body.start == 0 and is_playlist(chunk):
                raise IsPlaylist(f"{host} sent a playlist")  # which is no audio, so it is not counted
            flight.received += len(chunk)
            cache.counters.network_bytes += len(chunk)
            if not flight.bound:
                if body.start == 0 and is_page(chunk):
                    raise ServerError(f"{host} sent a page where audio was expected", status=body.response.status)
                _believe(flight, body, cloud, alone)
            limit = body.stop if body.ranged else entry.size
            room = len(chunk) if limit is None else limit - position - len(pending)
            pending += chunk[:room]
            if len(pending) >= WRITE_AT or demand.waiting:
                position += await store(flight, position, pending, cache)
            if entry.superseded or len(chunk) > room:  # more than was promised: the connection is not used again
                break
    finally:  # also when the connection breaks: these bytes need not come again
        position += await store(flight, position, pending, cache)
    if entry.superseded:
        return
    if not flight.bound and (body.stop is None or position == body.stop):  # a body of no bytes that was promised so
        _believe(flight, body, cloud, alone)
    limit = body.stop if body.ranged else entry.size
    if limit is not None and position < limit:
        raise Offline(f"{host} ended the answer {limit - position} bytes too early")
    if limit is None:
        _believe_the_end(demand, position, host, delimited=body.delimited)


def _believe(flight: Flight, body: Body, cloud: CloudClient, alone: Callable[[], bool]) -> None:
    """Take the answer for what it says, unless another one has bound the entry meanwhile."""
    entry, demand = flight.entry, flight.demand
    doubt(flight, body, cloud, alone=alone())
    bind(entry, body)
    flight.bound = True
    demand.sequential = not body.ranged
    if not body.ranged:
        flight.start, flight.stop = 0, demand.end


async def store(flight: Flight, position: int, pending: bytearray, cache: Cache) -> int:
    """Write what is new of `pending`, empty it, and say how long it was."""
    entry = flight.entry
    if entry.superseded:
        pending.clear()
    data, length = bytes(pending), len(pending)
    pending.clear()
    wasted = length
    for start, stop in list(entry.have.gaps(position, position + length)):
        wasted -= stop - start
        await cache.write(entry, start, data[start - position : stop - position])
        flight.new += stop - start
    cache.counters.refetched_bytes += wasted
    return length


def doubt(flight: Flight, body: Body, cloud: CloudClient, *, alone: bool) -> None:
    """Whether the answer is of the version that the entry has, or may decide that while nothing depends on it.

    Raises ServerError for an answer that may be a lie, and Changed when the one before it said the same.
    """
    entry, track, host = flight.entry, flight.demand.track, host_of(body.response.url)
    size = entry.size if entry.size is not None else track.size
    promised = entry.version if entry.version.startswith("etag:") and cloud.tags_agree else None
    expected, told = entry.mark or promised, body.mark()
    same_date = body.modified is not None and body.modified == entry.modified
    same = expected in (None, told) or (same_date and (entry.etag is None or body.etag is None))
    same_size = None in (size, body.size) or size == body.size
    bound = bool(entry.have) or not alone
    if same and same_size:
        return
    if same_size and bound and body.etag is None and (entry.etag or body.unmarked):
        raise Untagged(f"{host} sent a part of the file without the tag that it had before")
    another = f"{told} {body.size}"
    entry.doubts = entry.doubts + 1 if entry.doubt == another else 1
    entry.doubt = another
    if entry.doubts <= (2 if body.unmarked else 1) and (bound or not same_size or entry.mark is None):
        raise ServerError(f"{host} sent what seems to be another version of the file")
    if bound:
        raise Changed(f"track {entry.track_id} has changed on the server")
    cloud.tags_agree = cloud.tags_agree and entry.mark is not None


def bind(entry: CacheEntry, body: Body) -> None:
    """From now on `entry` is of the version that this answer tells of."""
    entry.doubt = None
    if not entry.have:
        if entry.size is not None and body.size not in (None, entry.size):
            entry.size = None
        entry.mark = None
    if entry.mark is None or (body.etag and entry.etag is None):
        entry.mark = body.mark()
    entry.modified = body.modified or entry.modified
    if body.size is not None:
        entry.learn_size(body.size)
    entry.version = entry.version or (entry.mark if body.etag else f"date:{entry.size}:{body.modified}")


def _only_parts_where_parts_work(flight: Flight, body: Body) -> None:
    """The whole file instead of a part is legal, but a server that has sent parts before can do it again."""
    demand = flight.demand
    if body.ranged:
        demand.parts_work, demand.wholes = True, 0
        return
    demand.wholes += 1
    if demand.parts_work and demand.wholes == 1 and flight.entry.have:
        raise ServerError(f"{host_of(body.response.url)} sent the whole file where a part was asked for")


def _believe_the_end(demand: Demand, position: int, host: str, *, delimited: bool) -> None:
    """Nobody has told how long the file is: a closed connection may be the end or a broken line, so look twice."""
    promised = demand.track.size
    if position == demand.ended_at or (delimited and promised in (None, position)):
        demand.entry.learn_size(position)
        return
    demand.ended_at = position
    raise Offline(f"{host} ended the answer without saying whether that is all")
