"""What the panel shows, as values: screens are functions of these and of the time, keys turn one into the next."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from msgspec import Struct

CHUNK = 64  # rows of a list that are read at once

# The words of a wiring's map (hw/wiring); what each means on which screen is in keys.py.
Action = Literal[
    "none", "play_pause", "next", "previous", "seek_forward", "seek_back", "stop", "favourite", "select", "back",
    "menu", "home", "volume", "scroll", "skip", "volume_up", "volume_down", "mute", "eject", "shuffle", "repeat",
    "display_off", "shut_down",
]  # fmt: skip


class Key(Struct, frozen=True):
    """Something that a hand did. For turns `detents` is what the fingers felt and `steps` what speed made of it, right
    positive; `count` numbers the repeats of a button that is held, from 1.
    """

    action: Action
    detents: int = 0
    steps: int = 0
    count: int = 0


class Command(Struct, frozen=True):
    """What is to be done now: `do` is a name of panel/commands.py, the rest is for it."""

    do: str
    text: str = ""
    number: int = 0
    node: Node | None = None


class Node(Struct, frozen=True):
    """A list that can be opened. `kind` says which; `key` and `value` narrow it; `title` is for people."""

    kind: str
    key: str = ""
    value: str = ""
    title: str = ""


class Row(Struct, frozen=True):
    """An entry of a list: a press opens a list or does a command.

    `tail` stands small at the right; `track` is the id for a favourite; `peek` is WHAT a press would play first;
    `percent` is how far something is that is under way, `icon` a mark before the tail.
    """

    text: str
    tail: str = ""
    opens: Node | None = None
    does: Command | None = None
    track: str = ""
    peek: str = ""
    percent: int | None = None
    icon: str = ""


class Page(Struct, frozen=True):
    """A list that is open: of its `total` rows (None: not known yet) those in `chunks` (number: rows) are here,
    and those in `fresh` need not be read again.

    `letters` are (first letter, row) for jumps; `moved` is when the cursor moved last, `jumped` when it jumped to
    another letter.
    """

    node: Node
    total: int | None = None
    cursor: int = 0
    top: int = 0
    chunks: Mapping[int, tuple[Row, ...]] = {}
    fresh: frozenset[int] = frozenset()
    letters: tuple[tuple[str, int], ...] = ()
    moved: float = 0.0
    jumped: float = -1e9

    def row(self, n: int) -> Row | None:
        """Row `n`; None when it is not here (yet)."""
        rows = self.chunks.get(n // CHUNK, ())
        return rows[n % CHUNK] if 0 <= n % CHUNK < len(rows) else None

    @property
    def letter(self) -> str:
        """The first letter of where the cursor stands; empty when not known."""
        found = ""
        for letter, start in self.letters:
            if start > self.cursor:
                break
            found = letter
        return found


class Now(Struct, frozen=True):
    """What plays. `position` (seconds) was true at `at` and runs on while the state is playing."""

    state: str = "stopped"
    track: str = ""
    title: str = ""
    artist: str = ""
    album: str = ""
    position: float = 0.0
    at: float = 0.0
    duration: float = 0.0
    volume: int = 0
    source: str = ""
    cached: int = 0
    shuffle: bool = False
    repeat: str = "off"
    favourite: bool = False
    health: tuple[str, ...] = ()
    details: Mapping[str, str] = {}
    since: float = 0.0  # when this track came up: its long names scroll from then

    def position_at(self, now: float) -> float:
        """Seconds into the track at the time `now`."""
        run = now - self.at if self.state == "playing" else 0.0
        return min(self.position + max(0.0, run), max(self.duration, self.position))


class Notice(Struct, frozen=True):
    """Something to be read: goes away by itself after `until`, or with a key."""

    title: str
    text: str
    since: float
    until: float


class Code(Struct, frozen=True):
    """A sign-in that waits for its code to be typed elsewhere."""

    code: str
    url: str
    since: float
    until: float


class Stick(Struct, frozen=True):
    """A drive that is plugged in; `state` as appliance/drives/drives.py draws them."""

    uuid: str
    name: str
    state: str


class Question(Struct, frozen=True):
    """May `does` be done? `yes` is what the knob stands on; `until` is 0 while it waits to be shown (asking.py)."""

    name: str
    text: str
    does: Command
    since: float = 0.0
    until: float = 0.0
    yes: bool = False


class State(Struct, frozen=True):
    """Everything. Times are seconds of one monotonic clock; `pages` are the open lists, the visible one last."""

    width: int = 128
    height: int = 64
    now: Now = Now()
    pages: tuple[Page, ...] = ()
    notice: Notice | None = None
    code: Code | None = None
    questions: tuple[Question, ...] = ()
    drives: tuple[Stick, ...] = ()
    job: tuple[str, int] | None = None  # kind and percent of what is being fetched
    touched: float = 0.0
    turned: float = -1e9  # when the volume changed last
    darkened: bool = False  # by hand
    unmuted: int | None = None  # the volume before it was muted

    @property
    def rows(self) -> int:
        """Rows of a list that fit on the display."""
        return self.height // 16

    def asked(self, now: float) -> Question | None:
        """The question that is to be seen, if there is one."""
        if not self.questions or (self.code is not None and now < self.code.until):
            return None
        return self.questions[0] if now < self.questions[0].until else None


def take(document: Mapping[str, Any], before: Now, now: float) -> Now:
    """What plays, of a Status document (control/status.py), at the time `now`."""
    track = document["track"]
    key = str(track.id) if track is not None else ""
    words = tuple(word for word in document["health"] if word != "ok")
    return Now(
        state=document["state"],
        track=key,
        title=(track.title or key) if track is not None else "",
        artist=track.artist if track is not None else "",
        album=track.album if track is not None else "",
        position=document["position"],
        at=now,
        duration=document["duration"],
        volume=document["volume"],
        source=document["source"] or "",
        cached=document["cached_percent"],
        shuffle=document["queue"]["shuffle"],
        repeat=document["queue"]["repeat"],
        favourite=before.favourite and key == before.track,
        health=words,
        details={word: document["health_details"].get(word, "") for word in words},
        since=before.since if key == before.track else now,
    )
