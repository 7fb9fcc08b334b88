"""Fetcher and cache together, against a real HTTP server (P3-P6, C1)."""

import asyncio
import hashlib
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from appliance.cloud.auth import TokenSource
from appliance.cloud.client import CloudClient
from appliance.cloud.models import Track
from appliance.config import Cache as CacheSettings
from appliance.errors import CloudError
from appliance.events import Bus, HealthChanged
from appliance.health import Health
from appliance.store import Store
from appliance.stream import Cache, CacheEntry, Fetcher, Role
from tests.support.fileserver import Answer, FileServer, Seen

MIB = 1 << 20
SONG = random.Random(1).randbytes(5 * MIB + 777)
OTHER = random.Random(2).randbytes(3 * MIB + 1)


@dataclass
class Box:
    """The stream room with everything under it."""

    cache: Cache
    fetcher: Fetcher
    health: Health
    bus: Bus
    server: FileServer

    def track(self, name: str, **known: object) -> Track:
        return Track(id=name, album_id="a", url=f"/music/{name}.flac", duration=100.0, **known)  # type: ignore[arg-type]

    async def fetch(self, track: Track, role: Role = Role.CURRENT) -> CacheEntry:
        """Fetch all of it and let go."""
        entry = await self.cache.acquire("lib", track)
        demand = self.fetcher.demand(entry, track, role)
        try:
            await asyncio.wait_for(demand.finished, 20)
        finally:
            self.fetcher.withdraw(demand)
            self.cache.release(entry)
        return entry

    @property
    def counted(self) -> int:
        return self.cache.counters.network_bytes


class Boxes:
    """Starts boxes on one state directory, so that a second one is the same box after a restart."""

    def __init__(self, root: Path, server: FileServer) -> None:
        self.root = root
        self.server = server
        self._open: list[tuple[Fetcher, Cache, Store, CloudClient]] = []

    async def start(self, token: str | None = None, **cache: int | str) -> Box:
        bus = Bus()
        health = Health(bus)
        store = await Store.open(self.root / "db")
        kept = Cache(store, CacheSettings(dir=str(self.root / "cache"), **({"min_free": 0} | cache)), health)  # type: ignore[arg-type]
        await kept.open()
        if token is not None:
            (self.root / "token").write_text(token)
        cloud = CloudClient(self.server.url, TokenSource(str(self.root / "token") if token is not None else None))
        fetcher = Fetcher(cloud, kept, health)
        self._open.append((fetcher, kept, store, cloud))
        return Box(kept, fetcher, health, bus, self.server)

    async def stop(self) -> None:
        while self._open:
            fetcher, cache, store, cloud = self._open.pop()
            await fetcher.close()
            await cache.close()
            await cloud.close()
            await store.close()


@pytest.fixture
async def boxes(tmp_path: Path) -> AsyncIterator[Boxes]:
    async with FileServer({"/music/song.flac": SONG, "/music/other.flac": OTHER, "/music/empty.flac": b""}) as server:
        box = Boxes(tmp_path, server)
        yield box
        await box.stop()


async def test_every_byte_once(boxes: Boxes) -> None:
    box = await boxes.start()
    entry = await box.fetch(box.track("song"))
    assert entry.path.read_bytes() == SONG
    assert box.counted == len(SONG) == boxes.server.sent["/music/song.flac"]
    assert box.cache.counters.refetched_bytes == 0
    assert all(s.headers["accept-encoding"] == "identity" for s in boxes.server.seen)


async def test_seeks_and_a_restart_cost_nothing(boxes: Boxes) -> None:
    box, rng = await boxes.start(), random.Random(3)
    track = box.track("song", size=len(SONG))
    entry = await box.cache.acquire("lib", track)
    demand = box.fetcher.demand(entry, track, Role.CURRENT)
    for _ in range(25):
        box.fetcher.read_at(entry, rng.randrange(len(SONG)), waiting=True)
        await asyncio.sleep(0.002)
    box.fetcher.withdraw(demand)
    box.cache.release(entry)
    await boxes.stop()
    box = await boxes.start()
    entry = await box.fetch(track)
    assert entry.path.read_bytes() == SONG
    assert box.counted == boxes.server.sent["/music/song.flac"]
    assert box.counted == len(SONG)
    before = boxes.server.sent.total()
    await box.fetch(track)
    assert boxes.server.sent.total() == before


async def test_what_the_ear_needs_comes_first(boxes: Boxes) -> None:
    box = await boxes.start()
    track = box.track("song", size=len(SONG))
    entry = await box.cache.acquire("lib", track)
    target = 4 * MIB + 5
    arrived: list[int] = []
    reached = asyncio.Event()

    def note(_: CacheEntry, start: int, stop: int) -> None:
        arrived.append(start)
        if start <= target < stop:
            reached.set()

    entry.on_bytes = note
    demand = box.fetcher.demand(entry, track, Role.CURRENT)
    box.fetcher.read_at(entry, target, waiting=True)
    await asyncio.wait_for(reached.wait(), 10)
    assert entry.have.total() < 2 * MIB, "the hole was fetched before the rest"
    await asyncio.wait_for(demand.finished, 10)
    box.cache.release(entry)


