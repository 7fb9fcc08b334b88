"""What the three OLED controllers want to hear.

SSD1306 and SSD1309 take a window of columns and pages and fill it row by row ("horizontal addressing"); having filled
it they stand at its beginning again, so the same window can be written again without a command. SH1106 knows pages
alone: its column counts up to the end of one page, and its 132 columns stand 2 to the left of the 128 that can be seen.

Sources: SSD1306 rev 1.1, SSD1309 rev 1.1 and SH1106 v2.3 data sheets; the values of `_SETUP` are those that the
modules on the market are driven with (Linux' ssd1307fb, u8g2).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Name = Literal["ssd1306", "ssd1309", "sh1106"]

COMMANDS = 0x00  # control byte: the rest of the message is commands
DATA = 0x40  # control byte: the rest of the message is data

OFF, ON = 0xAE, 0xAF
CONTRAST = 0x81
NOP = 0xE3
COLUMN_WINDOW, PAGE_WINDOW = 0x21, 0x22


@dataclass(frozen=True, slots=True)
class Controller:
    """`windows`: has column and page windows; `offset`: the RAM column of the leftmost pixel."""

    name: Name
    windows: bool
    offset: int


CONTROLLERS = {
    "ssd1306": Controller("ssd1306", windows=True, offset=0),
    "ssd1309": Controller("ssd1309", windows=True, offset=0),
    "sh1106": Controller("sh1106", windows=False, offset=2),
}

_SETUP: dict[str, tuple[int, ...]] = {
    # clock, charge pump on, horizontal addressing, precharge, VCOMH
    "ssd1306": (0xD5, 0x80, 0x8D, 0x14, 0x20, 0x00, 0xD9, 0xF1, 0xDB, 0x40),
    # unlock commands first; no charge pump of its own
    "ssd1309": (0xFD, 0x12, 0xD5, 0xA0, 0x20, 0x00, 0xD9, 0xD3, 0xDB, 0x20),
    # clock, DC-DC on, precharge, VCOMH
    "sh1106": (0xD5, 0x80, 0xAD, 0x8B, 0xD9, 0x22, 0xDB, 0x35),
}


def setup(controller: Controller, height: int, rotation: int, contrast: int) -> bytes:
    """The commands that put a controller into a known state, on or off as it was.

    `height` is 32 or 64 lines, `rotation` 0 or 180 degrees, `contrast` 0-255. Turning by 180 is done by the
    controller: it scans its rows and columns the other way.
    """
    upright = rotation == 0
    return bytes(
        (
            *_SETUP[controller.name],
            *(0xA8, height - 1),  # lines that are driven
            *(0xDA, 0x02 if height == 32 else 0x12),  # 128x32 panels have their rows wired in order
            *(0xD3, 0x00),  # no vertical shift
            0x40,  # RAM line 0 on top
            0xA1 if upright else 0xA0,
            0xC8 if upright else 0xC0,
            *(CONTRAST, contrast),
            0xA4,  # show the RAM
            0xA6,  # lit = 1
            *((0x2E,) if controller.windows else ()),  # no hardware scrolling
        )
    )


def page_address(controller: Controller, page: int, column: int) -> bytes:
    """Commands that set the write position of a controller without windows."""
    column += controller.offset
    return bytes((0xB0 | page, column & 0x0F, 0x10 | column >> 4))
