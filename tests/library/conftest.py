from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from appliance.events import Bus, Event
from appliance.library import Library
from appliance.store import Store
from tests.library.support import HttpCloud, Model, PageServer


@dataclass
class Box:
    """A library on a real database, and the server that it talks to."""

    path: Path
    model: Model
    server: PageServer
    store: Store
    library: Library
    cloud: HttpCloud
    bus: Bus
    events: list[Event] = field(default_factory=list)

    async def reopen(self) -> None:
        """What a restart does."""
        await self.library.close()
        await self.store.close()
        self.store = await Store.open(self.path)
        self.library = Library(self.store, self.cloud, self.bus)
        await self.library.open()


@pytest.fixture
async def box(tmp_path: Path) -> AsyncIterator[Box]:
    model, bus = Model(), Bus()
    async with PageServer(model) as server:
        store = await Store.open(tmp_path / "chadbox.db")
        cloud = HttpCloud(server.port)
        library = Library(store, cloud, bus)
        await library.open()
        box = Box(tmp_path / "chadbox.db", model, server, store, library, cloud, bus)
        bus.subscribe(Event, box.events.append)
        yield box
        await box.library.close()
        await box.store.close()
        cloud.close()
