"""Hears when sound arrives: ALSA's `file` plug-in writes what a player plays into a FIFO, read here.

Player and peer both play to ALSA's default device, which the same settings turn into such a FIFO: neither is favoured.
"""

from __future__ import annotations

import os
import select
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Self

_PIECE = 8192
_PACE = 0.004  # seconds between two pieces: several times real time, and easy on the processor
_QUIET = 0.15  # seconds without a byte after which a stopped player is taken to be silent


class Ear:
    """`settings` is the file to name in ALSA_CONFIG_PATH before a player is started."""

    def __init__(self, folder: Path, name: str) -> None:
        self._fifo = folder / f"{name}.fifo"
        self.settings = folder / f"{name}.asoundrc"
        os.mkfifo(self._fifo)
        self.settings.write_text(
            "</usr/share/alsa/alsa.conf>\n"
            f'pcm.!default {{ type file slave.pcm {{ type null }} file "{self._fifo}" format raw }}\n'
        )
        self._file = os.open(self._fifo, os.O_RDWR | os.O_NONBLOCK)  # also for writing: it never ends then
        self._closing = False
        self._armed = threading.Event()
        self._heard = threading.Event()
        self._first = self._last = 0.0
        self._thread = threading.Thread(target=self._listen, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._closing = True
        self._thread.join(2)
        os.close(self._file)

    def arm(self) -> None:
        """Wait until nothing arrives any more, then listen for the next sound."""
        deadline = time.monotonic() + 10
        while time.perf_counter() - self._last < _QUIET:
            assert time.monotonic() < deadline, "the player does not fall silent"
            time.sleep(0.02)
        self._heard.clear()
        self._armed.set()

    def first(self, seconds: float = 15.0) -> float:
        """When the first sample that is not zero came, on the clock of time.perf_counter."""
        assert self._heard.wait(seconds), f"no sound within {seconds:g} s"
        return self._first

    def _listen(self) -> None:
        while not self._closing:
            if not select.select([self._file], [], [], 0.2)[0]:
                continue
            piece = os.read(self._file, _PIECE)
            self._last = time.perf_counter()
            if self._armed.is_set():
                if piece.strip(b"\0"):
                    self._first = self._last
                    self._armed.clear()
                    self._heard.set()
            else:
                time.sleep(_PACE)
