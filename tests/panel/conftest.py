"""A real library of 50,000 albums, a panel on it, and a player that only takes notes."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import pytest

from appliance.cloud.models import Stats
from appliance.errors import ChadboxError, NotFound
from appliance.events import Bus, DriveChanged, StatusChanged
from appliance.library import Library
from appliance.panel import Care, Frame, Key, Panel
from appliance.player.queue import Queue
from appliance.store import Store
from tests.library.support import track

ENTRIES = 50_000
SYLLABLES = (*"さ夜東한", "Ab", "Bro", "Chi", "Do", "Éc", "Fa", "Go", "Hö", "Il", "Ka", "Lu", "Мо", "Нё", "Ро")


def entry(n: int) -> dict[str, Any]:
    """An album of one track; names spread over many letters and scripts."""
    name = SYLLABLES[n % len(SYLLABLES)] + "".join(SYLLABLES[n // 18**k % 18] for k in range(4)).lower()
    return track(n, album_id=f"al{n}", album=f"{name} {n}", title=f"Song {n}", artist=f"Artist {n % 5000}", no=1)


class Pages:
    """The server's delta library, straight from memory."""

    async def library_page(self, since: int, limit: int) -> bytes:
        last = min(since + limit, ENTRIES)
        added = [entry(n) | {"seq": n + 1} for n in range(since, last)]
        page = {"library": "large", "added": added, "updated": [], "deleted": [], "seq": last, "more": last < ENTRIES}
        return json.dumps(page).encode()

    async def stats(self) -> Stats:
        return Stats(library="large", tracks=ENTRIES, seq=ENTRIES)


async def fill(path: Path) -> None:
    store = await Store.open(path)
    library = Library(store, Pages(), Bus())
    await library.open()
    await library.sync()
    await library.close()
    await store.close()


@pytest.fixture(scope="session")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The database of the large library, made once."""
    path = tmp_path_factory.mktemp("large") / "chadbox.db"
    asyncio.run(fill(path))
    return path


class NotedPlayer:
    """Does nothing in the simplest way possible; `done` says what was asked for."""

    def __init__(self, library: Library, bus: Bus) -> None:
        self.queue = Queue()
        self.volume = 40
        self.state = "stopped"
        self.position = 0.0
        self.done: list[Any] = []
        self._library, self._bus = library, bus
        self._track: Any = None
        self.health: dict[str, str] = {}
        self.loudness = "auto"

    def status(self) -> dict[str, Any]:
        return {
            "state": self.state, "health": sorted(self.health) or ["ok"], "health_details": self.health,
            "track": self._track, "position": self.position, "duration": 180.5, "volume": self.volume,
            "source": "cache" if self._track else None, "cached_percent": 100,
            "queue": {"shuffle": self.queue.shuffle, "repeat": self.queue.repeat},
        }  # fmt: skip

    def _note(self, *what: Any) -> None:
        self.done.append(what)
        self._bus.publish(StatusChanged())

    async def _begin(self, ids: Sequence[str], first: int) -> None:
        self.queue.replace(ids)
        self.queue.begin_with(first)
        self._track = await self._library.track(ids[first])
        self.state, self.position = "playing", 0.0

    def set_volume(self, percent: int) -> None:
        self.volume = percent
        self._note("volume", percent)

    async def play(self, what: str | None = None) -> None:
        if what is None:
            raise NotFound("the queue is empty")
        await self._begin(await self._library.resolve(what), 0)
        self._note("play", what)

    async def play_list(self, track_ids: Sequence[str], first: int = 0) -> None:
        await self._begin(track_ids, first)
        self._note("play_list", list(track_ids), first)

    async def play_at(self, index: int) -> None:
        self.queue.begin_with(index)
        self._note("play_at", index)

    async def pause(self) -> None:
        self.state = "paused"
        self._note("pause")

    async def toggle(self) -> None:
        if self._track is None:
            raise NotFound("the queue is empty; say what to play")
        self.state = "paused" if self.state == "playing" else "playing"
        self._note("toggle")

    async def stop(self) -> None:
        self.state = "stopped"
        self._note("stop")

    async def next(self) -> None:
        self._note("next")

    async def previous(self) -> None:
        self._note("previous")

    async def seek(self, seconds: float, *, relative: bool = False) -> None:
        self._note("seek", seconds, relative)

    async def enqueue(self, what: str, *, following: bool) -> int:
        ids = await self._library.resolve(what)
        self.queue.append(ids)
        self._note("enqueue", what)
        return len(ids)

    async def set_shuffle(self, on: bool) -> None:
        self.queue.set_shuffle(on)
        self._note("shuffle", on)

    async def set_loudness(self, mode: Literal["auto", "album", "track", "off"]) -> None:
        self.loudness = mode
        self._note("loudness", mode)

    async def set_repeat(self, mode: Literal["off", "one", "all"]) -> None:
        self.queue.repeat = mode
        self._note("repeat", mode)


class NotedDrives:
    """Sticks that do what they are told at once; `refusal` is what they say instead."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._there: dict[str, dict[str, Any]] = {}
        self.done: list[tuple[str, str]] = []
        self.refusal: ChadboxError | None = None

    def documents(self) -> list[dict[str, Any]]:
        return list(self._there.values())

    def plug(self, uuid: str, name: str, **facts: Any) -> None:
        """Comes, is looked at, and is a stranger's unless `facts` say otherwise."""
        self._there[uuid] = {
            "name": name, "uuid": uuid, "state": "mounting", "adopted": False, "progress": 0, "message": "",
            "files": 0, "bytes": 0, "missing": 0,
        }  # fmt: skip
        self.change(uuid)
        self.change(uuid, **({"state": "not-adopted"} | facts))

    def change(self, uuid: str, **facts: Any) -> None:
        drive = self._there[uuid]
        drive |= facts
        words = [drive[name] for name in ("name", "uuid", "state", "adopted", "progress", "message")]
        self._bus.publish(DriveChanged(*words))

    def pull(self, uuid: str) -> None:
        drive = self._there.pop(uuid)
        self._bus.publish(DriveChanged(drive["name"], uuid, "gone", drive["adopted"], 0))

    def _do(self, what: str, uuid: str, **facts: Any) -> None:
        self.done.append((what, uuid))
        if self.refusal is not None:
            raise self.refusal
        self.change(uuid, **facts)

    async def adopt(self, name: str) -> None:
        self._do("adopt", name, state="ready", adopted=True)

    async def forget(self, name: str) -> None:
        self._do("forget", name, state="not-adopted", adopted=False)

    async def fill(self, name: str) -> None:
        self._do("fill", name, state="filling", progress=0)

    async def eject(self, name: str) -> None:
        self._do("eject", name, state="ejecting")
        self.change(name, state="safe-to-remove")


