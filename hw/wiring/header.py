"""The 40-pin header of every Raspberry Pi since the B+: which pin is what, and which GPIO is where.

Source: https://pinout.xyz and the Raspberry Pi documentation, "GPIO and the 40-pin header".
"""

from __future__ import annotations

from collections.abc import Mapping

GROUND = "ground"
POWER_3V3 = "3.3 V"
POWER_5V = "5 V"

# physical pin -> BCM number of the GPIO, or the name of a supply
HEADER: Mapping[int, int | str] = {
    1: POWER_3V3,
    2: POWER_5V,
    3: 2,
    4: POWER_5V,
    5: 3,
    6: GROUND,
    7: 4,
    8: 14,
    9: GROUND,
    10: 15,
    11: 17,
    12: 18,
    13: 27,
    14: GROUND,
    15: 22,
    16: 23,
    17: POWER_3V3,
    18: 24,
    19: 10,
    20: GROUND,
    21: 9,
    22: 25,
    23: 11,
    24: 8,
    25: GROUND,
    26: 7,
    27: 0,
    28: 1,
    29: 5,
    30: GROUND,
    31: 6,
    32: 12,
    33: 13,
    34: GROUND,
    35: 19,
    36: 16,
    37: 26,
    38: 20,
    39: GROUND,
    40: 21,
}

PIN_OF_GPIO: Mapping[int, int] = {gpio: pin for pin, gpio in HEADER.items() if isinstance(gpio, int)}

I2C: Mapping[int, str] = {2: "I2C data (SDA)", 3: "I2C clock (SCL)"}
HAT_EEPROM: Mapping[int, str] = {0: "HAT EEPROM data", 1: "HAT EEPROM clock"}
I2S: Mapping[int, str] = {18: "I2S bit clock", 19: "I2S word clock", 20: "I2S data in", 21: "I2S data out"}
