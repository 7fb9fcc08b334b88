"""Encoder traces as a kernel would report them: edges of two bouncing contacts, made from a known turn of the shaft."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from random import Random

from hw.encoder import Quadrature

GRAY = ((1, 1), (0, 1), (0, 0), (1, 0))  # levels A, B of quarter-step position modulo 4, turning right


@dataclass(frozen=True)
class Edge:
    at: int  # ns
    line: int  # 0 = A, 1 = B
    level: int


def times(path: Sequence[int], rate: float, jitter: float, random: Random, *, pause: int = 0) -> list[int]:
    """The moments in ns of the moves in `path` at `rate` a second; each interval is off by up to `jitter` (a share of
    1).

    Before it turns back the shaft stands still for `pause` ns, as a hand does.
    """
    now, out = 0.0, []
    for index in range(len(path)):
        now += 1e9 / rate * (1 + jitter * random.uniform(-1, 1))
        if index > 1 and path[index] - path[index - 1] != path[index - 1] - path[index - 2]:
            now += pause
        out.append(int(now))
    return out


def edges(
    path: Sequence[int], when: Sequence[int], random: Random, *, bounce: int = 0, gap: int = 200_000, start: int = 0
) -> list[Edge]:
    """The edges of a shaft that moves through the quarter-steps `path` (each one away from the one before).

    Each contact chatters up to `bounce` times to and fro before it stays, every 1,000 to `gap` ns; it may still do so
    when the other line moves.
    """
    out: list[Edge] = []
    levels = list(GRAY[start % 4])
    free = [0, 0]  # when the contact is at peace again
    for position, at in zip(path, when, strict=True):
        wanted = GRAY[position % 4]
        (line,) = [n for n in (0, 1) if wanted[n] != levels[n]]
        moment = max(at, free[line])
        for number in range(2 * random.randint(0, bounce) + 1):
            out.append(Edge(moment, line, wanted[line] if number % 2 == 0 else 1 - wanted[line]))
            moment += random.randint(1_000, gap)
        free[line] = moment
        levels[line] = wanted[line]
    return sorted(out, key=lambda edge: edge.at)


def truth(path: Iterable[int], per: int, start: int = 0) -> list[int]:
    """The detents a hand would feel: +1 or -1 each time the shaft comes to rest elsewhere than it last rested."""
    rested, felt = start, []
    for position in path:
        if position % per == 0 and position != rested:
            felt.append((position - rested) // per)
            rested = position
    return felt


def decode(trace: Iterable[Edge], decoder: Quadrature, start: int = 0) -> list[int]:
    levels = list(GRAY[start % 4])
    found, last = [], 0
    for edge in trace:
        levels[edge.line] = edge.level
        last = edge.at
        found += [decoder.feed(edge.at, bool(levels[0]), bool(levels[1]))]
    found += [decoder.settle(last + 1_000_000_000)]
    return [n for n in found if n]


def walk(kind: str, count: int, per: int, random: Random) -> list[int]:
    """A path of about `count` quarter-steps: `straight`, `reversing` anywhere also in mid-detent, or `wiggling`."""
    position, way, path = 0, 1, []
    while len(path) < count:
        if kind == "straight":
            run = per * random.randint(5, 30)
        elif kind == "reversing":
            run = random.randint(1, 3 * per)
        else:
            run = random.randint(1, 2)
        for _ in range(run):
            position += way
            path.append(position)
        way = -way
    return path
