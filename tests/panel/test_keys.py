"""F1, F2, F5: what keys do on which screen; pure, so every sequence can be tried."""

from __future__ import annotations

from itertools import pairwise
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from appliance.panel import keys
from appliance.panel.keys import arrived, lettered, missing, press
from appliance.panel.state import CHUNK, Action, Command, Key, Node, Now, Page, Row, State
from appliance.panel.volume import LEVELS, stepped
from hw.wiring.model import ACTIONS

NODE = Node("category", "artist", title="Artists")
STATE = State(now=Now(track="7", title="x", volume=40, state="playing"))


def opened(total: int, state: State = STATE) -> State:
    """An open list of `total` rows, those under the eyes being there."""
    state = replace(state, pages=(Page(NODE),))
    return fill(state, total)


def fill(state: State, total: int) -> State:
    while (chunk := missing(state.pages[-1], state.rows)) is not None:
        rows = tuple(Row(f"row {n}") for n in range(chunk * CHUNK, min(total, (chunk + 1) * CHUNK)))
        state = arrived(state, NODE, chunk, rows, total)
    return state


def turn(state: State, detents: int, speed: int = 1) -> State:
    return press(state, Key("scroll", detents, detents * speed), 1.0)[0]


def test_the_panel_and_the_wiring_mean_the_same_actions() -> None:
    assert set(get_args(Action)) == set(ACTIONS)


@pytest.mark.parametrize(
    ("key", "command"),
    [
        (Key("play_pause"), Command("toggle")),
        (Key("next"), Command("next")),
        (Key("previous"), Command("previous")),
        (Key("stop"), Command("stop")),
        (Key("select"), Command("toggle")),
        (Key("favourite"), Command("favourite", "7")),
        (Key("seek_forward", count=1), Command("seek", number=5)),
        (Key("seek_back", count=6), Command("seek", number=-10)),
        (Key("seek_back", count=60), Command("seek", number=-20)),
        (Key("skip", 1, 2), Command("seek", number=10)),
        (Key("volume", 1, 1), Command("volume", number=41)),
        (Key("scroll", -1, -3), Command("volume", number=35)),
        (Key("volume_up"), Command("volume", number=41)),
        (Key("mute"), Command("volume", number=0)),
        (Key("shuffle"), Command("shuffle")),
        (Key("shut_down"), Command("pause")),
    ],
)
def test_keys_on_the_playing_screen(key: Key, command: Command) -> None:
    assert press(STATE, key, 1.0)[1] == (command,)


def test_mute_and_again_is_as_before() -> None:
    muted, _ = press(STATE, Key("mute"), 1.0)
    assert press(muted, Key("mute"), 2.0)[1] == (Command("volume", number=40),)


def test_each_detent_counts_from_the_one_before() -> None:
    state, said = STATE, []
    for _ in range(4):
        state, commands = press(state, Key("scroll", 1, 1), 1.0)
        said += [command.number for command in commands]
    assert said == [41, 43, 45, 46]


def test_volume_steps_are_even_to_the_ear() -> None:
    """About 1 dB each (amplitude = cube of the volume) wherever whole per cents allow it."""
    from math import log10

    steps = [60 * log10(b / a) for a, b in pairwise(LEVELS[26:])]
    assert all(0.5 < step < 1.7 for step in steps), steps
    assert (LEVELS[0], LEVELS[-1]) == (0, 100)


@given(st.integers(0, 100), st.integers(-200, 200))
def test_volume_stays_in_range_and_goes_the_right_way(volume: int, steps: int) -> None:
    after = stepped(volume, steps)
    assert 0 <= after <= 100
    assert (after - volume) * steps >= 0
    assert after != volume or steps == 0 or volume in (0, 100)


def test_menu_opens_and_goes_back_and_home() -> None:
    state, _ = press(STATE, Key("menu"), 1.0)
    assert state.pages[-1].node == keys.MENU
    assert press(state, Key("menu"), 2.0)[0].pages == ()
    assert press(state, Key("back"), 2.0)[0].pages == ()
    row = Row("Artists", opens=NODE)
    state = arrived(state, keys.MENU, 0, (row,), 1)
    state, _ = press(state, Key("select"), 2.0)
    assert [page.node for page in state.pages] == [keys.MENU, NODE]
    assert len(press(state, Key("back"), 2.0)[0].pages) == 1
    assert press(state, Key("home"), 2.0)[0].pages == ()


def test_a_row_that_does_something_shows_what_plays() -> None:
    does = Command("play", "album:1")
    state = arrived(replace(STATE, pages=(Page(NODE),)), NODE, 0, (Row("x", does=does),), 1)
    assert press(state, Key("select"), 1.0) == (replace(state, touched=1.0, pages=()), (does,))


