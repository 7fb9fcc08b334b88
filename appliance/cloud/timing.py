"""How long the box waits for the network, in one place; a session of hours is tested in minutes by scaling it."""

from __future__ import annotations

from typing import Any

from msgspec import Struct
from msgspec.structs import asdict


class Timing(Struct, frozen=True):
    """Seconds, except `slowest`."""

    connect: float = 10.0
    stall: float = 10.0  # without a byte: the connection is dead
    answer: float = 20.0  # until the headers of an answer are there, however they trickle
    accept: float = 120.0  # until a file that was sent is answered: the server syncs it and reads its tags
    slowest: float = 1024.0  # bytes a second, over `stall`: what comes slower than this counts as a stall
    keepalive: float = 100.0  # a warm connection saves a round trip when a key is pressed
    retries: tuple[float, ...] = (0.0, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0)  # after the 1st, 2nd ... failure
    listening: float = 5.0  # the longest pause while somebody listens to the track and there is no network
    retry_after: float = 600.0  # the longest wish of a server that is granted
    fresh: float = 60.0  # a URL younger than this cannot have expired
    sync: float = 600.0  # between two looks for news on the server
    sync_retry: tuple[float, float] = (2.0, 120.0)  # the first wait after a failure, and the longest

    def scaled(self, factor: float) -> Timing:
        """Everything `factor` times as long (0.01: a hundred times as fast)."""
        values: dict[str, Any] = {
            name: tuple(v * factor for v in value) if isinstance(value, tuple) else value * factor
            for name, value in asdict(self).items()
        }
        return Timing(**values | {"slowest": self.slowest / factor})
