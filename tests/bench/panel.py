"""The panel: what a picture costs, and how soon the knob is heard of (F4, F5, P10)."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from msgspec.structs import replace

from appliance.events import Bus
from appliance.library import Library
from appliance.panel import Key, Panel
from appliance.panel.glyphs import Unifont, open_font
from appliance.panel.pieces import FRAME_S
from appliance.panel.screens import show
from appliance.panel.text import Typesetter
from appliance.store import Store
from tests.panel.conftest import NotedPlayer, Pages
from tests.panel.samples import SCREENS, SCRIPTS

NAMES = ("panel_",)
RUNS = 400


def run() -> Iterator[dict[str, Any]]:
    """Pictures on this machine; on a Pi 3 count some ten times as much."""
    setter = Typesetter(open_font())
    for name, screen in (("playing", "playing"), ("menu", "list"), ("volume", "volume")):
        state = SCREENS[screen](SCRIPTS["japanese"], 64)
        long = replace(state, now=replace(state.now, title=state.now.title * 8))

        def draw(n: int, state: Any = long) -> None:
            show(state, 10.5 + n * FRAME_S, None, setter).picture.pages()

        yield _line(f"panel_frame_{name}", _times(draw), target=5, note="every line scrolling or chosen, 128x64")
    if setter.font.complete:
        font = Unifont()
        yield _line("panel_new_glyph", _times(lambda n: font.glyph(chr(0x4E00 + n * 37))), note="not seen before, CJK")
    yield asyncio.run(_knob())


async def _knob() -> dict[str, Any]:
    with TemporaryDirectory() as folder:
        store, bus = await Store.open(Path(folder) / "db"), Bus()
        library = Library(store, Pages(), bus)
        player = NotedPlayer(library, bus)
        panel = Panel(player, library, player.status, bus)
        panel.attach(lambda _: None)
        took = _times(lambda n: panel.key(Key("volume", 1 if n % 40 < 20 else -1, 1 if n % 40 < 20 else -1)))
        await panel.close()
        await store.close()
    worst = sorted(took)[int(len(took) * 0.99)]
    return _line("panel_detent_to_volume", took, target=10, note=f"p99 {worst:.3f} ms; from key to player")


def _times(action: Callable[[int], object]) -> list[float]:
    took = []
    for n in range(RUNS):
        began = time.perf_counter()
        action(n)
        took.append((time.perf_counter() - began) * 1e3)
    return took


def _line(name: str, took: list[float], target: float | None = None, note: str = "") -> dict[str, Any]:
    line = {"name": name, "value": round(statistics.median(took), 4), "unit": "ms", "runs": len(took), "note": note}
    return line if target is None else line | {"target": target}
