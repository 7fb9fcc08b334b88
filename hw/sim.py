"""Simulated parts, as good as real ones to whoever uses them: a display on an I2C bus, and hands on a knob and buttons.

`SimulatedOled` understands the bytes that a controller understands and rebuilds the picture from them, so what a test
or `chadbox panel` shows went the whole way. It can be unplugged, wedged, slow and noisy.
"""

from __future__ import annotations

import errno
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from hw.controllers import CONTROLLERS, Controller
from hw.encoder import Acceleration, Turn, accelerate
from hw.errors import bus_error
from hw.frame import MIRROR
from hw.inputs import Inputs
from hw.wiring.model import Display, Wiring

_RAM_WIDTH = {"ssd1306": 128, "ssd1309": 128, "sh1106": 132}

# first byte of a command -> how many bytes follow it
_ARGUMENTS = {
    0x20: 1, 0x21: 2, 0x22: 2, 0x26: 6, 0x27: 6, 0x29: 5, 0x2A: 5, 0x81: 1, 0x8D: 1, 0xA3: 2, 0xA8: 1, 0xAD: 1,
    0xD3: 1, 0xD5: 1, 0xD9: 1, 0xDA: 1, 0xDB: 1, 0xFD: 1,
}  # fmt: skip


class Garbled(AssertionError):
    """The display was sent something that its data sheet does not have."""


@dataclass
class _State:
    """A controller after power-on: the RAM holds noise, the display is dark."""

    ram: list[bytearray]
    on: bool = False
    contrast: int = 0x7F
    mode: int = 2  # page addressing
    flipped_columns: bool = False  # A1
    flipped_rows: bool = False  # C8
    multiplex: int = 63
    pump: bool = False
    locked: bool = False
    page: int = 0
    column: int = 0
    columns: tuple[int, int] = (0, 127)
    pages: tuple[int, int] = (0, 7)
    inverted: bool = False
    all_on: bool = False


