"""F7: the simulated panel goes the same way as the real one."""

from __future__ import annotations

import pytest

from hw.inputs import Input, Inputs
from hw.sim import SimulatedHands, SimulatedOled
from hw.wiring import Display, load
from tests.hw.clock import Clock


def hands() -> tuple[SimulatedHands, Clock, list[Input]]:
    wiring = load("default")
    assert wiring is not None
    clock, seen = Clock(), list[Input]()
    inputs = Inputs(wiring, clock, seen.append)
    return SimulatedHands(wiring, inputs, lambda: int(clock.now * 1e9)), clock, seen


def test_keys_become_the_same_actions() -> None:
    on, clock, seen = hands()
    on.turn(1)
    on.down("push")
    clock.run(0.1)
    on.turn(-1)
    on.up("push")
    clock.run(0.1)
    on.down("back")
    clock.run(1)
    on.up("back")
    clock.run(0.1)
    assert [(event.action, event.detents) for event in seen] == [("scroll", 1), ("skip", -1), ("home", 0)]


def test_quick_keys_accelerate() -> None:
    on, clock, seen = hands()
    for _ in range(5):
        on.turn(1)
        clock.run(0.01)
    assert [event.detents for event in seen] == [1] * 5
    assert seen[-1].steps == 6
    with pytest.raises(KeyError):
        on.down("nose")


def test_a_fresh_controller_is_dark_and_full_of_noise() -> None:
    for controller in ("ssd1306", "ssd1309", "sh1106"):
        bus = SimulatedOled(Display(controller=controller))
        assert bus.picture() == bytes(1024)
        assert any(any(page) for page in bus.state.ram)


def test_ssd1306_stays_dark_without_its_charge_pump_and_ssd1309_deaf_until_unlocked() -> None:
    bus = SimulatedOled(Display())
    bus.write(0x3C, b"\x00\xaf")
    assert bus.picture() == bytes(1024)
    bus.write(0x3C, b"\x00\x8d\x14")
    assert bus.picture() != bytes(1024)
    locked = SimulatedOled(Display(controller="ssd1309"))
    locked.write(0x3C, b"\x00\xaf")
    assert not locked.state.on
    locked.write(0x3C, b"\x00\xfd\x12\xaf")
    assert locked.state.on
