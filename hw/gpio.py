"""The knob and the buttons on GPIO pins: opens them with gpiozero and passes on what they do.

Edges arrive on a thread of the GPIO library, one for all pins; an exception that escaped there would end all input for
good, so each callback is guarded. The knob is decoded on that thread, because a table look-up per edge costs less than
waking the event loop for every bounce; whole detents and button edges are posted to the loop.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from functools import partial
from threading import Lock
from typing import Any, Protocol

from hw.backend import Backend, open_backend
from hw.buttons import Cancellable, Timer
from hw.encoder import CHATTER_NS, SETTLE_NS, Acceleration, Knob, Quadrature
from hw.errors import GpioError
from hw.inputs import Inputs
from hw.wiring.header import PIN_OF_GPIO
from hw.wiring.model import Encoder, Wiring

log = logging.getLogger(__name__)


class Post(Protocol):
    """Runs a callback soon on the event loop's thread: `loop.call_soon_threadsafe`."""

    def __call__(self, callback: Callable[..., object], /, *args: Any) -> object: ...


class GpioPanel:
    """All inputs of a wiring, open.

    `problems` holds a GpioError for each part that could not be opened; the others work (F6). `tap`, when set, is
    called with (line, nanoseconds, level) of every raw edge, on the GPIO thread: for `chadbox doctor`.
    """

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.problems: list[GpioError] = []
        self.tap: Callable[[str, int, bool], None] | None = None
        self.knob: Knob | None = None
        self._devices: list[Any] = []
        self._lines: list[_Line] = []  # gpiozero holds callbacks weakly; these references keep them alive
        self._turner: _Turner | None = None

    def close(self) -> None:
        """Free all pins. Safe to call twice."""
        for line in self._lines:
            line.enabled = False
        if self._turner is not None:
            self._turner.close()
        for device in self._devices:
            try:
                device.pin.when_changed = None
                device.close()
            except Exception:  # going away anyway; the other pins must still be freed
                log.debug("closing %r failed", device, exc_info=True)
        self._devices.clear()
        self._lines.clear()
        try:
            self.backend.factory.close()
        except Exception:
            log.debug("closing %s failed", self.backend.name, exc_info=True)

    def _open(self, pin: int, what: str) -> Any:
        from gpiozero import InputDevice  # 60 ms: only where there is a panel

        try:
            device = InputDevice(pin, pull_up=True, pin_factory=self.backend.factory)
        except Exception as error:  # gpiozero and each library below have errors of their own
            raise GpioError(_explain(pin, what, error)) from None
        self._devices.append(device)
        return device

    def _watch(self, device: Any, name: str, handle: Callable[[int, bool], None]) -> None:
        line = _Line(self, name, handle)
        self._lines.append(line)
        try:
            device.pin.when_changed = line.changed
        except Exception as error:
            raise GpioError(_explain(int(device.pin.info.name[4:]), name, error)) from None

    def _add_encoder(self, encoder: Encoder, inputs: Inputs, timer: Timer, post: Post) -> None:
        a, b = self._open(encoder.a, "encoder a"), self._open(encoder.b, "encoder b")
        level_a, level_b = bool(a.pin.state), bool(b.pin.state)
        decoder = Quadrature(
            level_a,
            level_b,
            transitions=encoder.transitions,
            reverse=encoder.reverse,
            chatter_ns=CHATTER_NS if self.backend.kernel_time else 0,
        )
        self.knob = Knob(decoder, Acceleration(most=encoder.acceleration))
        self._turner = _Turner(self.knob, level_a, level_b, inputs, timer, post)
        self._watch(a, "encoder a", self._turner.a)
        self._watch(b, "encoder b", self._turner.b)
        self._turner.resync(bool(a.pin.state), bool(b.pin.state))  # what moved between reading and watching

    def _add_button(self, name: str, pin: int, inputs: Inputs, post: Post) -> None:
        def changed(_: int, level: bool) -> None:
            post(inputs.button, name, not level)  # the contact pulls the line low

        self._watch(self._open(pin, f"button {name}"), f"button {name}", changed)


