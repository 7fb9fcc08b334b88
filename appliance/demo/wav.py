"""Whether a WAV file holds sound: its format, length, peak and how much of it is more than silence."""

from __future__ import annotations

import struct
import sys
from array import array
from pathlib import Path
from typing import NamedTuple

_FLOAT, _EXTENSIBLE = 3, 0xFFFE
_CODES = {(1, 16): "h", (1, 32): "i", (_FLOAT, 32): "f", (_FLOAT, 64): "d"}
_AUDIBLE = 0.001  # -60 dBFS


class Sound(NamedTuple):
    """`samples` are frames, `peak` is 0-1 of full scale, `audible` the share of tenths of a second above -60 dBFS."""

    rate: int
    channels: int
    bits: int
    samples: int
    peak: float
    audible: float

    @property
    def seconds(self) -> float:
        return self.samples / self.rate


def frames(path: Path) -> tuple[int, int]:
    """Frames written so far and sample rate of a WAV file that may still grow; (0, 0) while it has no header.

    The file's length counts, not the sizes in the header, which a writer mends only now and then.
    """
    try:
        with path.open("rb") as file:
            _, channels, rate, bits, start = _header(file.read(4096))
        return max(0, path.stat().st_size - start) // (channels * bits // 8), rate
    except (OSError, ValueError):
        return 0, 0


def inspect(path: Path) -> Sound:
    """Read the whole of `path`. Raises ValueError when it is not PCM or float WAV, OSError when it cannot be read."""
    data = path.read_bytes()
    kind, channels, rate, bits, start = _header(data[:4096])
    code = _CODES.get((kind, bits))
    if code is None:
        raise ValueError(f"{path}: {bits}-bit WAV of format {kind} is not read here")
    width = bits // 8
    body = memoryview(data)[start : start + (len(data) - start) // (width * channels) * width * channels]
    full, peak, loud = (1.0 if kind == _FLOAT else float(1 << (bits - 1))), 0.0, 0
    step = max(1, rate // 10) * channels * width
    blocks = range(0, len(body), step)
    for offset in blocks:
        block = array(code)
        block.frombytes(body[offset : offset + step])
        if sys.byteorder == "big":
            block.byteswap()
        level = max(max(block), -min(block)) / full
        peak, loud = max(peak, level), loud + (level > _AUDIBLE)
    return Sound(rate, channels, bits, len(body) // (width * channels), peak, loud / max(1, len(blocks)))


def _header(head: bytes) -> tuple[int, int, int, int, int]:
    """Format tag, channels, rate, bits and where the samples begin."""
    if head[:4] not in (b"RIFF", b"RF64") or head[8:12] != b"WAVE":
        raise ValueError("not a WAV file")
    at, form = 12, (0, 0, 0, 0)
    while at + 8 <= len(head):
        name, size = struct.unpack_from("<4sI", head, at)
        if name == b"fmt ":
            kind, channels, rate, _, _, bits = struct.unpack_from("<HHIIHH", head, at + 8)
            if kind == _EXTENSIBLE:
                (kind,) = struct.unpack_from("<H", head, at + 8 + 24)  # the GUID begins with the real one
            form = (kind, channels, rate, bits)
        elif name == b"data" and form[1] and form[2] and form[3] >= 8:
            return (*form, at + 8)
        at += 8 + size + size % 2
    raise ValueError("a WAV file without samples")
