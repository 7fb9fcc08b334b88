"""A list of 50,000 albums turned through from end to end and by letters, on the panel as it runs (F5).

The knob is turned 30 times a second for as long as it takes, while every frame is drawn, and the rows come from the
library's database on its own thread.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from appliance.events import Bus
from appliance.library import Library
from appliance.panel import Frame, Key, Panel
from appliance.panel.pieces import FRAME_S
from appliance.store import Store
from tests.bench._machine import load
from tests.panel.conftest import ENTRIES, NotedPlayer, Pages, fill

NAMES = ("panel_scroll_frame", "panel_scroll_late", "panel_scroll_unread")
TURNS_A_SECOND = 30
SCREENS = 27, 54  # detents and steps of a key that goes on by 108 rows, as the fastest hand does
WALK = [(1, 1)] * 60 + [(3, 3)] * 60 + [(1, 6)] * 60 + [(-1, -6)] * 60


def run() -> Iterator[dict[str, Any]]:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "chadbox.db"
        asyncio.run(fill(path))
        yield from asyncio.run(_measure(path))


class Timed(Panel):
    """Notes how long each picture takes to be made and handed on, in ms, and when the one before was begun."""

    spent: list[float]
    began = before = 0.0

    def _draw(self) -> None:
        self.before, self.began = self.began, time.perf_counter()
        super()._draw()
        self.spent.append((time.perf_counter() - self.began) * 1e3)


async def _measure(path: Path) -> list[dict[str, Any]]:
    store, bus = await Store.open(path), Bus()
    library = Library(store, Pages(), bus)  # type: ignore[arg-type]
    await library.open()
    player = NotedPlayer(library, bus)
    panel = Timed(player, library, player.status, bus)
    panel.spent = []
    turned = 0.0  # since when a frame is due; 0: none is
    late: list[float] = []
    named: list[bool] = []  # for each frame, whether the chosen row had its name

    def look(_: Frame) -> None:
        nonlocal turned
        if turned:
            late.append((time.perf_counter() - max(turned, panel.before + FRAME_S)) * 1e3)
            page = panel.state.pages[-1]
            named.append(page.row(page.cursor) is not None)
            turned = 0.0

    panel.attach(look)
    await _open_albums(panel)
    panel.spent.clear()
    furthest = 0
    through = [SCREENS] * (ENTRIES // 108 + 1)
    for detents, steps in [*WALK, *through, *[(-d, -s) for d, s in through]]:
        at = panel.state.pages[-1].cursor
        panel.key(Key("scroll", detents, steps))
        furthest = max(furthest, panel.state.pages[-1].cursor)
        if panel.state.pages[-1].cursor != at:
            turned = turned or time.perf_counter()
        await asyncio.sleep(1 / TURNS_A_SECOND)
    assert furthest == ENTRIES - 1, "the end of the list was not reached"
    await panel.close()
    await library.close()
    await store.close()
    return [
        _line("panel_scroll_frame", panel.spent, 50.0, "to make a picture and hand it on"),
        _line("panel_scroll_late", late, 50.0, "behind the turn of the knob and the 50 ms between two frames"),
        {
            "name": "panel_scroll_unread", "value": round(named.count(False) / len(named), 3), "unit": "share",
            "runs": len(named), "note": f"frames in which the chosen row was still being read; {load()}",
        },
    ]  # fmt: skip


async def _open_albums(panel: Panel) -> None:
    """The list of albums, with its letters."""

    async def until(ready: Callable[[], object]) -> None:
        async with asyncio.timeout(10):
            while not ready():  # noqa: ASYNC110 - nothing is measured yet
                await asyncio.sleep(0.01)

    panel.key(Key("menu"))
    await until(lambda: panel.state.pages[-1].total)
    for n in range(panel.state.pages[-1].total or 0):
        row = panel.state.pages[-1].row(n)
        if row is not None and row.text == "Albums":
            break
        panel.key(Key("scroll", 1, 1))
    panel.key(Key("select"))
    await until(lambda: panel.state.pages[-1].letters)
    assert panel.state.pages[-1].total == ENTRIES


def _line(name: str, values: list[float], target: float, what: str) -> dict[str, Any]:
    note = f"the worst, {what}; median {statistics.median(values):.2f} ms"
    worst = round(max(values), 2)
    return {"name": name, "value": worst, "unit": "ms", "runs": len(values), "target": target, "note": note}
