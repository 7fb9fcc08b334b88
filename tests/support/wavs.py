"""WAV files as numpy arrays, and what two signals have in common."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

PCM, FLOAT, EXTENSIBLE = 1, 3, 0xFFFE
Samples = NDArray[np.generic]


@dataclass(frozen=True)
class Wav:
    """`data` is (frames, channels): int16 or int32 as stored (24 bit in the high bits of int32), or float32/float64."""

    rate: int
    bits: int
    data: Samples

    @property
    def frames(self) -> int:
        return len(self.data)

    @property
    def channels(self) -> int:
        return int(self.data.shape[1])

    @property
    def seconds(self) -> float:
        return self.frames / self.rate

    @property
    def floats(self) -> NDArray[np.float64]:
        """(frames, channels), full scale is 1.0."""
        return as_float(self.data)


def read(path: Path, *, trust_header: bool = False) -> Wav:
    """Read a PCM or float WAV, extensible ones too.

    The samples go to the end of the file unless `trust_header`: a writer that was killed leaves sizes behind that are
    too small. Raises ValueError when it is not such a file.
    """
    raw = path.read_bytes()
    if raw[:4] not in (b"RIFF", b"RF64") or raw[8:12] != b"WAVE":
        raise ValueError(f"{path} is not a WAV file: {raw[:12]!r}")
    at, kind, channels, rate, bits = 12, 0, 0, 0, 0
    while at + 8 <= len(raw):
        name, size = struct.unpack_from("<4sI", raw, at)
        if name == b"fmt ":
            kind, channels, rate, _, _, bits = struct.unpack_from("<HHIIHH", raw, at + 8)
            if kind == EXTENSIBLE:
                (kind,) = struct.unpack_from("<H", raw, at + 32)
        elif name == b"data":
            if not channels:
                raise ValueError(f"{path}: samples before their format")
            stop = min(len(raw), at + 8 + size) if trust_header else len(raw)
            return Wav(rate, bits, _samples(raw[at + 8 : stop], kind, channels, bits))
        at += 8 + size + size % 2
    raise ValueError(f"{path} has no samples")


def header_frames(path: Path) -> int:
    """Frames that the header promises; equals `read(path).frames` when the file was ended properly."""
    return read(path, trust_header=True).frames


def write(path: Path, data: Samples, rate: int) -> Path:
    """Write int16, int32 or float32 samples of (frames, channels) as a plain WAV."""
    kind = FLOAT if data.dtype.kind == "f" else PCM
    body = np.ascontiguousarray(data).astype(data.dtype.newbyteorder("<"), copy=False).tobytes()
    channels, width = data.shape[1], data.dtype.itemsize
    form = struct.pack("<HHIIHH", kind, channels, rate, rate * channels * width, channels * width, 8 * width)
    head = struct.pack("<4sI4s4sI", b"RIFF", 36 + len(body), b"WAVE", b"fmt ", 16) + form
    path.write_bytes(head + struct.pack("<4sI", b"data", len(body)) + body)
    return path


def as_float(data: Samples) -> NDArray[np.float64]:
    """Samples of any kind with full scale at 1.0."""
    scale = 1.0 if data.dtype.kind == "f" else 2.0 ** (8 * data.dtype.itemsize - 1)
    return data.astype(np.float64) / scale


def align(signal: Samples, inside: Samples, *, at: int = 0, window: int | None = None) -> tuple[int, float]:
    """Where `signal` begins in `inside`, in frames, and how alike they are there (1.0 is the same up to gain).

    Both are (frames, channels); the first channel is compared. `at` and `window` limit the search to beginnings within
    `window` frames of `at`. A negative result says that the beginning of `signal` is missing.
    """
    needle, hay = as_float(signal)[:, 0], as_float(inside)[:, 0]
    low = -len(needle) + 1 if window is None else at - window
    high = len(hay) - 1 if window is None else at + window
    start, stop = max(0, low), min(len(hay), high + len(needle))
    part = hay[start:stop]
    size = 1 << int(np.ceil(np.log2(len(part) + len(needle))))
    spectrum = np.fft.rfft(part, size) * np.conj(np.fft.rfft(needle, size))
    score = np.fft.irfft(spectrum, size)  # index k: needle begins k frames into part; negative ones wrap round
    lags = np.arange(low - start, high - start + 1)
    lags = lags[(lags > -len(needle)) & (lags < len(part))]
    lag = int(lags[np.argmax(score[lags])])
    one, two = _overlap(needle, part, lag)
    norm = float(np.sqrt(np.sum(one**2) * np.sum(two**2)))
    return lag + start, float(np.sum(one * two)) / norm if norm else 0.0


@dataclass(frozen=True)
class Difference:
    """`frame` is the first that differs, None when only the lengths do; `count` differing frames of the common part."""

    frame: int | None
    count: int
    expected_frames: int
    got_frames: int
    text: str

    def __str__(self) -> str:
        return self.text


def difference(expected: Samples, got: Samples, rate: int = 44_100) -> Difference | None:
    """None when both are the same, sample by sample and in length; else where they part, in words for an assert.

    16-bit samples equal the same ones in the high half of 32 bits: `assert (d := difference(a, b)) is None, d`.
    """
    if expected.shape[1] != got.shape[1]:
        text = f"{expected.shape[1]} channels expected, {got.shape[1]} came"
        return Difference(None, 0, len(expected), len(got), text)
    one, two = _same_type(expected, got)
    common = min(len(one), len(two))
    wrong = np.flatnonzero(np.any(one[:common] != two[:common], axis=1))
    if not len(wrong) and len(one) == len(two):
        return None
    parts = []
    if len(wrong):
        at = int(wrong[0])
        parts.append(
            f"{len(wrong)} of {common} frames differ, first {at} ({at / rate:.4f} s), last {int(wrong[-1])}: "
            f"expected {one[at].tolist()}, got {two[at].tolist()}"
        )
        shift, likeness = align(expected[at : at + 8192], got, at=at, window=min(len(got), 2 * rate))
        if shift != at and likeness > 0.99:
            parts.append(f"the same sound goes on {shift - at:+d} frames from there")
    if len(one) != len(two):
        parts.append(f"{len(one)} frames expected, {len(two)} came ({len(two) - len(one):+d})")
    return Difference(int(wrong[0]) if len(wrong) else None, len(wrong), len(one), len(two), "; ".join(parts))


def silences(data: Samples, rate: int, *, at_least: float = 0.001) -> list[tuple[int, int]]:
    """Runs of exact zeros on all channels of `at_least` seconds or more, as [start, stop) frames."""
    zero = np.concatenate(([0], np.all(data == 0, axis=1).astype(np.int8), [0]))
    edges = np.flatnonzero(np.diff(zero))
    return [(int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True) if b - a >= at_least * rate]


def _overlap(
    needle: NDArray[np.float64], hay: NDArray[np.float64], lag: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    first, last = max(0, -lag), min(len(needle), len(hay) - lag)
    return needle[first:last], hay[first + lag : last + lag]


def _same_type(one: Samples, two: Samples) -> tuple[Samples, Samples]:
    if one.dtype == two.dtype:
        return one, two
    if one.dtype.kind == two.dtype.kind == "i":
        return _widened(one), _widened(two)
    return as_float(one), as_float(two)


def _widened(data: Samples) -> Samples:
    shift = 32 - 8 * data.dtype.itemsize
    return data.astype(np.int32) << shift if shift else data


def _samples(body: bytes, kind: int, channels: int, bits: int) -> Samples:
    width = bits // 8
    body = body[: len(body) // (width * channels) * width * channels]
    if kind == PCM and bits == 24:
        wide = np.zeros((len(body) // 3, 4), np.uint8)
        wide[:, 1:] = np.frombuffer(body, np.uint8).reshape(-1, 3)
        return wide.view("<i4").reshape(-1, channels)
    types = {(PCM, 16): "<i2", (PCM, 32): "<i4", (FLOAT, 32): "<f4", (FLOAT, 64): "<f8"}
    if (kind, bits) not in types:
        raise ValueError(f"{bits}-bit samples of format {kind} are not read here")
    return np.frombuffer(body, types[kind, bits]).reshape(-1, channels)
