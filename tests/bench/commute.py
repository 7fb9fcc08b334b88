"""The commute's prediction (C2): share of the minutes heard on trips that was on the box, per simulated listener.

Medians over SEEDS listeners of each habit (tests/commute/listeners.py), walking through eight weeks day by day; the
peer is the better of most played and most recent, of the same size. And the time of one plan with 100,000 plays.
"""

from __future__ import annotations

import random
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from appliance.commute.habits import moment
from appliance.commute.plan import Limits, plan
from tests.commute import listeners

SEEDS = 5


def run() -> Iterator[dict[str, Any]]:
    for habit in listeners.HABITS:
        found = []
        for seed in range(100, 100 + SEEDS):
            con = listeners.library(":memory:")
            found.append(listeners.walk(con, listeners.Listener(habit, seed), 8, 3)[0])
            con.close()
        share = {name: statistics.median(f[name] for f in found) for name in found[0]}
        peer = max(("most played", "most recent"), key=lambda name: share[name])
        yield {
            "name": f"commute_{habit}", "value": round(share["plan"], 3), "unit": "share",
            "target": round(share[peer], 3),
            "peer": peer, "peer_value": round(share[peer], 3),
            "ratio": round(share["plan"] / max(share[peer], 1e-3), 2),
            "runs": SEEDS, "note": "target: more than the peer; " + ", ".join(f"{k} {v:.3f}" for k, v in share.items()),
        }  # fmt: skip
    yield _speed()


def _speed() -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        con = listeners.library(Path(folder) / "chadbox.db", 1667)
        rng = random.Random(1)
        now = time.time()
        rows = [
            (str(n), listeners.LIBRARY, str(rng.randrange(50_000)), now - (100_000 - n) * 600, 200.0)
            for n in range(100_000)
        ]
        con.execute("BEGIN")
        con.executemany("INSERT INTO play (id, library, track_id, played_at, seconds) VALUES (?, ?, ?, ?, ?)", rows)
        con.execute("COMMIT")
        taken = []
        for _ in range(5):
            begun = time.perf_counter()
            plan(con, listeners.LIBRARY, moment(now), Limits(minutes=120))
            taken.append((time.perf_counter() - begun) * 1000)
        con.close()
    return {
        "name": "commute_plan_100000_plays", "value": round(statistics.median(taken), 1), "unit": "ms", "runs": 5,
        "note": "50,000 tracks; on a store reader's thread",
    }  # fmt: skip
