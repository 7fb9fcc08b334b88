"""P1, P2: every format, joined without a gap; the WAV output; gain leaves the bits alone or changes them exactly."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from appliance.engine import AudioChanged, EngineDown, Entry, EntryEnded, EntryStarted, Idle, OutputLost
from tests.engine import material
from tests.engine.rig import Rig, read_wav

Split = Callable[[str], tuple[list[Path], np.ndarray]]
LOSSLESS = ["flac", "flac24", "alac", "wav", "wav24", "aiff"]


async def _joined(output: Path, files: list[Path], known: bool, rate: int = material.RATE) -> tuple[int, np.ndarray]:
    async with Rig(f"wav:{output}") as rig:
        counts = [round(n * rate / material.RATE) for n in material.lengths()]
        entries = [
            rig.add(f, duration=n / rate, samples=n if known else None, sample_rate=rate)
            for f, n in zip(files, counts, strict=True)
        ]
        ends = await rig.play(entries)
        assert [(e.entry.id, e.reason) for e in ends] == [(e.id, "eof") for e in entries]
        assert [e.entry for e in rig.of(EntryStarted)] == entries
        assert len(rig.of(Idle)) == 1
        assert not rig.of(OutputLost) + rig.of(EngineDown)
        for end, count in zip(ends, counts, strict=True):
            assert abs(end.position - count / rate) < 0.5
    return read_wav(output)


@pytest.mark.parametrize(("codec", "known"), [("flac", False), ("alac", False), *((c, True) for c in LOSSLESS)])
async def test_lossless_comes_out_bit_for_bit(tmp_path: Path, split: Split, codec: str, known: bool) -> None:
    files, samples = split(codec)
    rate, out = await _joined(tmp_path / "out.wav", files, known)
    wide = codec.endswith("24")
    assert (rate, out.dtype) == (material.RATE, np.dtype("<i4" if wide else "<i2"))
    assert np.array_equal(out >> 8 if wide else out, samples)


@pytest.mark.parametrize("codec", ["mp3", "vorbis", "aac"])
async def test_lossy_has_the_exact_length_and_no_offset(tmp_path: Path, split: Split, codec: str) -> None:
    files, samples = split(codec)
    rate, out = await _joined(tmp_path / "out.wav", files, known=True)
    assert (rate, out.dtype, out.shape) == (material.RATE, np.dtype("<i4"), samples.shape)
    _aligned(out / 2**31, samples / 2**15, material.CUTS)


async def test_opus_has_the_exact_length_and_no_offset(tmp_path: Path, split: Split) -> None:
    files, _ = split("opus")
    rate, out = await _joined(tmp_path / "out.wav", files, known=True, rate=48_000)
    counts = [round(n * 48_000 / material.RATE) for n in material.lengths()]
    assert (rate, len(out)) == (48_000, sum(counts))


async def test_aac_is_trimmed_by_its_own_edit_list(tmp_path: Path, split: Split) -> None:
    files, samples = split("aac")
    _, out = await _joined(tmp_path / "out.wav", files, known=False)
    assert out.shape == samples.shape
    _aligned(out / 2**31, samples / 2**15, material.CUTS)


@pytest.mark.parametrize("codec", ["mp3", "vorbis", "opus"])
async def test_without_a_sample_count_the_length_is_what_the_file_says(
    tmp_path: Path, split: Split, codec: str
) -> None:
    files, _ = split(codec)
    _, out = await _joined(tmp_path / "out.wav", files, known=False, rate=48_000 if codec == "opus" else material.RATE)
    assert len(out) == sum(_frames(f) for f in files)


async def test_the_same_file_twice_in_a_row(tmp_path: Path, split: Split) -> None:
    files, samples = split("flac")
    async with Rig(f"wav:{tmp_path}/out.wav") as rig:
        first = rig.add(files[0])
        again = [Entry(id=first.id + 1000 + i, stream=first.stream) for i in range(3)]
        await rig.play([first, *again])
    one = samples[: material.CUTS[1]]
    assert np.array_equal(read_wav(tmp_path / "out.wav")[1], np.concatenate([one] * 4))


@pytest.mark.parametrize(
    ("rates", "fixed"),
    [([44_100, 48_000, 96_000, 44_100], "native"), ([44_100, 44_100, 96_000, 48_000], 48_000)],
    ids=["first-track", "fixed"],
)
async def test_resampled_joins_lose_nothing(tmp_path: Path, rates: list[int], fixed: int | str) -> None:
    counts = [rate + 1237 * i for i, rate in enumerate(rates)]
    sounds = [material.signal(n, rate) for n, rate in zip(counts, rates, strict=True)]
    files = [
        material.write(tmp_path / f"{i}", s, "flac", r) for i, (s, r) in enumerate(zip(sounds, rates, strict=True))
    ]
    async with Rig(f"wav:{tmp_path}/out.wav", fixed) as rig:
        ends = await rig.play([rig.add(f) for f in files])
        assert [e.reason for e in ends] == ["eof"] * 4
        assert len({(e.rate, e.format) for e in rig.of(AudioChanged)}) == 1
    rate, out = read_wav(tmp_path / "out.wav")
    assert rate == (rates[0] if fixed == "native" else fixed)
    at = 0.0
    for count, own in zip(counts, rates, strict=True):
        length = count * rate / own
        here = min((_error(out, round(at) + shift, round(length), rate), shift) for shift in (-1, 0, 1, 2))
        assert here[0] < 0.02, f"a track of {own} Hz is not where it must be"
        at += length
    assert abs(len(out) - at) <= len(counts)  # a track ends on a whole frame


async def test_mono_keeps_its_level_and_stereo_its_channels(tmp_path: Path) -> None:
    stereo, mono = material.signal(44_100), material.signal(44_100, channels=1)
    files = [material.write(tmp_path / f"{i}", s, "flac") for i, s in enumerate([stereo, mono, stereo])]
    async with Rig(f"wav:{tmp_path}/out.wav") as rig:
        await rig.play([rig.add(f) for f in files])
    _, out = read_wav(tmp_path / "out.wav")
    assert np.array_equal(out, np.concatenate([stereo, np.repeat(mono, 2, axis=1), stereo]))


async def test_a_mono_wav_stays_mono(tmp_path: Path) -> None:
    mono = material.signal(30_011, channels=1)
    async with Rig(f"wav:{tmp_path}/out.wav") as rig:
        await rig.play([rig.add(material.write(tmp_path / "m", mono, "flac"))] * 1)
    assert np.array_equal(read_wav(tmp_path / "out.wav")[1], mono)


async def test_24_bits_after_16_and_16_after_24(tmp_path: Path) -> None:
    wide, narrow = material.signal(40_001, bits=24), material.signal(40_003)
    files = [material.write(tmp_path / "w", wide, "flac24"), material.write(tmp_path / "n", narrow, "flac")]
    async with Rig(f"wav:{tmp_path}/wide.wav") as rig:
        await rig.play([rig.add(f) for f in (*files, files[0])])
    _, out = read_wav(tmp_path / "wide.wav")
    assert np.array_equal(out, np.concatenate([wide << 8, narrow << 16, wide << 8]))
    async with Rig(f"wav:{tmp_path}/narrow.wav") as rig:
        await rig.play([rig.add(f) for f in files[::-1]])
    _, out = read_wav(tmp_path / "narrow.wav")
    assert np.array_equal(out[:40_003], narrow)
    assert np.abs((out[40_003:].astype(int) << 8) - wide).max() <= 256  # within one step of 16 bits


async def test_gain_is_exact_and_gapless(tmp_path: Path, split: Split) -> None:
    files, samples = split("flac24")
    gains = [0.0, -6.3, -1.25, 0.0, -12.0]
    async with Rig(f"wav:{tmp_path}/out.wav") as rig:
        await rig.play([rig.add(f, gain_db=g) for f, g in zip(files, gains, strict=True)])
    _, out = read_wav(tmp_path / "out.wav")
    assert out.shape == samples.shape
    for gain, a, b in zip(gains, material.CUTS, material.CUTS[1:], strict=False):
        wanted = samples[a:b] * 2.0**8 * 10 ** (gain / 20)
        assert np.abs(out[a:b] - wanted).max() <= (1 if gain else 0)


async def test_gain_on_the_first_16_bit_track_keeps_the_file_16_bit(tmp_path: Path, split: Split) -> None:
    files, samples = split("flac")
    async with Rig(f"wav:{tmp_path}/out.wav") as rig:
        await rig.play([rig.add(files[0], gain_db=-6.0)])
    _, out = read_wav(tmp_path / "out.wav")
    assert out.dtype == np.dtype("<i2")
    assert np.abs(out - samples[: len(out)] * 10 ** (-6 / 20)).max() <= 1


async def test_one_wav_for_a_whole_run(tmp_path: Path, split: Split) -> None:
    """Stops, replays and a second format in between do not cut what has been written."""
    files, samples = split("flac")
    other = material.write(tmp_path / "other", material.signal(48_000, 48_000), "flac", 48_000)
    async with Rig(f"wav:{tmp_path}/out.wav") as rig:
        await rig.play([rig.add(files[0])])
        await rig.play([rig.add(other)])
        rig.engine.stop()
        await rig.play([rig.add(files[1])])
        rate, out = read_wav(tmp_path / "out.wav")  # true before the end, too
    assert rate == material.RATE
    assert np.array_equal(read_wav(tmp_path / "out.wav")[1], out)
    assert len(out) - len(samples[: material.CUTS[2]]) in (44_100, 44_101)
    assert np.array_equal(out[: material.CUTS[1]], samples[: material.CUTS[1]])
    assert np.array_equal(out[-material.lengths()[1] :], samples[material.CUTS[1] : material.CUTS[2]])


async def test_seek_is_exact(tmp_path: Path, split: Split) -> None:
    files, samples = split("flac")
    async with Rig(f"wav:{tmp_path}/out.wav") as rig:
        entry = rig.add(files[0])
        rig.engine.load(entry, paused=True)
        await rig.event(EntryStarted)
        rig.engine.seek(1.0)
        rig.engine.set_paused(False)
        await rig.event(EntryEnded, lambda e: e.reason == "eof")
    _, out = read_wav(tmp_path / "out.wav")
    wanted = samples[44_100 : material.CUTS[1]]
    assert len(out) - len(wanted) in (0, 1)  # mpv counts the sample in which the second begins
    assert np.array_equal(out[-len(wanted) :], wanted)


def _frames(path: Path) -> int:
    raw = subprocess.run(["ffmpeg", "-v", "error", "-i", path, "-f", "s16le", "-"], capture_output=True, check=True)
    return len(raw.stdout) // 4


def _aligned(out: np.ndarray, wanted: np.ndarray, cuts: tuple[int, ...]) -> None:
    """In the middle of each track, no shift fits better than none."""
    for a, b in pairwise(cuts):
        middle = (a + b) // 2
        clip = wanted[middle : middle + 4096, 0]
        fits = {s: np.abs(out[middle + s : middle + s + 4096, 0] - clip).mean() for s in range(-40, 41)}
        assert min(fits, key=lambda s: fits[s]) == 0


def _error(out: np.ndarray, at: int, length: int, rate: int) -> float:
    """Largest difference from the signal as it would be at `rate`, edges of a resampler's width apart."""
    part = out[max(0, at) : at + length] / float(2 ** (15 if out.dtype.itemsize == 2 else 31))
    if at < 0 or len(part) < length - 4:
        return 9.0
    ideal = material.signal(len(part), rate, bits=24) / 2.0**23
    return float(np.abs(part - ideal)[200:-200].max())
