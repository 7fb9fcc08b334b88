"""What the measurements have in common: figures of processes from /proc, and the shape of a result."""

from __future__ import annotations

import contextlib
import os
import re
import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any


def line(
    name: str, values: Sequence[float], unit: str, *, target: float | None = None, peer: str | None = None,
    peer_values: Sequence[float] = (), note: str = "", digits: int = 3,
) -> dict[str, Any]:  # fmt: skip
    """One result: medians of `values` and, as often measured in the same run, of `peer_values`."""
    value = statistics.median(values)
    found: dict[str, Any] = {"name": name, "value": round(value, digits), "unit": unit, "runs": len(values)}
    if target is not None:
        found["target"] = round(target, digits)
    if peer is not None and peer_values:
        theirs = statistics.median(peer_values)
        found |= {"peer": peer, "peer_value": round(theirs, digits)}
        if theirs > 0:
            found["ratio"] = round(value / theirs, 2)
    if len(values) > 1:
        spread = f"{round(min(values), digits):g} to {round(max(values), digits):g}"
        note = f"{spread}; {note}" if note else spread
    return found | ({"note": note} if note else {})


def pss(pids: Iterable[int]) -> float:
    """MiB that the processes occupy together, shared pages counted in part (proc(5), smaps_rollup)."""
    total = 0
    for pid in pids:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
        total += int(re.search(r"^Pss: +(\d+)", text, re.MULTILINE)[1])  # type: ignore[index]
    return total / 1024


def alone(pids: Iterable[int]) -> float:
    """MiB that they would occupy if nobody else on the machine had the same files mapped: at least `pss`.

    Private pages of each, and of every mapped file the most that one of them has in common with anybody.
    """
    private, shared = 0, dict[str, int]()
    for pid in pids:
        mine: dict[str, int] = {}
        name = ""
        for row in Path(f"/proc/{pid}/smaps").read_text(errors="replace").splitlines():
            if match := re.match(r"[0-9a-f]+-[0-9a-f]+ \S+ (\S+) \S+ \d+ *(.*)", row):
                name = f"{match[2]} {match[1]}"
            elif row.startswith("Private_"):
                private += int(row.split()[1])
            elif row.startswith("Shared_"):
                mine[name] = mine.get(name, 0) + int(row.split()[1])
        for name, size in mine.items():
            shared[name] = max(size, shared.get(name, 0))
    return (private + sum(shared.values())) / 1024


def cpu(pids: Iterable[int]) -> float:
    """Seconds of processor time, user and system, that the living threads of the processes have used so far.

    From the scheduler's own count in nanoseconds (Documentation/scheduler/sched-stats.rst, /proc/<pid>/schedstat): the
    ticks of /proc/<pid>/stat miss much of what wakes, works for 50 us and sleeps again.
    """
    total = 0
    for pid in pids:
        for task in Path(f"/proc/{pid}/task").iterdir():
            with contextlib.suppress(OSError):  # it has ended meanwhile
                total += int((task / "schedstat").read_text().split()[0])
    return total / 1e9


def load() -> str:
    """How busy the machine is, for notes: figures that depend on it should say so."""
    return f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
