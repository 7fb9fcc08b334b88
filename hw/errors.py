"""What can go wrong with hardware, each as one line that says what to do.

HardwareError                a part cannot be used; the player runs on without it (F6, R10)
+-- WiringError              the wiring preset or table makes no sense: wrong pin, pin used twice ...
+-- GpioError                no GPIO chip, library or permission, or a pin that is taken
+-- BusError                 the I2C bus or the display on it does not answer; `errno` as the kernel gave it
+-- MixerError               no such sound card or control: take software volume
"""

from __future__ import annotations

import errno as codes

from appliance.errors import ChadboxError


class HardwareError(ChadboxError):
    code = "hardware"


class WiringError(HardwareError, ValueError):
    code = "bad_wiring"


class GpioError(HardwareError):
    code = "gpio"


class MixerError(HardwareError):
    code = "mixer"


class BusError(HardwareError, ConnectionError):
    """The I2C bus failed. `errno` is the kernel's number, or None when the library is missing."""

    code = "display-lost"

    def __init__(self, message: str, number: int | None = None) -> None:
        super().__init__(message)
        self.errno = number


def bus_error(error: OSError, device: str, address: int | None = None) -> BusError:
    """The BusError for an OSError of `device` (a path such as /dev/i2c-1), saying what to check.

    `address` is the 7-bit address that was spoken to, None when the device itself could not be opened.
    """
    number = error.errno
    who = f"{device}" if address is None else f"{device}, address 0x{address:02X}"
    advice = _ADVICE.get(number or 0)
    if advice is None:
        advice = f"{error.strerror or error}; check the wires to SDA (GPIO 2), SCL (GPIO 3), 3.3 V and ground"
    return BusError(f"{who}: {advice}", number)


_NO_ANSWER = "nothing answers; check power, the wires to SDA (GPIO 2) and SCL (GPIO 3), and the address (0x3C or 0x3D)"
_STUCK = "the bus is stuck or too slow; check pull-ups and wire length, and switch the display off and on"
_DENIED = "permission denied; add the user to the group i2c (sudo usermod -aG i2c USER) and log in again"
_ABSENT = "no such I2C bus; enable it with dtparam=i2c_arm=on in config.txt and load i2c-dev"
_ADVICE = {
    codes.ENXIO: _NO_ANSWER,
    codes.EREMOTEIO: _NO_ANSWER,
    codes.EIO: "transfer failed; check the wires for a loose contact, and power and ground of the display",
    codes.ETIMEDOUT: _STUCK,
    codes.EAGAIN: "the bus is busy (lost arbitration); check that nothing else pulls SDA or SCL low",
    codes.EBUSY: "a kernel driver holds this address; remove the overlay that claims it (i2cdetect shows UU)",
    codes.EACCES: _DENIED,
    codes.EPERM: _DENIED,
    codes.ENOENT: _ABSENT,
    codes.ENODEV: _ABSENT,
    codes.EOPNOTSUPP: "this I2C adapter cannot do plain transfers (I2C_RDWR); use the bus on GPIO 2 and 3",
}
