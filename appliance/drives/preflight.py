"""What an export is going to do, told before it does anything, and how far it is (C9, R9)."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence

from msgspec import Struct

from appliance.cloud.models import Track
from appliance.drives import manifest as lists
from appliance.drives import plan as plans
from appliance.drives.copy import Tick
from appliance.drives.fill import PLAYLIST
from appliance.drives.manifest import Missing
from appliance.drives.names import fold
from appliance.drives.plan import Item, Plan
from appliance.drives.tree import Tree

# Bytes a second that an estimate goes by until something was measured: a house's Wi-Fi, a middling USB 2 stick that is
# written and read back.
DOWNLOAD, COPY = 3e6, 8e6
MEASURED = 4 << 20  # bytes from which on a pace says something

Have = Mapping[str, int]  # track id -> bytes that are in the cache


class Preflight(Struct):
    """Tracks and bytes; `free` is what music may take at the target, `seconds` an estimate."""

    name: str
    tracks: int = 0
    kept: int = 0
    copy: int = 0
    bytes: int = 0
    download: int = 0
    download_bytes: int = 0
    free: int = 0
    seconds: int = 0
    missing: list[Missing] = []


class Pace:
    """Bytes a second, as they were last."""

    def __init__(self) -> None:
        self.download, self.copy = DOWNLOAD, COPY

    def learn(self, meter: Meter, seconds: float) -> None:
        """What a whole export took says how long the next one takes; downloads and copies overlap."""
        if meter.downloaded > MEASURED and seconds > 0:
            self.download = meter.downloaded / seconds
        elif meter.copied > MEASURED and seconds > 0:
            self.copy = meter.copied / seconds


def look(tree: Tree, kind: str, library: str, tracks: Sequence[Track], tick: Tick) -> tuple[Plan, int]:
    """The plan and the bytes of room, without touching anything. Blocks; OSError."""
    manifest = lists.load(tree)
    if library:
        lists.move_to(manifest, library)
    plan = plans.make(tree, kind, manifest, tracks, tick, "export")
    return plan, max(0, plan.room)


def preflight(name: str, plan: Plan, unknown: Sequence[Missing], have: Have, pace: Pace) -> Preflight:
    lacking = [size for item in plan.items if (size := lacks(item, have))]
    return Preflight(
        name, len(plan.order) + len(plan.missing) + len(unknown), plan.kept, len(plan.items), plan.bytes,
        len(lacking), sum(lacking), max(0, plan.room),
        math.ceil(max(sum(lacking) / pace.download, plan.bytes / pace.copy)), [*unknown, *plan.missing],
    )  # fmt: skip


def lacks(item: Item, have: Have) -> int:
    """Bytes that have to be downloaded for it."""
    return max(0, item.size - have.get(str(item.track.id), 0))


class Meter:
    """How far the download and the copying are, apart; bytes."""

    def __init__(self) -> None:
        self.begun = time.monotonic()
        self.downloaded = self.to_download = 0
        self.copied = self.to_copy = 0
        self._planned = False

    def plan(self, plan: Plan, have: Have) -> None:
        self._planned = True
        self.to_copy = plan.bytes
        self.to_download = sum(lacks(item, have) for item in plan.items)

    def document(self) -> dict[str, int]:
        """As `progress` carries it: percents from 0 to 100, and bytes."""
        copy, download = (
            _percent(done, of) if self._planned else 0
            for done, of in ((self.copied, self.to_copy), (self.downloaded, self.to_download))
        )
        return {
            "percent": copy, "download": download, "copy": copy,
            "downloaded": self.downloaded, "to_download": self.to_download,
            "copied": self.copied, "to_copy": self.to_copy,
        }  # fmt: skip


def title(what: str, tracks: Sequence[Track]) -> str:
    """What an export is called: its playlist and its project."""
    kind, colon, name = what.strip().partition(":")
    if kind == "album" and colon and tracks:
        found = tracks[0].album
    elif kind == "track" and colon and tracks:
        found = tracks[0].title
    elif kind in ("artist", "genre", "playlist") and colon:
        found = name.strip()
    else:
        found = what.strip()[:1].upper() + what.strip()[1:]
    found = found.strip() or "Export"
    return f"{found} export" if fold(found) == fold(PLAYLIST) else found  # that list is the fill's


def _percent(done: int, of: int) -> int:
    return 100 if of <= 0 else max(0, min(100, done * 100 // of))
