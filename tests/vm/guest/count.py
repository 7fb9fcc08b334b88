"""Counts what hands do on the default wiring until SIGTERM, then prints it as JSON. Runs in the box.

{"detents": sum, "turned": sum of sizes, "backend": name}; "ready" stands in the first line when the lines are watched.
"""

import asyncio
import json
import signal

from hw.gpio import open_panel
from hw.inputs import Input, Inputs
from hw.wiring import load


async def main() -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    detents: list[int] = []

    def did(hand: Input) -> None:
        detents.append(hand.detents)

    wiring = load("default")
    panel = open_panel(wiring, Inputs(wiring, loop, did), loop, loop.call_soon_threadsafe)
    print("ready", flush=True)
    await stop.wait()
    print(json.dumps({"detents": sum(detents), "turned": sum(map(abs, detents)), "backend": panel.backend.name}))
    panel.close()


asyncio.run(main())
