"""The form in which a picture travels to the display.

A frame is `width * height / 8` bytes: pages from top to bottom, in each page the columns from left to right, one byte a
column, its lowest bit the topmost of 8 pixels. That is how the controllers keep it, so nothing is converted on the way.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image

# byte with its bits in the opposite order
MIRROR = bytes(int(f"{n:08b}"[::-1], 2) for n in range(256))


def pack(image: Image) -> bytes:
    """A Pillow image of mode "1" (any other is converted, without dithering) as a frame; its height is a multiple of 8.

    Takes a fraction of a millisecond: Pillow transposes, and the bytes are sorted by slices.
    """
    from PIL import Image as Pillow

    if image.mode != "1":
        image = image.convert("1", dither=Pillow.Dither.NONE)
    pages = image.height // 8
    columns = image.transpose(Pillow.Transpose.TRANSPOSE).tobytes().translate(MIRROR)
    return b"".join(columns[page::pages] for page in range(pages))


def unpack(frame: bytes, width: int = 128) -> Image:
    """The Pillow image (mode "1") of a frame."""
    from PIL import Image as Pillow

    pages = len(frame) // width
    columns = bytearray(len(frame))
    for page in range(pages):
        columns[page::pages] = frame[page * width : (page + 1) * width]
    image = Pillow.frombytes("1", (pages * 8, width), bytes(columns).translate(MIRROR))
    return image.transpose(Pillow.Transpose.TRANSPOSE)
