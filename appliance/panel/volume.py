"""The knob's scale: every detent sounds like the same step (P10).

Volume 0-100 acts as (v/100)^3 on the amplitude, so v is -60 log10(100/v) dB. Detents of one percent would be 0.05 dB at
the top and 6 dB at the bottom; these are 1 dB each, as near as whole per cents come (0.6 to 1.7 dB above 26), and one
per cent each below.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right

STEP_DB = 1.0

LEVELS: tuple[int, ...] = tuple(sorted({round(100 * 10 ** (-n * STEP_DB / 60)) for n in range(36)} | set(range(27))))


def stepped(volume: int, steps: int) -> int:
    """The volume `steps` detents from `volume` (right positive), which may lie between two of them."""
    at = (bisect_right(LEVELS, volume) - 1 if steps > 0 else bisect_left(LEVELS, volume)) + steps
    return LEVELS[max(0, min(at, len(LEVELS) - 1))]
