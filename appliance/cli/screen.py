"""Frames of the panel as text for a terminal: half blocks where there is room for them, else braille dots."""

from __future__ import annotations

from binascii import Error, a2b_base64

from appliance.errors import ChadboxError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

_HALVES = " \u2580\u2584\u2588"  # none, upper, lower, both


class Frame:
    """One picture of the panel: `pages` of 8 rows, a byte a column, lowest bit topmost; `words` is its text."""

    __slots__ = ("height", "level", "pages", "width", "words")

    def __init__(self, doc: Any) -> None:
        """Raises ChadboxError when `doc` is not what `panel` says on the control socket."""
        try:
            self.width, self.height = int(doc["width"]), int(doc["height"])
            self.level = str(doc["level"])
            self.words = [str(word) for word in doc["words"]]
            self.pages = a2b_base64(doc["pages"], strict_mode=True)
        except (KeyError, TypeError, ValueError, Error):
            raise _nonsense() from None
        if not (8 <= self.width <= 256 and 8 <= self.height <= 128 and self.height % 8 == 0):
            raise _nonsense()
        if len(self.pages) * 8 != self.width * self.height:
            raise _nonsense()

    def half_blocks(self) -> list[str]:
        """`height / 2` lines of `width` characters, two pixels each."""
        lines = []
        for row in range(0, self.height, 2):
            page = self.pages[row // 8 * self.width : (row // 8 + 1) * self.width]
            lines.append("".join(_HALVES[byte >> row % 8 & 3] for byte in page))
        return lines

    def braille(self) -> list[str]:
        """`height / 4` lines of `width / 2` characters, two by four pixels each."""
        lines = []
        for row in range(0, self.height, 4):
            page = self.pages[row // 8 * self.width : (row // 8 + 1) * self.width]
            dots = [byte >> row % 8 & 15 for byte in page]
            pairs = zip(dots[::2], dots[1::2], strict=False)
            lines.append("".join(chr(0x2800 | _LEFT[left] | _RIGHT[right]) for left, right in pairs))
        return lines


# The left column of a braille sign has bits 0, 1, 2 and 6 from the top, the right one 3, 4, 5 and 7.
_LEFT = [dots & 7 | (dots & 8) << 3 for dots in range(16)]
_RIGHT = [(dots & 7) << 3 | (dots & 8) << 4 for dots in range(16)]


def _nonsense() -> ChadboxError:
    return ChadboxError("the player's picture makes no sense; are it and this command of one version?")


def lines_of(frame: Frame, columns: int, rows: int, *, braille: bool = False) -> list[str]:
    """The picture as lines that fit into `columns` x `rows`; its text where even dots are too large."""
    if not braille and columns >= frame.width + 2 and rows >= frame.height // 2 + 2:
        return _boxed(frame.half_blocks())
    if columns >= frame.width // 2 + 2 and rows >= frame.height // 4 + 2:
        return _boxed(frame.braille())
    if columns >= frame.width // 2 and rows >= frame.height // 4:
        return frame.braille()
    from appliance.cli.text import clean, cut

    return [cut(clean(word), columns) for word in frame.words[:rows]]


def _boxed(lines: Sequence[str]) -> list[str]:
    edge = "\u2500" * len(lines[0])
    return [f"\u250c{edge}\u2510", *(f"\u2502{line}\u2502" for line in lines), f"\u2514{edge}\u2518"]
