"""Whether the time of day can be believed: a Raspberry Pi has no clock that runs while the plug is out (L5)."""

from __future__ import annotations

import ctypes
import time

EARLIEST = 1_767_225_600  # 2026-01-01: no box of this software lives before that
AGREES = 120.0  # seconds between our clock and the server's Date header
_TIME_ERROR = 5  # adjtimex(2): the clock is not synchronised


def synchronised() -> bool:
    """Whether the kernel says that something keeps its clock right (adjtimex)."""
    buffer = ctypes.create_string_buffer(512)  # struct timex, zeroed: asks, changes nothing
    try:
        return ctypes.CDLL(None).adjtimex(buffer) not in (-1, _TIME_ERROR)
    except (OSError, AttributeError):
        return False


def is_right(server_time: float | None) -> bool:
    """Whether a time may be recorded; `server_time` is Unix time by the server's last Date header, just received."""
    now = time.time()
    if now < EARLIEST:
        return False
    return synchronised() or (server_time is not None and abs(server_time - now) < AGREES)
