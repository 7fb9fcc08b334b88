"""Exact length of AAC and ALAC in MP4: iTunSMPB, else the edit list with the table of sample durations."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import BinaryIO

MAX_MOOV = 32 << 20
AAC_FRAME = 1024
ALAC_FRAME = 4096


def mp4_frames(file: BinaryIO, size: int, codec: str, sample_rate: int, smpb: str | None) -> int | None:
    """Frames a decoder gives for the one sound track of an MP4 file.

    `codec` is `alac` or `mp4a.40.2` (others are None), `smpb` the text of the iTunSMPB tag. A total that is a whole
    number of codec frames may count padding, so it is believed only where iTunSMPB or the edit list confirms it.
    """
    aac = codec == "mp4a.40.2"
    if not (aac or codec == "alac") or (aac and sample_rate <= 24_000):  # a low core rate may be SBR, unannounced
        return None
    moov = _moov(file, size)
    if moov is None or any(name == b"mvex" for name, _ in _boxes(moov)):
        return None
    sounds = [t for n, t in _boxes(moov) if n == b"trak" and _path(t, b"mdia", b"hdlr")[8:12] == b"soun"]
    if len(sounds) != 1:
        return None
    trak = sounds[0]
    scale, movie = _timescale(_path(trak, b"mdia", b"mdhd")), _timescale(_path(moov, b"mvhd"))
    total = _total(_path(trak, b"mdia", b"minf", b"stbl", b"stts"))
    if scale != sample_rate or not movie or not total:
        return None
    if smpb is not None:
        return _from_smpb(smpb, total)
    edits = _edits(_path(trak, b"edts", b"elst"))
    if edits is None or len(edits) > 1:
        return None
    if not edits:
        return total if not aac and total % ALAC_FRAME else None  # where AAC begins is not known without an edit
    duration, start = edits[0]
    frames = total - start
    if start < 0 or frames <= 0 or (aac and not start):
        return None
    if movie == scale and 0 < duration <= frames:
        return duration
    tick = scale / movie
    whole = total % (AAC_FRAME if aac else ALAC_FRAME) == 0
    return None if whole or abs(duration * tick - frames) > tick + 1 else frames


def _from_smpb(text: str, total: int) -> int | None:
    """iTunSMPB: ` 00000000 delay padding samples ...` in hexadecimal."""
    try:
        _, delay, padding, frames = (int(x, 16) for x in text.split()[:4])
    except ValueError:
        return None
    return frames if frames > 0 and abs(delay + padding + frames - total) < 2 * AAC_FRAME else None


def _moov(file: BinaryIO, size: int) -> bytes | None:
    position = 0
    for _ in range(1000):
        file.seek(position)
        head = file.read(16)
        if len(head) < 8:
            return None
        length, name = struct.unpack(">I4s", head[:8])
        skip = 8
        if length == 1 and len(head) == 16:
            length, skip = struct.unpack(">Q", head[8:])[0], 16
        elif length == 0:
            length = size - position
        if length < skip or position + length > size:
            return None
        if name == b"moov":
            if length > MAX_MOOV:
                return None
            file.seek(position + skip)
            return file.read(length - skip)
        position += length
    return None


def _boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    position = 0
    while position + 8 <= len(data):
        length, name = struct.unpack_from(">I4s", data, position)
        if length < 8 or position + length > len(data):
            return
        yield name, data[position + 8 : position + length]
        position += length


def _path(data: bytes, *names: bytes) -> bytes:
    """The body of the first box on the way `names`; empty when there is none."""
    for wanted in names:
        data = next((body for name, body in _boxes(data) if name == wanted), b"")
    return data


def _timescale(header: bytes) -> int:
    """Of mdhd or mvhd, which share the beginning; 0 when it is broken."""
    at = 20 if header[:1] == b"\x01" else 12
    return int.from_bytes(header[at : at + 4], "big") if len(header) >= at + 4 else 0


def _total(stts: bytes) -> int:
    if len(stts) < 8:
        return 0
    count = int.from_bytes(stts[4:8], "big")
    if len(stts) < 8 + 8 * count:
        return 0
    return sum(n * delta for n, delta in struct.iter_unpack(">II", stts[8 : 8 + 8 * count]))


def _edits(elst: bytes) -> list[tuple[int, int]] | None:
    """(duration in movie time, start in media time) of each edit; None when one is a gap or changes the speed."""
    if len(elst) < 8:
        return []
    layout = ">QqI" if elst[0] == 1 else ">IiI"
    step, count = struct.calcsize(layout), int.from_bytes(elst[4:8], "big")
    if len(elst) < 8 + step * count:
        return None
    edits = [struct.unpack_from(layout, elst, 8 + step * n) for n in range(min(count, 16))]
    if any(start < 0 or rate != 0x10000 for _, start, rate in edits):
        return None
    return [(duration, start) for duration, start, _ in edits]
