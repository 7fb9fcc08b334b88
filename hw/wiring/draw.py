"""Wiring diagrams and parts lists out of the presets: `python -m hw.wiring.draw` writes `diagrams/*.svg` and `*.txt`.

The presets are the only source; a test compares what is committed with what comes out here.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from pathlib import Path

from hw.wiring import preset, presets
from hw.wiring.header import GROUND, HEADER, I2C, I2S, PIN_OF_GPIO, POWER_3V3
from hw.wiring.model import Wiring

FOLDER = Path(__file__).with_name("diagrams")

# Supply pins are given to the parts so that the wires of one part lie side by side.
_DISPLAY_POWER, _DISPLAY_GROUND, _KNOB_GROUND, _BUTTON_GROUND = 1, 9, 14, 34


@dataclass(frozen=True)
class Wire:
    """One pin of the header in use: physical `pin`, what it is for, and the part it belongs to."""

    pin: int
    label: str
    part: str  # knob, buttons, display or dac


def wires(wiring: Wiring) -> list[Wire]:
    """Every wire of a preset, in the order of the header."""
    return sorted(_wires(wiring), key=lambda wire: wire.pin)


def parts(wiring: Wiring) -> list[str]:
    """What to buy, a line each."""
    out = ["1 Raspberry Pi with a 40-pin header, power supply, SD card"]
    if wiring.dac:
        overlay = f" (dtoverlay={wiring.dac.overlay})" if wiring.dac.overlay else ""
        out.append(f"1 sound card: {wiring.dac.title}{overlay}")
    if encoder := wiring.encoder:
        push = " with push switch" if encoder.push is not None else ""
        out.append(f"1 rotary encoder{push}, {encoder.transitions} transitions a detent (EC11, PEC11; KY-040 module)")
    if wiring.buttons:
        out.append(f"{len(wiring.buttons)} push buttons, normally open: {', '.join(wiring.buttons)}")
    if display := wiring.display:
        out.append(f"1 OLED {display.width}x{display.height}, I2C, {display.controller.upper()}, for 3.3 V")
    return [*out, "jumper wires under 20 cm; no resistors: the Pi's own pull-ups are used"]


def text(name: str, wiring: Wiring) -> str:
    """The plain-text diagram."""
    used = {wire.pin: wire for wire in wires(wiring)}
    rows = []
    for left in range(1, 40, 2):
        right = left + 1
        pins = f"{_pin(left):>7} |{left:3}{right:3} | {_pin(right):<7}"
        rows.append(f"{_name(used, left):>34} {pins} {_name(used, right)}")
    head = [f"chadbox wiring: {name} - {wiring.title}", "", f"{'the corner with pin 1 is the one by the SD card':>60}"]
    return "\n".join([*head, "", *(row.rstrip() for row in rows), "", *_legend(wiring), ""])


def svg(name: str, wiring: Wiring) -> str:
    """The drawing, as an SVG document that needs nothing else."""
    used = {wire.pin: wire for wire in wires(wiring)}
    legend = _legend(wiring)
    height = 92 + 20 * 24 + 16 + 17 * len(legend) + 14
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 760 {height}" font-family="sans-serif" font-size="13">',
        f"<title>{escape(f'chadbox wiring: {name}')}</title>",
        f'<rect width="760" height="{height}" fill="#fff"/>',
        f'<text x="24" y="32" font-size="19" font-weight="bold">{escape(wiring.title)}</text>',
        f'<text x="24" y="54" fill="#555">wiring = "{escape(name)}"; pin 1 is in the corner by the SD card</text>',
        f'<rect x="344" y="72" width="72" height="{20 * 24 + 8}" rx="6" fill="#2b2b2b"/>',
    ]
    for pin in range(1, 41):
        left = pin % 2 == 1
        y = 88 + (pin - 1) // 2 * 24
        x = 364 if left else 396
        out.append(f'<circle cx="{x}" cy="{y}" r="9" fill="{_colour(used, pin)}"/>')
        out.append(f'<text x="{x}" y="{y + 4}" font-size="10" text-anchor="middle" fill="#fff">{pin}</text>')
        edge, side, anchor = (340, -1, "end") if left else (420, 1, "start")
        at = f'y="{y + 4}" text-anchor="{anchor}"'
        out.append(f'<text x="{edge + 4 * side}" {at} fill="#777">{escape(_pin(pin))}</text>')
        if wire := used.get(pin):
            colour = _COLOURS[wire.part]
            x1, x2 = edge + 62 * side, edge + 86 * side
            out.append(f'<path d="M{x1} {y}H{x2}" stroke="{colour}" stroke-width="3"/>')
            label = escape(wire.label)
            out.append(f'<text x="{x2 + 6 * side}" {at} fill="{colour}">{label}</text>')
    for number, line in enumerate(legend):
        weight = ' font-weight="bold"' if line.endswith(":") else ""
        out.append(f'<text x="24" y="{92 + 20 * 24 + 16 + 17 * number}"{weight}>{escape(line)}</text>')
    return "\n".join([*out, "</svg>", ""])


def files() -> Iterator[tuple[Path, str]]:
    """Every generated file with what belongs in it."""
    for name in presets():
        wiring = preset(name)
        yield FOLDER / f"{name}.txt", text(name, wiring)
        yield FOLDER / f"{name}.svg", svg(name, wiring)


def main() -> int:
    FOLDER.mkdir(exist_ok=True)
    for path, content in files():
        path.write_text(content, "utf-8")
    return 0


_COLOURS = {"knob": "#0b6e4f", "buttons": "#8a4f00", "display": "#1d4ed8", "dac": "#9b1c4a"}


def _wires(wiring: Wiring) -> Iterator[Wire]:
    if encoder := wiring.encoder:
        yield Wire(PIN_OF_GPIO[encoder.a], "knob A (CLK)", "knob")
        yield Wire(PIN_OF_GPIO[encoder.b], "knob B (DT)", "knob")
        yield Wire(_KNOB_GROUND, "knob C and switch, common", "knob")
        if encoder.push is not None:
            yield Wire(PIN_OF_GPIO[encoder.push], "knob push switch (SW)", "knob")
    for name, gpio in wiring.buttons.items():
        yield Wire(PIN_OF_GPIO[gpio], f"button {name}", "buttons")
    if wiring.buttons:
        yield Wire(_BUTTON_GROUND, "all buttons, common", "buttons")
    shared = bool(wiring.dac and wiring.dac.control)
    if wiring.display:
        yield Wire(_DISPLAY_POWER, "display VCC", "display")
        yield Wire(_DISPLAY_GROUND, "display GND", "display")
        for gpio, what in I2C.items():
            yield Wire(PIN_OF_GPIO[gpio], f"display {what[-4:-1]}" + (" (the DAC too)" if shared else ""), "display")
    if wiring.dac:
        if wiring.dac.i2s:
            for gpio, what in I2S.items():
                yield Wire(PIN_OF_GPIO[gpio], what, "dac")
        for what, gpio in wiring.dac.reserved.items():
            yield Wire(PIN_OF_GPIO[gpio], f"DAC: {what}", "dac")


def _legend(wiring: Wiring) -> list[str]:
    out = ["Parts:", *(f"- {line}" for line in parts(wiring)), "", "Notes:"]
    if wiring.buttons:
        out.append("- Each button goes between its pin and ground; any ground pin will do.")
    if wiring.encoder:
        out.append("- Knob turns the wrong way: swap A and B, or set encoder.reverse = true.")
        out.append("- KY-040 module: its + goes to 3.3 V (pin 17), never to 5 V.")
    if wiring.display:
        out.append("- Display: 3.3 V, address 0x3C or 0x3D; I2C is switched on with dtparam=i2c_arm=on.")
    out += [f"- {note}" for note in wiring.notes]
    out += ["", "Actions:"]
    return [*out, *(f"- {gesture}: {action}" for gesture, action in wiring.actions.items())]


def _pin(pin: int) -> str:
    kind = HEADER[pin]
    return f"GPIO {kind}" if isinstance(kind, int) else kind


def _name(used: dict[int, Wire], pin: int) -> str:
    return used[pin].label if pin in used else ""


def _colour(used: dict[int, Wire], pin: int) -> str:
    if pin in used:
        return _COLOURS[used[pin].part]
    kind = HEADER[pin]
    if kind == GROUND:
        return "#000"
    if isinstance(kind, str):
        return "#b45309" if kind == POWER_3V3 else "#b91c1c"
    return "#7a7a7a"


if __name__ == "__main__":
    sys.exit(main())
