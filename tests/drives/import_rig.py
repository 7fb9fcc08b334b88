"""Importing with everything real: the embedded server as a process, a line that breaks, store, jobs and drives."""

from __future__ import annotations

import asyncio
import contextlib
import random
import subprocess
import wave
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from mutagen.flac import FLAC

from appliance.cloud.auth import TokenSource
from appliance.cloud.client import CloudClient
from appliance.cloud.timing import Timing
from appliance.drives import Drives, Ingest
from appliance.drives.ingest_rows import Result
from appliance.events import Bus, ImportChanged
from appliance.health import Health
from appliance.jobs import Info, Jobs
from appliance.store import Store
from tests.drives.rig import Plugs
from tests.support.box import Box
from tests.support.proxy import Proxy

QUICK = Timing(retries=(0.0, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 1.0))


class NoSupply:
    """Nothing is filled here."""

    library = ""


def tone(path: Path, seconds: float = 0.1) -> bytes:
    """The bytes of a short FLAC file without tags."""
    made = path / "tone.flac"
    subprocess.run(
        ["ffmpeg", "-y", "-v", "error", "-f", "lavfi", "-i", f"sine=440:duration={seconds}", "-ar", "44100", str(made)],
        check=True, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    data = made.read_bytes()
    made.unlink()
    return data


def tagged(path: Path, audio: bytes, **tags: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(audio)
    file = FLAC(path)
    for name, value in tags.items():
        file[name] = value
    file.save()
    return path


def noise(path: Path, size: int, seed: int = 1) -> Path:
    """A WAV file of about `size` bytes."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(44100)
        file.writeframes(random.Random(seed).randbytes(size // 4 * 4))
    return path


def songs(stick: Path, audio: bytes, count: int) -> None:
    for n in range(count):
        tagged(
            stick / f"Artist {n % 7}" / f"song {n}.flac", audio, title=f"Song {n}", artist=f"Artist {n % 7}", album="On"
        )


class Importer:
    """`box` is the server, `proxy` the line to it, `stick` what is plugged in as STICK."""

    def __init__(self, root: Path, box: Box, proxy: Proxy | None, url: str) -> None:
        self.root, self.box, self.proxy, self.url = root, box, proxy, url
        self.stick = root / "stick"
        self.stick.mkdir(exist_ok=True)
        self.plugs = Plugs()
        self.files: list[ImportChanged] = []
        self.automatic = False

    async def open(self) -> None:
        self.bus = Bus()
        self.health = Health(self.bus)
        self.store = await Store.open(self.root / "db")
        self.cloud = CloudClient(self.url, TokenSource(str(self.box.token_file)), QUICK)
        self.jobs = Jobs(self.store, self.bus)
        supply: Any = NoSupply()
        self.drives = Drives(self.plugs, self.store, self.jobs, supply, self._nothing, self.bus, self.health)
        self.ingest = Ingest(
            self.drives, self.store, self.jobs, self.cloud, self.bus, lambda: "lib", lambda: False,
            automatic=self.automatic,
        )  # fmt: skip
        self.bus.subscribe(ImportChanged, self.files.append)
        await self.ingest.open()
        await self.jobs.open()
        await self.drives.open()

    async def _nothing(self) -> list[str]:
        return []

    async def close(self) -> None:
        for part in (self.ingest, self.drives, self.jobs, self.cloud, self.store):
            await asyncio.wait_for(part.close(), 5)

    async def plug(self) -> None:
        self.plugs.plug(self.stick)
        async with asyncio.timeout(10):
            while self.drives.find("STICK").tree is None or self.drives.find("STICK").state == "mounting":
                await asyncio.sleep(0.01)

    async def run(self, seconds: float = 90) -> tuple[Info, Result]:
        """Import because somebody asks; its end."""
        job = await self.ingest.start("STICK")
        return await self.ended(job, seconds)

    async def ended(self, job: int, seconds: float = 90) -> tuple[Info, Result]:
        info = await asyncio.wait_for(self.jobs.wait(job), seconds)
        return info, await self.ingest.result(job)

    async def until(self, condition: Any, seconds: float = 30) -> None:
        """Until `condition(event)` held for a change of a file."""
        come: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def look(event: ImportChanged) -> None:
            if not come.done() and condition(event):
                come.set_result(None)

        end = self.bus.subscribe(ImportChanged, look)
        try:
            await asyncio.wait_for(come, seconds)
        finally:
            end()

    def tracks(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.box.api("library?since=0&limit=1000")["added"]
        return found

    def titles(self) -> list[str]:
        return sorted(track["title"] for track in self.tracks())

    def on_disk(self) -> list[Path]:
        """Every file below the server's music folder."""
        return [path for path in self.box.music.rglob("*") if path.is_file()]


@asynccontextmanager
async def importer(root: Path, *, url: str | None = None, automatic: bool = False) -> AsyncIterator[Importer]:
    with contextlib.ExitStack() as stack:
        box = Box(root, player=False, server=url is None)
        await asyncio.to_thread(stack.enter_context, box)
        if url is not None:
            box.token_file.write_text("t\n")
        proxy = stack.enter_context(Proxy(box.server_url)) if url is None else None
        made = Importer(root, box, proxy, url or proxy.url)  # type: ignore[union-attr]
        made.automatic = automatic
        await made.open()
        try:
            yield made
        finally:
            await made.close()
