"""What survives the plug: queue, track, position, volume, play or pause (P8)."""

from __future__ import annotations

import sqlite3
from typing import Literal

import msgspec
from msgspec import Struct

from appliance.player.loudness import Mode
from appliance.player.queue import Changes, Item, Repeat

KEY = "transport"
State = Literal["playing", "paused", "stopped"]


class Saved(Struct):
    """The state of playing; `position` in seconds, `volume` 0-100 (None: never set), `item` an id of the queue.

    `loudness`: what the settings said when it was chosen by hand, and what was chosen.
    """

    state: State = "stopped"
    item: int | None = None
    position: float = 0.0
    volume: int | None = None
    shuffle: bool = False
    repeat: Repeat = "off"
    loudness: tuple[Mode, Mode] | None = None


def load(db: sqlite3.Connection) -> tuple[Saved, list[Item]]:
    row = db.execute("SELECT value FROM meta WHERE key = ?", (KEY,)).fetchone()
    try:
        transport = msgspec.json.decode(row[0], type=Saved) if row else Saved()
    except msgspec.DecodeError:
        transport = Saved()
    return transport, [Item(*r) for r in db.execute("SELECT id, track_id, ord, rnd FROM queue_item ORDER BY ord")]


def save(db: sqlite3.Connection, transport: Saved, changes: Changes) -> None:
    """Inside a write transaction."""
    if changes.clear:
        db.execute("DELETE FROM queue_item")
    db.executemany("DELETE FROM queue_item WHERE id = ?", [(i,) for i in changes.delete])
    db.executemany(
        "INSERT OR REPLACE INTO queue_item (id, track_id, ord, rnd) VALUES (?, ?, ?, ?)",
        [(i.id, i.track_id, i.ord, i.rnd) for i in changes.upsert.values()],
    )
    db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (KEY, msgspec.json.encode(transport).decode()))
