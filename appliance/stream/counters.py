"""Counts over the life of the state directory: the proof of "never stream the same song twice"."""

from __future__ import annotations

import sqlite3

import msgspec
from msgspec import Struct

KEY = "counters"


class Counters(Struct):
    """Bodies of audio only, in bytes, and how often something had to be done again."""

    network_bytes: int = 0
    refetched_bytes: int = 0
    stream_errors: int = 0
    token_refreshes: int = 0
    url_refreshes: int = 0

    def save(self, db: sqlite3.Connection) -> None:
        """Inside a write transaction, next to the ranges that the counted bytes belong to."""
        db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (KEY, msgspec.json.encode(self).decode()))


def load_counters(db: sqlite3.Connection) -> Counters:
    row = db.execute("SELECT value FROM meta WHERE key = ?", (KEY,)).fetchone()
    try:
        return msgspec.json.decode(row[0], type=Counters) if row else Counters()
    except msgspec.DecodeError:
        return Counters()