async def test_current_then_next_then_jobs(boxes: Boxes) -> None:
    box = await boxes.start()
    song, other = box.track("song", size=len(SONG)), box.track("other", size=len(OTHER))
    entries = [await box.cache.acquire("lib", t) for t in (song, other)]
    job = box.fetcher.demand(entries[1], other, Role.JOB)
    now = box.fetcher.demand(entries[0], song, Role.CURRENT)
    await asyncio.wait_for(asyncio.gather(job.finished, now.finished), 20)
    order = [s.path for s in boxes.server.seen]
    last_song = len(order) - order[::-1].index("/music/song.flac")
    assert order[3:last_song].count("/music/other.flac") <= 1, "a job does not compete with playing"
    for entry in entries:
        box.cache.release(entry)


async def test_the_same_track_twice_is_one_file(boxes: Boxes) -> None:
    box = await boxes.start()
    first, second = await asyncio.gather(*(box.cache.acquire("lib", box.track("song")) for _ in range(2)))
    assert first is second
    box.cache.release(first)
    box.cache.release(second)


async def test_resumes_at_the_first_missing_byte(boxes: Boxes) -> None:
    cuts = iter([100_000, 0, 3])

    async def cut(seen: Seen, answer: Answer) -> Answer | None:
        answer.cut = next(cuts, None) if seen.path.startswith("/music") else None
        return answer

    boxes.server.hook = cut
    box = await boxes.start()
    entry = await box.fetch(box.track("song"))
    assert entry.path.read_bytes() == SONG
    assert box.counted == len(SONG) == boxes.server.sent["/music/song.flac"]


async def test_a_changed_file_is_never_mixed_with_the_old_one(boxes: Boxes) -> None:
    box = await boxes.start()
    track = box.track("song", size=len(SONG))
    gone: list[CacheEntry] = []
    box.fetcher.on_superseded = gone.append
    changed = asyncio.Event()

    async def swap(seen: Seen, answer: Answer) -> Answer | None:
        if len(boxes.server.seen) == 3 and not changed.is_set():
            changed.set()
            boxes.server.files["/music/song.flac"] = OTHER
            boxes.server.etags["/music/song.flac"] = '"new"'
            return boxes.server.honest(seen)
        return None

    boxes.server.hook = swap
    with pytest.raises(Exception, match="replaced"):
        await box.fetch(track)
    assert len(gone) == 1
    entry = await box.fetch(box.track("song"))
    assert entry is not gone[0]
    assert entry.path.read_bytes() == OTHER


