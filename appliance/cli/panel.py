"""`panel`: the front panel in this terminal (F7). What the display shows is drawn, and keys turn the knob.

One thread reads frames from the player, this one reads keys; a pipe wakes it for frames and for signals. However it
ends, the terminal is as it was.
"""

from __future__ import annotations

import queue
import select
import shutil
import sys
import threading

from appliance.cli.entry import Call
from appliance.cli.output import say
from appliance.cli.screen import Frame, lines_of
from appliance.cli.terminal import Terminal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from appliance.control.client import Client

HELP = "arrows turn  enter select  backspace back  space play  n p next, previous  m menu  f favourite  q quit"
_RIGHT, _LEFT = {"detents": 1, "steps": 1}, {"detents": -1, "steps": -1}
_MEANING: list[tuple[str, dict[str, Any]]] = [
    ("\x1b[C \x1b[B \x1bOC \x1bOB j l", {"action": "scroll", **_RIGHT}),
    ("\x1b[D \x1b[A \x1bOD \x1bOA k h", {"action": "scroll", **_LEFT}),
    ("\x1b[6~ J", {"action": "skip", **_RIGHT}),
    ("\x1b[5~ K", {"action": "skip", **_LEFT}),
    ("+ =", {"action": "volume_up"}),
    ("- _", {"action": "volume_down"}),
    ("\x7f \x08 \x1b", {"action": "back"}),
    ("n", {"action": "next"}),
    ("p", {"action": "previous"}),
    (".", {"action": "seek_forward", "count": 1}),
    (",", {"action": "seek_back", "count": 1}),
    ("m", {"action": "menu"}),
    ("f", {"action": "favourite"}),
    ("s", {"action": "shuffle"}),
    ("r", {"action": "repeat"}),
    ("0", {"action": "mute"}),
    ("\x1b[H \x1b[1~", {"action": "home"}),
]
KEYS = {key: doc for keys, doc in _MEANING for key in keys.split(" ")}
KEYS |= {" ": {"action": "play_pause"}, "\r": {"action": "select"}, "\n": {"action": "select"}}
QUIT = ("q", "Q", "\x03", "\x04")


def panel(call: Call) -> int:
    """Until `q`, Ctrl-C or the end of the player. Raises ChadboxError; NotRunning when there is no player."""
    plain = call.line.flag("plain") or not sys.stdout.isatty() or not _draws_blocks()
    with Terminal(full=not plain) as terminal, _Feed(call.client(), terminal) as feed:
        view = _Plain() if plain else _Picture(braille=call.line.flag("braille"))
        keys = call.client()
        while True:
            waiting = [terminal.wake, *([terminal.keys] if terminal.keys is not None else [])]
            ready, _, _ = select.select(waiting, [], [])
            if terminal.wake in ready:
                terminal.rest()
                if frame := feed.newest():
                    view.show(frame)
                elif terminal.resized():
                    view.again()
            if terminal.keys in ready and not _press(keys, terminal):
                return 0


