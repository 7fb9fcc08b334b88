"""How many PCM frames a decoder gives for a file, where its headers say so exactly; None rather than a wrong number.

A player trims by these numbers at joins, so each rule here is one that a decoder follows too (FFmpeg's, which libmpv
uses): what is dropped at the start and the end is not counted. Nothing reads more than the headers and the last page.
"""

from __future__ import annotations

import os
import struct
from typing import BinaryIO

MAX_CHUNKS = 10_000  # of a RIFF or AIFF file that are walked before giving up


def riff_frames(file: BinaryIO, size: int) -> tuple[int | None, dict[str, str]]:
    """(frames, the texts of the INFO list by their four letters) of a WAV file."""
    frame, data, info = 0, None, {}
    file.seek(0)
    if file.read(4) != b"RIFF":
        return None, {}
    position = 12
    for _ in range(MAX_CHUNKS):
        file.seek(position)
        head = file.read(8)
        if len(head) < 8:
            break
        name, length = head[:4], struct.unpack("<I", head[4:])[0]
        body = position + 8
        if name == b"fmt ":
            frame = _wav_frame(file.read(min(length, 40)))
        elif name == b"data":
            if length in (0, 0xFFFFFFFF):
                length = size - body  # a stream that was never closed
            data = min(length, size - body)
        elif name == b"LIST" and file.read(4) == b"INFO":
            info = _info_list(file.read(min(length - 4, 65536)) if length > 4 else b"")
        position = body + length + (length & 1)
    return (data // frame if data and frame else None), info


def _wav_frame(fmt: bytes) -> int:
    """Bytes of one frame of PCM or float samples; 0 for anything else."""
    if len(fmt) < 16:
        return 0
    kind, channels, _, _, align, bits = struct.unpack("<HHIIHH", fmt[:16])
    if kind == 0xFFFE and len(fmt) >= 26:
        kind = struct.unpack("<H", fmt[24:26])[0]
    return align if kind in (1, 3) and align == channels * ((bits + 7) // 8) else 0


def _info_list(data: bytes) -> dict[str, str]:
    info, position = {}, 0
    while position + 8 <= len(data):
        name, length = data[position : position + 4], struct.unpack_from("<I", data, position + 4)[0]
        text = data[position + 8 : position + 8 + length].split(b"\0")[0]
        try:
            info[name.decode("ascii", "replace")] = text.decode("utf-8")
        except UnicodeDecodeError:
            info[name.decode("ascii", "replace")] = text.decode("cp1252", "replace")
        position += 8 + length + (length & 1)
    return info


def aiff_frames(file: BinaryIO, size: int) -> int | None:
    """Frames of an AIFF or uncompressed AIFF-C file."""
    file.seek(0)
    head = file.read(12)
    if head[:4] != b"FORM" or head[8:12] not in (b"AIFF", b"AIFC"):
        return None
    compressed, position = head[8:12] == b"AIFC", 12
    frames, align, sound = 0, 0, 0
    for _ in range(MAX_CHUNKS):
        file.seek(position)
        chunk = file.read(8)
        if len(chunk) < 8:
            break
        name, length = chunk[:4], struct.unpack(">I", chunk[4:])[0]
        body = position + 8
        if name == b"COMM":
            comm = file.read(22)
            if len(comm) < 18 or (compressed and comm[18:22] not in (b"NONE", b"sowt", b"twos", b"fl32", b"FL32")):
                return None
            channels, frames, bits = struct.unpack(">hIh", comm[:8])
            align = channels * ((bits + 7) // 8)
        elif name == b"SSND":
            sound = min(length, size - body) - 8
        position = body + length + (length & 1)
    return frames if align > 0 and 0 < frames <= sound // align else None


def mpeg_frames(file: BinaryIO, size: int) -> int | None:
    """Frames of an MP3 file whose LAME tag tells delay and padding and whose length is the one that it tells."""
    start = _skip_id3(file)
    file.seek(start)
    head = file.read(4 + 32 + 160)
    if len(head) < 196 or head[0] != 0xFF or head[1] & 0xE6 != 0xE2:  # MPEG audio, layer III
        return None
    version1, mono = (head[1] >> 3) & 3 == 3, head[3] >> 6 == 3
    offset = 4 + ((17 if mono else 32) if version1 else (9 if mono else 17))
    if head[offset : offset + 4] not in (b"Xing", b"Info"):
        return None
    flags = struct.unpack_from(">I", head, offset + 4)[0]
    if flags & 3 != 3:
        return None
    count, length = struct.unpack_from(">II", head, offset + 8)
    tag = offset + 16 + (100 if flags & 4 else 0) + (4 if flags & 8 else 0)
    if not head[tag : tag + 4].isalpha():
        return None
    packed = int.from_bytes(head[tag + 21 : tag + 24], "big")
    delay, padding = packed >> 12, packed & 0xFFF
    # A decoder is late by 529 samples; with less padding than that it cannot give the last ones.
    if not delay or padding < 529 or not 0 <= size - start - _trailing_tags(file, size) - length <= 2048:
        return None
    frames = count * (1152 if version1 else 576) - delay - padding
    return frames if frames > 0 else None


def _skip_id3(file: BinaryIO) -> int:
    position = 0
    for _ in range(16):
        file.seek(position)
        head = file.read(10)
        if len(head) < 10 or head[:3] != b"ID3":
            break
        a, b, c, d = (x & 0x7F for x in head[6:10])
        position += 10 + (a << 21 | b << 14 | c << 7 | d) + (10 if head[5] & 0x10 else 0)
    return position


def _trailing_tags(file: BinaryIO, size: int) -> int:
    """Bytes of ID3v1 and APEv2 tags at the end."""
    end = size
    if end >= 128:
        file.seek(end - 128)
        if file.read(3) == b"TAG":
            end -= 128
    if end >= 32:
        file.seek(end - 32)
        footer = file.read(32)
        if footer[:8] == b"APETAGEX":
            length, _, flags = struct.unpack_from("<III", footer, 12)
            end -= length + (32 if flags & 0x80000000 else 0)
    return size - max(end, 0)


def ogg_frames(file: BinaryIO, size: int) -> int | None:
    """Frames of an Ogg file with one Opus (at 48 kHz) or Vorbis stream that begins at 0 and is complete."""
    position, headers, serial, kind = 0, 0, b"", b""
    preskip, most = 0, 0
    for _ in range(10_000):
        file.seek(position)
        head = file.read(27)
        table = file.read(head[26]) if len(head) == 27 and head[:4] == b"OggS" else b""
        if not table:
            return None
        if not serial:
            first = file.read(30)
            serial = head[14:18]
            kind = first[:8] if first[:8] == b"OpusHead" else first[:7]
            if kind == b"OpusHead" and len(first) >= 19:
                preskip = struct.unpack_from("<H", first, 10)[0]
            elif kind == b"\x01vorbis" and len(first) >= 29:
                most = 1 << (first[28] >> 4) >> 1  # frames that a packet can give: half the long block
            else:
                return None
        elif head[5] & 2 or head[14:18] != serial:
            return None  # more than one stream
        needed = 2 if kind == b"OpusHead" else 3
        if headers >= needed:
            granule = struct.unpack_from("<q", head, 6)[0]
            body = file.read(sum(table))
            given = _opus_duration(table, body) if preskip or kind == b"OpusHead" else most * len(table)
            if granule < 0 or given is None or granule > given:
                return None  # cut out of a longer stream
            if kind != b"OpusHead" and head[5] & 4:
                return None  # FFmpeg trims a Vorbis stream of one page otherwise than the specification has it
            break
        headers += sum(1 for length in table if length < 255)
        position += 27 + len(table) + sum(table)
    last = _last_granule(file, size, serial)
    return last - preskip if last is not None and last > preskip else None


def ogg_flac_frames(file: BinaryIO) -> int | None:
    """Frames by the STREAMINFO of the FLAC-in-Ogg mapping; None when it was left open."""
    file.seek(0)
    page = file.read(27 + 255 + 64)
    body = page[27 + page[26] :] if len(page) > 27 else b""
    if body[:5] != b"\x7fFLAC" or len(body) < 17 + 18:
        return None
    return int.from_bytes(body[17 + 13 : 17 + 18], "big") & 0xFFFFFFFFF or None


def _opus_duration(table: bytes, body: bytes) -> int | None:
    """Frames at 48 kHz of the packets that end on a page (RFC 6716, 3.1)."""
    total, position, length = 0, 0, 0
    for lacing in table:
        length += lacing
        if lacing == 255:
            continue
        packet = body[position : position + length]
        position, length = position + length, 0
        if not packet:
            return None
        config, code = packet[0] >> 3, packet[0] & 3
        if config < 12:
            frame = (480, 960, 1920, 2880)[config & 3]
        elif config < 16:
            frame = (480, 960)[config & 1]
        else:
            frame = (120, 240, 480, 960)[config & 3]
        if code == 3 and len(packet) < 2:
            return None
        total += frame * (1 if code == 0 else 2 if code < 3 else packet[1] & 0x3F)
    return total


def _last_granule(file: BinaryIO, size: int, serial: bytes) -> int | None:
    """The granule position of the page that ends the file, if it also ends the stream."""
    begin = max(0, size - 65_536 - 27 - 255)
    file.seek(begin, os.SEEK_SET)
    tail = file.read(size - begin)
    at = len(tail)
    while (at := tail.rfind(b"OggS", 0, at)) >= 0:
        if at + 27 <= len(tail) and tail[at + 14 : at + 18] == serial:
            count = tail[at + 26]
            table = tail[at + 27 : at + 27 + count]
            if len(table) == count and at + 27 + count + sum(table) == len(tail):
                granule: int = struct.unpack_from("<q", tail, at + 6)[0]
                return granule if tail[at + 5] & 4 and granule >= 0 else None
    return None
