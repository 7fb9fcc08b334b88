"""Fetcher, cache and client with everything under them, in this process, against a server whose answers are bent."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from pathlib import Path

from appliance.cloud.auth import TokenSource
from appliance.cloud.client import CloudClient
from appliance.cloud.models import Track
from appliance.cloud.timing import Timing
from appliance.config import Cache as CacheSettings
from appliance.demo.faults import FAULTS, spoil
from appliance.demo.faultserver import Answer, FaultServer, Hook, Seen
from appliance.events import Bus
from appliance.health import Health
from appliance.store import Store
from appliance.stream import Cache, CacheEntry, Demand, Fetcher, Role

PACE = 0.05  # seconds here for one of the real thing: a stall is noticed after 0.5 s
MIB = 1 << 20


class Lab:
    """`passed_over` are the reasons with which the fetcher has given up tracks, `replaced` the files it began anew."""

    def __init__(self, root: Path, url: str, *, token: str | None = None, timing: Timing | None = None) -> None:
        self.root, self.url = root, url
        self.timing = timing or Timing().scaled(PACE)
        self.token_file = root / "token"
        if token is not None:
            self.token_file.write_text(token)
        self.tokens = TokenSource(str(self.token_file) if token is not None else None)
        self.passed_over: list[str] = []
        self.replaced: list[CacheEntry] = []

    async def __aenter__(self) -> Lab:
        self.bus = Bus()
        self.health = Health(self.bus)
        self.store = await Store.open(self.root / "db")
        self.cache = Cache(self.store, CacheSettings(dir=str(self.root / "cache"), min_free=0), self.health)
        await self.cache.open()
        self.cloud = CloudClient(self.url, self.tokens, self.timing)
        self.cloud.tokens.on_refreshed = self._on_new_token
        self.fetcher = Fetcher(self.cloud, self.cache, self.health)
        self.fetcher.on_failed = lambda entry, reason: self.passed_over.append(reason)
        self.fetcher.on_superseded = self.replaced.append
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.fetcher.close()
        await self.cache.close()
        await self.cloud.close()
        await self.store.close()

    def _on_new_token(self) -> None:
        self.cache.counters.token_refreshes += 1

    async def want(self, track: Track, role: Role = Role.CURRENT) -> tuple[CacheEntry, Demand]:
        entry = await self.cache.acquire("lib", track)
        return entry, self.fetcher.demand(entry, track, role)

    async def fetch(self, track: Track, role: Role = Role.CURRENT, seconds: float = 20) -> CacheEntry:
        """All of it, and let go. Raises what the demand ends with."""
        entry, demand = await self.want(track, role)
        try:
            await asyncio.wait_for(asyncio.shield(demand.finished), seconds)
        finally:
            self.fetcher.withdraw(demand)
            self.cache.release(entry)
        return entry


async def until(condition: Callable[[], object], seconds: float = 10) -> None:
    """Wait for something that has no event of its own."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


def song(name: str, data: bytes | None = None, **known: object) -> Track:
    """A track of album `a`; its size is known when `data` is given."""
    size = {} if data is None else {"size": len(data)}
    return Track(id=name, album_id="a", url=f"/music/{name}.flac", duration=100.0, **(size | known))  # type: ignore[arg-type]


def noise(size: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(size)


def once(
    server: FaultServer, name: str, where: Callable[[Seen, Answer], bool], *, times: int = 1, pace: float = PACE
) -> Hook:
    """Strike with fault `name` the first `times` answers that `where` holds for; sets `hook.struck`."""
    dice = random.Random(name)

    async def hook(seen: Seen, answer: Answer) -> Answer | None:
        if seen.path.startswith("/api/v1/album/"):
            paths = [path for path in server.files if path.startswith("/music/")]
            tracks = ", ".join(f'{{"id": "{p[7:-5]}", "url": "{p}?fresh"}}' for p in paths)
            return Answer(200, f'{{"tracks": [{tracks}]}}'.encode(), {"Content-Type": "application/json"})
        if seen.path == "/api/v1/stats":
            return Answer(200, b'{"tracks": 1}', {"Content-Type": "application/json"})
        if not seen.path.startswith("/music/") or hook.struck >= times or not where(seen, answer):  # type: ignore[attr-defined]
            return None
        hook.struck += 1  # type: ignore[attr-defined]
        return spoil(name, seen, answer, dice, pace)

    hook.struck = 0  # type: ignore[attr-defined]
    return hook


def covers(byte: int) -> Callable[[Seen, Answer], bool]:
    """Whether a request asks for this byte."""
    return lambda seen, answer: (seen.range or (0, 1 << 62))[0] <= byte <= (seen.range or (0, 1 << 62))[1]


ALL = sorted(FAULTS)
