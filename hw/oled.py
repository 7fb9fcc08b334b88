"""A monochrome OLED on I2C: frames in, as few bytes as possible out. Synchronous; `hw.display` gives it a thread."""

from __future__ import annotations

from collections.abc import Sequence

from hw import regions
from hw.controllers import (
    COLUMN_WINDOW,
    COMMANDS,
    CONTRAST,
    CONTROLLERS,
    DATA,
    NOP,
    OFF,
    ON,
    PAGE_WINDOW,
    page_address,
    setup,
)
from hw.errors import BusError
from hw.i2c import Bus
from hw.regions import Region
from hw.wiring.model import Display

ADDRESSES = (0x3C, 0x3D)


def find(bus: Bus, addresses: Sequence[int] = ADDRESSES) -> int:
    """The first of `addresses` at which something answers. Raises the last BusError when nothing does."""
    problem = BusError("no address to look at")
    for address in addresses:
        try:
            bus.write(address, bytes((COMMANDS, NOP)))
        except BusError as error:
            problem = error
        else:
            return address
    raise problem


class Oled:
    """One display at `address` of `bus`.

    `sent` counts the bytes on the bus, slave addresses included. Every method raises BusError when the bus fails; what
    the display shows is unknown then, and `start` makes it known again.
    """

    def __init__(self, bus: Bus, display: Display, address: int) -> None:
        self._bus, self._display, self._address = bus, display, address
        self._controller = CONTROLLERS[display.controller]
        self._shown: bytes | None = None
        self._window: Region | None = None
        self.sent = 0

    def start(self, frame: bytes, *, contrast: int, on: bool) -> None:
        """Set the controller up from whatever state it is in, and only then show `frame`, if `on`.

        The RAM holds noise after power-on, so the display is dark until the frame is in it.
        """
        self._command(OFF)
        self.refresh(frame, contrast=contrast)
        if on:
            self.power(True)

    def refresh(self, frame: bytes, *, contrast: int) -> None:
        """Send settings and frame whole, without going dark: mends what a disturbance on the wires has flipped."""
        self._shown = self._window = None
        self._command(*setup(self._controller, self._display.height, self._display.rotation, contrast))
        self.draw(frame)

    def draw(self, frame: bytes) -> None:
        """Make the display show `frame` (see hw.frame). Raises ValueError when its size is wrong."""
        width = self._display.width
        if len(frame) != width * self._display.height // 8:
            raise ValueError(f"a frame of {width}x{self._display.height} has {width * self._display.height // 8} bytes")
        shown, self._shown = self._shown, None  # not known while bytes are under way
        if shown is None:
            wanted = [regions.whole(frame, width)]
            if not self._controller.windows:
                wanted = [Region(page, page, 0, width - 1) for page in range(len(frame) // width)]
        elif self._controller.windows:
            wanted = regions.windows(shown, frame, width, self._window)
        else:
            wanted = regions.runs(shown, frame, width)
        for region in wanted:
            self._aim(region)
            self._send(bytes((DATA,)) + region.cut(frame, width))
        self._shown = frame

    def probe(self) -> None:
        """Ask for a sign of life, changing nothing."""
        self._command(NOP)

    def contrast(self, level: int) -> None:
        """Brightness, 0-255."""
        self._command(CONTRAST, level)

    def power(self, on: bool) -> None:
        """Light the display or darken it; what it shows is kept."""
        self._command(ON if on else OFF)

    def _aim(self, region: Region) -> None:
        if not self._controller.windows:
            self._command(*page_address(self._controller, region.top, region.left))
            return
        now = self._window
        commands: list[int] = []
        # A full write leaves both pointers at the start of the window: what stays the same need not be said again.
        if now is None or (now.left, now.right) != (region.left, region.right):
            commands += (COLUMN_WINDOW, region.left + self._controller.offset, region.right + self._controller.offset)
        if now is None or (now.top, now.bottom) != (region.top, region.bottom):
            commands += (PAGE_WINDOW, region.top, region.bottom)
        if commands:
            self._command(*commands)
        self._window = region

    def _command(self, *commands: int) -> None:
        self._send(bytes((COMMANDS, *commands)))

    def _send(self, payload: bytes) -> None:
        try:
            self._bus.write(self._address, payload)
        except BusError:
            self._window = None
            raise
        self.sent += 1 + len(payload)
