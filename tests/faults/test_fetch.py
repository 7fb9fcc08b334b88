"""Every fault, at every place of a file: what is on disk is the file, and nothing came twice but what was spoilt."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from appliance.cloud.timing import Timing
from appliance.demo.faults import FAULTS
from appliance.demo.faultserver import Answer, FaultServer, Seen
from appliance.errors import Offline, ServerError
from appliance.stream.retry import Attempts
from tests.faults.lab import ALL, MIB, Lab, covers, noise, once, song, until

SONG = noise(2 * MIB + 777)
PLACES = {"start": 0, "middle": MIB + 5, "last": len(SONG) - 1}
RUBBISH = 66_000  # one read of a socket: bytes that a client may read before it sees that they are of no use


@pytest.mark.parametrize("name", ALL)
async def test_a_fault_costs_only_what_it_spoils(name: str, tmp_path: Path) -> None:
    files = {f"/music/{place}.flac": SONG for place in PLACES}
    async with FaultServer(files) as server, Lab(tmp_path, server.url, token="right") as lab:
        for place, byte in PLACES.items():
            server.hook = hook = once(server, name, covers(byte))
            before = lab.cache.counters.network_bytes
            etag = server.etags[f"/music/{place}.flac"]
            entry = await lab.fetch(song(place, SONG, etag=etag))
            assert hook.struck == 1, place  # type: ignore[attr-defined]
            assert entry.path.read_bytes() == SONG, place
            assert not lab.passed_over, place
            assert not lab.replaced, place
            rubbish = lab.cache.counters.network_bytes - before - len(SONG)
            assert rubbish <= (RUBBISH if FAULTS[name].rubbish else 0), place
        assert lab.cache.counters.refetched_bytes == 0
        assert lab.health.words == ["ok"]


@pytest.mark.parametrize(
    "name", ["reset", "short", "no-content-range", "500", "404", "whole", "empty-chunked", "page-as-audio", "416"]
)
async def test_nobody_told_the_size_before(name: str, tmp_path: Path) -> None:
    async with FaultServer({"/music/song.flac": SONG}) as server:
        server.hook = once(server, name, covers(0))
        async with Lab(tmp_path, server.url) as lab:
            entry = await lab.fetch(song("song"))
            assert entry.path.read_bytes() == SONG
            assert lab.cache.counters.refetched_bytes == 0


@pytest.mark.parametrize("name", ["empty-chunked", "close-early", "reset-early", "500"])
async def test_a_server_that_fails_for_ever_is_not_asked_in_a_loop(name: str, tmp_path: Path) -> None:
    async with FaultServer({"/music/song.flac": SONG}) as server, Lab(tmp_path, server.url) as lab:
        server.hook = once(server, name, covers(0), times=1000)
        entry, demand = await lab.want(song("song", SONG))
        await asyncio.wait({demand.finished}, timeout=1.0)
        assert sum(seen.path.startswith("/music/") for seen in server.seen) <= 30
        assert lab.health.words != ["ok"]
        lab.fetcher.withdraw(demand)
        lab.cache.release(entry)


async def test_requests_that_fail_together_count_as_one_failure(tmp_path: Path) -> None:
    """Several requests at once that meet the same nonsense are not several of the five that a track may have."""
    big = noise(8 * MIB)
    async with FaultServer({"/music/song.flac": big}) as server, Lab(tmp_path, server.url) as lab:
        flying = most = failed = 0

        async def lie(seen: Seen, answer: Answer) -> Answer | None:
            nonlocal flying, most, failed
            if not seen.path.startswith("/music/"):
                return Answer(200, b"{}")
            flying += 1
            most = max(most, flying)
            await asyncio.sleep(0.05)  # so that they are under way together
            flying -= 1
            failed += 1
            return Answer(500, b"") if 2 < failed <= 8 else None

        server.hook = lie
        entry, demand = await lab.want(song("song", big))
        await until(lambda: entry.have.total() > 256 << 10)
        for at in (3, 4, 5, 6):
            lab.fetcher.read_at(entry, at * MIB, waiting=True)
        await asyncio.wait({demand.finished}, timeout=20)
        assert most >= 3
        assert not lab.passed_over
        assert entry.path.read_bytes() == big
        lab.cache.release(entry)


@pytest.mark.parametrize("name", ["503", "502", "429"])
async def test_a_server_that_asks_for_time_gets_it(name: str, tmp_path: Path) -> None:
    """Busy is not broken: however often it says so, the track is not passed over."""
    async with FaultServer({"/music/song.flac": SONG}) as server, Lab(tmp_path, server.url) as lab:

        async def busy(seen: Seen, answer: Answer) -> Answer | None:
            if not seen.path.startswith("/music/"):
                return Answer(200, b"{}")
            return Answer(int(name), b"") if len(server.seen) <= 8 else None

        server.hook = busy
        entry = await lab.fetch(song("song", SONG))
        assert entry.path.read_bytes() == SONG
        assert not lab.passed_over


def test_the_track_that_plays_never_waits_long_for_the_network() -> None:
    """An outage of 15 s must not become one of 30 s because the pause before the next attempt had grown so long."""
    timing, waits = Timing(), {}
    for heard in (True, False):
        attempts, now, waits[heard] = Attempts(), 0.0, []
        for _ in range(12):
            waits[heard].append(attempts.failed(Offline("away"), now, now, timing, heard=heard))
            now += waits[heard][-1]
    assert max(waits[True]) == timing.listening
    assert max(waits[False]) > 20
    assert Attempts().failed(ServerError("busy", status=503, retry_after=60), 0, 0, timing, heard=True) == 60
    promoted = Attempts()
    promoted.failures = 9
    promoted.failed(Offline("away"), 1.0, 1.0, timing, heard=False)
    promoted.hurry(1.0, timing)
    assert promoted.not_before <= 1.0 + timing.listening
