"""P6: the head of what is highlighted is on the disk before it is pressed; against a real HTTP server and cache."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from appliance.cloud.auth import TokenSource
from appliance.cloud.client import CloudClient
from appliance.cloud.models import Track
from appliance.config import Cache as CacheSettings
from appliance.errors import NotFound
from appliance.events import Bus
from appliance.health import Health
from appliance.panel import peek
from appliance.panel.peek import Peeker
from appliance.store import Store
from appliance.stream import Cache, Fetcher, Role
from appliance.stream.need import HEAD
from tests.panel.support import until
from tests.support.fileserver import FileServer

SONGS = {f"/music/{n}.flac": random.Random(n).randbytes(3 << 20) for n in range(6)}


@dataclass
class Rig:
    cache: Cache
    fetcher: Fetcher
    server: FileServer
    peeker: Peeker

    library_id = "lib"

    async def track(self, track_id: str) -> Track:
        if f"/music/{track_id}.flac" not in SONGS:
            raise NotFound("there is no such track")
        return Track(id=track_id, album_id="a", url=f"/music/{track_id}.flac", duration=100.0)

    async def resolve(self, what: str) -> list[str]:
        return ["4", "5"]

    async def until_head(self, track_id: str) -> None:
        entry = await self.cache.acquire("lib", await self.track(track_id))
        await until(lambda: entry.have.total() >= HEAD)
        self.cache.release(entry)


@pytest.fixture
async def rig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Rig]:
    monkeypatch.setattr(peek, "REST_S", 0.05)
    async with FileServer(SONGS) as server:
        health = Health(Bus())
        store = await Store.open(tmp_path / "db")
        cache = Cache(store, CacheSettings(dir=str(tmp_path / "cache"), min_free=0), health)
        await cache.open()
        cloud = CloudClient(server.url, TokenSource(None))
        fetcher = Fetcher(cloud, cache, health)
        rig = Rig(cache, fetcher, server, None)  # type: ignore[arg-type]
        rig.peeker = Peeker(rig, cache, fetcher)
        yield rig
        await rig.peeker.close()
        await fetcher.close()
        await cache.close()
        await cloud.close()
        await store.close()


async def test_what_rests_is_fetched_and_a_press_finds_it_there(rig: Rig) -> None:
    rig.peeker.look_at("track:1")
    await rig.until_head("1")
    entry = await rig.cache.acquire("lib", await rig.track("1"))
    demand = rig.fetcher.demand(entry, await rig.track("1"), Role.CURRENT)
    assert entry.have.total() >= HEAD  # the first read waits for nothing
    rig.peeker.look_at("")
    await asyncio.wait_for(demand.finished, 10)
    rig.fetcher.withdraw(demand)
    rig.cache.release(entry)
    assert rig.server.sent["/music/1.flac"] == len(SONGS["/music/1.flac"])  # P5: each byte once
    assert rig.cache.counters.refetched_bytes == 0


async def test_what_is_passed_by_is_not_fetched(rig: Rig) -> None:
    for n in range(4):
        before = rig.peeker._timer
        rig.peeker.look_at(f"track:{n}")
        assert before is None or before.cancelled()  # the rest begins anew with every move
    await rig.until_head("3")
    assert {seen.path for seen in rig.server.seen} == {"/music/3.flac"}


async def test_an_album_means_its_first_track(rig: Rig) -> None:
    rig.peeker.look_at("album:7")
    await rig.until_head("4")


async def test_moving_on_withdraws(rig: Rig) -> None:
    rig.peeker.look_at("track:1")
    await rig.until_head("1")
    assert rig.peeker.held == "track:1"
    rig.peeker.look_at("")
    await until(lambda: not rig.peeker.held)
    assert not rig.fetcher._demands
    assert len(rig.server.sent) == 1
    assert rig.server.sent["/music/1.flac"] < len(SONGS["/music/1.flac"])  # a head, not the song


async def test_what_cannot_be_had_is_left_and_the_next_one_works(rig: Rig) -> None:
    rig.peeker.look_at("track:none")
    await asyncio.sleep(0.1)
    assert rig.peeker.held == ""
    rig.peeker.look_at("track:2")
    await rig.until_head("2")


async def test_close_lets_go_at_any_moment(rig: Rig) -> None:
    rig.peeker.look_at("track:1")
    await asyncio.sleep(0.06)
    await rig.peeker.close()
    assert rig.peeker.held == ""
