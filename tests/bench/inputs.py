"""From an edge on a pin to the action on the event loop: gpiozero's mock pins, a thread of their own, the real loop."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from typing import Any

from gpiozero.pins.mock import MockFactory

from hw.backend import Backend
from hw.gpio import open_panel
from hw.inputs import Input, Inputs
from hw.wiring import preset
from tests.hw.traces import GRAY

RUNS = 100


async def _measure(button: bool) -> list[float]:
    """Seconds from the last edge to the action, sorted."""
    loop, factory, wiring = asyncio.get_running_loop(), MockFactory(), preset("default")
    moved: dict[str, float] = {}
    spent: list[float] = []
    came = threading.Event()

    def emit(_: Input) -> None:
        spent.append(time.perf_counter() - moved["at"])
        came.set()

    inputs = Inputs(wiring, loop, emit)
    panel = open_panel(wiring, inputs, loop, loop.call_soon_threadsafe, Backend("mock", "bench", factory))

    def drive(gpio: int, level: int) -> None:
        moved["at"] = time.perf_counter()
        pin = factory.pin(f"GPIO{gpio}")
        pin.drive_high() if level else pin.drive_low()

    def hands() -> None:
        for _ in range(RUNS):
            came.clear()
            if button:
                drive(12, 0)
            else:
                for a, b in (*GRAY[1:], GRAY[0]):
                    drive(23, a)
                    drive(24, b)
            came.wait(1)
            if button:
                factory.pin("GPIO12").drive_high()
                time.sleep(0.1)  # as quick as a finger is

    try:
        await asyncio.wait_for(asyncio.to_thread(hands), 60)
    finally:
        panel.close()
        inputs.close()
        factory.reset()
    return sorted(spent)


def run() -> Iterator[dict[str, Any]]:
    for what, button in (("detent", False), ("button", True)):
        spent = asyncio.run(_measure(button))
        for name, share in (("median", 0.5), ("p99", 0.99)):
            row = {
                "name": f"inputs: {what} to action, {name}",
                "value": round(spent[int(len(spent) * share)] * 1000, 3),
            }
            note = "3 ms of it confirm that it is no interference" if button else "on mock pins: no kernel in it"
            yield row | {"unit": "ms", "target": 10, "runs": len(spent), "note": note}
