"""Where letters come from: GNU Unifont's own file, or a small built-in font where that is not installed.

`unifont.hex` (Debian package `unifont`) is text, sorted by code point, one glyph a line:

    0041:0000000018242442427E424242420000        8 x 16 pixels, two digits a row
    6771:010001007FFC01000100...                 16 x 16 pixels, four digits a row

The file is mapped into memory and searched by halving, so nothing is converted or loaded before: a new glyph takes
about 30 us, one seen before nothing, and the memory belongs to the page cache. See unifont(5) for the format.
"""

from __future__ import annotations

import logging
import mmap
import unicodedata
from pathlib import Path
from typing import NamedTuple, Protocol

from appliance.panel.picture import stretched
from appliance.panel.small import SMALL

log = logging.getLogger(__name__)

UNIFONT = Path("/usr/share/unifont/unifont.hex")
HEIGHT = 16  # pixels of a line of text
_KEPT = 1024  # glyphs in memory, 0.7 KiB each; a screen shows at most 64


class Glyph(NamedTuple):
    """`columns` left to right, bit 0 topmost; 8 or 16 of them."""

    columns: tuple[int, ...]


class Font(Protocol):
    """Gives glyphs; `complete` is False for the built-in one, which knows a few hundred letters only."""

    complete: bool

    def glyph(self, char: str) -> Glyph:
        """The glyph of one character; a box when there is none."""


def _box(width: int) -> Glyph:
    """The sign for "no such glyph": an empty rectangle."""
    side, line = 0x3FFC, 0x2004
    return Glyph((0, side, *[line] * (width - 4), side, 0))


NARROW_BOX, WIDE_BOX = _box(8), _box(16)


def box(char: str) -> Glyph:
    """What stands for a character that the font lacks, as wide as that would be."""
    return WIDE_BOX if unicodedata.east_asian_width(char) in "WF" else NARROW_BOX


class Unifont:
    """The glyphs of a `.hex` file. Raises OSError when it cannot be read, ValueError when it is empty."""

    complete = True

    def __init__(self, path: Path = UNIFONT) -> None:
        with path.open("rb") as file:
            self._text = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self._seen: dict[str, Glyph] = {}

    def glyph(self, char: str) -> Glyph:
        found = self._seen.get(char)
        if found is None:
            if len(self._seen) >= _KEPT:
                self._seen.clear()
            try:
                found = self._find(ord(char)) or box(char)
            except ValueError:  # a damaged line
                found = box(char)
            self._seen[char] = found
        return found

    def _find(self, code: int) -> Glyph | None:
        text, low, high = self._text, 0, len(self._text)
        while low < high:
            middle = (low + high) // 2
            start = text.rfind(b"\n", low, middle) + 1 or low
            end = text.find(b"\n", middle, high)
            line = text[start : end if end >= 0 else high]
            number, _, bits = line.partition(b":")
            value = int(number, 16)
            if value == code:
                return _parse(bits.strip())
            if value < code:
                low = end + 1 if end >= 0 else high
            else:
                high = start
        return None


def _parse(bits: bytes) -> Glyph:
    """32 or 64 hexadecimal digits, row by row, as columns. Raises ValueError for anything else."""
    width = len(bits) // 4
    if width not in (8, 16) or len(bits) % 4:
        raise ValueError("not a glyph of 8 or 16 columns")
    data, size = bytes.fromhex(bits.decode("ascii")), width // 8
    rows = [int.from_bytes(data[at : at + size], "big") for at in range(0, len(data), size)]
    return Glyph(tuple(sum((row >> bit & 1) << y for y, row in enumerate(rows)) for bit in range(width - 1, -1, -1)))


class Builtin:
    """The small font of the status line, twice as high; letters with marks are shown without them, others as boxes."""

    complete = False

    def glyph(self, char: str) -> Glyph:
        plain = unicodedata.normalize("NFKD", char)[:1]
        columns = SMALL.get(plain)
        if columns is None:
            return box(char)
        return Glyph((0, *[stretched(column, 2) << 1 for column in columns], 0, 0))


def open_font(path: Path = UNIFONT) -> Font:
    """Unifont where it is installed, else the built-in font and a line in the log that says what to do."""
    try:
        return Unifont(path)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        log.warning("%s: %s; only plain Latin letters can be shown. apt install unifont brings the others", path, why)
        return Builtin()
