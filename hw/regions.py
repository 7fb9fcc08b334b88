"""Which parts of a frame have to go over the bus. Pure.

A byte costs the same whether it carries pixels or an address, so two changed runs are sent as one where the unchanged
bytes between them are fewer than the bytes of a new address.
"""

from __future__ import annotations

from typing import NamedTuple

# Bytes on the bus besides the pixels, slave addresses and control bytes included.
PAGE_SETUP = 7  # address, control, 3 commands; address, control
WINDOW_SETUP = 10  # the same with a window of 6 bytes, of which 3 are saved where one side stays
SAME_WINDOW = 2  # address, control

_MOST_PAIRS = 24  # more regions than this are not compared pair by pair: the frame is new all over


class Region(NamedTuple):
    """Pages `top` to `bottom` and columns `left` to `right`, all inclusive."""

    top: int
    bottom: int
    left: int
    right: int

    @property
    def area(self) -> int:
        """Bytes of pixels."""
        return (self.bottom - self.top + 1) * (self.right - self.left + 1)

    def union(self, other: Region) -> Region:
        return Region(
            min(self.top, other.top),
            max(self.bottom, other.bottom),
            min(self.left, other.left),
            max(self.right, other.right),
        )

    def holds(self, other: Region) -> bool:
        return self.union(other) == self

    def cut(self, frame: bytes, width: int) -> bytes:
        """The region's bytes out of a frame, page by page."""
        rows = range(self.top, self.bottom + 1)
        return b"".join(frame[row * width + self.left : row * width + self.right + 1] for row in rows)


def whole(frame: bytes, width: int) -> Region:
    """The region that is the entire frame."""
    return Region(0, len(frame) // width - 1, 0, width - 1)


def runs(old: bytes, new: bytes, width: int) -> list[Region]:
    """The changed runs of columns, page by page, those close together already merged. One-page regions."""
    found: list[Region] = []
    for page in range(len(new) // width):
        start = page * width
        before, after = old[start : start + width], new[start : start + width]
        if before == after:
            continue
        left = last = -1
        for column, (a, b) in enumerate(zip(before, after, strict=True)):
            if a == b:
                continue
            if left < 0:
                left = column
            elif column - last - 1 > PAGE_SETUP:
                found.append(Region(page, page, left, last))
                left = column
            last = column
        found.append(Region(page, page, left, last))
    return found


def windows(old: bytes, new: bytes, width: int, current: Region | None) -> list[Region]:
    """The regions to send to a controller with windows; `current` is the window that it has.

    Usually the cheapest choice, never dearer than sending each run by itself.
    """
    found = _merge(runs(old, new, width))
    if not found or current is None:
        return found
    if all(current.holds(region) for region in found) and current.area + SAME_WINDOW <= _cost(found):
        return [current]
    return sorted(found, key=lambda region: region != current)


def _cost(regions: list[Region]) -> int:
    return sum(WINDOW_SETUP + region.area for region in regions)


def _merge(regions: list[Region]) -> list[Region]:
    if len(regions) > _MOST_PAIRS:
        box = regions[0]
        for region in regions:
            box = box.union(region)
        return [box] if WINDOW_SETUP + box.area <= _cost(regions) else regions
    merged = True
    while merged:
        merged = False
        for i, a in enumerate(regions):
            for j in range(i + 1, len(regions)):
                both = a.union(regions[j])
                if both.area <= a.area + regions[j].area + WINDOW_SETUP:
                    regions[i] = both
                    del regions[j]
                    merged = True
                    break
            if merged:
                break
    return regions
