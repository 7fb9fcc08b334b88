"""What screens are made of: lines of text that scroll, small figures, icons; and the time of the next change."""

from __future__ import annotations

from appliance.panel.picture import Picture
from appliance.panel.small import ICONS, small
from appliance.panel.text import Typesetter, clean

FRAME_S = 0.05  # one pixel of scrolling, and the most pictures a second: 20
HOLD_S = 2.0  # a long line rests before it moves on
GAP = 32  # pixels between the end of a line and its beginning


class Canvas:
    """A picture being drawn at the time `now`; collects the words on it and when it will change."""

    def __init__(self, picture: Picture, setter: Typesetter, now: float) -> None:
        self.picture, self.setter, self.now = picture, setter, now
        self.words: list[str] = []
        self.until: float | None = None

    def change_at(self, when: float) -> None:
        """The picture will be another one at `when`."""
        if self.until is None or when < self.until:
            self.until = when

    def say(self, *lines: str) -> None:
        """Words that have no line of their own."""
        self.words += [clean(line) for line in lines]

    def line(self, text: str, x: int, y: int, right: int | None = None) -> None:
        """Text that stands still; what does not fit is cut off."""
        self.picture.draw(self.setter.line(text), x, y, x, right)

    def marquee(
        self, text: str, y: int, *, left: int = 0, right: int | None = None, since: float, word: bool = True
    ) -> None:
        """Text between the columns `left` and `right`; when it is too long it scrolls, the first time after `since`."""
        right = self.picture.width if right is None else right
        strip = self.setter.line(text)
        if word:
            self.say(text)
        if len(strip) <= right - left:
            self.picture.draw(strip, left, y, left, right)
            return
        offset, change = _scrolled(len(strip) + GAP, self.now - since)
        self.change_at(self.now + change)
        self.picture.draw(strip, left - offset, y, left, right)
        self.picture.draw(strip, left - offset + len(strip) + GAP, y, left, right)

    def small(self, text: str, x: int, y: int) -> int:
        """Small ASCII text; the column after it."""
        strip = small(text)
        self.picture.draw(strip, x, y)
        return x + len(strip)

    def icon(self, name: str, x: int, y: int) -> int:
        """An icon; the column after it."""
        self.picture.draw(ICONS[name], x, y)
        return x + len(ICONS[name])


def _scrolled(length: int, elapsed: float) -> tuple[int, float]:
    """How far a line of `length` columns has scrolled, and in how many seconds it moves on."""
    at = max(0.0, elapsed) % (HOLD_S + length * FRAME_S)
    if at < HOLD_S:
        return 0, HOLD_S - at + FRAME_S
    offset = int((at - HOLD_S) / FRAME_S + 1e-6)  # a step that is due within rounding has been taken
    return min(offset, length - 1), (offset + 1) * FRAME_S - (at - HOLD_S)


def clock(seconds: float) -> str:
    """`4:05` or `1:02:03`."""
    whole = max(0, min(int(seconds), 359_999))
    hours, rest = divmod(whole, 3600)
    return f"{hours}:{rest // 60:02}:{rest % 60:02}" if hours else f"{rest // 60}:{rest % 60:02}"