async def about() -> list[tuple[str, str]]:
    return [("Name", "chadbox"), ("Address", "192.0.2.7"), ("Version", "1.2")]


class Stage:
    """A panel being looked at. `frames` is what was shown; `until` waits for a frame, never for seconds."""

    def __init__(self, store: Store, library: Library, bus: Bus) -> None:
        self.store, self.library, self.bus = store, library, bus
        self.player = NotedPlayer(library, bus)
        self.drives = NotedDrives(bus)
        self.frames: list[Frame] = []
        self.looked: list[str] = []
        self._came = asyncio.Event()

    def open(self, *, height: int = 64, care: Care = Care(0, 0, 0), look: bool = True) -> Panel:  # noqa: B008
        self.panel = Panel(
            self.player, self.library, self.player.status, self.bus, peek=self, drives=self.drives,
            about=about, height=height, care=care
        )  # fmt: skip
        self.detach = self.panel.attach(self._frame) if look else lambda: None
        return self.panel

    def look_at(self, what: str) -> None:
        if not self.looked or self.looked[-1] != what:
            self.looked.append(what)

    def _frame(self, frame: Frame) -> None:
        self.frames.append(frame)
        self._came.set()

    @property
    def words(self) -> tuple[str, ...]:
        return self.frames[-1].words

    async def until(self, condition: Callable[[], object], seconds: float = 10.0) -> None:
        try:
            async with asyncio.timeout(seconds):
                while not condition():
                    self._came.clear()
                    await self._came.wait()
        except TimeoutError:
            raise AssertionError(f"did not come; last: {self.frames[-1].words if self.frames else None}") from None

    def press(self, action: Any, detents: int = 0, steps: int | None = None) -> None:
        self.panel.key(Key(action, detents, detents if steps is None else steps))

    async def choose(self, text: str) -> None:
        """Turn until the row that begins with `text` is the chosen one, and press."""
        for _ in range(200):
            if any(word.startswith(f"> {text}") for word in self.words):
                break
            count = len(self.frames)
            self.press("scroll", 1)
            await self.until(lambda count=count: len(self.frames) > count)  # type: ignore[misc]
        else:
            raise AssertionError(f"there is no row {text}; {self.words}")
        self.press("select")


@pytest.fixture
async def stage(large: Path, tmp_path: Path) -> AsyncIterator[Stage]:
    path = tmp_path / "chadbox.db"
    for suffix in ("", "-wal", "-shm"):
        if (source := large.with_name(large.name + suffix)).exists():
            shutil.copyfile(source, path.with_name(path.name + suffix))
    store, bus = await Store.open(path), Bus()
    library = Library(store, Pages(), bus)
    await library.open()
    stage = Stage(store, library, bus)
    yield stage
    await stage.panel.close()
    await library.close()
    await store.close()
