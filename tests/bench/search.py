"""Search as you type (L3): every prefix of 200 typical queries, over the event loop.

`python -m tests.bench.search [TRACKS ...]`; by default 50,000 (search_million.py: 1,000,000). The library comes
from a real sync (tests.bench.sync), once a size.
"""

from __future__ import annotations

import asyncio
import json
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.bench.pages import ALBUM, album
from tests.bench.sync import measure

NAMES = ("search_50000", "browse_50000")
TARGETS = {50_000: 16.0, 1_000_000: 50.0}


def queries(size: int, count: int = 200) -> list[str]:
    """Two or three words as people type them: title; artist and title; artist and album."""
    rng = random.Random(1)
    found: list[str] = []
    while len(found) < count:
        item = rng.choice(album(rng.randrange(size // ALBUM)))
        words = [item["title"], f"{item['artist']} {item['title']}", f"{item['artist']} {item['album']}"][
            len(found) % 3
        ]
        if len(query := " ".join(words.lower().split()[:3])) > 5:
            found.append(query)
    return found


def run(*sizes: int) -> Iterator[dict[str, Any]]:
    for size in sizes or (50_000,):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "chadbox.db"
            measure(size, path)
            yield from asyncio.run(_measure(path, size))


async def _measure(path: Path, size: int) -> list[dict[str, Any]]:
    from appliance.events import Bus
    from appliance.library import Library
    from appliance.store import Store
    from tests.library.support import HttpCloud

    store = await Store.open(path)
    library = Library(store, HttpCloud(0), Bus())
    await library.open()
    typed = [q[:n] for q in queries(size) for n in range(1, len(q) + 1)]
    times = await _times(library.search, typed)
    processor = await _times(library.search, typed, time.process_time)
    slowest = typed[times.index(max(times))]
    one = [q for q in typed if len(q) == 1]
    short = await _times(library.search, one)
    pages = await _times(lambda offset: library.browse("album", offset=offset), [0, size // 24, size // 12 - 100] * 5)
    artists = await _times(lambda offset: library.browse("artist", offset=offset), [0, size // 240, size // 121] * 5)
    values = await _times(lambda name: library.browse("genre", name), [f"Genre {n}" for n in range(10)])
    letters = await _times(library.letters, ["artist", "album"] * 5)
    await library.close()
    await store.close()
    target = TARGETS.get(size)
    return [
        _line(f"search_{size}_p99", statistics.quantiles(times, n=100)[98], len(times), target),
        _line(f"search_{size}_median", statistics.median(times), len(times)),
        _line(f"search_{size}_p99_processor", statistics.quantiles(processor, n=100)[98], len(times), target),
        _line(f"search_{size}_worst", max(times), len(times), note=f"typed: {slowest}"),
        _line(f"search_{size}_one_letter", max(short), len(short), target),
        _line(f"browse_{size}_album_page", max(pages), len(pages), note="worst of first, middle and last page"),
        _line(f"browse_{size}_artist_page", max(artists), len(artists)),
        _line(f"browse_{size}_genre_albums", max(values), len(values)),
        _line(f"browse_{size}_letters", max(letters), len(letters)),
    ]


async def _times(ask: Any, arguments: list[Any], clock: Any = time.perf_counter) -> list[float]:
    """Milliseconds of each call, by the wall or by the processor (which other programs do not disturb)."""
    found = []
    for argument in arguments:
        started = clock()
        await ask(argument)
        found.append((clock() - started) * 1000)
    return found


def _line(name: str, value: float, runs: int, target: float | None = None, note: str = "") -> dict[str, Any]:
    line: dict[str, Any] = {"name": name, "value": round(value, 2), "unit": "ms", "runs": runs}
    return line | ({"target": target} if target else {}) | ({"note": note} if note else {})


if __name__ == "__main__":
    for line in run(*map(int, sys.argv[1:])):
        print(json.dumps(line), flush=True)
