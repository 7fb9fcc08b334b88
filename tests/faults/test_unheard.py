"""A line that fails for up to 15 s while sound is buffered is not heard (P4): real time, output into nothing."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from appliance.demo.faultserver import Answer, Seen
from tests.faults.cloud import Cloud, FaultBox, material
from tests.faults.table import TABLE

LONG = 44.0  # seconds of the track; what is left when the fault strikes is more than it takes away
AHEAD = 24.0  # seconds of it that are on the box then


def away(cloud: Cloud) -> None:
    """Nobody there for 15 s."""
    cloud.call(cloud.away())
    threading.Timer(15.0, lambda: cloud.call(cloud.listen())).start()


FAULTS: dict[str, Callable[[Cloud], object]] = {
    "away for 15 s": away,
    "stall": lambda cloud: cloud.strike(cloud.tracks[0], "stall", 0),
    "trickle": lambda cloud: cloud.strike(cloud.tracks[0], "trickle", 0),
    "503": lambda cloud: cloud.strike(cloud.tracks[0], "503", 0, times=3),
    "stall-early": lambda cloud: cloud.strike(cloud.tracks[0], "stall-early", 0),
}
QUICK = ("away for 15 s", "stall")


@pytest.mark.timeout(200)
def test_nothing_is_heard_while_sound_is_buffered(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """All faults at once, each with a player of its own."""
    names = list(FAULTS) if request.config.getoption("--full") else list(QUICK)
    album = material(tmp_path, "flac", LONG, tracks=1)
    data, frames = album.tracks[0].read_bytes(), album.frames[0]
    troubles: dict[str, str] = {}

    def run(name: str) -> None:
        try:
            troubles[name] = one(tmp_path / name.replace(" ", "-"), name, data, frames)
        except BaseException as error:
            troubles[name] = f"{type(error).__name__}: {error}"

    threads = [threading.Thread(target=run, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(150)
    assert troubles == dict.fromkeys(names, "")


def one(root: Path, name: str, data: bytes, frames: int) -> str:
    """Play with fault `name` after AHEAD seconds are on the box; what was wrong."""
    root.mkdir()
    with Cloud(root) as cloud:
        track = cloud.add("a", "long", data, "flac", samples=frames, sample_rate=44_100, duration=frames / 44_100)
        limit = int(len(data) * AHEAD / LONG)
        struck: list[float] = []
        box: Any

        async def hold_back(seen: Seen, answer: Answer) -> Answer | None:
            """Strike at the first request beyond `limit`."""
            if struck or not seen.path.startswith("/music/") or (seen.range or (0, 0))[0] < limit:
                return None
            struck.append(time.monotonic())
            if name in ("away for 15 s",):
                threading.Timer(0.0, FAULTS[name], (cloud,)).start()
                return Answer(head=False, reset=True)
            first = (seen.range or (0, 0))[0]
            FAULTS[name](cloud)
            for strike in cloud.strikes[track["path"]]:
                strike.byte = first
            return await cloud.answer(seen)

        cloud.hook = hold_back
        with FaultBox(root, cloud, settings={"audio": {"output": "null"}}) as box:
            box.start_player(sync=False)
            box.cli("sync")
            box.cli("play", "album:a")
            box.wait(lambda s: s["state"] == "playing" and s["position"] > 0.3, what="sound")
            done = box.wait(lambda s: s["cached_percent"] == 100, 60, "the whole file")
            shown = [s for s in box.seen() if s["track"] and s["position"] > 0.3]
            held = [s["position"] for s in shown if s["state"] == "buffering"]
            steps = [b["position"] - a["position"] for a, b in pairwise(shown)]
            clocks = [b["uptime"] - a["uptime"] for a, b in pairwise(shown)]
            if not struck:
                return "the fault never struck"
            if held:
                return f"buffering at {held[0]} s"
            lag = max((c - s for s, c in zip(steps, clocks, strict=True)), default=0.0)
            if lag > 0.6:
                return f"the position stood still for {lag:.1f} s"
            if box.status()["counters"]["refetched_bytes"]:
                return "bytes came twice"
            TABLE.notes.append(
                f"unheard: {name}: the file was whole {time.monotonic() - struck[0]:.1f} s after the fault, at"
                f" {done['position']:.1f} s of {LONG:.0f}; no buffering, longest pause of the position {lag:.2f} s"
            )
            return ""
