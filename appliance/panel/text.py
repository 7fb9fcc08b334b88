"""Text from tags, servers and drives set as a line of pixels: nothing in it can break or steer the display (R6)."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

from appliance.panel.glyphs import Font
from appliance.panel.picture import Strip

LONGEST = 300  # characters of a line; scrolling through more takes over a minute
_MARKS = 2  # combining marks on one letter; more is an attack on the eyes
_KEPT = 96  # lines in memory

_DROPPED = {"Cc", "Cf", "Cs", "Co", "Cn"}
# Hebrew, Arabic, Syriac, Thaana, NKo and their presentation forms, with what stands between two such words
_RIGHT_TO_LEFT = "\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc"
_RUN = re.compile(f"[{_RIGHT_TO_LEFT}](?:[^A-Za-z0-9\u00c0-\u058f\u0900-\ufb1c]*[{_RIGHT_TO_LEFT}])?")


def clean(value: object) -> str:
    """`value` as one composed line of visible characters: no controls, no direction marks, no private ones."""
    text = "" if value is None else str(value)
    if text.isascii() and text.isprintable():
        return text[:LONGEST]
    text = unicodedata.normalize("NFC", text[: LONGEST * 4])
    return " ".join("".join(_visible(text)).split())[:LONGEST]


def _visible(text: str) -> Iterator[str]:
    marks = 0
    for char in text:
        kind = unicodedata.category(char)
        marks = marks + 1 if kind in ("Mn", "Me") else 0
        if kind in ("Zs", "Zl", "Zp") or char in "\t\n\v\f\r\x1c\x1d\x1e\x1f\x85":
            yield " "
        elif kind not in _DROPPED and marks <= _MARKS and not _selects(char):
            yield char


def _selects(char: str) -> bool:
    """Variation selectors and skin tones: they change the sign before them and have no picture of their own."""
    return "\ufe00" <= char <= "\ufe0f" or "\U0001f3fb" <= char <= "\U0001f3ff" or "\U000e0100" <= char <= "\U000e01ef"


def visual(text: str) -> str:
    """Cleaned `text` in the order in which it is seen: runs of right-to-left script are turned round.

    Arabic letters are not joined; this keeps words whole and in place, as far as a display of one line needs it.
    """
    return _RUN.sub(lambda run: _reversed(run[0]), text)


def _reversed(run: str) -> str:
    letters: list[str] = []
    for char in run:
        if letters and unicodedata.category(char) in ("Mn", "Me"):
            letters[-1] += char
        else:
            letters.append(char)
    return "".join(reversed(letters))


class Typesetter:
    """Sets lines in `font`; those set last are kept, because a screen is drawn many times a second while it scrolls."""

    def __init__(self, font: Font) -> None:
        self.font = font
        self._lines: dict[str, Strip] = {}

    def line(self, text: str) -> Strip:
        """The columns of `text`, cleaned, 16 pixels high."""
        strip = self._lines.get(text)
        if strip is None:
            if len(self._lines) >= _KEPT:
                self._lines.clear()
            strip = self._lines[text] = self._set(visual(clean(text)))
        return strip

    def _set(self, text: str) -> Strip:
        columns: list[int] = []
        last = 0  # where the letter begins that a mark belongs to
        for char in text:
            glyph = self.font.glyph(char).columns
            if columns and unicodedata.category(char) in ("Mn", "Me"):
                # Unifont draws a mark in a cell of its own, in the place that it has over a letter
                shift = max(0, (len(columns) - last - len(glyph)) // 2)
                for n, column in enumerate(glyph):
                    if last + shift + n < len(columns):
                        columns[last + shift + n] |= column
            else:
                last = len(columns)
                columns.extend(glyph)
        return tuple(columns)


def wrapped(text: str, columns: int) -> list[str]:
    """`text` (cleaned) in lines of at most `columns` half-width cells, broken at blanks where there are some."""
    lines: list[str] = []
    line, used = "", 0
    for word in clean(text).split(" "):
        size = _cells(word)
        if line and used + 1 + size > columns:
            lines.append(line)
            line, used = "", 0
        while size > columns:
            head = _head(word, columns)
            lines.append(word[:head])
            word = word[head:]
            size = _cells(word)
        line, used = (f"{line} {word}", used + 1 + size) if line else (word, size)
    return [*lines, line] if line else lines


def _cells(text: str) -> int:
    return sum(2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text)


def _head(word: str, columns: int) -> int:
    """How many characters of `word` fit; at least one."""
    used = 0
    for n, char in enumerate(word):
        used += _cells(char)
        if used > columns:
            return max(1, n)
    return len(word)
