"""Pictures of the panel: through the display driver's bytes and back, and compared with golden PNGs."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from PIL import Image

from appliance.panel.glyphs import UNIFONT, Font, open_font
from appliance.panel.screens import Shown, show
from appliance.panel.state import State
from appliance.panel.text import Typesetter
from hw.frame import pack, unpack
from hw.oled import Oled
from hw.sim import SimulatedOled
from hw.wiring import Display

GOLDEN = Path(__file__).parent / "golden"
WALL = 1_700_000_000.0  # time of day in tests

needs_unifont = pytest.mark.skipif(not UNIFONT.exists(), reason="unifont is not installed (./dev setup does it)")


@cache
def font() -> Font:
    return open_font()


def shown(state: State, now: float, wall: float | None = WALL) -> Shown:
    return show(state, now, wall, Typesetter(font()))


def through_the_bus(frames: list[bytes], height: int, controller: str = "ssd1306") -> bytes:
    """What a display shows after `frames` were drawn one after the other, rebuilt from the I2C bytes."""
    display = Display(controller=controller, height=height)  # type: ignore[arg-type]
    bus = SimulatedOled(display)
    oled = Oled(bus, display, bus.address)
    oled.start(bytes(128 * height // 8), contrast=128, on=True)
    for frame in frames:
        oled.draw(frame)
    return bus.picture()


def art(frame: bytes, width: int = 128) -> str:
    """A frame as text, for messages."""
    image = unpack(frame, width)
    rows = [[bool(image.getpixel((x, y))) for x in range(width)] for y in range(image.height)]
    return "\n".join(
        "".join(" ▀▄█"[top + 2 * low] for top, low in zip(*pair, strict=True))
        for pair in zip(rows[::2], rows[1::2], strict=True)
    )


def check_golden(name: str, frame: bytes, width: int = 128) -> None:
    """`frame` is the picture golden/NAME.png. With CHADBOX_GOLDEN=write in the environment it becomes it."""
    path = GOLDEN / f"{name}.png"
    if os.environ.get("CHADBOX_GOLDEN") == "write":
        path.parent.mkdir(parents=True, exist_ok=True)
        unpack(frame, width).save(path, optimize=True)
        return
    assert path.exists(), f"{path} is missing; CHADBOX_GOLDEN=write makes it\n{art(frame)}"
    with Image.open(path) as image:
        wanted = pack(image)
    assert frame == wanted, f"not as in {path}:\n{art(frame)}\nwanted:\n{art(wanted)}"


async def until(condition: Callable[[], object], seconds: float = 10.0) -> None:
    """Look until it is so: for what happens on threads and disks that tell nobody."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "did not come"
        await asyncio.sleep(0.01)


def lit(frame: bytes) -> int:
    """The pixels that are lit, as one number with a bit each."""
    return int.from_bytes(frame, "little")
