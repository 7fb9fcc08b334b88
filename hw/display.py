"""The display's own thread: whoever shows a frame never waits for the bus, and a broken bus never stops anything else.

    show() --> newest frame --> thread --> Oled --> bus
                                  |  fails
                                  v
                     wait 0.25, 0.5, 1, 2, 2 ... s, open the bus anew, set up, draw the newest frame whole

Frames are dropped, not queued: what is shown is what was asked for last. A transfer that hangs holds up this thread
alone, which is a daemon, so the process can end without it.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import Literal

from hw.errors import BusError, HardwareError
from hw.i2c import Bus, SmbusBus
from hw.oled import ADDRESSES, Oled, find
from hw.wiring.model import Display

log = logging.getLogger(__name__)

State = Literal["ok", "error"]

RETRY_S = (0.25, 0.5, 1.0, 2.0)  # the last one again and again: with time-outs of 1 s the picture is back within 5 s
REFRESH_S = 60.0  # how often everything is sent anew, in case a disturbance flipped something
HANG_S = 2.0  # what takes longer is reported as an error, and everything is sent anew when it ends
PROBE_S = 2.0  # how often an idle display is asked whether it is there
CLOSE_S = 1.5  # how long close() waits for the thread


class DisplayDriver:
    """Shows frames on `display`.

    `on_state("ok" | "error", message)` is called at each change, on the display's thread (or on the caller's of `show`
    when a transfer hangs): pass `loop.call_soon_threadsafe` round it. `message` says what to check. `open_bus` and the
    times are for tests. All methods may be called from any thread and return at once.
    """

    def __init__(
        self,
        display: Display,
        on_state: Callable[[State, str], None],
        *,
        open_bus: Callable[[], Bus] | None = None,
        retry_s: Sequence[float] = RETRY_S,
        refresh_s: float = REFRESH_S,
        hang_s: float = HANG_S,
        probe_s: float = PROBE_S,
    ) -> None:
        self._display, self._on_state = display, on_state
        self._open_bus = open_bus or (lambda: SmbusBus(display.bus))
        self._retry_s, self._refresh_s, self._hang_s = tuple(retry_s), refresh_s, hang_s
        self._probe_s = probe_s
        self._frame = bytes(display.width * display.height // 8)
        self._contrast, self._on = 0x8F, True
        self._changed = threading.Condition()
        self._dirty, self._closing = True, False
        self._busy_since: float | None = None
        self._state: State | None = None
        self._bus: Bus | None = None
        self._oled: Oled | None = None
        self._address = display.address
        self._thread = threading.Thread(target=self._run, name="display", daemon=True)
        self.shown = 0
        self.dropped = 0
        """Frames that were replaced by a newer one before their turn came."""
        self.sent = 0
        """Bytes on the bus since the start, slave addresses included."""

    @property
    def state(self) -> State | None:
        """What was last reported; None before the first attempt has ended."""
        return self._state

    def start(self) -> None:
        """Begin; the bus is opened on the display's thread, so a missing one costs nothing here."""
        self._thread.start()

    def show(self, frame: bytes) -> None:
        """Show `frame` (see hw.frame) as soon as the bus is free. Raises ValueError when its size is wrong."""
        if len(frame) != len(self._frame):
            raise ValueError(f"a frame has {len(self._frame)} bytes, not {len(frame)}")
        with self._changed:
            if frame == self._frame:
                self._check_hang()
                return
            self.dropped += self._dirty
            self._frame, self._dirty = frame, True
            self._changed.notify()
            self._check_hang()

    def contrast(self, level: int) -> None:
        """Brightness, 0-255; values outside are cut off."""
        with self._changed:
            self._contrast, self._dirty = max(0, min(255, level)), True
            self._changed.notify()

    def power(self, on: bool) -> None:
        """Light or darken the display; frames shown meanwhile are seen when it is lit again."""
        with self._changed:
            self._on, self._dirty = on, True
            self._changed.notify()

    def close(self, *, blank: bool = True) -> None:
        """Darken the display (if `blank`) and end the thread; after 1.5 s a hanging transfer is left behind."""
        with self._changed:
            self._closing = True
            self._on = self._on and not blank
            self._changed.notify()
        if self._thread.ident is not None:
            self._thread.join(CLOSE_S)

    # -- on the display's thread

    def _run(self) -> None:
        failures = 0
        applied = _Applied()
        while True:
            try:
                if self._oled is None:
                    self._oled, applied = self._connect()
                applied = self._apply(self._oled, applied)
                failures = 0
            except HardwareError as error:
                self._disconnect()
                self._report("error", str(error))
            except Exception as error:  # nothing that a driver does may end the display for good
                log.exception("display")
                self._disconnect()
                self._report("error", f"display: {error}")
            if self._oled is None:
                pause = self._retry_s[min(failures, len(self._retry_s) - 1)]
                failures += 1
                if self._sleep(pause):
                    break
            elif self._wait(applied):
                break
        self._disconnect()

    def _connect(self) -> tuple[Oled, _Applied]:
        self._busy_since = time.monotonic()
        self._bus = self._open_bus()
        if self._display.address:
            address = self._display.address
        else:  # where it was last time first: a probe of a wedged bus costs a time-out
            known = [self._address] if self._address in ADDRESSES else []
            address = self._address = find(self._bus, [*known, *(a for a in ADDRESSES if a not in known)])
        oled = Oled(self._bus, self._display, address)
        self._busy_since = time.monotonic()  # probing may take a time-out an address
        with self._changed:
            frame, contrast, on, self._dirty = self._frame, self._contrast, self._on, False
        oled.start(frame, contrast=contrast, on=on)
        self._ended(oled)
        self.shown += 1
        self._report("ok", f"{self._display.controller} at 0x{address:02X}")
        return oled, _Applied(frame, contrast, on)

    def _apply(self, oled: Oled, applied: _Applied) -> _Applied:
        with self._changed:
            frame, contrast, on = self._frame, self._contrast, self._on
            wanted, self._dirty = self._dirty or self._closing, False
        self._busy_since = now = time.monotonic()
        overdue = on and now - applied.refreshed >= self._refresh_s
        if not wanted and not overdue:
            oled.probe()
        elif overdue:
            oled.refresh(frame, contrast=contrast)
            oled.power(on)
        else:
            if not on and applied.on:
                oled.power(False)
            if contrast != applied.contrast:
                oled.contrast(contrast)
            if frame != applied.frame:
                oled.draw(frame)
                self.shown += 1
            if on and not applied.on:
                oled.power(True)
        self._ended(oled)
        self._report("ok", "")
        return _Applied(frame, contrast, on, time.monotonic() if overdue else applied.refreshed)

    def _ended(self, oled: Oled) -> None:
        """A turn on the bus is over. Raises BusError when it hung: nobody knows what the display went through."""
        since, self._busy_since = self._busy_since, None
        self.sent += oled.sent
        oled.sent = 0
        if since is not None and time.monotonic() - since > self._hang_s:
            raise BusError(_HANGS)

    def _disconnect(self) -> None:
        self._busy_since = None
        bus, self._bus, self._oled = self._bus, None, None
        if bus is not None:
            bus.close()

    def _wait(self, applied: _Applied) -> bool:
        """Until there is something to do; True when that is to end."""
        with self._changed:
            until = time.monotonic() + self._probe_s
            if self._on:
                until = min(until, applied.refreshed + self._refresh_s)
            while not self._dirty and not self._closing and (left := until - time.monotonic()) > 0:
                self._changed.wait(left)
            return self._closing and applied.on == self._on

    def _sleep(self, pause: float) -> bool:
        """`pause` seconds, frames or not; True when closing."""
        until = time.monotonic() + pause
        with self._changed:
            while not self._closing and (left := until - time.monotonic()) > 0:
                self._changed.wait(left)
            return self._closing

    # -- on any thread

    def _check_hang(self) -> None:
        since = self._busy_since
        if since is not None and time.monotonic() - since > self._hang_s:
            self._report("error", _HANGS)

    def _report(self, state: State, message: str) -> None:
        if state == self._state:
            return
        self._state = state
        (log.info if state == "ok" else log.warning)("display: %s %s", state, message)
        try:
            self._on_state(state, message)
        except Exception:  # a broken listener must not end the display
            log.exception("on_state failed")


_HANGS = "the display's bus hangs; check its wires, and switch the display off and on"


class _Applied:
    """What the display was last told."""

    def __init__(
        self, frame: bytes = b"", contrast: int = -1, on: bool = False, refreshed: float | None = None
    ) -> None:
        self.frame, self.contrast, self.on = frame, contrast, on
        self.refreshed = time.monotonic() if refreshed is None else refreshed