def test_a_press_on_a_row_that_has_not_come_does_nothing() -> None:
    state = replace(STATE, pages=(Page(NODE),))
    assert press(state, Key("select"), 1.0)[1] == ()


def test_a_menu_that_was_left_starts_anew() -> None:
    state = turn(opened(100), 5)
    state, commands = press(state, Key("scroll", 1, 1), 1.0 + keys.MENU_S + 1)
    assert state.pages == ()
    assert commands == (Command("volume", number=41),)


@given(st.integers(1, 3000), st.lists(st.tuples(st.integers(-30, 30), st.integers(1, 6)), max_size=30))
def test_the_cursor_stays_in_the_list_and_in_view(total: int, turns: list[tuple[int, int]]) -> None:
    state = opened(total)
    for detents, speed in turns:
        state = fill(turn(state, detents, speed), total)
        page = state.pages[-1]
        assert 0 <= page.cursor < total
        assert page.top <= page.cursor < page.top + state.rows
        assert 0 <= page.top <= max(0, total - state.rows)
        assert page.row(page.cursor) == Row(f"row {page.cursor}")
        assert len(page.chunks) <= 6


@given(st.integers(1, 50), st.integers(1, 50))
def test_slow_turns_count_every_detent(there: int, back: int) -> None:
    state = turn(opened(200), there)
    assert state.pages[-1].cursor == there
    assert turn(state, -min(there, back)).pages[-1].cursor == there - min(there, back)


def lettered_list() -> State:
    state = opened(1000)
    return lettered(state, NODE, (("#", 0), ("a", 10), ("b", 400), ("s", 700)))


def test_a_fast_turn_goes_by_letters() -> None:
    state = turn(lettered_list(), 1, speed=3)
    assert (state.pages[-1].cursor, state.pages[-1].letter) == (10, "a")
    state = turn(turn(state, 1, speed=4), 1, speed=6)
    assert state.pages[-1].cursor == 700
    assert turn(state, 5, speed=6).pages[-1].cursor == 700
    assert state.pages[-1].jumped == 1.0


def test_back_by_letters_goes_to_the_start_of_this_one_first() -> None:
    state = fill(turn(lettered_list(), 1, speed=3), 1000)
    state = turn(state, 5)
    assert press(state, Key("skip", -1, -1), 1.0)[0].pages[-1].cursor == 10
    assert press(state, Key("skip", -2, -2), 1.0)[0].pages[-1].cursor == 0


def test_letters_are_for_long_lists_and_without_them_a_twentieth_is_jumped() -> None:
    assert turn(opened(20), 2, speed=6).pages[-1].cursor == 2
    assert turn(opened(1000), 1, speed=6).pages[-1].cursor == 50
    assert turn(opened(1000), 1, speed=2).pages[-1].cursor == 4


def test_a_notice_goes_with_a_key_and_the_music_keys_still_work() -> None:
    state = keys.tell(STATE, "Queue", "3 tracks added", 0.0)
    after, commands = press(state, Key("select"), 1.0)
    assert (after.notice, commands) == (None, ())
    after, commands = press(state, Key("play_pause"), 1.0)
    assert (after.notice, commands) == (None, (Command("toggle"),))


@pytest.mark.parametrize("action", ["select", "menu", "back", "favourite", "none", "home"])
def test_on_a_dark_display_what_needs_eyes_only_wakes_it(action: Action) -> None:
    dark = replace(STATE, darkened=True)
    after, commands = press(dark, Key(action), 5.0, asleep=True)
    assert not after.darkened
    assert after.touched == 5.0
    assert after.pages == ()
    assert commands == ((Command("favourite", "7"),) if action == "favourite" else ())
    assert press(dark, Key("volume", 1, 1), 5.0, asleep=True)[1] == (Command("volume", number=41),)
    assert press(dark, Key("next"), 5.0, asleep=True)[1] == (Command("next"),)


KEY = st.builds(
    Key, st.sampled_from(get_args(Action)), st.integers(-9, 9), st.integers(-60, 60), st.integers(0, 99)
)  # fmt: skip


@given(st.lists(st.tuples(KEY, st.floats(0, 60), st.booleans()), max_size=40), st.sampled_from([64, 32]))
def test_no_sequence_of_keys_breaks_anything(sequence: list[tuple[Key, float, bool]], height: int) -> None:
    state, now = opened(500, replace(STATE, height=height)), 0.0
    for key, wait, asleep in sequence:
        now += wait
        state, _ = press(state, key, now, asleep=asleep)
        assert 0 <= state.now.volume <= 100
        assert state.touched == now
