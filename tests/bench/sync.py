"""A full sync over HTTP into a fresh database (L1): time, peak memory, and how long the event loop was held up.

`python -m tests.bench.sync [TRACKS ...]`; by default 50,000, three times (sync_million.py: 1,000,000, once). The
player's part runs in a process of its own, so that its memory is not the bench's.
"""

from __future__ import annotations

import asyncio
import gc
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.bench.pages import ROOT, serving

NAMES = ("sync_50000",)
TARGETS = {50_000: 5.0, 1_000_000: 120.0}
RSS, BLOCK = 250.0, 20.0


def run(*sizes: int) -> Iterator[dict[str, Any]]:
    for size in sizes or (50_000,):
        runs = [measure(size) for _ in range(3 if size <= 100_000 else 1)]
        for name, unit, target in (
            ("seconds", "s", TARGETS.get(size)), ("peak_rss", "MiB", RSS), ("pss_after", "MiB", None),
            ("loop_block", "ms", BLOCK), ("delta_one_track", "ms", None), ("database", "MB", None),
        ):  # fmt: skip
            value = statistics.median(r[name] for r in runs)
            line = {"name": f"sync_{size}_{name}", "value": round(value, 2), "unit": unit, "runs": len(runs)}
            yield line | ({"target": target} if target else {})


def measure(size: int, keep: Path | None = None, sound: Path | None = None) -> dict[str, float]:
    """One full sync; with `keep`, the database stays there; `sound` is the file of all tracks (see pages.py)."""
    with tempfile.TemporaryDirectory() as folder, serving(size, sound) as port:
        path = keep or Path(folder) / "chadbox.db"
        command = [sys.executable, "-m", "tests.bench.sync", "--child", str(path), str(port)]
        done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True, timeout=900)
        found: dict[str, float] = json.loads(done.stdout)
        return found


def _mib(file: str, field: str) -> float:
    """What /proc says of this process in kB, as MiB."""
    lines = Path("/proc/self", file).read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(field))


async def _child(path: Path, port: int) -> dict[str, float]:
    from appliance.events import Bus
    from appliance.library import Library
    from appliance.library.apply import apply
    from appliance.library.pages import Page, to_row
    from appliance.store import Store
    from tests.library.support import HttpCloud

    store = await Store.open(path)
    cloud = HttpCloud(port)
    library = Library(store, cloud, Bus())
    await library.open()
    gc.freeze()  # as the player does once it is ready
    worst = 0.0

    async def tick() -> None:
        nonlocal worst
        while True:
            before = time.perf_counter()
            await asyncio.sleep(0.001)
            worst = max(worst, time.perf_counter() - before - 0.001)

    ticker = asyncio.create_task(tick())
    started = time.perf_counter()
    await library.sync()
    seconds = time.perf_counter() - started
    ticker.cancel()
    peak = _mib("status", "VmHWM:")  # ru_maxrss would be that of the parent, if it was more
    pss = _mib("smaps_rollup", "Pss:")
    one = (await library.get_tracks([5]))[0]
    one.artist = "Somebody Else"
    page = Page("bench", [to_row(one)], [], library.seq or 0, False)
    started = time.perf_counter()
    await store.write(lambda con: apply(con, page, seen=False))
    delta = time.perf_counter() - started
    await library.close()
    await store.close()
    cloud.close()
    return {
        "seconds": seconds, "peak_rss": peak, "pss_after": pss, "loop_block": worst * 1000,
        "delta_one_track": delta * 1000, "database": path.stat().st_size / 1e6,  # noqa: ASYNC240
    }  # fmt: skip


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        print(json.dumps(asyncio.run(_child(Path(sys.argv[2]), int(sys.argv[3])))))
    else:
        for line in run(*map(int, sys.argv[1:])):
            print(json.dumps(line), flush=True)
