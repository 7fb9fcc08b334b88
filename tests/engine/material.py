"""Test sound: one signal, cut at odd places into tracks of every format, by ffmpeg."""

from __future__ import annotations

import subprocess
from itertools import pairwise
from pathlib import Path

import numpy as np

RATE = 44_100
CUTS = (0, 61_111, 130_003, 190_507, 260_019, 330_331)  # frames; none is a multiple of a codec's frame

CODECS = {  # extension and ffmpeg's arguments
    "flac": ("flac", ["-c:a", "flac"]),
    "flac24": ("flac", ["-c:a", "flac", "-sample_fmt", "s32", "-bits_per_raw_sample", "24"]),
    "alac": ("m4a", ["-c:a", "alac"]),
    "wav": ("wav", ["-c:a", "pcm_s16le"]),
    "wav24": ("wav", ["-c:a", "pcm_s24le"]),
    "aiff": ("aiff", ["-c:a", "pcm_s16be"]),
    "mp3": ("mp3", ["-c:a", "libmp3lame", "-b:a", "192k"]),
    "vorbis": ("ogg", ["-c:a", "libvorbis", "-q:a", "6"]),
    "opus": ("opus", ["-c:a", "libopus", "-b:a", "160k"]),
    "aac": ("m4a", ["-c:a", "aac", "-b:a", "192k"]),
}


def signal(frames: int, rate: int = RATE, bits: int = 16, channels: int = 2) -> np.ndarray:
    """A chord that never repeats itself, so that a shift by one frame shows; integers of `bits`, frames x channels."""
    t = np.arange(frames) / rate
    left = 0.3 * np.sin(2 * np.pi * (220 * t + 3 * t**2)) + 0.2 * np.sin(2 * np.pi * 997 * t)
    right = 0.3 * np.sin(2 * np.pi * (331 * t + 2 * t**2)) + 0.2 * np.cos(2 * np.pi * 613 * t)
    both = np.stack([left, right], axis=1)[:, :channels]
    return np.round(both * (2 ** (bits - 1) - 1)).astype(np.int32)


def write(path: Path, samples: np.ndarray, codec: str, rate: int = RATE, extra: list[str] | None = None) -> Path:
    """Encode integers (16 or 24 bits, told by `codec`) into `path`."""
    extension, args = CODECS[codec]
    path = path.with_suffix(f".{extension}")
    wide = codec.endswith("24")
    raw = (samples << 8).astype("<i4").tobytes() if wide else samples.astype("<i2").tobytes()
    subprocess.run(
        ["ffmpeg", "-v", "error", "-y", "-f", "s32le" if wide else "s16le", "-ar", str(rate), "-ac",
         str(samples.shape[1]), "-i", "-", *args, *(extra or []), str(path)],
        input=raw, check=True,
    )  # fmt: skip
    return path


def split(folder: Path, codec: str, samples: np.ndarray | None = None) -> tuple[list[Path], np.ndarray]:
    """Five tracks of one signal, and the signal."""
    if samples is None:
        samples = signal(CUTS[-1], bits=24 if codec.endswith("24") else 16)
    parts = pairwise(CUTS)
    return [write(folder / f"{codec}-{i}", samples[a:b], codec) for i, (a, b) in enumerate(parts)], samples


def lengths() -> list[int]:
    return [b - a for a, b in pairwise(CUTS)]
