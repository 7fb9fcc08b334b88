"""Playlists and segments on their way from the servers to the disk (P2, P4, P5).

playlist loaded --> sizes asked for (HEAD) --> segments, each by one request, in order of need
     ^                                             |
     +------- 403, 404, 410 of a segment ----------+     a live one: again after its target duration
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Iterator

from appliance.cloud.body import Body, IsPlaylist, is_page, is_playlist
from appliance.cloud.client import CloudClient
from appliance.cloud.http import host_of
from appliance.errors import BadAddress, CloudError, Gone, Offline, ServerError, StorageError, Unplayable
from appliance.stream.cache import Cache
from appliance.stream.entry import CacheEntry
from appliance.stream.hls import playlist
from appliance.stream.hls.plan import ENDLESS, MARK, Plan
from appliance.stream.ranges import IntervalSet
from appliance.stream.transfer import WRITE_AT, Changed, Flight, store

MAX_PLAYLIST = 4 << 20  # bytes
MAX_SEGMENT = 1 << 30  # bytes
MAX_DEPTH = 3  # playlists that name a playlist
AT_ONCE = 3  # sizes asked for together
PATIENCE = 1.0  # seconds that the first segment waits for the sizes, which make seeks possible from the beginning
UNASKED = 8 << 20  # bytes asked for of a segment that was broken off and whose size nobody knows
SLOWEST_LOOK, FASTEST_LOOK = 30.0, 0.5  # seconds between two looks at a live playlist


class Source:
    """What is known of an entry whose track is a playlist. Times are the event loop's."""

    def __init__(self, mark: str | None = None) -> None:
        self.plan: Plan | None = None
        self.stale = False  # its addresses have expired
        self.renewed = False  # it was loaded anew and nothing has come since
        self.measured = False  # the sizes have been asked for
        self.hold_until = 0.0
        self.forgotten = 0  # bytes of a live stream that are given up
        self.look_at = 0.0  # when a live playlist may have news
        self.loading = asyncio.Lock()
        self.marks: dict[int, str] = {}  # versions of the segments under way
        self.doubts: dict[int, str] = {}
        self.ended_at: dict[int, int] = {}
        self._recalled = mark if mark and mark.startswith(MARK) else None

    @property
    def live(self) -> bool:
        return self.plan is not None and not self.plan.ended

    def due(self, now: float, position: int) -> bool:
        """Whether the playlist has to be loaded before byte `position` can come."""
        if self.plan is None or self.stale:
            return True
        return self.live and self.plan.segment_at(position) is None and now >= self.look_at

    def gap(
        self, start: int, stop: int, have: IntervalSet, flying: list[tuple[int, int]], now: float
    ) -> tuple[tuple[int, int] | None, bool]:
        """What to ask for to get [start, stop), and whether some of it, or what tells where it is, is on its way."""
        known = IntervalSet([*have, *flying])
        first = next((a for a, _ in known.gaps(start, stop)), None)
        if first is None:
            return None, bool(flying) and not have.covers(start, stop)
        if self.plan is None or self.stale:
            return (None, True) if flying else ((first, ENDLESS), False)
        if now < self.hold_until:
            return None, True
        block = self.plan.block(first, known)
        if block is None and self.live and not flying and now >= self.look_at:
            return (first, ENDLESS), False
        return block, bool(flying)

    def wake_at(self, now: float) -> float | None:
        """When `gap` may answer something else though nothing has happened."""
        times = [t for t in (self.hold_until, self.look_at if self.live else 0.0) if t > now]
        return min(times, default=None)

    def take(self, media: playlist.Media, now: float) -> None:
        """A playlist has been read. Raises Changed when it is of other segments than before."""
        fresh = Plan(media)
        if self.plan is None:
            if self._recalled is not None and not fresh.recall(self._recalled):
                raise Changed("the playlist has other segments than before")
            self.plan, self.measured = fresh, not fresh.ended or not fresh.unknown()
        elif self.live:
            news = self.plan.extend(media)
            pause = self.plan.target if news else self.plan.target / 2
            self.look_at = now + min(max(pause, FASTEST_LOOK), SLOWEST_LOOK)
        elif fresh.identity != self.plan.identity:
            raise Changed("the playlist has other segments than before")
        else:
            self.plan.renew(fresh)
        self.stale = False


