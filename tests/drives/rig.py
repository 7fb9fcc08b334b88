"""Drives with everything real around them: store, jobs, cache, fetcher, and a server whose answers a test can bend."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

from appliance.cloud.auth import TokenSource
from appliance.cloud.client import CloudClient
from appliance.cloud.models import Track
from appliance.config import Cache as CacheSettings
from appliance.drives import Drive, Drives, Exports, Supply
from appliance.drives.fill import Result
from appliance.events import Bus, DriveChanged
from appliance.health import Health
from appliance.jobs import Info, Jobs
from appliance.store import Store
from appliance.stream import Cache, Fetcher
from tests.support.fileserver import FileServer

LIBRARY = "lib"


class Stick(NamedTuple):
    node: str
    uuid: str
    name: str
    kind: str = "ext4"
    size: int = 0


class Plugs:
    """A source of drives that a test plugs and pulls; mounting is finding the folder."""

    def __init__(self) -> None:
        self.paths: dict[str, Path] = {}
        self.mounts: list[tuple[str, bool]] = []
        self.unmounted: list[tuple[str, bool]] = []

    def start(self, added: Any, removed: Any) -> None:
        self._added, self._removed = added, removed

    def plug(self, path: Path, kind: str = "ext4", uuid: str = "1234-ABCD", name: str = "STICK") -> None:
        stick = Stick(f"/dev/{name}", uuid, name, kind)
        self.paths[stick.node] = path
        self._added(stick)

    def pull(self, name: str = "STICK") -> None:
        self._removed(f"/dev/{name}")

    async def mount(self, node: str, *, writable: bool) -> Path:
        self.mounts.append((node, writable))
        return self.paths[node]

    async def unmount(self, node: str, *, power_off: bool) -> None:
        self.unmounted.append((node, power_off))

    async def close(self) -> None:
        pass


class Tracks:
    """A library of the tracks that a test makes."""

    library_id = LIBRARY

    def __init__(self) -> None:
        self.all: dict[str, Track] = {}

    async def get_tracks(self, ids: Sequence[str]) -> list[Track]:
        return [self.all[i] for i in ids if i in self.all]


class Rig:
    """`wanted` is what a fill takes."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.server = FileServer({})
        self.tracks = Tracks()
        self.plugs = Plugs()
        self.wanted: list[str] = []
        self.events: list[DriveChanged] = []

    async def open(self, cache_bytes: int = 1 << 30) -> None:
        self.bus = Bus()
        self.health = Health(self.bus)
        self.store = await Store.open(self.root / "db")
        settings = CacheSettings(dir=str(self.root / "cache"), max_bytes=cache_bytes, min_free=0)
        self.cache = Cache(self.store, settings, self.health)
        await self.cache.open()
        self.cloud = CloudClient(self.server.url, TokenSource(None))
        self.fetcher = Fetcher(self.cloud, self.cache, self.health)
        self.jobs = Jobs(self.store, self.bus)
        self.supply = Supply(self.tracks, self.cache, self.fetcher, self.cloud)
        self.drives = Drives(self.plugs, self.store, self.jobs, self.supply, self.list, self.bus, self.health)
        self.exports = Exports(self.drives, self.supply, self.jobs, self.bus)
        self.fetcher.local = self.drives.read
        self.bus.subscribe(DriveChanged, self.events.append)
        await self.jobs.open()
        await self.drives.open()

    async def list(self) -> list[str]:
        return self.wanted

    async def close(self) -> None:
        for part in (self.drives, self.jobs, self.fetcher, self.cache, self.cloud, self.store):
            await asyncio.wait_for(part.close(), 5)

    async def restart(self) -> None:
        """As after a power cut of the box, but for what was being written."""
        await self.close()
        await self.open()

    def add(self, track_id: str, size: int = 100_000, **fields: Any) -> Track:
        """A track with random bytes, served; `title`, `artist` ... may be anything."""
        data = (b"fLaC" + random.Random(track_id).randbytes(size))[:size]  # noise alone may begin like a web page
        path = f"/music/{len(self.server.files)}.flac"
        self.server.files[path] = data
        self.server.etags[path] = f'"{track_id.encode().hex()[:40]}-{size}"'
        known = {"title": f"Title {track_id}", "artist": "Artist", "album": "Album", "no": len(self.tracks.all) + 1}
        known |= {"duration": 10.0, "size": size, "sha256": hashlib.sha256(data).hexdigest()}
        track = Track(id=track_id, url=path, etag=self.server.etags[path], **{**known, **fields})
        self.tracks.all[track_id] = track
        self.wanted.append(track_id)
        return track

    def data(self, track_id: str) -> bytes:
        return self.server.files[self.tracks.all[track_id].url]

    async def adopted(self, path: Path, kind: str = "ext4", *, wait: bool = True) -> Drive:
        """Plug, adopt, and with `wait` fill."""
        self.plugs.plug(path, kind)
        await self.until("not-adopted")
        drive = await self.drives.adopt("STICK")
        if wait:
            await self.filled()
        return drive

    async def filled(self) -> tuple[Info, Result]:
        """The end of the fill that runs, or of one that is begun with this."""
        job = await self.drives.fill("STICK")
        info = await asyncio.wait_for(self.jobs.wait(job), 30)
        return info, self.drives.filling.take_result(job)

    async def until(self, *states: str, seconds: float = 10) -> Drive:
        """Until the drive is in one of `states`."""
        came = asyncio.Event()
        end = self.bus.subscribe(DriveChanged, lambda _: came.set())
        try:
            async with asyncio.timeout(seconds):
                while True:
                    with contextlib.suppress(LookupError):
                        if (drive := self.drives.find("STICK")).state in states:
                            return drive
                    await came.wait()
                    came.clear()
        finally:
            end()


@asynccontextmanager
async def rig(root: Path, cache_bytes: int = 1 << 30) -> AsyncIterator[Rig]:
    root.mkdir(parents=True, exist_ok=True)
    made = Rig(root)
    async with made.server:
        await made.open(cache_bytes)
        try:
            yield made
        finally:
            await made.close()


def manifest(drive: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((drive / ".chadbox/manifest.json").read_bytes())
    return found


def files(drive: Path) -> dict[str, bytes]:
    """Every file of a drive but those in .chadbox."""
    found = {str(path.relative_to(drive)): path for path in drive.rglob("*") if path.is_file()}
    return {name: path.read_bytes() for name, path in found.items() if not name.startswith(".chadbox/")}


def check(rig: Rig, drive: Path) -> set[str]:
    """What the manifest says is there is there, whole; no part is left. The ids."""
    assert not list(drive.rglob("*.chadbox-part")), "an unfinished file was left"
    ids = set()
    for entry in manifest(drive)["files"]:
        data = (drive / entry["path"]).read_bytes()
        assert len(data) == entry["size"]
        assert hashlib.sha256(data).hexdigest() == entry["sha256"]
        assert data == rig.data(entry["id"])
        ids.add(entry["id"])
    return ids
