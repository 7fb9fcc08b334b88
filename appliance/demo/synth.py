"""Small pieces of music from nothing but the standard library, the same ones every time.

A Python loop per sample and voice would take minutes on a Raspberry Pi, so every note is computed once (the caches
below), packed into an integer (mixer.py) and then only added.
"""

from __future__ import annotations

import math
import random
from array import array
from collections.abc import Callable
from functools import cache
from itertools import accumulate, repeat, starmap
from operator import add, mul
from typing import NamedTuple

from appliance.demo.mixer import Track, pack, unpack

RATE = 44_100
UNIT = 1 << 14  # a note of level 1.0; with gains of up to 100 the sum of some fifty stays inside 32 bits


class Style(NamedTuple):
    """How a piece sounds: `lead` is pluck, bell or keys; `drums` a pattern of sixteenths or empty."""

    lead: str
    bpm: float
    key: int  # MIDI note of the tonic, around 57
    chords: tuple[tuple[int, ...], ...]  # one a bar, semitones above the tonic
    drums: str = ""
    swing: float = 0.0  # share of a sixteenth by which every second one is late


def hertz(note: int) -> float:
    """Frequency of a MIDI note, equal temperament, A4 = 440 Hz."""
    return 440.0 * 2 ** ((note - 69) / 12)


