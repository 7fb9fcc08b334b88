"""F6, F2: presets make sense, collisions are named, drawings are current."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree

import pytest

from hw.errors import WiringError
from hw.wiring import load, preset, presets
from hw.wiring.draw import files, parts, wires
from hw.wiring.header import HEADER, PIN_OF_GPIO

HATS = {
    # what the boards' own documents and kernel overlays say they use, besides I2C (2, 3) and I2S (18-21)
    "hifiberry-dacplus": set(),
    "hifiberry-amp2": {4},
    "hifiberry-amp100": {4, 17},
    "iqaudio-dacplus": {22, 25},
    "iqaudio-digiamp": {22, 25},
    "justboom-dac": {25},
    "allo-boss": {6},
    "pcm5102a": set(),
    "phat-dac": set(),
    "default": set(),
}


def test_the_header_is_complete() -> None:
    assert sorted(HEADER) == list(range(1, 41))
    assert sorted(PIN_OF_GPIO) == list(range(28))
    assert (PIN_OF_GPIO[2], PIN_OF_GPIO[18], PIN_OF_GPIO[21]) == (3, 12, 40)


@pytest.mark.parametrize("name", sorted(HATS))
def test_a_preset_collides_with_nothing(name: str) -> None:
    wiring = preset(name)
    used = {pin for pin, _ in wiring.pins()}
    assert not used & ({0, 1, 2, 3, 18, 19, 20, 21} | HATS[name])
    assert HATS[name] <= set(wiring.taken())
    assert {"play", "next", "previous", "back", "favourite", "push"} == set(wiring.all_buttons)
    assert wiring.title
    assert parts(wiring)


def test_all_presets_are_tested() -> None:
    assert presets() == sorted(HATS)


def test_no_panel() -> None:
    assert load("none") is None


@pytest.mark.parametrize(
    ("wiring", "says"),
    [
        ("nope", 'no preset "nope"; there are allo-boss, '),
        ({"base": "nope"}, "no preset"),
        ({"base": 3}, "expected the name of a preset"),
        ({"encoder": {"a": 18}}, "GPIO 18 (pin 12) for encoder a belongs to I2S bit clock; free are GPIO 4, "),
        ({"buttons": {"menu": 2}}, "GPIO 2 (pin 3) for button menu belongs to I2C data"),
        ({"buttons": {"play": 23}}, "GPIO 23 (pin 16) is used twice, for encoder a and button play"),
        ({"base": "hifiberry-amp2", "buttons": {"menu": 4}}, "belongs to HiFiBerry Amp2: mute"),
        ({"buttons": {"play": 28}}, "buttons: expected `int` <= 27"),
        ({"buttons": {"play": "17"}}, "expected `int`, got `str`"),
        ({"encoder": {"transitions": 3}}, "encoder.transitions: invalid enum value 3"),
        ({"display": {"controller": "st7789"}}, "display.controller: invalid enum value 'st7789'"),
        ({"knob": {}}, "there is no key `knob`"),
        ({"actions": {"play": "dance"}}, 'no such action "dance"; there are back, '),
        ({"actions": {"menu": "next"}}, "there is no menu; the buttons are: back, favourite, "),
        ({"actions": {"turn": "next"}}, '"next" does not fit; take one of none, scroll, skip, volume'),
        ({"actions": {"play": "volume"}}, '"volume" does not fit'),
        ({"actions": {"play.short": "next"}}, "write a button, button.long, "),
        ({"actions": {"play+play": "next"}}, "write a button, button.long, "),
        ({"actions": {"": "next"}}, "the buttons are"),
        ({"encoder": False, "actions": {"turn": "volume"}}, "there is no encoder"),
    ],
)
def test_what_makes_no_sense_is_named_in_one_line(wiring: str | dict[str, Any], says: str) -> None:
    with pytest.raises(WiringError) as caught:
        load(wiring)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_table_changes_a_preset() -> None:
    wiring = load(
        {
            "base": "hifiberry-dacplus",
            "encoder": {"reverse": True, "transitions": 2},
            "buttons": {"menu": 17, "favourite": -1},
            "actions": {"menu.long": "shut_down", "push+turn": "none"},
            "display": {"controller": "sh1106", "rotation": 180},
        }
    )
    assert wiring is not None
    assert wiring.encoder is not None
    assert (wiring.encoder.reverse, wiring.encoder.a, wiring.encoder.transitions) == (True, 23, 2)
    assert "favourite" not in wiring.buttons
    assert "back+favourite" not in wiring.actions
    assert wiring.action("menu.long") == "shut_down"
    assert wiring.action("play") == "play_pause"
    assert wiring.action("nothing") == "none"
    assert wiring.display is not None
    assert wiring.display.controller == "sh1106"


@pytest.mark.parametrize("part", ["encoder", "display", "dac"])
def test_a_part_can_be_left_out(part: str) -> None:
    wiring = load({part: False})
    assert wiring is not None
    assert getattr(wiring, part) is None
    assert wires(wiring)


def test_without_display_its_pins_are_free() -> None:
    wiring = load({"display": False, "buttons": {"extra": 2}})
    assert wiring is not None
    assert wiring.buttons["extra"] == 2


def test_drawings_are_current() -> None:
    for path, content in files():
        assert path.read_text("utf-8") == content, "run python -m hw.wiring.draw"
        if path.suffix == ".svg":
            assert ElementTree.fromstring(content).tag.endswith("svg")  # noqa: S314 our own file


def test_a_drawing_shows_every_wire_once() -> None:
    for name in presets():
        pins = [wire.pin for wire in wires(preset(name))]
        assert len(pins) == len(set(pins))
        assert {PIN_OF_GPIO[gpio] for gpio, _ in preset(name).pins()} <= set(pins)
