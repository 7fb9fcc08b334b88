"""The WAV file of the output `wav:FILE`: one file per run of the player, however often mpv opens its output.

mpv appends bare samples; the header is ours, and its sizes are mended as the file grows, so that what is there can be
read at any time, after a crash too.
"""

from __future__ import annotations

import os
import struct

HEADER = 44
_LAYOUT = struct.Struct("<4sI4s4sIHHIIHH4sI")
_BYTES = {"s16": 2, "s32": 4}
_MOST = 0xFFFFFFFF  # RIFF's sizes have 32 bits; longer files say "as long as can be said"


def create(path: str) -> None:
    """A new file with room for the header. Raises OSError."""
    with open(path, "wb") as file:
        file.write(_header(44_100, 2, "s16", 0))


def set_format(path: str, rate: int, channels: int, format_: str) -> None:
    """Write what the samples are: `format_` is mpv's s16 or s32. Raises OSError."""
    with open(path, "r+b") as file:
        size = max(0, file.seek(0, os.SEEK_END) - HEADER)
        file.seek(0)
        file.write(_header(rate, channels, format_, size))


def mend(path: str, *, cut: bool = False) -> None:
    """Make the header's sizes true; `cut` takes away a last half frame (only when nobody writes). Raises OSError."""
    with open(path, "r+b") as file:
        size = max(0, file.seek(0, os.SEEK_END) - HEADER)
        file.seek(32)
        frame = int.from_bytes(file.read(2), "little") or 1
        whole = size - size % frame
        if cut and whole != size:
            file.truncate(HEADER + whole)
        file.seek(4)
        file.write(struct.pack("<I", min(_MOST, whole + HEADER - 8)))
        file.seek(40)
        file.write(struct.pack("<I", min(_MOST, whole)))


def read_format(path: str) -> tuple[int, int, str] | None:
    """Rate, channels and format of a file that already holds samples; None when it is empty. Raises OSError."""
    with open(path, "rb") as file:
        head = file.read(HEADER + 1)
    if len(head) <= HEADER:
        return None
    fields = _LAYOUT.unpack(head[:HEADER])
    return fields[7], fields[6], "s16" if fields[10] == 16 else "s32"


def _header(rate: int, channels: int, format_: str, size: int) -> bytes:
    width = _BYTES[format_]
    frame = width * channels
    return _LAYOUT.pack(
        b"RIFF", min(_MOST, size + HEADER - 8), b"WAVE", b"fmt ", 16, 1, channels, rate, rate * frame, frame, width * 8,
        b"data", min(_MOST, size),
    )  # fmt: skip