def _draws_blocks() -> bool:
    return (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"


def _press(client: Client, terminal: Terminal) -> bool:
    """Pass on what was typed; False to quit."""
    typed = terminal.typed()
    if not typed:
        return False
    for doc in together(typed):
        if doc is None:
            return False
        client.call("panel_key", doc)
    return True


def together(typed: str) -> list[dict[str, Any] | None]:
    """What the keys in `typed` mean, in order, None for the one that quits; the same turn again and again is one."""
    found: list[dict[str, Any] | None] = []
    for key in split(typed):
        if key in QUIT:
            found.append(None)
            continue
        doc = KEYS.get(key)
        if doc is None:
            continue
        last = found[-1] if found else None
        if (
            last is not None
            and "detents" in doc
            and last["action"] == doc["action"]
            and last["steps"] * doc["steps"] > 0
        ):
            found[-1] = {**last, "detents": last["detents"] + doc["detents"], "steps": last["steps"] + doc["steps"]}
        else:
            found.append(doc)
    return found


def split(typed: str) -> list[str]:
    """The keys in what a terminal sent: letters, and sequences that begin with escape."""
    keys: list[str] = []
    at = 0
    while at < len(typed):
        end = at + 1
        if typed[at] == "\x1b" and typed[end : end + 1] in ("[", "O"):
            end += 1
            while end < len(typed) and not "@" <= typed[end] <= "~":
                end += 1
            end += 1
        keys.append(typed[at:end])
        at = end
    return keys


class _Feed:
    """Reads frames on a thread of its own; of those that nobody has drawn yet the newest counts."""

    def __init__(self, client: Client, terminal: Terminal) -> None:
        self._client, self._terminal = client, terminal
        self._frames: queue.SimpleQueue[Frame | Exception] = queue.SimpleQueue()

    def __enter__(self) -> _Feed:
        threading.Thread(target=self._read, name="frames", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        """The thread ends with the process."""

    def newest(self) -> Frame | None:
        """None when there is no new one. Raises what ended the feed."""
        frame: Frame | None = None
        while not self._frames.empty():
            item = self._frames.get()
            if isinstance(item, Exception):
                raise item
            frame = item
        return frame

    def _read(self) -> None:
        try:
            for doc in self._client.watch(cmd="panel"):
                self._frames.put(Frame(doc))
                self._terminal.ring()
        except Exception as error:  # shown by the other thread
            self._frames.put(error)
            self._terminal.ring()


class _Picture:
    """Draws frames, writing only what has changed: over SSH every byte counts."""

    def __init__(self, *, braille: bool) -> None:
        self._braille = braille
        self._lines: list[str] = []
        self._frame: Frame | None = None
        self._level = ""

    def show(self, frame: Frame) -> None:
        self._frame = frame
        columns, rows = shutil.get_terminal_size()
        out: list[str] = []
        if frame.level != self._level:
            self._level, self._lines = frame.level, []
        if not self._lines:
            out.append("\x1b[0m\x1b[2J" + ("\x1b[2m" if frame.level == "dim" else ""))
        lines = lines_of(frame, columns, max(1, rows - 1), braille=self._braille)
        note = "the display is dark, a key wakes it" if frame.level == "off" else HELP
        lines.append(note[: max(0, columns - 1)])
        for n, line in enumerate(lines):
            out.append(_difference(self._lines[n] if n < len(self._lines) else "", line, n + 1))
        if len(lines) < len(self._lines):
            out.append(f"\x1b[{len(lines) + 1};1H\x1b[J")
        self._lines = lines
        sys.stdout.write("".join(out))
        sys.stdout.flush()

    def again(self) -> None:
        """The window has another size."""
        self._lines = []
        if self._frame is not None:
            self.show(self._frame)


def _difference(before: str, after: str, row: int) -> str:
    """What turns line `before` into `after`; lines of other lengths are written whole."""
    if before == after:
        return ""
    if len(before) != len(after) or not after.isprintable():
        return f"\x1b[{row};1H{after}\x1b[K"
    if not all("\u2500" <= char <= "\u28ff" or char < "\x7f" for char in before + after):
        return f"\x1b[{row};1H{after}\x1b[K"  # wide letters: a character is not a column
    first = next(n for n, (a, b) in enumerate(zip(before, after, strict=True)) if a != b)
    last = max(n for n, (a, b) in enumerate(zip(before, after, strict=True)) if a != b)
    return f"\x1b[{row};{first + 1}H{after[first : last + 1]}"


class _Plain:
    """Text alone, for screen readers and logs: said again only when the words are others."""

    def __init__(self) -> None:
        self._words: list[str] = []

    def show(self, frame: Frame) -> None:
        words = frame.words or ["(dark)"]
        if words != self._words:
            new = [word for word in words if word not in self._words] or words
            self._words = words
            say(*new)
            sys.stdout.flush()

    def again(self) -> None:
        """Words have no size."""
