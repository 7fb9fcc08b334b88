"""Moves lines of the virtual header: turn A B DETENTS RATE | press PIN SECONDS. Runs in the box.

turn: DETENTS of four transitions each, RATE transitions a second, negative ones the other way; prints the rate that was
reached. press: PIN to ground for SECONDS.
"""

import os
import sys
import time

PHASES = ((1, 1), (0, 1), (0, 0), (1, 0))  # (A, B) from rest to rest, the way that A leads


class Line:
    def __init__(self, number: str) -> None:
        self.pull = os.open(f"/run/header/sim_gpio{int(number)}/pull", os.O_WRONLY)

    def set(self, level: int) -> None:
        os.pwrite(self.pull, b"pull-up" if level else b"pull-down", 0)


def turn(a: Line, b: Line, detents: int, rate: float) -> float:
    """By the clock and not by sleeps that add up, so that the rate is true on average."""
    start = time.perf_counter()
    levels = PHASES[0]
    for step in range(1, abs(detents) * 4 + 1):
        while (left := start + step / rate - time.perf_counter()) > 0:
            time.sleep(left)
        phase = PHASES[step % 4 if detents > 0 else -step % 4]
        for line, old, new in zip((a, b), levels, phase, strict=True):
            if old != new:
                line.set(new)
        levels = phase
    return abs(detents) * 4 / (time.perf_counter() - start)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["turn", a, b, detents, rate]:
            print(f"{turn(Line(a), Line(b), int(detents), float(rate)):.1f}")
        case ["press", pin, seconds]:
            line = Line(pin)
            line.set(0)
            time.sleep(float(seconds))
            line.set(1)
        case _:
            sys.exit(__doc__)
