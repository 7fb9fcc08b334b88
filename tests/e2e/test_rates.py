"""A queue of mixed rates, widths and channels: every sample of every track, silence where the device reopens (P1)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.support import tones, wavs
from tests.support.box import Box

SECONDS = 1.5
KINDS = {  # name: rate, bits, channels
    "cd": (44_100, 16, 2),
    "dat": (48_000, 16, 2),
    "hires": (96_000, 24, 2),
    "mono": (44_100, 16, 1),
    "wide": (44_100, 24, 2),
    "mono48": (48_000, 24, 1),
}
ORDER = ("cd", "dat", "hires", "mono", "wide", "mono48", "cd")


@pytest.fixture(scope="module")
def box_of(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, tones.Album]]:
    root = tmp_path_factory.mktemp("rates")
    albums = {}
    for seed, (name, (rate, bits, channels)) in enumerate(KINDS.items(), start=10):
        width = ("-sample_fmt", "s16") if bits == 16 else ("-sample_fmt", "s32", "-bits_per_raw_sample", "24")
        form = tones.Format(name, "flac", ("-c:a", "flac", *width), True, rate, bits)
        albums[name] = tones.album(root, form, tracks=1, seconds=SECONDS, channels=channels, seed=seed)
    return root, albums


def play_all(box: Box) -> None:
    for name in ORDER:
        box.cli("queue", "add", f"album:{box.album_id(f'Tones in {name}')}")
    box.cli("play")


def stereo(samples: wavs.Samples) -> NDArray[np.float64]:
    wave = wavs.as_float(samples)
    return np.repeat(wave, 2, axis=1) if wave.shape[1] == 1 else wave


def test_native_rate_has_every_sample_and_nothing_else(
    box_of: tuple[Path, dict[str, tones.Album]], tmp_path: Path, capture: Path
) -> None:
    music, albums = box_of
    with Box(tmp_path, music, settings={"audio": {"output": "alsa:plug:capture"}}) as box:
        play_all(box)
        box.wait(lambda s: s["state"] == "stopped", 30, "the end of the queue")
        assert {s["audio"]["rate"] for s in box.seen() if s["audio"]} <= {44_100, 48_000, 96_000}
        assert box.status()["audio"]["underruns"] == 0
        box.stop_player()
    got: dict[int, NDArray[np.float64]] = {}
    for file in sorted(capture.iterdir()):
        rate = int(file.name.partition(".")[0])
        data = np.frombuffer(file.read_bytes(), "<f4").reshape(-1, 2).astype(np.float64)
        got[rate] = np.concatenate((got[rate], data)) if rate in got else data
    assert set(got) == {44_100, 48_000, 96_000}
    for rate, heard in got.items():
        names = [name for name in ORDER if KINDS[name][0] == rate]
        at = 0
        for name in names:
            expected = stereo(albums[name].pcm)
            while not heard[at].any():  # what the reopened device played before the first sample
                at += 1
            start = next(i for i in range(4) if expected[i].any())
            part = heard[at - start : at - start + len(expected)]
            assert part.shape == expected.shape, f"{name}: {len(expected) - len(part)} frames are missing at the end"
            wrong = np.flatnonzero(np.any(part != expected, axis=1))
            assert not len(wrong), f"{name}: {len(wrong)} frames differ, from frame {wrong[0]} on"
            at += len(expected) - start
        assert not heard[at:].any(), "something sounds after the last track"


@pytest.mark.parametrize("rate", [44_100, 48_000, 96_000])
def test_a_fixed_rate_has_every_track_in_its_place(
    box_of: tuple[Path, dict[str, tones.Album]], tmp_path: Path, rate: int
) -> None:
    music, albums = box_of
    with Box(tmp_path, music, settings={"audio": {"rate": rate}}) as box:
        play_all(box)
        box.wait(lambda s: s["state"] == "stopped", 30, "the end of the queue")
        assert all(s["audio"]["rate"] == rate for s in box.seen() if s["audio"])
        box.stop_player()
    wav = wavs.read(box.wav)
    assert wav.rate == rate
    check_resampled(albums, wav.floats, rate)


def test_a_wav_file_keeps_the_first_rate(box_of: tuple[Path, dict[str, tones.Album]], tmp_path: Path) -> None:
    music, albums = box_of
    with Box(tmp_path, music) as box:
        play_all(box)
        box.wait(lambda s: s["state"] == "stopped", 30, "the end of the queue")
        box.stop_player()
    wav = wavs.read(box.wav)
    assert (wav.rate, wav.bits) == (44_100, 16)
    assert (d := wavs.difference(albums["cd"].pcm, wav.data[: len(albums["cd"].pcm)])) is None, d
    check_resampled(albums, wav.floats, 44_100)


def check_resampled(albums: dict[str, tones.Album], heard: NDArray[np.float64], rate: int) -> None:
    """Each track is there at its own level, as long as it should be; no pop, no hole at a join."""
    lengths = [len(albums[name].pcm) * rate / albums[name].form.rate for name in ORDER]
    assert abs(len(heard) - sum(lengths)) <= 2 * len(ORDER), f"{len(heard) - sum(lengths):+.1f} frames"
    begin = 0
    for name, length in zip(ORDER, lengths, strict=True):
        source = stereo(albums[name].pcm)
        points = np.linspace(0, len(source) - 1, round(length))
        for channel in range(2):
            wave = np.interp(points, np.arange(len(source)), source[:, channel])[:, None]
            place, likeness = wavs.align(wave, heard[:, channel : channel + 1], at=begin, window=200)
            place = max(place, 0)
            assert abs(place - begin) <= 2 * len(ORDER), f"{name} begins {place - begin:+d} frames from its place"
            assert likeness > 0.99, f"{name} is {likeness:.4f} like its source"
            level = np.sqrt(np.mean(heard[place : place + len(wave), channel] ** 2) / np.mean(wave**2))
            assert level == pytest.approx(1.0, rel=0.02), f"{name} is {level:.3f} as loud as its source"
        begin = place + round(length)
    assert np.abs(heard).max() < 0.75  # the signal peaks at 0.57: a pop would stick out
    assert not wavs.silences(heard, rate, at_least=0.002)
