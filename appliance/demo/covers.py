"""Album covers: one drawing per album from its colours and a seed, as PNG, or through ffmpeg as JPEG or BMP."""

from __future__ import annotations

import math
import random
import struct
import subprocess
import zlib

Colour = tuple[int, int, int]


def png(size: int, sky: Colour, ground: Colour, seed: int) -> bytes:
    """A square PNG, `size` pixels wide: a vertical gradient, a sun and three ranges of hills."""
    dice = random.Random(seed)  # noqa: S311
    sun_x, sun_y, radius = dice.uniform(0.2, 0.8), dice.uniform(0.15, 0.45), dice.uniform(0.08, 0.16)
    hills = [
        (0.5 + 0.13 * layer, 0.03 + 0.02 * dice.random(), dice.uniform(4, 9), dice.uniform(0, math.tau))
        for layer in range(3)
    ]
    ridges = [
        [level + height * math.sin(turns * x / size + phase) for level, height, turns, phase in hills]
        for x in range(size)
    ]
    rows = bytearray()
    for y in range(size):
        at = y / size
        row = bytearray()
        background, sun = _blend(sky, (255, 255, 255), 0.6 * at), _blend(sky, (255, 250, 220), 0.85)
        slopes = [bytes(_blend(sky, ground, 0.45 + 0.25 * layer)) for layer in range(3)]
        for x in range(size):
            far, middle, near = ridges[x]
            layer = (at > far) + (at > middle) + (at > near) - 1
            if layer >= 0:
                row += slopes[layer]
            elif (x / size - sun_x) ** 2 + (at - sun_y) ** 2 < radius**2:
                row += bytes(sun)
            else:
                row += bytes(background)
        rows += b"\0" + row  # filter 0: the row as it is
    header = struct.pack(">IIBBBBB", size, size, 8, 2, 0, 0, 0)  # 8 bits, RGB
    return (
        b"\x89PNG\r\n\x1a\n"
        + _chunk(b"IHDR", header)
        + _chunk(b"IDAT", zlib.compress(bytes(rows), 9))
        + _chunk(b"IEND", b"")
    )


def convert(picture: bytes, codec: str) -> bytes:
    """`picture` in another format that ffmpeg encodes (`mjpeg`, `bmp`); raises subprocess.CalledProcessError."""
    command = ["ffmpeg", "-v", "error", "-i", "-", "-c:v", codec, "-bitexact", "-f", "image2pipe", "-"]
    return subprocess.run(command, input=picture, stdout=subprocess.PIPE, check=True).stdout  # noqa: S603


def mime(picture: bytes) -> str:
    """MIME type by the first bytes."""
    kinds = {b"\x89PNG": "image/png", b"\xff\xd8\xff": "image/jpeg", b"BM": "image/bmp"}
    return next((kind for magic, kind in kinds.items() if picture.startswith(magic)), "application/octet-stream")


def _chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def _blend(one: Colour, other: Colour, share: float) -> Colour:
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(one, other, strict=True))
    return red, green, blue