def open_panel(wiring: Wiring, inputs: Inputs, timer: Timer, post: Post, backend: Backend | None = None) -> GpioPanel:
    """Open every input of `wiring`; edges are posted to `inputs`, which lives on the thread of `timer`.

    `backend` is for tests; without it the GPIO chip is opened. Raises GpioError, in one line that says what to do,
    when there is no chip, library or permission, or when not a single part could be opened.
    """
    panel = GpioPanel(backend or open_backend())
    if wiring.encoder is not None:
        _try(panel, partial(panel._add_encoder, wiring.encoder, inputs, timer, post))
    for name, pin in wiring.all_buttons.items():
        _try(panel, partial(panel._add_button, name, pin, inputs, post))
    for problem in panel.problems:
        log.warning("%s", problem)
    if panel.problems and not panel._lines:
        panel.close()
        raise panel.problems[0]
    log.info("panel: %s (%s), %d inputs", panel.backend.name, panel.backend.reason, len(panel._lines))
    return panel


def _try(panel: GpioPanel, open_it: Callable[[], None]) -> None:
    try:
        open_it()
    except GpioError as error:
        panel.problems.append(error)


class _Line:
    """One watched pin; its method is what the library calls, and nothing gets out of it."""

    def __init__(self, panel: GpioPanel, name: str, handle: Callable[[int, bool], None]) -> None:
        self._panel, self._name, self._handle = panel, name, handle
        self._failures = 0
        self.enabled = True

    def changed(self, ticks: Any, state: Any) -> None:
        """`ticks`: seconds from a fixed point, from the kernel where the library has it; `state`: the level."""
        if not self.enabled:
            return
        try:
            now = int(ticks * 1e9) if isinstance(ticks, int | float) else time.monotonic_ns()
            level = bool(state)
            if self._panel.tap is not None:
                self._panel.tap(self._name, now, level)
            self._handle(now, level)
        except Exception:
            self._failures += 1
            if self._failures in (1, 10, 100) or self._failures % 1000 == 0:  # edges can come 1,000 times a second
                log.exception("input %s failed (%d times)", self._name, self._failures)


class _Turner:
    """The two encoder lines together, on the GPIO thread; the lock is for the moment of opening and for `settle`."""

    def __init__(self, knob: Knob, a: bool, b: bool, inputs: Inputs, timer: Timer, post: Post) -> None:
        self._knob, self._a, self._b = knob, a, b
        self._inputs, self._timer, self._post = inputs, timer, post
        self._lock = Lock()
        self._last = 0
        self._waiting = False
        self._settling: Cancellable | None = None
        self._closed = False

    def a(self, now: int, level: bool) -> None:
        with self._lock:
            self._a = level
            self._feed(now)

    def b(self, now: int, level: bool) -> None:
        with self._lock:
            self._b = level
            self._feed(now)

    def resync(self, a: bool, b: bool) -> None:
        with self._lock:
            if (a, b) != (self._a, self._b):
                self._a, self._b = a, b
                self._knob.decoder.resync(a, b)

    def close(self) -> None:
        self._closed = True
        if self._settling is not None:
            self._settling.cancel()

    def _feed(self, now: int) -> None:
        self._last = now
        turn = self._knob.feed(now, self._a, self._b)
        if turn is not None:
            self._post(self._inputs.turn, turn)
        if self._knob.decoder.pending and not self._waiting:
            self._waiting = True  # one look is under way however long it chatters
            self._post(self._wait)

    def _wait(self) -> None:
        """On the loop: look again when what is held can be no bounce any more."""
        if not self._closed:
            self._settling = self._timer.call_later(SETTLE_NS / 1e9, self._settle)

    def _settle(self) -> None:
        self._settling = None
        with self._lock:
            turn = self._knob.settle(self._last + SETTLE_NS)
            again = self._knob.decoder.pending
            self._waiting = again
        if turn is not None:
            self._inputs.turn(turn)
        if again:
            self._wait()


def _explain(pin: int, what: str, error: Exception) -> str:
    where = f"GPIO {pin} (pin {PIN_OF_GPIO.get(pin, '?')}) for {what}"
    said = " ".join(str(error).split())
    low = said.lower()
    if "busy" in low or "in use" in low or "in-use" in low:
        return f"{where} is already used by a program or overlay; free it (gpioinfo shows who) or choose another pin"
    if "edge detection" in low or "edge" in low:
        return f"{where}: this library cannot watch inputs on this kernel; install lgpio (apt install python3-lgpio)"
    if "permission" in low or "not allowed" in low or "root" in low:
        return f"{where}: no permission; add the user to the group gpio (sudo usermod -aG gpio USER) and log in again"
    if "not a gpio pin" in low or "invalid" in low or "bad gpio" in low:
        return f"{where}: this board has no such pin; choose another one in panel.wiring"
    return f"{where}: {said or type(error).__name__}; choose another pin in panel.wiring"
