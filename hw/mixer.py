"""The DAC's own volume: per cent in, dB out, without subprocess, disk or read-back (P10).

    per cent   100    90     75    50     25     10      5       0
    dB           0   -2.7   -7.5  -18.1  -36.1  -60.0  -78.1   muted

dB = 60 log10(per cent / 100): the cubic curve, amplitude = (per cent / 100)^3, that alsamixer uses and that mpv's
software volume has, so going from one to the other changes nothing. Steps at the loud end are fine (0.3 dB) and grow
towards silence.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from math import log10
from typing import Protocol

from hw.alsa import Control
from hw.errors import MixerError
from hw.wiring.model import Dac

log = logging.getLogger(__name__)

CLOSE_S = 1.5


class VolumeControl(Protocol):
    """What hw.alsa.Control offers: a range in dB, and setting it."""

    lowest: float
    highest: float
    mutes: bool

    def set_db(self, db: float) -> None: ...
    def set_muted(self, muted: bool) -> None: ...
    def close(self) -> None: ...


def to_db(percent: float, lowest: float, highest: float = 0.0) -> float:
    """The dB of a volume of `percent` (0-100; outside is cut off) for a control with this range.

    100 is `highest`, but never above 0 dB: a DAC that can amplify would clip. 0 is `lowest`.
    """
    top = min(highest, 0.0)
    if percent < 0.01:
        return min(lowest, top)
    return max(min(lowest, top), top + 60 * log10(min(percent, 100.0) / 100))


def has_hardware_volume(dac: Dac | None) -> bool:
    """Whether the wiring says that the sound card has a volume control of its own."""
    return dac is not None and bool(dac.card) and bool(dac.control)


class HardwareVolume:
    """Sets the control of `dac`.

    A thread of its own talks to the card: on most HATs that goes over the I2C bus which the display is on too, and
    waits for it. The newest volume wins. `on_lost(message)` is called once, on that thread, when the card goes away:
    take software volume then. Raises MixerError when card or control is missing: take software volume.
    """

    def __init__(
        self,
        dac: Dac,
        on_lost: Callable[[str], None] = lambda _: None,
        *,
        open_control: Callable[[str, str], VolumeControl] = Control,
    ) -> None:
        if not has_hardware_volume(dac):
            raise MixerError(f"{dac.title} has no volume control of its own; the volume is set in software")
        if not all(letter.isalnum() or letter in "_-" for letter in dac.card):
            raise MixerError(f'"{dac.card}" is no ALSA card id; `aplay -l` shows it between "card N:" and the bracket')
        self._control = open_control(f"hw:CARD={dac.card}", dac.control)
        self._on_lost = on_lost
        self._wanted: float | None = None
        self._closing = False
        self._changed = threading.Condition()
        self.lost = False
        self._thread = threading.Thread(target=self._run, name="mixer", daemon=True)
        self._thread.start()

    def set(self, percent: float) -> None:
        """Volume 0-100; returns at once. Nothing happens after the card was lost."""
        with self._changed:
            self._wanted = percent
            self._changed.notify()

    def close(self) -> None:
        """End the thread, leaving the volume as it is; a write that hangs is left behind after 1.5 s."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join(CLOSE_S)

    def _run(self) -> None:
        muted: bool | None = None
        try:
            while (percent := self._next()) is not None:
                self._control.set_db(to_db(percent, self._control.lowest, self._control.highest))
                if muted != (percent <= 0):
                    muted = percent <= 0
                    self._control.set_muted(muted)
        except MixerError as error:
            self.lost = True
            log.warning("mixer: %s", error)
            try:
                self._on_lost(str(error))
            except Exception:  # a broken listener must not leave the control open
                log.exception("on_lost failed")
        finally:
            self._control.close()

    def _next(self) -> float | None:
        with self._changed:
            while self._wanted is None and not self._closing:
                self._changed.wait()
            percent, self._wanted = self._wanted, None
            return percent
