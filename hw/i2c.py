"""The I2C bus: a tiny interface, and the real one on smbus2. `hw.sim` ships the other one."""

from __future__ import annotations

from contextlib import suppress
from typing import Any, Protocol

from hw.errors import BusError, bus_error


class Bus(Protocol):
    """Where bytes for a display go."""

    def write(self, address: int, payload: bytes) -> None:
        """One I2C message: START, `address` (7 bit), `payload`, STOP. Raises BusError."""

    def close(self) -> None:
        """Free the bus. Raises nothing."""


class SmbusBus:
    """/dev/i2c-`number`. Raises BusError, saying what to check, when it cannot be opened.

    Each message goes out as an `I2C_RDWR` of its own: block writes of SMBus end after 32 bytes, and the controller of
    the Pi up to model 4 does not do several writes in one combined transfer.
    """

    def __init__(self, number: int) -> None:
        self._device = f"/dev/i2c-{number}"
        try:
            import smbus2
        except ImportError:
            raise BusError("smbus2 is not installed; install chadbox with its panel extra: 'chadbox[panel]'") from None
        self._message: Any = smbus2.i2c_msg.write
        try:
            self._bus = smbus2.SMBus(number)
        except OSError as error:
            raise bus_error(error, self._device) from None

    def write(self, address: int, payload: bytes) -> None:
        try:
            self._bus.i2c_rdwr(self._message(address, payload))
        except OSError as error:
            raise bus_error(error, self._device, address) from None

    def close(self) -> None:
        with suppress(OSError):  # the adapter is gone; there is nothing left to free
            self._bus.close()
