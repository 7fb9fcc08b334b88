"""A5: where a track is, between two words of the engine."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from appliance.engine import Entry
from appliance.player.deck import WORD_EVERY, Play


@pytest.fixture
def play() -> Play:
    parts: list[Any] = [SimpleNamespace(), SimpleNamespace(duration=60.0), SimpleNamespace(complete=True), None]
    return Play(*parts, cast("Entry", SimpleNamespace(start=0.0)))


def test_it_runs_on_between_two_words_but_not_for_ever(play: Play) -> None:
    play.moved(10.0, 100.0, running=True)
    assert play.position_at(100.25) == 10.25
    assert play.position_at(100.5) == 10.5
    assert play.position_at(109.0) == 10.0 + WORD_EVERY  # nobody has said a word: it may stand still


def test_it_stands_still_when_it_does_not_run(play: Play) -> None:
    play.moved(10.0, 100.0, running=False)
    assert play.position_at(100.4) == 10.0


def test_a_late_word_does_not_turn_time_back(play: Play) -> None:
    play.moved(10.0, 100.0, running=True)
    assert play.position_at(100.5) == 10.5
    play.moved(10.48, 100.5, running=True)
    assert play.position_at(100.5) == 10.5
    assert play.position_at(100.6) == pytest.approx(10.58)


def test_a_jump_back_is_believed(play: Play) -> None:
    play.moved(30.0, 100.0, running=True)
    assert play.position_at(100.1) == pytest.approx(30.1)
    play.moved(5.0, 100.2, running=True)
    assert play.position_at(100.2) == 5.0
    play.sought(2.0)
    assert play.position_at(100.5) == 2.0


def test_it_does_not_run_past_the_end(play: Play) -> None:
    play.moved(59.9, 100.0, running=True)
    assert play.position_at(100.5) == 60.0
    play.moved(61.0, 100.6, running=True)  # the library's length was wrong
    assert play.position_at(100.7) == 61.0