async def load(source: Source, reference: str, cloud: CloudClient) -> None:
    """Load the playlist at `reference`, by way of its masters. Raises what `CloudClient.document` and `parse` do."""
    url, seen, without_end = cloud.http.url(reference), set[str](), set[str]()
    for _ in range(MAX_DEPTH + 1):
        if url in seen:
            break
        seen.add(url)
        body, base = await cloud.document(url, MAX_PLAYLIST)
        host = host_of(base)
        try:
            found = await asyncio.to_thread(_read, body, base)  # four megabytes take their time
        except Unplayable:
            raise
        except ServerError as error:
            raise ServerError(f"{host}: {error}") from None
        if isinstance(found, playlist.Media):
            if not found.ended and source.plan is None and url not in without_end:
                without_end.add(url)  # it may be live, or cut short by a server that says it is whole: look twice
                seen.discard(url)
                continue
            source.take(found, asyncio.get_running_loop().time())
            return
        url = cloud.http.url(found.best)
    raise Unplayable(f"its HLS playlist at {host_of(url)} leads from playlist to playlist and to no sound")


def _read(body: bytes, base: str) -> playlist.Media | playlist.Master:
    if body.startswith(b"\x1f\x8b"):  # compressed though nobody asked for it
        body = _unzipped(body)
    if not is_playlist(body):
        raise ServerError("what should be a playlist is none")
    return playlist.parse(body.decode("utf-8", "replace"), base)


def _unzipped(body: bytes) -> bytes:
    unzip = zlib.decompressobj(wbits=31)
    try:
        text = unzip.decompress(body, MAX_PLAYLIST)
    except zlib.error:
        raise ServerError("the compressed playlist is damaged") from None
    if unzip.unconsumed_tail or not unzip.eof:
        raise ServerError("the compressed playlist is too large or cut short")
    return text


async def measure(source: Source, cloud: CloudClient) -> None:
    """Ask for the sizes of the segments; no more of them when one is not told. They come with the segments then."""
    plan = source.plan
    if plan is None:
        return
    work = iter(plan.unknown())
    stop = cloud.heads_lie

    async def ask(indices: Iterator[int]) -> None:
        nonlocal stop
        for index in indices:
            if stop or plan.sizes[index] is not None:
                continue
            try:
                size = await cloud.length(plan.segments[index].url)
            except CloudError:
                size = None
            if not size or size > MAX_SEGMENT:
                stop = True
            else:
                plan.learn(index, size)

    await asyncio.gather(*(ask(work) for _ in range(AT_ONCE)))


async def receive(flight: Flight, source: Source, cloud: CloudClient, cache: Cache) -> None:
    """Get what `flight` wants, all of it in one segment. Raises as `transfer.fly` does."""
    plan, entry = source.plan, flight.entry
    index = plan.segment_at(flight.start) if plan is not None else None
    if plan is None or index is None:
        return
    segment, size, begins = plan.segments[index], plan.sizes[index], plan.offsets[index]
    if not entry.volatile and not await cache.make_room((size or 0) - (flight.start - begins)):
        cache.keep_in_memory(entry)
        raise StorageError("the cache has no room")
    done = flight.start - begins
    base = segment.span[0] if segment.span else 0
    mark = source.marks.get(index, "")
    first, last = base + done, (base + size if size is not None else base + done + UNASKED)
    etag = mark.removeprefix("etag:") if mark.startswith("etag:") else None
    whole = segment.span is None and not done
    try:
        async with cloud.open(segment.url, first, None if whole else last, etag=etag) as body:
            _doubt(source, index, body, cloud, begun=done > 0)
            await _write(flight, source, index, body, cache)
    except IsPlaylist:
        raise ServerError("a playlist has come where a segment was expected") from None
    except Gone:
        if source.renewed:
            raise
        source.stale = source.renewed = True  # signatures expire: a new playlist has new ones
        cache.counters.url_refreshes += 1
    except BadAddress as error:
        raise Unplayable(f"its HLS playlist is of no use: {error}") from None


