"""What goes to standard output and standard error: lines, tables, one JSON document, a progress bar."""

from __future__ import annotations

import os
import sys

from appliance.cli.text import bar, clean, clock, cut, number, pad, size, width

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any, TextIO

_NARROWEST = 6  # columns that a shrunken column of a table keeps


def columns(stream: TextIO | None = None) -> int | None:
    """Width of the terminal behind `stream` (default: standard output); None when there is none."""
    stream = stream or sys.stdout
    try:
        if not stream.isatty():
            return None
        return os.get_terminal_size(stream.fileno()).columns or 80
    except (AttributeError, OSError, ValueError):
        return None


def say(*lines: str) -> None:
    """Print lines, cleaned and cut to the terminal."""
    room = columns()
    for line in lines:
        line = clean(line)
        print(line if room is None else cut(line, room))


def complain(message: object) -> None:
    """The one line on standard error that says what went wrong."""
    try:  # noqa: SIM105 - contextlib is not loaded on this path
        print("chadbox: " + " ".join(clean(message).split())[:2000], file=sys.stderr, flush=True)
    except (OSError, ValueError, AttributeError):
        pass  # nobody listens on standard error; the exit code still tells


def show_json(doc: Any) -> None:
    """One document, one line, in ASCII: JSON's own escapes keep C1 and bidi controls away from the terminal too."""
    import json

    print(json.dumps(doc, allow_nan=False), flush=True)


def table(heads: Sequence[str], rows: Iterable[Sequence[object]], right: str = "", flexible: str = "") -> None:
    """Print rows under their heads. `right` and `flexible` hold the numbers of the columns ("0", "13") that are
    aligned right and that give way when the terminal is narrow; without a terminal nothing is cut.
    """
    cells = [[clean(cell) for cell in row] for row in rows]
    if not cells:
        return
    widths = [max(width(head), max(width(row[n]) for row in cells)) for n, head in enumerate(heads)]
    room = columns()
    if room is not None:
        give = [int(n) for n in flexible]
        widths = [min(w, room) for w in widths]
        while give and sum(widths) + 2 * (len(widths) - 1) > room:
            widest = max(give, key=lambda n: widths[n])
            if widths[widest] <= _NARROWEST:
                break
            widths[widest] -= 1
    for row in [list(heads), *cells]:
        parts = [pad(cut(cell, widths[n]), widths[n], right=str(n) in right) for n, cell in enumerate(row)]
        line = "  ".join(parts).rstrip()
        print(line if room is None else cut(line, room))


class Progress:
    """A bar on standard error, where that is a terminal: standard output stays one document or one table."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._room = columns(sys.stderr)
        self._drawn = False
        self._begun: tuple[float, float] | None = None

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        if self._drawn:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)

    def update(self, doc: dict[str, Any]) -> None:
        """Draw a progress document: `percent`, or `done` of `total`; `bytes` of `total` are shown as sizes."""
        if self._room is None:
            return
        self._room = columns(sys.stderr) or self._room
        total = number(doc.get("total"))
        done = number(doc.get("bytes", doc.get("done")))
        percent = number(doc.get("percent"), 100 * done / total if total > 0 else 0)
        tail = f" {int(percent):3}%"
        if "bytes" in doc:
            tail += f"  {size(done)}" + (f" of {size(total)}" if total else "")
        elif "done" in doc:
            tail += f"  {int(done):,}" + (f" of {int(total):,}" if total else "")
        tail += self._left(percent)
        head = self._what + " "
        line = head + bar(percent, min(40, max(6, self._room - len(head) - len(tail) - 1))) + tail
        print("\r" + cut(line, self._room - 1) + "\x1b[K", end="", file=sys.stderr, flush=True)
        self._drawn = True

    def _left(self, percent: float) -> str:
        """Time to go at the pace since the first document, once that says something."""
        import time

        now = time.monotonic()
        if self._begun is None:
            self._begun = (now, percent)
        begun, first = self._begun
        if now - begun < 3 or percent - first < 1 or percent >= 100:
            return ""
        return f"  {clock((100 - percent) * (now - begun) / (percent - first))} left"
