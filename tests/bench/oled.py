"""Bytes on the display's bus and CPU for frames, against luma.oled drawing the same pictures in the same run.

luma.oled (pip install luma.oled) is needed for the comparison only; without it the peer's columns are left out.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import cache
from statistics import mean, median
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from hw.frame import pack
from hw.oled import Oled
from hw.sim import SimulatedOled
from hw.wiring import Display

TITLE = "Symphony No. 9 in E minor, Op. 95, B. 178 'From the New World' - II. Largo"
BAR = 124  # pixels; the scroll bar is to the right of it
ENTRIES = ["Abbey Road", "Blue Train", "Kind of Blue", "London Calling", "Moanin'", "Pet Sounds", "Rumours", "Thriller"]


@cache
def font(size: int) -> Any:
    return ImageFont.load_default(size)


def line(
    draw: ImageDraw.ImageDraw, x: float, top: int, height: int, words: str, *, width: int = 128, inverse: bool = False
) -> None:
    """One line of text in a row of `height` pixels, cut to the row as screens do."""
    row = Image.new("1", (width, height), int(inverse))
    ImageDraw.Draw(row).text((x, height / 2), words, int(not inverse), font(height - 3), anchor="lm")
    draw.bitmap((0, top), row, 1)


def playing(scroll: int = 0, seconds: int = 83, volume: int | None = None) -> Image.Image:
    """Now playing: title over two pages, artist, album, progress; with the volume over it."""
    image = Image.new("1", (128, 64))
    draw = ImageDraw.Draw(image)
    line(draw, -scroll, 0, 16, TITLE)
    line(draw, 0, 16, 14, "Antonin Dvorak")
    line(draw, 0, 31, 14, "Wiener Philharmoniker")
    draw.text((0, 63), f"{seconds // 60}:{seconds % 60:02}", 1, font(10), anchor="ls")
    draw.text((127, 63), "12:03", 1, font(10), anchor="rs")
    draw.rectangle((30, 57, 96, 62), outline=1)
    draw.rectangle((30, 57, 30 + 66 * seconds // 723, 62), fill=1)
    if volume is not None:
        draw.rectangle((8, 16, 119, 39), fill=0, outline=1)
        draw.text((14, 33), f"Volume {volume}", 1, font(11), anchor="ls")
        draw.rectangle((14, 34, 14 + volume, 37), fill=1)
    return image


def menu(cursor: int, *, rows: int, bar: bool) -> Image.Image:
    """A menu of `rows` lines and a scroll bar; the cursor is a mark before the line or a bar of light."""
    image = Image.new("1", (128, 64))
    draw = ImageDraw.Draw(image)
    draw.line((126, 0, 126, 63), fill=1)
    height = 64 // rows
    for row in range(rows):
        here = row == cursor
        line(draw, 10, row * height, height, ENTRIES[row], width=BAR, inverse=here and bar)
        if here and not bar:
            middle = row * height + height // 2
            draw.polygon([(1, middle - 3), (5, middle), (1, middle + 3)], fill=1)
    return image


SCENES: dict[str, list[Image.Image]] = {
    "scrolling title": [playing(scroll) for scroll in range(200)],
    "progress tick": [playing(seconds=second) for second in range(60, 160)],
    "volume overlay": [playing(), *(playing(volume=volume) for volume in range(30, 60)), playing()],
    "menu step, mark": [menu(row, rows=4, bar=False) for row in (0, 1, 2, 3, 2, 1, 0)],
    "menu step, bar of 124x8": [menu(row, rows=8, bar=True) for row in (0, 1, 2, 3, 4, 5, 6, 7, 6, 5, 4, 3, 2, 1, 0)],
    "menu step, bar of 124x16": [menu(row, rows=4, bar=True) for row in (0, 1, 2, 3, 2, 1, 0)],
}


class Nowhere:
    """A bus that takes everything at once."""

    def write(self, address: int, payload: bytes) -> None: ...
    def close(self) -> None: ...


class Counter:
    """An smbus2.SMBus that counts what luma.oled sends, slave addresses included."""

    def __init__(self) -> None:
        self.bytes = 0

    def write_i2c_block_data(self, address: int, command: int, data: list[int]) -> None:
        self.bytes += 2 + len(data)

    def i2c_rdwr(self, *messages: Any) -> None:
        self.bytes += sum(1 + message.len for message in messages)


def luma(controller: str) -> tuple[Any, Counter] | None:
    try:
        import smbus2
        from luma.core.interface.serial import i2c
        from luma.oled import device
    except ImportError:
        return None
    counter = Counter()
    serial = i2c(bus=counter)
    serial._managed, serial._i2c_msg_write = True, smbus2.i2c_msg.write  # its way with a real smbus2 bus
    return getattr(device, controller)(serial), counter


def ours(controller: str, images: list[Image.Image]) -> float:
    """Mean bytes a frame after the first; the picture is checked as it goes."""
    display = Display(controller=controller)  # type: ignore[arg-type]
    bus = SimulatedOled(display)
    oled = Oled(bus, display, 0x3C)
    oled.start(pack(images[0]), contrast=0x8F, on=True)
    counts = []
    for image in images[1:]:
        before = bus.bytes
        oled.draw(pack(image))
        counts.append(bus.bytes - before)
        if bus.picture() != pack(image):
            raise AssertionError("the display shows something else")
    return mean(counts)


def theirs(controller: str, images: list[Image.Image]) -> float | None:
    peer = luma(controller)
    if peer is None:
        return None
    device, counter = peer
    before = counter.bytes
    for image in images[1:]:
        device.display(image)
    return (counter.bytes - before) / (len(images) - 1)


def cpu(show: Any, images: list[Image.Image], rounds: int) -> float:
    """Median CPU milliseconds a frame."""
    spent = []
    for _ in range(rounds):
        began = time.process_time()
        for image in images:
            show(image)
        spent.append((time.process_time() - began) / len(images) * 1000)
    return median(spent)


def compared(row: dict[str, Any], peer_value: float | None) -> dict[str, Any]:
    if peer_value is not None:
        row |= {"peer": "luma.oled", "peer_value": round(peer_value, 3), "ratio": round(row["value"] / peer_value, 3)}
    return row


def run() -> Iterator[dict[str, Any]]:
    for controller in ("ssd1306", "sh1106"):
        for scene, images in SCENES.items():
            row: dict[str, Any] = {"name": f"oled {controller}: {scene}", "value": round(ours(controller, images), 1)}
            row |= {"unit": "bytes/frame", "target": "ratio <= 0.25", "runs": len(images) - 1}
            if scene.endswith("x16"):
                row["note"] = "two such bars are half of the pixels: no driver can do better; use the mark"
            yield compared(row, theirs(controller, images))
    images = SCENES["scrolling title"]
    oled = Oled(Nowhere(), Display(), 0x3C)
    oled.start(bytes(1024), contrast=0x8F, on=True)
    spent = cpu(lambda image: oled.draw(pack(image)), images, 5)
    peer = luma("ssd1306")
    other = cpu(peer[0].display, images, 1) if peer else None
    row = {"name": "oled ssd1306: CPU of 20 frames/s, scrolling title", "value": round(spent * 2, 3)}
    row |= {"unit": "% of a core", "runs": 5, "note": f"{spent:.3f} ms a frame, drawing of the text not included"}
    yield compared(row, None if other is None else other * 2)
