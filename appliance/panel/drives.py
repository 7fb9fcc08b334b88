"""Drives on the panel: what their rows say, what can be done with them by the knob alone, and what is told (C6, C7)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from msgspec.structs import replace

from appliance.events import DriveChanged
from appliance.panel import asking, keys
from appliance.panel.state import Command, Node, Row, State, Stick

NONE = "There is no drive; plug in a USB stick or disk"
READY = ("ready", "filling", "full")
DONE = {
    "adopt": "The box may write to it, and fills it now",
    "forget": "Only read from now on; the music on it stays",
    "fill": "It is being filled",
    "eject": "Safe to remove",
}


class Drives(Protocol):
    """What the panel asks of drives; `appliance.drives.Drives` is one. `documents` as in `status`; NAME is a UUID."""

    def documents(self) -> Sequence[Mapping[str, Any]]: ...
    async def adopt(self, name: str, /) -> object: ...
    async def forget(self, name: str, /) -> object: ...
    async def fill(self, name: str, /) -> object: ...
    async def eject(self, name: str, /) -> object: ...


def menu_row(drives: Drives) -> Row:
    """The row of the menu: the drive, the drives, or why there is none."""
    found = drives.documents()
    if not found:
        return Row("Drive", "none", does=Command("tell", NONE))
    if len(found) > 1:
        return Row("Drives", str(len(found)), opens=Node("drives", title="Drives"))
    return Row("Drive", _short(found[0]), opens=_node(found[0]))


def rows_of(drives: Drives, kind: str, uuid: str) -> list[Row]:
    """The lists `drives` (all of them), `eject` (which one?) and `drive` (one of them)."""
    found = drives.documents()
    if kind == "eject":
        return [
            Row(drive["name"], _short(drive), does=Command("eject", drive["uuid"]))
            for drive in found
            if drive["state"] != "safe-to-remove"
        ]
    if kind == "drives":
        return [Row(drive["name"], _short(drive), opens=_node(drive), percent=_percent(drive)) for drive in found]
    return next((_drive(drive) for drive in found if drive["uuid"] == uuid), [Row("It was pulled out")])


def _drive(drive: Mapping[str, Any]) -> list[Row]:
    state, missing, uuid = drive["state"], drive["missing"], drive["uuid"]
    name, why = drive["name"], drive["message"]
    rows = [Row(name, _short(drive), does=Command("tell", why) if why else None, percent=_percent(drive))]
    if state == "error":
        rows.append(Row(why or "It cannot be read", does=Command("tell", why) if why else None))
    if drive["adopted"] or drive["files"]:
        rows.append(Row(f"{drive['files']} tracks", size(drive["bytes"])))
    if missing:
        rows.append(Row(f"{missing} missing", does=Command("tell", why or "MISSING.txt on the drive says why")))
    if drive["adopted"] and state in ("ready", "full"):
        rows.append(Row("Fill now", does=Command("fill", uuid)))
    if state == "not-adopted":
        rows.append(Row("Adopt and fill", does=Command("adopt", uuid)))
    if state not in ("safe-to-remove", "ejecting"):
        rows.append(Row("Eject", does=Command("eject", uuid)))
    if drive["adopted"] and state in READY:
        rows.append(Row("Forget", does=Command("forget", uuid)))
    return rows


def size(count: int) -> str:
    """Bytes in at most five characters: `870M`, `4.1G`."""
    for unit, factor in (("T", 1 << 40), ("G", 1 << 30), ("M", 1 << 20)):
        if count >= factor:
            value = count / factor
            return f"{value:.1f}{unit}" if value < 100 and unit != "M" else f"{value:.0f}{unit}"
    return f"{-(-count // 1024)}K"


def _node(drive: Mapping[str, Any]) -> Node:
    return Node("drive", drive["uuid"], title=drive["name"])


def _percent(drive: Mapping[str, Any]) -> int | None:
    return drive["progress"] if drive["state"] == "filling" else None


def _short(drive: Mapping[str, Any]) -> str:
    """The state in the eight small letters that a row has."""
    state: str = drive["state"]
    if state == "filling":
        return f"{drive['progress']}%"
    return {
        "not-adopted": "readonly", "safe-to-remove": "safe", "mounting": "...", "ejecting": "...", "error": "error!",
    }.get(state, state)  # fmt: skip


# Events ---------------------------------------------------------------------------------------------------------------


def changed(state: State, event: DriveChanged, now: float, *, seen: bool) -> State:
    """A drive came, went, moved on. `seen`: somebody looks, who can be asked whether the box may write to it."""
    before = next((stick.state for stick in state.drives if stick.uuid == event.uuid), "")
    stick = Stick(event.uuid, event.name, event.state)
    others = tuple(other for other in state.drives if other.uuid != event.uuid)
    state = replace(state, drives=others if event.state == "gone" else (*others, stick))
    state = keys.outdated(state, frozenset({"menu", "drive", "drives", "eject"}))
    if event.state != "not-adopted":
        state = asking.drop(state, event.uuid, now)
    elif before == "mounting" and not event.message and seen:  # just plugged in, not forgotten or refused
        text = f"Let this box write to {event.name}?"
        return asking.ask(state, event.name, text, Command("adopt", event.uuid), now)
    text = {
        "ejecting": "Wait ...",
        "safe-to-remove": "Safe to remove",
        "full": event.message,
        "error": event.message,
        "not-adopted": event.message,
    }.get(event.state, "")
    return keys.tell(state, event.name, text, now) if text and event.state != before else state
