"""Care for an OLED, whose pixels fade with use: dim it, move the picture, switch it off when nobody looks.

                a key                                                        a key: on again
on  --- dim_after without a key ---> dim, and the picture moves every minute
                                      |  --- blank_after, nothing plays -------> off
                                      '- --- blank_playing_after, music plays -> off
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

Level = Literal["on", "dim", "off"]
MOVES = 60.0  # seconds between two moves

# where the picture stands, minute by minute; screens leave two pixels for it at the right and at the bottom
PLACES = ((0, 0), (1, 1), (2, 2), (1, 0), (0, 1), (2, 1), (1, 2), (0, 2), (2, 0))


class Care(Struct, frozen=True):
    """Seconds without a key; 0 means never. The defaults of `[panel]` in the settings."""

    dim_after: float = 60.0
    blank_after: float = 600.0
    blank_playing_after: float = 3600.0

    def level(self, idle: float, playing: bool) -> tuple[Level, float | None]:
        """How bright after `idle` seconds without a key, and in how many seconds that changes (None: not at all)."""
        off = self.blank_playing_after if playing else self.blank_after
        if off and idle >= off:
            return "off", None
        ahead = [after - idle for after in (self.dim_after, off) if after and after > idle]
        return ("dim" if self.dim_after and idle >= self.dim_after else "on"), min(ahead, default=None)


NONE = Care(0, 0, 0)


def place(now: float) -> tuple[int, int, float]:
    """How far right and down the picture stands at `now`, and for how many seconds."""
    minute = int(now // MOVES)
    dx, dy = PLACES[minute % len(PLACES)]
    return dx, dy, (minute + 1) * MOVES - now
