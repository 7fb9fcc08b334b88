"""The document of `chadbox status`: one state for display, command and log (A5)."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Protocol

import msgspec

from appliance import __version__
from appliance.control.where import Where, located
from appliance.health import Health
from appliance.own import is_own
from appliance.player.deck import Play
from appliance.player.player import Player
from appliance.stream import Cache

Playing = tuple[str, int | str | None]  # state, id of the track


class LibraryState(Protocol):
    @property
    def tracks(self) -> int: ...
    @property
    def seq(self) -> int | None: ...
    @property
    def syncing(self) -> bool: ...


class StatusSource:
    """Builds the document from what is in memory: never waits."""

    def __init__(self, player: Player, library: LibraryState, cache: Cache, health: Health) -> None:
        self._player = player
        self._library = library
        self._cache = cache
        self._health = health
        self._born = time.monotonic()
        self.where: Where | None = None
        self.drives: Callable[[], list[dict[str, object]]] = list

    @property
    def playing(self) -> Playing:
        """What `playing_of` finds in the document of now, without building it."""
        track = self._player.track
        return self._player.transport.state, track.id if track else None

    def document(self) -> dict[str, Any]:
        player, transport = self._player, self._player.transport
        now, queue, audio = transport.now, player.queue, transport.audio
        track = player.track
        if track is not None and self.where is not None:
            track = located(
                track, self.where.words(track, cached=bool(now and now.file.complete and not now.file.volatile))
            )
        file = now.file if now else None
        return {
            "state": transport.state,
            "health": self._health.words,
            "health_details": self._health.details,
            "message": transport.message,
            "track": track,
            "position": round(transport.position, 2),
            "duration": round((now.length if now else track.duration if track else 0.0) or 0.0, 3),
            "volume": player.volume,
            "source": _source(now) if now else None,
            "cached_percent": file.percent if file else 0,
            "queue": {
                "index": queue.index,
                "length": len(queue),
                "shuffle": queue.shuffle,
                "repeat": queue.repeat,
            },
            "gain_db": now.entry.gain_db if now else 0.0,
            "audio": {
                "output": audio.output,
                "rate": audio.rate,
                "format": audio.format,
                "channels": audio.channels,
                "underruns": audio.underruns,
            }
            if audio
            else None,
            "library": {
                "tracks": self._library.tracks,
                "seq": self._library.seq,
                "syncing": self._library.syncing,
            },
            "cache": {"bytes": self._cache.bytes, "tracks": self._cache.tracks, "limit": self._cache.limit},
            "drives": self.drives(),
            "counters": msgspec.to_builtins(self._cache.counters),
            "uptime": round(time.monotonic() - self._born, 3),
            "version": __version__,
        }


def playing_of(document: dict[str, Any]) -> Playing:
    """State and id of the track as a document tells them."""
    track = document["track"]
    return document["state"], track.id if track else None


def _source(play: Play) -> str:
    if play.from_cache:
        return "cache"
    return "drive" if play.file.from_drive or is_own(play.track.id) else "network"
