"""Text from tags and servers made fit for a terminal: nothing that steers it, measured in columns."""

from __future__ import annotations

import re

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# whole escape sequences first (CSI, OSC and its like up to their end, then any other), so that their tails go too
_ESCAPES = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"
    r"|(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x80-\x9f]{0,4096}(?:\x07|\x1b\\|\x9c)"
    r"|\x1b[ -/]*[0-~]"
)
_SPACES = re.compile(r"[\t\n\v\f\r\x1c-\x1f\x85\u2028\u2029]+")
# C0, C1, DEL; soft hyphen; bidi marks, embeddings, overrides, isolates; invisible fillers; tag characters
_CONTROLS = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\U000e0000-\U000e0fff]"
)
_SURROGATES = re.compile("[\ud800-\udfff]")
_DENSEST = 8  # code points a column may hold: base, marks, joiners; more is an attack on the terminal


def clean(value: object) -> str:
    """`value` as one line without control characters, escape sequences and changes of writing direction (R6)."""
    text = "" if value is None else str(value)
    if text.isascii() and text.isprintable():
        return text
    text = _SPACES.sub(" ", _ESCAPES.sub("", text))
    return _SURROGATES.sub("\ufffd", _CONTROLS.sub("", text))


def width(text: str) -> int:
    """Columns that cleaned `text` takes: 2 for wide and full-width characters, 0 for combining marks and joiners."""
    if text.isascii():
        return len(text)
    import unicodedata

    columns = 0
    for char in text:
        if char < "\u0300":
            columns += 1
        elif unicodedata.east_asian_width(char) in "WF":
            columns += 2
        elif not (unicodedata.category(char) in ("Mn", "Me", "Cf") or "\u1160" <= char <= "\u11ff"):
            columns += 1
    return columns


def cut(text: str, columns: int) -> str:
    """Cleaned `text` in at most `columns` columns; an ellipsis says that there was more."""
    if columns <= 0:
        return ""
    if len(text) <= columns * _DENSEST and width(text) <= columns:
        return text
    kept: list[str] = []
    used = 0
    for char in text[: columns * _DENSEST]:
        wide = width(char)
        if used + wide > columns - 1:
            break
        kept.append(char)
        used += wide
    return "".join(kept).rstrip() + "…"


def pad(text: str, columns: int, *, right: bool = False) -> str:
    """`text` filled with blanks to `columns`; `right` puts them before it."""
    blanks = " " * (columns - width(text))
    return blanks + text if right else text + blanks


def number(value: object, default: float = 0.0) -> float:
    """`value` where it is a finite number, else `default`: what a program says is not always what it promised."""
    if isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e18:
        return float(value)
    return default


def count(value: object, noun: str = "") -> str:
    """`1,234 tracks`, `1 track`; `noun` is the singular."""
    n = int(number(value))
    return f"{n:,}" + (f" {noun}{'' if n == 1 else 's'}" if noun else "")


def clock(seconds: object) -> str:
    """`4:05` or `1:02:03`."""
    whole = max(0, int(number(seconds)))
    minutes, rest = divmod(whole, 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}" if minutes >= 60 else f"{minutes}:{rest:02}"


def size(value: object) -> str:
    """`512 B`, `3.4 MiB`."""
    amount = number(value)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(amount) < 1024:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{amount:.1f} TiB"


def bar(percent: object, columns: int) -> str:
    """`[####----]`, `columns` wide with its brackets; plain ASCII, so that it draws on a serial console too."""
    inner = max(1, columns - 2)
    full = round(inner * min(100.0, max(0.0, number(percent))) / 100)
    return f"[{'#' * full}{'-' * (inner - full)}]"


def where(track: dict[str, Any]) -> str:
    """The nearest place where a track is (L4): `cache`, `drive`, `net`; `away` while its drive is not plugged in."""
    places = track.get("where")
    if not isinstance(places, list):
        return ""
    near = next((word for word in ("cache", "drive") if word in places), "")
    return near or ("net" if "network" in places else "away")
