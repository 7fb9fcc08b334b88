"""What a wiring preset says: typed, frozen, with everything checked that can be checked without the hardware."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Literal, get_args

from msgspec import Meta, Struct

from hw.errors import WiringError
from hw.wiring.header import HAT_EEPROM, I2C, I2S, PIN_OF_GPIO

Pin = Annotated[int, Meta(ge=0, le=27)]

# What a gesture can do. The panel gives each word its meaning on the screen that is shown.
Action = Literal[
    "none",
    "play_pause",
    "next",
    "previous",
    "seek_forward",
    "seek_back",
    "stop",
    "favourite",
    "select",
    "back",
    "menu",
    "home",
    "volume",  # turns only: one unit a step
    "scroll",  # turns only: one line a detent; on a screen without a list the volume
    "skip",  # turns only: the next initial letter of a long list; on a screen without a list 5 s a step
    "volume_up",
    "volume_down",
    "mute",
    "eject",
    "shuffle",
    "repeat",
    "display_off",
    "shut_down",
]
ACTIONS: frozenset[str] = frozenset(get_args(Action))
TURNS: frozenset[str] = frozenset({"none", "volume", "scroll", "skip"})


class Encoder(Struct, frozen=True, forbid_unknown_fields=True):
    """Pins are BCM numbers. `push` is the switch under the knob; it is the button called `push`."""

    a: Pin
    b: Pin
    push: Pin | None = None
    transitions: Literal[1, 2, 4] = 4
    reverse: bool = False
    acceleration: Annotated[int, Meta(ge=1, le=20)] = 6  # most steps a detent; 1 = none


class Display(Struct, frozen=True, forbid_unknown_fields=True):
    """An I2C OLED. `address` 0 looks for it at 0x3C and 0x3D; `rotation` in degrees."""

    controller: Literal["ssd1306", "ssd1309", "sh1106"] = "ssd1306"
    width: Literal[128] = 128
    height: Literal[32, 64] = 64
    rotation: Literal[0, 180] = 0
    bus: Annotated[int, Meta(ge=0, le=30)] = 1
    address: Annotated[int, Meta(ge=0, le=0x77)] = 0


class Dac(Struct, frozen=True, forbid_unknown_fields=True):
    """The sound card. `card` is its ALSA id (`aplay -l`), `control` its volume, both "" when there is none.

    `reserved` are the GPIOs it uses besides I2S; `overlay` is what goes into config.txt as dtoverlay=.
    """

    title: str
    card: str = ""
    control: str = ""
    overlay: str = ""
    reserved: dict[str, Pin] = {}
    i2s: bool = True
    hat: bool = True  # has an EEPROM on GPIO 0 and 1


class Wiring(Struct, frozen=True, forbid_unknown_fields=True):
    """Everything that is connected to the header. A missing `encoder`, `display` or `dac`: the box runs without that
    part.

    `buttons` maps names to pins, `actions` gestures to actions: `play`, `play.long`, `play.repeat`, `menu+next` (both
    held), `turn`, `push+turn`.
    """

    title: str = ""
    notes: list[str] = []
    encoder: Encoder | None = None
    display: Display | None = None
    dac: Dac | None = None
    buttons: dict[str, Pin] = {}
    actions: dict[str, str] = {}

    @property
    def all_buttons(self) -> dict[str, int]:
        """Name to pin of every button, the switch under the knob included as `push`."""
        push = {"push": self.encoder.push} if self.encoder and self.encoder.push is not None else {}
        return {**self.buttons, **push}

    def action(self, gesture: str) -> str:
        """The action of a gesture, "none" when it has none."""
        return self.actions.get(gesture, "none")

    def pins(self) -> Iterator[tuple[int, str]]:
        """Every GPIO that chadbox itself opens, with what it is for."""
        if self.encoder:
            yield self.encoder.a, "encoder a"
            yield self.encoder.b, "encoder b"
        for name, pin in self.all_buttons.items():
            yield pin, f"button {name}"

    def taken(self) -> Mapping[int, str]:
        """Every GPIO that belongs to someone else: I2C, I2S, the HAT."""
        out: dict[int, str] = {}
        if self.dac:
            out |= I2S if self.dac.i2s else {}
            out |= HAT_EEPROM if self.dac.hat else {}
            out |= {pin: f"{self.dac.title}: {what}" for what, pin in self.dac.reserved.items()}
        if self.display and self.display.bus in (0, 1):
            out |= I2C if self.display.bus == 1 else HAT_EEPROM
        return out


def check(wiring: Wiring, name: str) -> None:
    """Raise WiringError, one line that names the pins, when parts of `wiring` collide or an action makes no sense."""
    taken = wiring.taken()
    used: dict[int, str] = {}
    for pin, what in wiring.pins():
        where = f"GPIO {pin} (pin {PIN_OF_GPIO[pin]})"
        if pin in used:
            raise WiringError(f"{name}: {where} is used twice, for {used[pin]} and {what}; move one of them")
        if pin in taken:
            free = ", ".join(str(n) for n in _free(wiring)[:6])
            raise WiringError(f"{name}: {where} for {what} belongs to {taken[pin]}; free are GPIO {free} ...")
        used[pin] = what
    for gesture, action in wiring.actions.items():
        _check_action(wiring, gesture, action, name)


def _free(wiring: Wiring) -> list[int]:
    busy = {*wiring.taken(), *(pin for pin, _ in wiring.pins()), *HAT_EEPROM, *I2C}
    return [pin for pin in range(4, 28) if pin not in busy]


def _check_action(wiring: Wiring, gesture: str, action: str, name: str) -> None:
    where = f'{name}: actions: "{gesture}"'
    if action not in ACTIONS:
        raise WiringError(f'{where}: no such action "{action}"; there are {", ".join(sorted(ACTIONS))}')
    parts = gesture.split("+")
    turn = parts[-1] == "turn"
    base, _, kind = parts[-1].partition(".")
    names = (parts[:-1] if turn else [*parts[:-1], base]) if len(parts) > 1 or not turn else []
    if kind not in ("", "long", "repeat") or (kind and len(parts) > 1) or len(set(names)) != len(names):
        raise WiringError(f"{where}: write a button, button.long, button.repeat, button+button, turn or button+turn")
    missing = [part for part in names if part not in wiring.all_buttons]
    if missing or (turn and wiring.encoder is None):
        has = ", ".join(sorted(wiring.all_buttons)) or "none"
        raise WiringError(f"{where}: there is no {missing[0] if missing else 'encoder'}; the buttons are: {has}")
    if turn != (action in TURNS) and action != "none":
        fitting = sorted(TURNS) if turn else sorted(ACTIONS - TURNS)
        raise WiringError(f'{where}: "{action}" does not fit; take one of {", ".join(fitting)}')