def _doubt(source: Source, index: int, body: Body, cloud: CloudClient, *, begun: bool) -> None:
    """Whether the answer is of the segment that we know; what says something else twice has changed.

    `begun`: some of the segment is here.
    """
    plan, host = source.plan, host_of(body.response.url)
    if plan is None:
        return
    span, known = plan.segments[index].span, plan.sizes[index]
    if span and not body.ranged:
        raise ServerError(f"{host} sent the whole file where a part was asked for")
    told = f"{body.mark()} {body.size}"
    other_size = span is None and None not in (known, body.size) and known != body.size
    other_version = begun and not body.unmarked and source.marks.get(index, body.mark()) != body.mark()
    if not other_size and not other_version:
        if not body.unmarked:
            source.marks[index] = body.mark()
        return
    if source.doubts.get(index) == told:
        cloud.heads_lie = cloud.heads_lie or other_size
        raise Changed("a segment has changed on the server")
    source.doubts[index] = told
    raise ServerError(f"{host} sent what seems to be another version of a segment")


async def _write(flight: Flight, source: Source, index: int, body: Body, cache: Cache) -> None:
    plan, entry, demand, host = source.plan, flight.entry, flight.demand, host_of(body.response.url)
    if plan is None:
        return
    segment, begins = plan.segments[index], plan.offsets[index]
    base = segment.span[0] if segment.span else 0
    position, pending = begins + body.start - base, bytearray()
    size = plan.sizes[index] if plan.sizes[index] is not None else (None if segment.span else body.size)
    if size is not None and size > MAX_SEGMENT:
        raise ServerError(f"{host} has a segment of {size} bytes, which is no segment")
    end = None if size is None else begins + size
    try:
        async for chunk in body.response.chunks():
            flight.received += len(chunk)
            cache.counters.network_bytes += len(chunk)
            if not flight.bound:
                if body.start == 0 and is_page(chunk):
                    raise ServerError(f"{host} sent a page where audio was expected", status=body.response.status)
                flight.bound = True
                if size is not None:
                    learn(source, entry, index, size)
            room = len(chunk) if end is None else end - position - len(pending)
            pending += chunk[:room]
            if position + len(pending) - begins > MAX_SEGMENT:
                raise ServerError(f"{host} sends a segment without end")
            if len(pending) >= WRITE_AT or demand.waiting:
                position += await store(flight, position, pending, cache)
            if entry.superseded or len(chunk) > room:
                break
    finally:
        position += await store(flight, position, pending, cache)
    if entry.superseded:
        return
    if end is not None and position < end:
        if body.ranged and body.stop is not None and position == begins + body.stop - base:
            return  # the server gave less than was asked for, and said so
        raise Offline(f"{host} ended the answer {end - position} bytes too early")
    if end is None:
        if not body.delimited and source.ended_at.get(index) != position:
            source.ended_at[index] = position
            raise Offline(f"{host} ended the answer without saying whether that is all")
        size = position - begins
    learn(source, entry, index, size or 0)
    source.renewed = False
    source.marks.pop(index, None)


def learn(source: Source, entry: CacheEntry, index: int, size: int) -> None:
    """Segment `index` has `size` bytes; the entry hears of its own size when that was the last one."""
    if source.plan is not None:
        source.plan.learn(index, size)
        if source.plan.size is not None:
            entry.learn_size(source.plan.size)
