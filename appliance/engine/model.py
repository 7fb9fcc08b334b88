"""What crosses the facade: entries and streams going in, events coming out."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Protocol

from msgspec import Struct


class StreamView(Protocol):
    """A cache file as the engine sees it; `appliance.stream` implements it."""

    @property
    def id(self) -> int:
        """Unique per stream within this run."""

    @property
    def path(self) -> Path:
        """The sparse file; only bytes that are `available` may be read."""

    @property
    def size(self) -> int | None:
        """Size of the whole in bytes, None while it is not known."""

    def available(self) -> list[tuple[int, int]]:
        """Sorted, disjoint [start, stop) in bytes that can be read now."""


class Entry(Struct, frozen=True):
    """One play of one track: what stands in mpv's playlist.

    `id` is unique per play (the same track twice in a row is two entries). `start` and `end` are seconds in the file;
    `end` may be left out when `samples` (PCM frames after trimming) and `sample_rate` (Hz) are known. `gain_db` is
    applied to every sample of this entry and to no other; 0 leaves the bits alone. `duration` in seconds is what the
    library says: an entry that ends well before it has ended in error.
    """

    id: int
    stream: int
    start: float = 0.0
    end: float | None = None
    samples: int | None = None
    sample_rate: int | None = None
    gain_db: float = 0.0
    duration: float | None = None

    @property
    def exact_end(self) -> float | None:
        """Where to cut, in seconds: half a sample past the last one, so that no rounding can take it away."""
        if self.end is not None or not self.samples or not self.sample_rate:
            return self.end
        return (self.samples + 0.5) / self.sample_rate


class EngineEvent(Struct, frozen=True):
    """Base of what the engine announces."""


class EntryStarted(EngineEvent, frozen=True):
    """mpv has turned to this entry. At a gapless join this comes up to 0.4 s before its first sample is heard."""

    entry: Entry


class EntryEnded(EngineEvent, frozen=True):
    """The one end of an entry that had started. `eof` only when its data really ended; `position` in seconds."""

    entry: Entry
    reason: Literal["eof", "error", "stop"]
    position: float
    message: str | None = None


class Position(EngineEvent, frozen=True):
    """Where the ear is, in seconds; `duration` None while it is not known."""

    entry: Entry
    seconds: float
    duration: float | None
    state: Literal["playing", "paused", "buffering"]


class ReadPosition(EngineEvent, frozen=True):
    """The decoder reads `stream` at `offset` bytes; `waiting` when it needs those bytes and they are missing."""

    stream: int
    offset: int
    waiting: bool


class AudioChanged(EngineEvent, frozen=True):
    """What the output was opened with: rate in Hz, mpv's name of the sample format; under-runs of this child so far."""

    output: str
    rate: int
    format: str
    channels: int
    underruns: int


class OutputLost(EngineEvent, frozen=True):
    """The sound card cannot be used; playing is held and the card tried again until `OutputBack`."""

    reason: str


class OutputBack(EngineEvent, frozen=True):
    """The sound card is there again; what played before plays on from where it was."""


class EngineDown(EngineEvent, frozen=True):
    """The child died or hung; it is being started again."""

    reason: str


class EngineUp(EngineEvent, frozen=True):
    """The child runs and has been told everything it needs to go on."""


class Idle(EngineEvent, frozen=True):
    """The last entry has ended and none follows."""
