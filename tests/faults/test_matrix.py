"""The fault matrix (P4, P5): each fault x (start, middle, last block, while the next track is fetched) x format.

What comes out is bit for bit what comes out without the fault, nothing is passed over, and no byte comes twice but
those that the fault spoilt. Here each fault is played once, in turn through places and formats; `./dev test --full`
plays all of them.
"""

from __future__ import annotations

import itertools
import struct
import time
from pathlib import Path
from typing import Any

import pytest

from appliance.demo.faults import FAULTS
from tests.faults.cloud import Cloud, FaultBox, material
from tests.faults.lab import ALL, PACE
from tests.faults.table import TABLE
from tests.support import tones, wavs

FORMATS = {"flac": 7.0, "mp3": 35.0, "alac": 7.0}  # seconds of a track, which are some 1.2 MB
PLACES = ("start", "middle", "last", "next")
RUBBISH = 256 << 10  # bytes that nobody asked for and that came all the same


@pytest.fixture(scope="module")
def albums(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tones.Album]:
    root = tmp_path_factory.mktemp("matrix")
    return {form: material(root, form, seconds) for form, seconds in FORMATS.items()}


def cells(form: str, *, full: bool) -> list[tuple[str, str]]:
    """(fault, place) to be played in this format."""
    if full:
        return list(itertools.product(ALL, PLACES))
    turn = itertools.cycle(itertools.product(FORMATS, PLACES))
    return [(fault, place) for fault, (one, place) in zip(ALL, turn, strict=False) if one == form]


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.timeout(1500)
def test_what_comes_out_is_the_same(
    form: str, albums: dict[str, tones.Album], tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    album, todo = albums[form], cells(form, full=request.config.getoption("--full"))
    data = [path.read_bytes() for path in album.tracks]
    with Cloud(tmp_path, pace=PACE) as cloud:

        def add(name: str) -> list[dict[str, Any]]:
            known = zip(data, album.frames, strict=True)
            return [
                cloud.add(name, f"{name}-{n}", d, album.form.extension, samples=frames, sample_rate=44_100,
                          duration=frames / 44_100)
                for n, (d, frames) in enumerate(known)
            ]  # fmt: skip

        add("clean")
        for fault, place in todo:
            first, second = add(f"{fault}-{place}")
            byte = {"start": 0, "middle": len(data[0]) // 2, "last": len(data[0]) - 1, "next": 0}[place]
            cloud.strike(second if place == "next" else first, fault, byte)
        wrong = []
        with FaultBox(tmp_path, cloud, pace=PACE) as box:
            box.start_player(sync=False)
            box.cli("sync")
            clean = play(box, "clean", 0)
            if album.form.lossless:
                assert (d := wavs.difference(album.pcm, clean)) is None, d
            heard, before = len(clean), box.status()["counters"]
            for fault, place in todo:
                began = time.monotonic()
                got = play(box, f"{fault}-{place}", heard)
                took, heard = time.monotonic() - began, heard + len(got)
                counters = box.status()["counters"]
                came = counters["network_bytes"] - before["network_bytes"] - sum(map(len, data))
                twice = counters["refetched_bytes"] - before["refetched_bytes"]
                before = counters
                left = sum(
                    strike.left for path, s in cloud.strikes.items() if f"/{fault}-{place}/" in path for strike in s
                )
                trouble = ""
                if (d := wavs.difference(clean, got)) is not None:
                    trouble = str(d)
                elif max(came, twice) > (RUBBISH if FAULTS[fault].rubbish else 0):
                    trouble = f"{came} bytes too many, {twice} twice"
                elif left:
                    trouble = "never struck"
                TABLE.put(fault, form, place, trouble[:12] or f"{took:.1f}")
                wrong += [f"{fault} {place}: {trouble}"] * bool(trouble)
            assert box.status()["health"] == ["ok"]
        assert not wrong, "\n".join(wrong)


def play(box: FaultBox, album: str, heard: int) -> wavs.Samples:
    """What sounds when `album` is played, `heard` frames having been written before."""
    box.cli("play", f"album:{album}")
    box.wait(lambda s: s["state"] == "stopped", 60, f"the end of {album}")
    # the file grows to hundreds of megabytes: only what is new is read
    with box.wav.open("rb") as file:
        head = file.read(128)
        start = head.index(b"data") + 8
        channels, bits = struct.unpack_from("<H10xH", head, head.index(b"fmt ") + 10)
        file.seek(start + heard * channels * bits // 8)
        part = box.root / "part.wav"
        part.write_bytes(head[:start] + file.read())
    return wavs.read(part).data
