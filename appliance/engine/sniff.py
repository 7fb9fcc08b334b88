"""What mpv does not tell about a file before it decodes it: bits per sample, and where exactly its sound ends.

Reads a few bytes of the cache file that mpv's demuxer has just read, so they are there. Everything in it is hostile:
sizes are checked, nothing is read whole but a bounded `moov`.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator

_MOOV_LIMIT = 4 * 1024 * 1024
_CONTAINERS = {b"moov", b"trak", b"mdia", b"minf", b"stbl", b"edts"}


def bits(descriptor: int, codec: str) -> int | None:
    """Bits per sample of a lossless file (16, 24 ...); None when its samples are not integers or it cannot be told."""
    if codec.startswith("pcm_") and codec[4:5] in "su" and codec[5:7].isdigit():
        return int(codec[5:7])
    if codec == "pcm_s8" or codec == "pcm_u8":
        return 8
    if codec == "flac":
        head = os.pread(descriptor, 65536, 0)
        at = head.find(b"fLaC\x00")  # behind an ID3v2 tag or in Ogg as well as at the start
        if at < 0:
            at = os.pread(descriptor, 4 * 1024 * 1024, 0).find(b"fLaC\x00")
            head = os.pread(descriptor, 64, max(0, at))
            at = min(at, 0)
        info = head[at + 8 : at + 26] if at >= 0 else b""
        return (((info[12] & 1) << 4) | (info[13] >> 4)) + 1 if len(info) >= 14 else None
    if codec == "alac":
        moov = _moov(descriptor)
        at = moov.find(b"alac", moov.find(b"alac") + 4)  # the second is the decoder's own configuration
        return moov[at + 13] if at >= 0 and at + 13 < len(moov) else None
    return None


def end(descriptor: int, codec: str) -> float | None:
    """Where the sound ends, in seconds after its start, if the file says so and FFmpeg does not heed it; else None.

    Half a sample more than what the file says keeps rounding from taking the last one.
    """
    return _mp4_end(_moov(descriptor)) if codec == "aac" else None


def _mp4_end(moov: bytes) -> float | None:
    """By iTunes' iTunSMPB, else by the edit list; FFmpeg takes only the start from either."""
    media = _duration(moov, b"mdhd")
    movie = _duration(moov, b"mvhd")
    if media is None or movie is None:
        return None
    rate, length = media
    tag = moov.find(b"iTunSMPB")
    if tag >= 0:
        # " 00000000 00000840 000001CA 00000000003F31F6 ...": encoder delay, padding, true length
        counts = [w for w in moov[tag + 8 : tag + 200].split() if len(w) == 16 and _is_hex(w)]
        if counts and int(counts[0], 16) > 0:
            return (int(counts[0], 16) + 0.5) / rate
    edits = _edits(moov)
    if len(edits) != 1 or edits[0][0] <= 0:
        return None
    (edited, start), tick = edits[0], 1 / movie[0]
    exact = (length - start) / rate
    # The edit's length is in the movie's time scale, often 1/1000 s. Where the media's own length agrees, it is exact.
    if abs(exact - edited * tick) <= 1.5 * tick:
        return exact + 0.5 / rate
    return (edited + 1) * tick if edited * tick < exact else None


def _moov(descriptor: int) -> bytes:
    size = os.fstat(descriptor).st_size
    at = 0
    for _ in range(64):
        head = os.pread(descriptor, 16, at)
        if len(head) < 8:
            return b""
        length, kind = struct.unpack(">I4s", head[:8])
        skip = 8
        if length == 1 and len(head) == 16:
            length, skip = struct.unpack(">Q", head[8:])[0], 16
        elif length == 0:
            length = size - at
        if length < skip:
            return b""
        if kind == b"moov":
            return os.pread(descriptor, min(length - skip, _MOOV_LIMIT), at + skip)
        at += length
        if at >= size:
            return b""
    return b""


def _boxes(data: bytes) -> Iterator[tuple[bytes, memoryview]]:
    """Every leaf box in `data`, with its kind, going down into the containers that matter."""
    stack = [memoryview(data)]
    for _ in range(10_000):
        if not stack:
            return
        rest = stack.pop()
        if len(rest) < 8:
            continue
        length, kind = struct.unpack(">I4s", rest[:8])
        if length < 8:
            continue
        body = rest[8:length]
        stack.append(rest[length:])
        if kind in _CONTAINERS:
            stack.append(body)
        else:
            yield kind, body


def _duration(moov: bytes, kind: bytes) -> tuple[int, int] | None:
    """Time scale (units a second) and length in it, of the first `mvhd` or `mdhd`."""
    for found, body in _boxes(moov):
        if found == kind and len(body) >= 20:
            wide = body[0] == 1
            scale, length = struct.unpack_from(">IQ" if wide else ">II", body, 20 if wide else 12)
            return (scale, length) if scale else None
    return None


def _edits(moov: bytes) -> list[tuple[int, int]]:
    """(length in movie time, media time) of each edit that is not an empty one."""
    for kind, body in _boxes(moov):
        if kind == b"elst" and len(body) >= 8:
            wide = body[0] == 1
            count = struct.unpack_from(">I", body, 4)[0]
            shape = struct.Struct(">QqI" if wide else ">IiI")
            rows = [
                shape.unpack_from(body, 8 + i * shape.size) for i in range(min(count, (len(body) - 8) // shape.size))
            ]
            return [(length, start) for length, start, _ in rows if start >= 0]
    return []


def _is_hex(word: bytes) -> bool:
    return all(c in b"0123456789abcdefABCDEF" for c in word)
