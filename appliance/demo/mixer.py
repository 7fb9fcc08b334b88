"""Adding many short notes into a long buffer, at the speed of memory and without numpy.

A buffer of n signed samples is held as ONE Python integer, the sum of sample[i] * 2**(32*i). Adding two such integers
adds all samples, a shift by 32*k bits delays by k samples, a product with a small integer is a gain: three operations
that CPython runs in C over the whole buffer. Lanes borrow from each other while it is an integer; `unpack` undoes that
exactly, as long as every sum fits 32 bits.
"""

from __future__ import annotations

import sys
from array import array
from functools import lru_cache

LANE = 32


@lru_cache(maxsize=8)
def _bias(samples: int) -> int:
    return int.from_bytes(b"\0\0\0\x80" * samples, "little")


def pack(samples: array[int]) -> int:
    """The integer that stands for `samples`, an array('i')."""
    if sys.byteorder == "big":
        samples = array("i", samples)
        samples.byteswap()
    bias = _bias(len(samples))
    return (int.from_bytes(samples.tobytes(), "little") ^ bias) - bias


def unpack(packed: int, samples: int) -> array[int]:
    """The first `samples` samples of `packed` as array('i'); raises OverflowError when a sample left 32 bits."""
    bias = _bias(samples)
    plain = array("i")
    plain.frombytes(((packed + bias) ^ bias).to_bytes(4 * samples, "little"))
    if sys.byteorder == "big":
        plain.byteswap()
    return plain


class Track:
    """Notes collected bar by bar, so that each addition touches one bar and not the whole piece."""

    def __init__(self, bar: int) -> None:
        self._bar = bar
        self._bars: dict[int, int] = {}

    def add(self, packed: int, at: int) -> None:
        """Mix a packed note in, `at` samples from the start (before it counts as at it)."""
        number, offset = divmod(max(0, at), self._bar)
        self._bars[number] = self._bars.get(number, 0) + (packed << (LANE * offset))

    def total(self) -> int:
        """Everything added so far, packed."""
        return sum(part << (LANE * self._bar * number) for number, part in self._bars.items())