def render(style: Style, bars: int, seed: int) -> array[int]:
    """`bars` bars of `style` and their echo of 2 s: interleaved stereo, 32-bit full scale, peak 0.8.

    The same arguments give the same samples.
    """
    dice = random.Random(seed)  # noqa: S311  (music, not secrets)
    bar = round(RATE * 240 / style.bpm)
    step = bar / 16
    middle, left, right = Track(bar), Track(bar), Track(bar)
    contour = [dice.randrange(5) for _ in range(16)]
    for number in range(bars):
        start, chord = number * bar, style.chords[number % len(style.chords)]
        section = _section(number, bars)
        for semitones in chord:
            middle.add(_level(_pad(style.key + semitones, bar + RATE // 2), 11), start)
        if section >= 1:
            for beat in (0, 6, 8, 14) if style.drums else (0, 8):
                middle.add(_level(_bass(style.key - 24 + chord[0], round(step * 5)), 32), start + round(beat * step))
        for sixteenth in range(0, 16, 1 if section >= 2 else 2):
            if dice.random() < 0.82:
                pitch = chord[(contour[sixteenth] + number) % len(chord)] + 12 * (1 + (contour[-sixteenth - 1] > 2))
                late = style.swing * step if sixteenth % 2 else 0.0
                side, other = (left, right) if sixteenth % 4 < 2 else (right, left)
                note = _LEADS[style.lead](style.key + pitch)
                at = start + round(sixteenth * step + late)
                side.add(_level(note, 26), at)
                other.add(_level(note, 12), at + 440)  # the far ear hears it 10 ms later and softer
        if style.drums and section >= 1:
            for sixteenth in range(16):
                stroke = style.drums[sixteenth % len(style.drums)]
                if stroke in _DRUMS and (section >= 2 or stroke != "s"):
                    middle.add(_level(_DRUMS[stroke](), 50), start + round(sixteenth * step))
    return _master(middle.total(), left.total(), right.total(), bar * bars + 2 * RATE)


def _section(bar: int, bars: int) -> int:
    """0 intro and outro, 1 with bass, 2 everything."""
    part = bar / max(1, bars)
    return 0 if part < 0.125 or part >= 0.9 else 1 if part < 0.3 else 2


def _level(note: int, percent: int) -> int:
    return note * percent


def _master(middle: int, left: int, right: int, samples: int) -> array[int]:
    stereo = array("i", bytes(8 * samples))
    sides = [unpack(middle + side, samples) for side in (left, right)]
    peak = max(max(max(side), -min(side)) for side in sides) or 1
    for number, side in enumerate((left, right)):
        whole = unpack((middle + side) * int(0.8 * 2**31 / peak), samples)
        tail = whole[-RATE:]
        whole[-RATE:] = array("i", [int(x * (1 - n / RATE) ** 2) for n, x in enumerate(tail)])
        stereo[number::2] = whole
    return stereo


def _partials(frequency: float, samples: int, levels: tuple[float, ...], spread: float = 0.0) -> list[float]:
    """Harmonics of `frequency`, the nth `spread`*n**2 sharp (strings are), none above 16 kHz."""
    total = [0.0] * samples
    for n, level in enumerate(levels, start=1):
        pitch = frequency * n * (1 + spread * n * n)
        if level and pitch < 16_000:
            turn, x0, x1 = 2 * math.cos(math.tau * pitch / RATE), 0.0, level * math.sin(math.tau * pitch / RATE)
            for i in range(samples):  # a sine by recurrence: one product and one difference a sample
                total[i] += x0
                x0, x1 = x1, turn * x1 - x0
    return total


def _shape(samples: list[float], attack: float, decay: float, release: float) -> int:
    """Linear attack and release in seconds, exponential decay with time constant `decay`; packed, 1.0 is UNIT."""
    size, rise, fall = len(samples), max(1, int(attack * RATE)), max(1, int(release * RATE))
    levels = accumulate(repeat(math.exp(-1 / (decay * RATE)), size - 1), mul, initial=float(UNIT))
    shaped = list(map(mul, samples, levels))
    for n in range(min(rise, size)):
        shaped[n] *= n / rise
    for n in range(1, min(fall, size) + 1):
        shaped[-n] *= (n - 1) / fall
    return pack(array("i", map(int, shaped)))


@cache
def _pad(note: int, samples: int) -> int:
    # whole numbers of cycles a second, so that one second can be repeated; the two voices beat once a second
    base = max(1, round(hertz(note)))
    second = list(map(add, _partials(base, RATE, (1.0, 0.35, 0.2, 0.08)), _partials(base + 1, RATE, (0.8, 0.3, 0.15))))
    return _shape((second * (samples // RATE + 1))[:samples], 0.35, 6.0, 0.5)


@cache
def _bass(note: int, samples: int) -> int:
    return _shape(_partials(hertz(note), samples, (1.0, 0.5, 0.3, 0.12, 0.05)), 0.008, 0.5, 0.05)


@cache
def _pluck(note: int) -> int:
    """Karplus and Strong's string: a burst of noise in a loop that averages it."""
    dice = random.Random(note)  # noqa: S311
    period = max(2, round(RATE / hertz(note) - 0.5))
    loop, samples = [dice.uniform(-1, 1) for _ in range(period)], int(0.9 * RATE)
    total: list[float] = []
    while len(total) < samples:
        total += loop
        loop = [0.4985 * (a + b) for a, b in zip(loop, [loop[-1], *loop[:-1]], strict=True)]
    return _shape(total[:samples], 0.002, 0.4, 0.1)


@cache
def _bell(note: int) -> int:
    """Chowning's bell: one sine bends the phase of another at an inharmonic ratio."""
    step, size = math.tau * hertz(note) / RATE, int(1.1 * RATE)
    depth = [1.8 * math.exp(-3.0 * n / RATE) for n in range(size)]
    tone = list(starmap(lambda n, d: math.sin(step * n + d * math.sin(1.4 * step * n)), enumerate(depth)))
    return _shape(tone, 0.002, 0.35, 0.2)


@cache
def _keys(note: int) -> int:
    return _shape(_partials(hertz(note), int(0.9 * RATE), (1.0, 0.6, 0.25, 0.2, 0.1, 0.06), 0.0004), 0.004, 0.3, 0.1)


@cache
def _kick() -> int:
    # the pitch falls from 150 to 45 Hz, so the phase is its integral
    wave = [math.sin(math.tau * (45 * t + 105 * 0.035 * (1 - math.exp(-t / 0.035)))) for t in _times(0.3)]
    return _shape(wave, 0.001, 0.09, 0.02)


def _noise(seconds: float, seed: int, bright: bool) -> list[float]:
    dice = random.Random(seed)  # noqa: S311
    noise = [dice.uniform(-1, 1) for _ in _times(seconds)]
    return [a - b for a, b in zip(noise, [0.0, *noise[:-1]], strict=True)] if bright else noise


@cache
def _snare() -> int:
    body = [0.5 * math.sin(math.tau * 185 * t) * math.exp(-t / 0.05) for t in _times(0.22)]
    return _shape(list(map(add, body, [0.5 * x for x in _noise(0.22, 7, bright=False)])), 0.001, 0.06, 0.02)


@cache
def _hat() -> int:
    return _shape([0.3 * x for x in _noise(0.07, 11, bright=True)], 0.001, 0.018, 0.01)


def _times(seconds: float) -> list[float]:
    return [n / RATE for n in range(int(seconds * RATE))]


_LEADS: dict[str, Callable[[int], int]] = {"pluck": _pluck, "bell": _bell, "keys": _keys}
_DRUMS: dict[str, Callable[[], int]] = {"k": _kick, "s": _snare, "h": _hat}
