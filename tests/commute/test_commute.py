"""C2: what is predicted, for whom and why; when it is fetched."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from appliance.commute import Commute, Limits, times
from appliance.commute import commute as module
from appliance.commute.commute import parse_time
from appliance.commute.habits import moment
from appliance.commute.plan import plan
from appliance.errors import UsageError
from appliance.events import Bus
from appliance.jobs import Context, Jobs
from appliance.library import Library
from appliance.store import Store
from tests.commute import listeners
from tests.commute.listeners import LIBRARY, START, Listener
from tests.library.support import HttpCloud


@pytest.fixture
def con(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    con = listeners.library(tmp_path / "chadbox.db")
    yield con
    con.close()


@pytest.mark.parametrize("habit", listeners.HABITS)
def test_c2_each_habit_is_predicted_better_than_by_counting(con: sqlite3.Connection, habit: str) -> None:
    shares, choices = listeners.walk(con, Listener(habit, 7), 7, 3)
    assert shares["plan"] > 1.2 * max(shares["most played"], shares["most recent"]), shares
    assert choices
    assert all(choice.reasons and all(choice.reasons) and 0 < choice.score <= 1 for choice in choices)


def at(day: int, hour: float) -> float:
    return START + day * 86400 + hour * 3600


def test_c2_an_album_that_was_left_goes_on_in_order(con: sqlite3.Connection) -> None:
    for day in range(4):
        listeners.play(con, at(day, 7.5), [day * 10 + n for n in range(10)])
    listeners.play(con, at(4, 7.5), [300, 301, 302, 303])
    choices = plan(con, LIBRARY, moment(at(7, 7.5)), Limits(minutes=60))
    assert [c.id for c in choices[:6]] == [304, 305, 306, 307, 308, 309]
    assert choices[0].reasons[0] == "next in the album you are in the middle of"


def test_c2_the_time_of_day_decides_and_is_told(con: sqlite3.Connection) -> None:
    for day in range(5):
        listeners.play(con, at(day, 7.5), [100, 900])
        listeners.play(con, at(day, 18.0), [500, 1300])
    morning = plan(con, LIBRARY, moment(at(7, 7.5)), Limits(tracks=2))
    assert {c.id for c in morning} == {100, 900}
    assert "heard 5 times on weekday mornings" in morning[0].reasons
    assert {c.id for c in plan(con, LIBRARY, moment(at(7, 18)), Limits(tracks=2))} == {500, 1300}


def test_c2_plays_without_a_known_time_count(con: sqlite3.Connection) -> None:
    for _ in range(3):
        listeners.play(con, at(0, 7.5), [100, 900])
    con.execute("UPDATE play SET played_at = NULL")
    choices = plan(con, LIBRARY, moment(at(7, 7.5), timed=False), Limits(tracks=2))
    assert {c.id for c in choices} == {100, 900}
    assert "heard 3 times" in choices[0].reasons


def test_c2_a_clock_that_is_not_set_hides_no_history(con: sqlite3.Connection) -> None:
    for day in range(3):
        listeners.play(con, at(day, 7.5), [100, 900])
    for wrong in (0.0, at(9000, 0)):
        choices = plan(con, LIBRARY, moment(wrong, timed=False), Limits(tracks=2))
        assert {c.id for c in choices} == {100, 900}
        assert choices[0].score > 0.1


def test_c2_a_plan_keeps_to_its_bounds_and_an_empty_history_has_favourites_only(con: sqlite3.Connection) -> None:
    assert plan(con, LIBRARY, moment(at(7, 7.5)), Limits()) == []
    con.execute("INSERT INTO favourite (library, track_id) VALUES ('lib', '5')")
    (choice,) = plan(con, LIBRARY, moment(at(7, 7.5)), Limits())
    assert choice.reasons == ["a favourite"]
    listeners.play(con, at(0, 7.5), list(range(200, 260)))
    choices = plan(con, LIBRARY, moment(at(7, 7.5)), Limits(minutes=30, bytes=100_000_000))
    assert sum(c.duration for c in choices) <= 1800
    assert 0 < len(choices) <= 5


def test_c2_listening_is_expected_when_it_usually_begins(con: sqlite3.Connection) -> None:
    for day in (0, 1, 2, 3, 4, 7, 8, 9, 10, 11):
        listeners.play(con, at(day, 7.5), [1, 2, 3])
    sunday = at(13, 12)
    expected = times.predict(con, LIBRARY, sunday)
    assert expected is not None
    assert abs(expected - at(14, 7.5)) < 600
    con.execute("UPDATE play SET played_at = NULL")
    assert times.predict(con, LIBRARY, sunday) is None


@pytest.mark.parametrize("text", ["", "25:00", "soon", "7", "2026-13-01", "9" * 90, "0001-01-01T00:00"])
def test_c2_a_time_that_is_none_is_one_line(text: str) -> None:
    with pytest.raises(UsageError, match="is not a time"):
        parse_time(text, START)


def test_c2_a_time_of_day_is_the_next_such() -> None:
    assert parse_time("07:30", at(0, 6)) == at(0, 7.5)
    assert parse_time("7:30", at(0, 8)) == at(1, 7.5)
    assert parse_time("2026-01-05T07:30", at(3, 8)) == at(0, 7.5)


async def test_c2_prefetch_once_ten_minutes_before_and_only_when_the_clock_is_right(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    con = listeners.library(tmp_path / "chadbox.db")
    for day in range(5):
        listeners.play(con, at(day, 7.5), [100, 900])
    con.execute("INSERT INTO meta (key, value) VALUES ('library.id', '\"lib\"')")
    con.close()
    clock = at(7, 6)
    monkeypatch.setattr(module.time, "time", lambda: clock)
    store, bus = await Store.open(tmp_path / "chadbox.db"), Bus()
    library, jobs = Library(store, HttpCloud(0), bus), Jobs(store, bus)
    await library.open()
    assert library.library_id == LIBRARY
    right = False
    fetched: list[list[str]] = []

    async def fetch(context: Context) -> None:
        fetched.append(context.args["tracks"])

    commute = Commute(store, library, jobs, lambda: right, 10**9)
    commute.job(fetch, lambda n: None)
    await jobs.open()
    try:
        clock = at(7, 7.4)
        assert await commute.look() is None
        right, clock = True, at(7, 7.2)
        assert await commute.look() is None
        clock = at(7, 7.4)
        job = await commute.look()
        assert job is not None
        assert (await jobs.wait(job)).state == "done"
        assert await Commute(store, library, jobs, lambda: True, 10**9).look() is None  # also after a restart
        assert set(fetched[0][:2]) == {"100", "900"}
    finally:
        await jobs.close()
        await library.close()
        await store.close()