@dataclass
class SimulatedOled:
    """A bus (hw.i2c.Bus) with one display on it at `address`.

    `log` keeps the messages if `keep_log`; `bytes` and `messages` count what was on the wires, slave addresses
    included. `unplug`, `wedge`, `plug` and `delay_s` (seconds each message takes) make trouble; `plug` also cuts the
    power, as plugging does.
    """

    display: Display = field(default_factory=Display)
    address: int = 0x3C
    keep_log: bool = False
    delay_s: float = 0.0
    on_change: Callable[[], None] | None = None

    def __post_init__(self) -> None:
        self._controller: Controller = CONTROLLERS[self.display.controller]
        self._free = threading.Event()
        self._free.set()
        self._fault: int | None = None
        self.log: list[bytes] = []
        self.bytes = self.messages = 0
        self.power_cycle()

    # -- the bus

    def write(self, address: int, payload: bytes) -> None:
        """One message. Raises BusError as the real bus does."""
        if self.delay_s:
            time.sleep(self.delay_s)
        self._free.wait()
        if self._fault is not None or address != self.address:
            raise bus_error(OSError(self._fault or errno.ENXIO, "simulated"), "simulated bus", address)
        self.bytes += 1 + len(payload)
        self.messages += 1
        if self.keep_log:
            self.log.append(payload)
        self._message(payload)
        if self.on_change is not None:
            self.on_change()

    def close(self) -> None:
        """Nothing to free."""

    # -- trouble

    def unplug(self, error: int = errno.EREMOTEIO) -> None:
        """From now on nothing answers (or every transfer fails with `error`, such as ETIMEDOUT)."""
        self._fault = error

    def wedge(self) -> None:
        """From now on a transfer does not return until `plug`."""
        self._free.clear()

    def plug(self) -> None:
        """All is well again; the display has forgotten everything, as after power-on."""
        self._fault = None
        self.power_cycle()
        self._free.set()

    def power_cycle(self) -> None:
        """Forget everything: RAM full of noise, default registers, dark."""
        width = _RAM_WIDTH[self.display.controller]
        self.state = _State([bytearray((page * 31 + n * 7) & 0xFF for n in range(width)) for page in range(8)])
        self.state.locked = self.display.controller == "ssd1309"

    # -- what one sees

    def picture(self) -> bytes:
        """What a person sees, as a frame (hw.frame); all dark when the display is off or the pump is.

        The panel is seen in the position in which the module's writing is upright, whatever the rotation.
        """
        state, width, pages = self.state, self.display.width, self.display.height // 8
        if not state.on or (self.display.controller == "ssd1306" and not state.pump):
            return bytes(width * pages)
        out = bytearray()
        for page in range(pages):
            row = page if state.flipped_rows else pages - 1 - page
            columns = state.ram[row] if state.flipped_columns else state.ram[row][::-1]
            line = bytes(columns[self._controller.offset : self._controller.offset + width])
            driven = (1 << max(0, min(8, state.multiplex + 1 - row * 8))) - 1  # rows of this page that are scanned
            line = bytes(((byte ^ 0xFF * state.inverted) | 0xFF * state.all_on) & driven for byte in line)
            out += line if state.flipped_rows else line.translate(MIRROR)
        return bytes(out)

    # -- the controller

    def _message(self, payload: bytes) -> None:
        at, commands = 0, b""
        while at < len(payload):
            control, at = payload[at], at + 1
            if control & 0x3F:
                raise Garbled(f"control byte {control:#x}")
            more = bool(control & 0x80)  # one byte, then another control byte
            part = payload[at : at + 1] if more else payload[at:]
            at += len(part)
            if control & 0x40:
                self._commands(commands)
                commands = b""
                for byte in part:
                    self._pixel_byte(byte)
            else:
                commands += part
        self._commands(commands)

    def _commands(self, commands: bytes) -> None:
        queue = list(commands)
        while queue:
            command = queue.pop(0)
            wanted = _ARGUMENTS.get(command, 0)
            if len(queue) < wanted:
                raise Garbled(f"command {command:#x} lacks arguments")
            arguments = [queue.pop(0) for _ in range(wanted)]
            if self.state.locked and command != 0xFD:
                continue
            self._command(command, arguments)

    def _command(self, command: int, arguments: list[int]) -> None:
        state = self.state
        known = True
        match command:
            case 0x20 | 0x21 | 0x22 | 0x8D if not self._controller.windows:
                known = False
            case 0x20:
                state.mode = arguments[0]
            case 0x21:
                state.columns = (arguments[0], arguments[1])
                state.column = arguments[0]
                known = arguments[0] <= arguments[1] < len(state.ram[0])
            case 0x22:
                state.pages = (arguments[0], arguments[1])
                state.page = arguments[0]
                known = arguments[0] <= arguments[1] < 8
            case 0x81:
                state.contrast = arguments[0]
            case 0x8D:
                state.pump = arguments[0] & 4 != 0
            case 0xA0 | 0xA1:
                state.flipped_columns = command == 0xA1
            case 0xA4 | 0xA5:
                state.all_on = command == 0xA5
            case 0xA6 | 0xA7:
                state.inverted = command == 0xA7
            case 0xA8:
                state.multiplex = arguments[0]
            case 0xAE | 0xAF:
                state.on = command == 0xAF
            case 0xC0 | 0xC8:
                state.flipped_rows = command == 0xC8
            case 0xFD:
                state.locked = arguments[0] != 0x12
            case _ if 0xB0 <= command <= 0xB7:
                state.page = command & 7
            case _ if command <= 0x0F:
                state.column = state.column & 0xF0 | command
            case _ if command <= 0x1F:
                state.column = state.column & 0x0F | (command & 0x0F) << 4
            case 0x2E | 0x40 | 0xE3 | 0xAD | 0xD3 | 0xD5 | 0xD9 | 0xDA | 0xDB:
                pass
            case _:
                known = False
        if not known:
            raise Garbled(f"{self.display.controller}: command {command:#x} {arguments}")

    def _pixel_byte(self, byte: int) -> None:
        state = self.state
        width = len(state.ram[0])
        if state.column < width:
            state.ram[state.page][state.column] = byte
        state.column += 1
        if state.mode == 0:
            if state.column > state.columns[1]:
                state.column = state.columns[0]
                state.page = state.pages[0] if state.page >= state.pages[1] else state.page + 1
        elif not self._controller.windows:
            state.column = min(state.column, width)  # SH1106 stays at the end of the page
        elif state.column >= width:
            state.column = 0


class SimulatedHands:
    """Knob and buttons without pins, for `chadbox panel`, the demo and tests: what is done here goes through the same
    gestures and the same map as on the real panel. Lives on the thread of `inputs`.
    """

    def __init__(self, wiring: Wiring, inputs: Inputs, clock: Callable[[], int] = time.monotonic_ns) -> None:
        self._wiring, self._inputs, self._clock = wiring, inputs, clock
        self._last = 0
        self._way = 0

    def turn(self, detents: int) -> None:
        """Turn by `detents`, right positive; quick calls one after the other accelerate."""
        now, way = self._clock(), 1 if detents > 0 else -1
        interval = now - self._last if way == self._way else None
        self._last, self._way = now, way
        most = self._wiring.encoder.acceleration if self._wiring.encoder else 1
        if detents:
            self._inputs.turn(Turn(detents, accelerate(detents, interval, Acceleration(most=most))))

    def down(self, button: str) -> None:
        """Press `button` and keep it down. Raises KeyError when the wiring has no such button."""
        self._inputs.button(button, True)

    def up(self, button: str) -> None:
        """Let `button` go. Raises KeyError when the wiring has no such button."""
        self._inputs.button(button, False)
