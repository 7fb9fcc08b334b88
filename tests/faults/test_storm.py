"""A storm of seeded faults over many tracks: every track comes out bit for bit, none is passed over (P4, P7)."""

from __future__ import annotations

import random
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from appliance.demo.faults import FAULTS, spoil
from appliance.demo.faultserver import Answer, Seen
from tests.faults.cloud import Cloud, FaultBox, material
from tests.faults.lab import ALL
from tests.faults.table import TABLE
from tests.support import wavs

PACE = 0.02
SHARE = 0.9  # of the answers are spoilt
GONE = {"403", "404", "410"}
BREAKS = {"short", "reset", "reset-early", "close-early", "502", "stall", "empty-chunked", "short-chunked"}
WEIGHTS = [0.1 if FAULTS[name].pace or name in ("429", "503") else 1.0 for name in ALL]


class Storm:
    """Spoils answers by chance, but leaves each track the chance that the policy of fetching promises it.

    A track may rightly be passed over when the server says twice in a row that it is gone, or five times something
    without sense: so it does that once, and three times, at most.
    """

    def __init__(self, cloud: Cloud, seed: int, faults: int) -> None:
        self.cloud, self.dice, self.left = cloud, random.Random(seed), faults
        self.struck: Counter[str] = Counter()
        self._since: dict[str, list[str]] = {}  # faults in a row, by path

    async def __call__(self, seen: Seen, answer: Answer) -> Answer | None:
        row = self._since.setdefault(seen.path, [])
        if not seen.path.startswith("/music/") or answer.status not in (200, 206):
            return None
        if self.left <= 0 or self.dice.random() >= SHARE:
            row.clear()
            return None
        name = self.dice.choices(ALL, WEIGHTS)[0]
        if (name in GONE and GONE & set(row)) or len([r for r in row if r not in BREAKS]) >= 3:
            name = self.dice.choice(sorted(BREAKS))
        row.append(name)
        self.left -= 1
        self.struck[name] += 1
        return spoil(name, seen, answer, self.dice, PACE)


@pytest.mark.timeout(900)
def test_every_track_comes_out_whole(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    tracks, faults = (200, 2000) if request.config.getoption("--full") else (15, 150)
    album = material(tmp_path, "flac", 6.0, tracks=10)
    data = [path.read_bytes() for path in album.tracks]
    with Cloud(tmp_path, pace=PACE) as cloud:
        for n in range(tracks):
            frames = album.frames[n % 10]
            cloud.add("storm", f"{n:03}", data[n % 10], "flac", samples=frames, sample_rate=44_100,
                      duration=frames / 44_100)  # fmt: skip
        cloud.hook = storm = Storm(cloud, 7, faults)
        with FaultBox(tmp_path, cloud, pace=PACE) as box:
            box.start_player(sync=False)
            box.cli("sync")
            began = time.monotonic()
            box.cli("play", "album:storm")
            status = box.wait(lambda s: s["state"] == "stopped", 800, "the end of the queue")
            took = time.monotonic() - began
            assert status["queue"]["length"] == tracks
            assert status["message"] == ""
            box.cli("cache", "verify")
            box.stop_player()
        expected = np.concatenate([album.part(n % 10) for n in range(tracks)])
        assert (d := wavs.difference(expected, wavs.read(box.wav).data)) is None, d
        struck = sum(storm.struck.values())
        assert struck == faults
        counters, size = status["counters"], sum(t["size"] for t in cloud.tracks)
        TABLE.notes.append(
            f"storm: {struck} faults of {len(storm.struck)} kinds over {tracks} tracks in {took:.0f} s: bit-exact, none"
            f" passed over; {counters['network_bytes'] / size:.3f} bytes came for each of the {size}, "
            f"{counters['refetched_bytes']} twice, {counters['url_refreshes']} URLs anew"
        )
