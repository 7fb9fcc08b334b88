"""Detents lost or invented on generated traces, and what an edge costs."""

from __future__ import annotations

import time
from collections.abc import Iterator
from random import Random
from statistics import median
from typing import Any

from hw.encoder import Knob, Quadrature
from tests.hw.traces import decode, edges, times, truth, walk

KINDS = {"clean": (0, 2_000, 0), "bouncy": (8, 25_000, 0), "bounce overlapping the other line": (2, 200_000, 3_000_000)}


def run() -> Iterator[dict[str, Any]]:
    trace = []
    for per in (4, 2):
        for name, (bounce, gap, pause) in KINDS.items():
            wrong = felt = 0
            for rate in (100, 400, 1000):
                random = Random(f"{per}{name}{rate}")
                path = walk("reversing", 6000, per, random)
                trace = edges(path, times(path, rate, 0.3, random, pause=pause), random, bounce=bounce, gap=gap)
                expected, found = truth(path, per), decode(trace, Quadrature(True, True, transitions=per))
                wrong += sum(a != b for a, b in zip(expected, found, strict=False)) + abs(len(expected) - len(found))
                felt += len(expected)
            row = {"name": f"encoder: wrong detents, {per} transitions each, {name}", "value": wrong / felt * 100}
            yield row | {"unit": "%", "target": 0, "runs": felt, "note": "reversing anywhere, to 1,000 transitions/s"}
    spent = []
    for _ in range(5):
        knob, levels = Knob(Quadrature(True, True)), [True, True]
        began = time.process_time()
        for edge in trace:
            levels[edge.line] = bool(edge.level)
            knob.feed(edge.at, levels[0], levels[1])
        spent.append((time.process_time() - began) / len(trace) * 1e6)
    yield {"name": "encoder: CPU an edge", "value": round(median(spent), 2), "unit": "us", "runs": 5}
