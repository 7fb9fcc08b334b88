"""F2: press, long press, repeat and chords, debounced, whatever the contacts do."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hw.buttons import Buttons, Gesture, Kind, Timing
from tests.hw.clock import Clock

T = Timing()
SETTLED = T.confirm_s + T.lockout_s + 0.001


class Desk:
    """Buttons and fingers: `play` plain, `back` long, `next` repeating, `menu`+`fav` a chord, `push` for turning."""

    def __init__(self) -> None:
        self.clock, self.seen = Clock(), list[Gesture]()
        self.buttons = Buttons(
            ["play", "back", "next", "menu", "fav", "push"],
            self.clock,
            self.seen.append,
            long=["back", "push", "menu"],
            repeat=["next"],
            chords=[frozenset({"menu", "fav"})],
            turning=["push"],
        )

    def move(self, name: str, down: bool, *, seed: int = 0, bounce: int = 0) -> None:
        random = Random(seed)
        for n in range(2 * bounce + 1):
            self.buttons.feed(name, down if n % 2 == 0 else not down)
            if n < 2 * bounce:
                self.clock.run(random.uniform(0.00001, 0.010 / (2 * bounce)))

    def tap(self, name: str, hold: float = 0.1, **how: int) -> None:
        self.move(name, True, **how)
        self.clock.run(hold)
        self.move(name, False, **how)
        self.clock.run(SETTLED)

    def took(self) -> list[tuple[Kind, str]]:
        out = [(gesture.kind, "+".join(gesture.buttons)) for gesture in self.seen]
        self.seen.clear()
        return out


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), bounce=st.integers(0, 12), taps=st.integers(1, 5))
def test_each_tap_is_one_press_however_it_bounces(seed: int, bounce: int, taps: int) -> None:
    desk = Desk()
    for name in ["play", "back", "next", "push", "fav"] * taps:
        desk.tap(name, seed=seed, bounce=bounce)
        assert desk.took() == [(Kind.PRESS, name)]
    assert desk.clock.waiting == 0


def test_a_plain_button_acts_when_it_goes_down() -> None:
    desk = Desk()
    desk.move("play", True)
    desk.clock.run(T.confirm_s)
    assert desk.took() == [(Kind.PRESS, "play")]
    desk.clock.run(5)
    desk.move("play", False)
    desk.clock.run(SETTLED)
    assert desk.took() == []


def test_interference_is_no_press() -> None:
    desk = Desk()
    for _ in range(20):
        desk.buttons.feed("play", True)
        desk.clock.run(T.confirm_s / 2)
        desk.buttons.feed("play", False)
        desk.clock.run(0.05)
    assert desk.took() == []


def test_long_press_comes_while_held_and_only_once() -> None:
    desk = Desk()
    desk.move("back", True)
    desk.clock.run(T.confirm_s + T.long_s - 0.001)
    assert desk.took() == []
    desk.clock.run(0.002)
    assert desk.took() == [(Kind.LONG, "back")]
    desk.clock.run(10)
    desk.move("back", False)
    desk.clock.run(SETTLED)
    assert desk.took() == []


def test_repeat_counts_up_and_ends_with_the_release() -> None:
    desk = Desk()
    desk.move("next", True)
    desk.clock.run(T.confirm_s + T.first_repeat_s + 2 * T.repeat_s + 0.01)
    assert [gesture.count for gesture in desk.seen] == [1, 2, 3]
    desk.move("next", False)
    desk.clock.run(5)
    assert [gesture.kind for gesture in desk.seen] == [Kind.REPEAT] * 3


@pytest.mark.parametrize("order", [("menu", "fav"), ("fav", "menu")])
def test_chord_replaces_the_presses(order: tuple[str, str]) -> None:
    desk = Desk()
    for name in order:
        desk.move(name, True)
        desk.clock.run(0.05)
    assert desk.took() == [(Kind.CHORD, "fav+menu")]
    desk.clock.run(2)
    for name in order:
        desk.move(name, False)
        desk.clock.run(0.05)
    assert desk.took() == []
    desk.tap("fav")
    assert desk.took() == [(Kind.PRESS, "fav")]


def test_chord_comes_again_only_after_both_are_up() -> None:
    desk = Desk()
    desk.move("menu", True)
    desk.move("fav", True)
    desk.clock.run(0.05)
    desk.move("fav", False)
    desk.clock.run(0.05)
    desk.move("fav", True)
    desk.clock.run(0.05)
    assert desk.took() == [(Kind.CHORD, "fav+menu")]


def test_press_and_turn_is_neither_press_nor_long() -> None:
    desk = Desk()
    desk.move("push", True)
    desk.clock.run(0.1)
    assert desk.buttons.held == ("push",)
    desk.buttons.turned()
    desk.clock.run(3)
    desk.move("push", False)
    desk.clock.run(SETTLED)
    assert desk.took() == []
    desk.tap("push")
    assert desk.took() == [(Kind.PRESS, "push")]


def test_a_release_within_the_lockout_is_not_lost() -> None:
    """What RPi.GPIO's debouncing does: the last edge falls into the dead time and the button hangs."""
    desk = Desk()
    desk.move("back", True)
    desk.clock.run(T.confirm_s)
    desk.move("back", False)  # within the lockout, no further edge
    desk.clock.run(5)
    assert desk.took() == [(Kind.PRESS, "back")]
    assert desk.buttons.held == ()


def test_a_failing_action_does_not_end_input(caplog: pytest.LogCaptureFixture) -> None:
    clock, seen = Clock(), list[str]()

    def emit(gesture: Gesture) -> None:
        seen.append(gesture.buttons[0])
        raise RuntimeError("broken")

    buttons = Buttons(["a"], clock, emit)
    for _ in range(3):
        for down in (True, False):
            buttons.feed("a", down)
            clock.run(SETTLED)
    assert seen == ["a"] * 3
    assert "button a failed" in caplog.text


def test_close_leaves_no_timer() -> None:
    desk = Desk()
    for name in ("back", "next", "play"):
        desk.move(name, True)
    desk.clock.run(0.004)
    desk.buttons.close()
    assert desk.clock.waiting == 0


def test_unknown_buttons_are_named() -> None:
    with pytest.raises(ValueError, match="no such button: b"):
        Buttons(["a"], Clock(), lambda _: None, long=["b"])
    with pytest.raises(ValueError, match="takes two"):
        Buttons(["a"], Clock(), lambda _: None, chords=[frozenset({"a"})])
