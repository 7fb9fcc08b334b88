"""Who announces what: plain frozen structs and the bus that carries them inside the player process.

A handler runs on the event loop in the order of subscription and must not block; whoever needs to wait takes the event
into a queue of its own. An exception in one handler is logged and reaches neither the publisher nor the other handlers.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, TypeVar

from msgspec import Struct

log = logging.getLogger(__name__)


class Event(Struct, frozen=True):
    """Base of all events."""


class StatusChanged(Event, frozen=True):
    """Something that `status` shows is different now (transport, queue, volume, health, counters)."""


class HealthChanged(Event, frozen=True):
    """The set of things that are wrong; empty means ok. Words of A5."""

    words: tuple[str, ...]


class JobChanged(Event, frozen=True):
    """A job's row changed; progress is 0-100."""

    id: int
    kind: str
    state: str
    progress: int
    error: str | None


class SyncProgress(Event, frozen=True):
    """The library sync moved: `done` of `total` tracks (0: not known), or albums where a server is crawled."""

    running: bool
    done: int
    total: int


class LibraryChanged(Event, frozen=True):
    """The index has other contents than before."""

    seq: int | None


class TrackPlayed(Event, frozen=True):
    """A track was heard for `seconds`, so history may count it."""

    track_id: str
    seconds: float


class DriveChanged(Event, frozen=True):
    """A drive came, went or changed its state (appliance/drives/drives.py draws them; `gone` when it was pulled).

    `not-adopted` asks for consent, `safe-to-remove` tells that it may be pulled out; progress 0-100 of its fill.
    """

    name: str
    uuid: str
    state: str
    adopted: bool
    progress: int
    message: str = ""


class ImportChanged(Event, frozen=True):
    """A file that job number `job` imports changed its state: queued, uploading, done, duplicate or failed (C10)."""

    job: int
    path: str
    state: str
    percent: int
    reason: str | None


class SignIn(Event, frozen=True):
    """A sign-in waits for `code` to be typed at `url`, for `expires_in` seconds; an empty code: it is over (A3)."""

    code: str
    url: str = ""
    expires_in: float = 0.0


E_ = TypeVar("E_", bound=Event)


class Bus:
    """Synchronous publish/subscribe for one event loop."""

    def __init__(self) -> None:
        self._handlers: list[tuple[type[Event], Callable[[Any], None]]] = []

    def subscribe(self, kind: type[E_], handler: Callable[[E_], None]) -> Callable[[], None]:
        """Call `handler` for every event of `kind` (or a subclass); the returned function ends that."""
        entry = (kind, handler)
        self._handlers.append(entry)
        return lambda: self._handlers.remove(entry) if entry in self._handlers else None

    def publish(self, event: Event) -> None:
        for kind, handler in tuple(self._handlers):
            if isinstance(event, kind):
                try:
                    handler(event)
                except Exception:  # a broken listener must not stop the music
                    log.exception("handler of %s failed", kind.__name__)
