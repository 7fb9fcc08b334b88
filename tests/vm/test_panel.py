"""Knob, buttons and display of the installed appliance, by its header's lines and its I2C bytes (F1-F3)."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from appliance.panel.volume import stepped
from hw import wiring
from hw.sim import SimulatedOled
from tests.vm.guest import Guest

pytestmark = pytest.mark.vm

WIRING = wiring.load("default")
ENCODER, DISPLAY = WIRING.encoder, WIRING.display
SLOW = 12.0  # transitions a second: no acceleration
assert ENCODER is not None
assert DISPLAY is not None


def frame(guest: Guest) -> dict[str, Any]:
    """What the panel wants to be seen."""
    shown: dict[str, Any] = json.loads(guest.run("/opt/chadbox/current/bin/python /usr/lib/chadbox-vm/frame.py"))
    return shown


def picture(guest: Guest) -> bytes:
    """What the bytes that went over the bus since boot make of an OLED."""
    oled = SimulatedOled(DISPLAY)
    for address, way, data in guest.i2c_log():
        if way == "W":
            oled.write(address, data)
    return oled.picture()


@pytest.fixture
def counting(guest: Guest) -> Iterator[Callable[[], dict[str, Any]]]:
    """The knob without the player: `counting()` ends it and gives what it counted."""
    rights = "-p User=chadbox -p SupplementaryGroups=gpio -p WorkingDirectory=/tmp -p StandardOutput=file:/run/count"
    guest.run("systemctl stop chadbox; rm -f /run/count")
    guest.run(f"systemd-run -q --unit=count {rights} /opt/chadbox/current/bin/python /usr/lib/chadbox-vm/count.py")
    guest.until("grep -q ready /run/count", 60)

    def end() -> dict[str, Any]:
        guest.run("systemctl stop count")
        counted: dict[str, Any] = json.loads(guest.get("/run/count").splitlines()[-1])
        return counted

    yield end
    guest.run("systemctl stop count 2>/dev/null; systemctl start chadbox", timeout=180)


def test_ten_detents_are_ten_steps_of_volume(guest: Guest) -> None:
    guest.chadbox("volume", "30")
    guest.turn(ENCODER.a, ENCODER.b, 10, SLOW)
    up = stepped(30, 10)
    guest.becomes(lambda s: s["volume"] == up)
    guest.turn(ENCODER.a, ENCODER.b, -10, SLOW)
    guest.becomes(lambda s: s["volume"] == 30)


def test_a_press_pauses_and_another_goes_on(guest: Guest) -> None:
    guest.play_the_album()
    guest.press(WIRING.buttons["play"])
    guest.becomes(lambda s: s["state"] == "paused")
    guest.press(WIRING.buttons["play"])
    guest.becomes(lambda s: s["state"] == "playing")
    guest.press(WIRING.buttons["play"])
    guest.becomes(lambda s: s["state"] == "paused")


def test_a_long_press_shows_the_menu_on_the_display(guest: Guest) -> None:
    guest.press(WIRING.all_buttons["push"], 1.5)
    shown = frame(guest)
    assert "Menu" in " ".join(shown["words"])
    assert any(picture(guest)), "the display is dark"
    assert picture(guest) == base64.b64decode(shown["pages"])


def test_a_display_that_comes_back_shows_the_picture_again(guest: Guest) -> None:
    guest.i2c_set(fail=110, stall_ms=1000)
    guest.press(WIRING.buttons["back"])
    guest.becomes(lambda s: "display-lost" in s["health"], 60)
    guest.i2c_clear()
    guest.i2c_set(fail=0, stall_ms=0)
    guest.becomes(lambda s: "display-lost" not in s["health"], 60)
    assert picture(guest) == base64.b64decode(frame(guest)["pages"])


@pytest.mark.parametrize("rate", [100, 400])
def test_a_turning_knob_is_counted_exactly(guest: Guest, counting: Callable[[], dict[str, Any]], rate: int) -> None:
    with guest.steady():
        reached = guest.turn(ENCODER.a, ENCODER.b, 100, rate), guest.turn(ENCODER.a, ENCODER.b, -60, rate)
    counted = counting()
    print(f"{reached} transitions a second reached; counted {counted}")
    assert (counted["detents"], counted["turned"]) == (40, 160)
    assert min(reached) > 0.9 * rate, "the machine is too slow for this rate"
