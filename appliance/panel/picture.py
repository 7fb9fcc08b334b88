"""A one-bit picture, kept as one whole number a column: text is shifted and OR-ed in, nothing is done pixel by pixel.

    column 0   column 1  ...          bit 0 of a column is its topmost pixel, so a number shifted left moves down

Such a column is what the displays want: `pages` only deals its bytes out. No imaging library is loaded for that (Pillow
would cost the player 8 MiB and a tenth of a second).
"""

from __future__ import annotations

from collections.abc import Sequence

Strip = Sequence[int]
"""Columns of something to draw, left to right."""


class Picture:
    """`width` x `height` pixels, all dark at first; `height` is a multiple of 8. What is drawn beyond is cut off."""

    __slots__ = ("_full", "columns", "height", "width")

    def __init__(self, width: int, height: int) -> None:
        if width < 1 or height < 8 or height % 8:
            raise ValueError(f"a picture has whole pages of 8 rows, not {width}x{height} pixels")
        self.width, self.height = width, height
        self.columns = [0] * width
        self._full = (1 << height) - 1

    def draw(self, strip: Strip, x: int, y: int, left: int = 0, right: int | None = None) -> None:
        """Light what is lit in `strip`, its top left corner at `x`, `y`, inside the columns `left` to `right` - 1."""
        right = self.width if right is None else min(right, self.width)
        first, last = max(x, left, 0), min(x + len(strip), right)
        columns, full = self.columns, self._full
        for at in range(first, last):
            column = strip[at - x]
            columns[at] |= (column << y if y >= 0 else column >> -y) & full

    def fill(self, x: int, y: int, width: int, height: int) -> None:
        """Light a rectangle."""
        mask = self._mask(y, height)
        for at in range(max(x, 0), min(x + width, self.width)):
            self.columns[at] |= mask

    def clear(self, x: int, y: int, width: int, height: int) -> None:
        """Darken a rectangle."""
        mask = ~self._mask(y, height)
        for at in range(max(x, 0), min(x + width, self.width)):
            self.columns[at] &= mask

    def invert(self, x: int, y: int, width: int, height: int) -> None:
        """Swap light and dark in a rectangle."""
        mask = self._mask(y, height)
        for at in range(max(x, 0), min(x + width, self.width)):
            self.columns[at] ^= mask

    def frame(self, x: int, y: int, width: int, height: int) -> None:
        """Light the outline of a rectangle, one pixel wide."""
        self.fill(x, y, width, 1)
        self.fill(x, y + height - 1, width, 1)
        self.fill(x, y, 1, height)
        self.fill(x + width - 1, y, 1, height)

    def dots(self, x: int, y: int, width: int) -> None:
        """Light every second pixel of a row."""
        for at in range(max(x, 0), min(x + width, self.width)):
            if not at % 2:
                self.columns[at] |= 1 << y

    def moved(self, dx: int, dy: int) -> Picture:
        """The same picture `dx` to the right and `dy` down; what leaves it is lost."""
        out = Picture(self.width, self.height)
        out.draw(self.columns, dx, dy)
        return out

    def pages(self) -> bytes:
        """`width * height / 8` bytes: pages of 8 rows from the top, in each one byte a column, lowest bit topmost."""
        count = self.height // 8
        data = b"".join([column.to_bytes(count, "little") for column in self.columns])
        return b"".join([data[page::count] for page in range(count)])

    def _mask(self, y: int, height: int) -> int:
        top, bottom = max(y, 0), min(y + height, self.height)
        return ((1 << bottom) - 1) & ~((1 << top) - 1) if bottom > top else 0


def scaled(strip: Strip, factor: int) -> list[int]:
    """`strip` with every pixel as a square of `factor` x `factor`."""
    out: list[int] = []
    for column in strip:
        out += [stretched(column, factor)] * factor
    return out


def stretched(column: int, factor: int) -> int:
    """One column with every pixel `factor` times as high."""
    block, wide = (1 << factor) - 1, 0
    for row in range(column.bit_length()):
        if column >> row & 1:
            wide |= block << row * factor
    return wide
