"""The sound output's health (P11): lost, frozen, back; and what it was opened with.

    ok --another driver than ours took over--> lost (held, tried again after 0.5, 1, 2, 4, 5, 5 ... s) --ours--> ok
     \\--position frozen for 2 s--> reload --frozen again--> lost

mpv falls back to its null output when the card cannot be opened and would play on into nothing; a card that dies while
it plays gives no event at all, only a position that stands still.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

_FROZEN = 2.0
_STUCK = 1.0  # mpv waits for ever for an output that ran dry to "play out" before it opens it at another rate
_RETRY = (0.5, 1.0, 2.0, 4.0, 5.0)
_QUIET = 1.0  # seconds after a start or seek in which mpv's "underrun" lines mean nothing


class OutputWatch:
    """Sees to it that `expected`, a driver's name, is what sounds. `hold` is called when it is lost."""

    def __init__(self, core: Any, expected: str, send: Callable[..., None], hold: Callable[[], None]) -> None:
        self._core = core
        self._expected = expected
        self._send = send
        self._hold = hold
        self.lost = False
        self.name: str | None = None
        self._reason = ""
        self._attempt = 0
        self._retry_at = 0.0
        self._last: tuple[float, float] | None = None  # position, since when
        self._reloads = 0
        self._nudged = False  # the seek that frees an entry which does not begin has been tried
        self._quiet_until = 0.0
        self._underruns = 0
        self._format: tuple[int, str, int] | None = None

    def opened(self, name: str | None) -> bool:
        """The driver in use changed; True after a loss: put the position right, then let it play."""
        self.name = name
        if name == self._expected:
            self._say()
            if self.lost:
                self.lost = False
                self._attempt = self._reloads = 0
                self._send("back")
                return True
        elif name is not None and not self.lost:
            self._lose(self._reason or "the sound card cannot be opened")
        return False

    def format(self, rate: int, format_: str, channels: int) -> None:
        """What the output takes, in Hz and mpv's words."""
        self._format = (rate, format_, channels)
        self._say()

    def restarted(self, now: float) -> None:
        """Playing begins anew; what the output complains of in this moment is no fault."""
        self._quiet_until = now + _QUIET
        self._last = None
        self._nudged = False

    def log(self, text: str, now: float) -> None:
        """A line of mpv's log, the only place where under-runs and the reason of a loss can be read."""
        if text.startswith("ao"):
            self._reason = text.partition(": ")[2]
            if "underrun" in text and now > self._quiet_until and not self.lost:
                self._underruns += 1
                self._say()

    def tick(self, now: float, position: float | None, begun: bool) -> bool:
        """`position` in seconds while sound should be coming out, else None; `begun` once this entry has sounded.

        True when mpv is stuck before the entry's first sample: a seek to where it already is resets the output.
        """
        if self.lost:
            if now >= self._retry_at:
                self._retry_at = now + _RETRY[min(self._attempt, len(_RETRY) - 1)]
                self._attempt += 1
                self._core.command(0, "ao-reload")
        elif position is None or (begun and self._expected != "alsa"):
            self._last = None
        elif self._last is None or self._last[0] != position:
            if self._last is not None:
                self._reloads = 0
            self._last = (position, now)
        elif now - self._last[1] > (_FROZEN if begun else _STUCK):
            self._last = None
            if not begun and not self._nudged:
                self._nudged = True
                return True
            self._reloads += 1
            if begun and self._reloads > 1:
                self._lose("the sound card does not take any more samples")
            self._core.command(0, "ao-reload")
        return False

    def _lose(self, reason: str) -> None:
        self.lost = True
        self._attempt = 0
        self._retry_at = 0.0
        self._hold()
        self._send("lost", reason)

    def _say(self) -> None:
        if self._format and self.name == self._expected:
            self._send("audio", self.name, *self._format, self._underruns)