async def test_a_server_without_range_still_serves(boxes: Boxes) -> None:
    async def plain(seen: Seen, answer: Answer) -> Answer | None:
        return Answer(200, SONG, {"Content-Type": "audio/flac"}) if seen.path.endswith("song.flac") else None

    boxes.server.hook = plain
    box = await boxes.start()
    entry = await box.fetch(box.track("song"))
    assert entry.path.read_bytes() == SONG
    assert box.counted == len(SONG) == boxes.server.sent["/music/song.flac"]


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (Answer(200, b"<html>", {"Content-Type": "text/html"}), "text/html where audio"),
        (Answer(206, b"abc", {"Content-Range": "bytes 7-9/10"}), "were asked for"),
        (Answer(206, b"abc", {}), "without saying which"),
        (Answer(200, b"abc", {"Content-Encoding": "gzip"}), "compressed"),
    ],
)
async def test_nonsense_is_given_up_with_a_reason(
    boxes: Boxes, answer: Answer, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("appliance.stream.retry.delay", lambda *_: 0.001)

    async def lie(seen: Seen, honest: Answer) -> Answer | None:
        return answer if seen.path.startswith("/music") else Answer(200, b"{}")

    boxes.server.hook = lie
    box = await boxes.start()
    failed: list[str] = []
    box.fetcher.on_failed = lambda entry, why: failed.append(why)
    with pytest.raises(CloudError, match=reason):
        await box.fetch(box.track("song"))
    assert failed
    assert "\n" not in failed[0]
    assert box.health.words == ["server-error"]


async def test_gone_means_a_fresh_url_once(boxes: Boxes) -> None:
    async def expire(seen: Seen, answer: Answer) -> Answer | None:
        if seen.path == "/api/v1/album/a/tracks":
            return Answer(200, b'{"tracks": [{"id": "song", "url": "/music/song.flac?fresh"}]}')
        return Answer(410, b"") if not seen.target.endswith("fresh") else None

    boxes.server.hook = expire
    box = await boxes.start()
    entry = await box.fetch(box.track("song"))
    assert entry.path.read_bytes() == SONG
    assert box.cache.counters.url_refreshes == 1


async def test_a_new_token_is_picked_up(boxes: Boxes) -> None:
    boxes.server.token = "right"
    box = await boxes.start(token="wrong")
    rejected = asyncio.Event()
    box.bus.subscribe(HealthChanged, lambda event: rejected.set() if "token-rejected" in event.words else None)
    entry = await box.cache.acquire("lib", box.track("song"))
    demand = box.fetcher.demand(entry, box.track("song"), Role.CURRENT)
    await asyncio.wait_for(rejected.wait(), 10)
    (boxes.root / "token").write_text("right\n")
    box.fetcher.retry_now()
    await asyncio.wait_for(demand.finished, 20)
    assert box.health.words == ["ok"]
    box.cache.release(entry)


async def test_the_token_stays_with_the_server(boxes: Boxes) -> None:
    async with FileServer({"/cdn.flac": SONG}) as cdn:

        async def redirect(seen: Seen, answer: Answer) -> Answer | None:
            return Answer(302, b"", {"Location": f"{cdn.url}/cdn.flac"})

        boxes.server.hook = redirect
        box = await boxes.start(token="secret")
        entry = await box.fetch(box.track("song"))
        assert entry.path.read_bytes() == SONG
        assert all(s.headers["authorization"] == "Bearer secret" for s in boxes.server.seen)
        assert cdn.seen
        assert not any("secret" in str(s) for s in cdn.seen)


async def test_an_empty_file(boxes: Boxes) -> None:
    box = await boxes.start()
    entry = await box.fetch(box.track("empty"))
    assert entry.size == 0


async def test_hash_is_checked(boxes: Boxes, caplog: pytest.LogCaptureFixture) -> None:
    box = await boxes.start()
    good, bad = hashlib.sha256(SONG).hexdigest(), "0" * 64
    entry = await box.fetch(box.track("song", sha256=good))
    await boxes.stop()
    assert entry.sha256 == good
    box = await boxes.start()
    entry = await box.fetch(box.track("other", sha256=bad))
    await boxes.stop()
    assert "does not match" in caplog.text
    assert not entry.path.exists()


async def test_evicts_the_least_recently_used_but_never_pins(boxes: Boxes) -> None:
    for name in "abcd":
        boxes.server.files[f"/music/{name}.flac"] = SONG[:MIB]
        boxes.server.etags[f"/music/{name}.flac"] = f'"{name}"'
    box = await boxes.start(max_bytes=3 * MIB)
    for name in "abc":
        await box.fetch(box.track(name, size=MIB))
    await box.cache.pin("lib", ["a"], on=True)
    await box.fetch(box.track("d", size=MIB))
    await asyncio.sleep(0)
    kept = {f.id for f in await box.cache.listing()}
    assert kept == {"a", "c", "d"}
    assert box.cache.bytes <= 3 * MIB
    assert len(list(box.cache.dir.iterdir())) == 3


async def test_no_room_means_streaming_without_the_disk(boxes: Boxes) -> None:
    box = await boxes.start(min_free=1 << 60)
    entry = await box.cache.acquire("lib", box.track("song", size=len(SONG)))
    assert entry.volatile
    demand = box.fetcher.demand(entry, box.track("song"), Role.CURRENT)
    await asyncio.wait_for(demand.finished, 20)
    assert entry.path.read_bytes() == SONG
    assert box.health.words == ["disk-full"]
    box.cache.release(entry)
    assert not list(box.cache.dir.iterdir())


async def test_leftovers_of_a_crash_are_removed(boxes: Boxes) -> None:
    box = await boxes.start()
    entry = await box.fetch(box.track("song"))
    other = await box.fetch(box.track("other"))
    await boxes.stop()
    (box.cache.dir / "999.audio").write_bytes(b"orphan")
    entry.path.unlink()
    other.path.write_bytes(b"short")
    box = await boxes.start()
    assert box.cache.bytes == 0
    assert not list(box.cache.dir.iterdir())


async def test_verify_finds_a_flipped_bit(boxes: Boxes) -> None:
    box = await boxes.start()
    entry = await box.fetch(box.track("song"))
    await boxes.stop()
    data = bytearray(entry.path.read_bytes())
    data[123_456] ^= 1
    entry.path.write_bytes(data)
    box = await boxes.start()
    percents: list[int] = []
    checked, bad = await box.cache.verify(percents.append)
    assert (checked, len(bad), percents[-1]) == (1, 1, 100)
    assert (await box.cache.verify(percents.append))[0] == 0, "the bad file was dropped"
