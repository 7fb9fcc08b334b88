"""F4, F5, C6, C7, A5: drives, consent, commute and settings by knob alone, through keys and events."""

from __future__ import annotations

import asyncio

import pytest

from appliance.drives import DriveError
from appliance.events import DriveChanged, JobChanged, SignIn
from appliance.panel import Care, asking
from tests.panel.conftest import Stage

QUESTION = "Let this box write to CAR?"


@pytest.fixture(autouse=True)
def _no_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "HOLD_S", 0.0)


async def menu(stage: Stage) -> None:
    stage.press("menu")
    await stage.until(lambda: any("Queue" in word for word in stage.words))


async def test_a_stranger_is_written_to_only_after_yes(stage: Stage) -> None:
    """C6."""
    stage.open()
    stage.drives.plug("u1", "CAR")
    await stage.until(lambda: stage.words == (QUESTION, "> No", "Yes"))
    stage.press("scroll", 1)
    await stage.until(lambda: stage.words == (QUESTION, "> Yes", "No"))
    assert stage.drives.done == []
    stage.press("select")
    await stage.until(lambda: "The box may write to it, and fills it now" in stage.words)
    assert stage.drives.done == [("adopt", "u1")]
    assert not stage.player.done, "a turn of the knob answered and did nothing else"


@pytest.mark.parametrize("keys", [("select",), ("back",), ("right", "home"), ("right", "left", "select")])
async def test_no_is_what_happens_else(stage: Stage, keys: tuple[str, ...]) -> None:
    """C6: the press that was meant for something else, going back, changing one's mind."""
    stage.open()
    stage.drives.plug("u1", "CAR")
    await stage.until(lambda: QUESTION in stage.words)
    for key in keys:
        stage.press("scroll" if key in ("left", "right") else key, {"left": -1, "right": 1}.get(key, 0))
    await stage.until(lambda: QUESTION not in stage.words)
    assert stage.drives.done == []
    assert stage.player.done == []


async def test_nobody_answers_and_that_is_a_no(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "ASK_S", 0.15)
    stage.open()
    stage.drives.plug("u1", "CAR")
    stage.press("scroll", 1)
    await stage.until(lambda: any(frame.words[0] == QUESTION for frame in stage.frames))
    await stage.until(lambda: QUESTION not in stage.words)
    assert stage.drives.done == []
    stage.press("scroll", 1)
    assert stage.player.done[0][0] == "volume", "the knob is a volume again"


async def test_keys_that_were_under_way_do_not_answer(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "HOLD_S", 1e9)
    stage.open()
    stage.drives.plug("u1", "CAR")
    stage.press("scroll", 1)
    stage.press("select")
    assert stage.panel.state.questions
    assert not stage.panel.state.questions[0].yes
    assert stage.drives.done == []


async def test_the_sign_in_code_is_never_hidden(stage: Stage) -> None:
    """The question waits behind the code, also when the code comes later, and is asked afterwards."""
    stage.open()
    stage.bus.publish(SignIn("WDJB-MJHT", "http://box/device", 300))
    stage.drives.plug("u1", "CAR")
    await stage.until(lambda: "and enter WDJB-MJHT" in stage.words)
    stage.press("scroll", 1)
    assert stage.player.done[0][0] == "volume", "what is not seen cannot be answered"
    stage.bus.publish(SignIn(""))
    await stage.until(lambda: QUESTION in stage.words)
    stage.press("scroll", 1)
    stage.bus.publish(SignIn("WDJB-MJHT", "http://box/device", 300))
    await stage.until(lambda: "and enter WDJB-MJHT" in stage.words)
    stage.press("back")  # closes the code
    await stage.until(lambda: stage.words[:2] == (QUESTION, "> No"))
    assert stage.drives.done == []


async def test_one_after_the_other_and_not_for_those_that_left_or_are_known(stage: Stage) -> None:
    stage.open()
    stage.drives.plug("u1", "CAR")
    stage.drives.plug("u2", "GONE")
    stage.drives.plug("u3", "LAST")
    stage.drives.plug("u4", "OURS", state="ready", adopted=True)
    await stage.until(lambda: QUESTION in stage.words)
    stage.drives.pull("u2")
    stage.press("select")
    await stage.until(lambda: "Let this box write to LAST?" in stage.words)
    stage.drives.change("u3", state="ready", adopted=True)  # by command, meanwhile
    await stage.until(lambda: not any("Let this box" in word for word in stage.words))
    assert not any("OURS?" in word for frame in stage.frames for word in frame.words)
    stage.drives.change("u4", state="not-adopted", adopted=False)  # forgotten: nobody asks at once
    await asyncio.sleep(0)
    assert not stage.panel.state.questions


async def test_a_panel_that_nobody_sees_asks_nothing_and_a_dark_one_wakes(stage: Stage) -> None:
    stage.open(care=Care(1000, 2000, 0))
    stage.press("display_off")
    await stage.until(lambda: stage.frames[-1].level == "off")
    stage.drives.plug("u1", "CAR")
    await stage.until(lambda: QUESTION in stage.words and stage.frames[-1].level == "on")
    stage.detach()
    assert not stage.panel.state.questions
    stage.drives.plug("u2", "CAR")
    stage.press("scroll", 1)
    assert stage.player.done[0][0] == "volume"


async def test_the_drive_screen_follows_events_and_does_everything(stage: Stage) -> None:
    """F4, F5, R7: state, percent, what is there and what is missing; fill, forget, adopt, eject by knob."""
    stage.open()
    await menu(stage)
    await stage.choose("Drive")
    await stage.until(lambda: any("There is no drive" in word for word in stage.words))
    stage.press("back")
    stage.drives.plug("u1", "CAR", state="ready", adopted=True, files=12, bytes=3 << 30, missing=2)
    await stage.until(lambda: any(word == "> Drive (ready)" for word in stage.words))
    stage.press("select")
    await stage.until(lambda: stage.words[:3] == ("CAR:", "> CAR (ready)", "12 tracks (3.0G)"))
    await stage.choose("Fill now")
    await stage.until(lambda: ("fill", "u1") in stage.drives.done)
    stage.press("back")
    stage.press("scroll", -9)
    await stage.until(lambda: "> CAR (0%)" in stage.words)
    for percent in (1, 42, 99):
        stage.drives.change("u1", progress=percent)
        await stage.until(lambda percent=percent: f"> CAR ({percent}%)" in stage.words)  # type: ignore[misc]
    stage.drives.change("u1", state="ready", progress=100, message="2 tracks missing: it is gone from the server")
    await stage.choose("2 missing")
    await stage.until(lambda: any("gone from the server" in word for word in stage.words))
    stage.press("back")
    await stage.choose("Forget")
    await stage.until(lambda: "Only read from now on; the music on it stays" in stage.words)
    stage.press("back")
    stage.press("scroll", -9)
    await stage.choose("Adopt and fill")
    await stage.until(lambda: ("adopt", "u1") in stage.drives.done and "CAR" in stage.words)
    stage.press("back")
    await stage.choose("Eject")
    await stage.until(lambda: "Safe to remove" in stage.words)
    stage.drives.pull("u1")
    stage.press("back")
    await stage.until(lambda: any("It was pulled out" in word for word in stage.words))
    assert [what for what, _ in stage.drives.done] == ["fill", "forget", "adopt", "eject"]


async def test_the_eject_button(stage: Stage) -> None:
    """C7: no drive, the only one, one of two, a refusal with its reason."""
    stage.open()
    stage.press("eject")
    await stage.until(lambda: "There is no drive" in stage.words)
    stage.drives.plug("u1", "CAR", state="ready", adopted=True)
    stage.press("eject")
    await stage.until(lambda: stage.words == ("CAR", "Safe to remove"))
    stage.press("eject")
    await stage.until(lambda: stage.words == ("Eject", "Safe to remove"))
    stage.drives.plug("u2", "BIKE", state="ready", adopted=True)
    stage.drives.plug("u3", "BOAT", state="ready", adopted=True)
    stage.press("eject")
    await stage.until(lambda: stage.words == ("Eject:", "> BIKE (ready)", "BOAT (ready)"))
    stage.drives.refusal = DriveError("BOAT is in use by another program; close it")
    await stage.choose("BOAT")
    await stage.until(lambda: any("in use by another" in word for word in stage.words))
    assert stage.drives.done == [("eject", "u1"), ("eject", "u3")]


async def test_two_drives_are_a_list_and_trouble_is_told_in_the_words_of_status(stage: Stage) -> None:
    stage.open()
    stage.drives.plug("u1", "CAR", state="full", adopted=True, message="CAR: not everything fits")
    stage.drives.plug("u2", "BIKE", state="error", message="BIKE is write-protected")
    await stage.until(lambda: stage.words == ("BIKE", "BIKE is write-protected"))
    await menu(stage)
    await stage.choose("Drives")
    await stage.until(lambda: stage.words[:3] == ("Drives:", "> CAR (full)", "BIKE (error!)"))
    stage.bus.publish(DriveChanged("CAR", "u1", "full", True, 100))  # the same once more says nothing new
    assert stage.panel.state.notice is None


async def test_commute_says_when_there_is_none(stage: Stage) -> None:
    """F5: not running, nothing yet, and then a list of tracks that plays."""
    stage.open()
    await menu(stage)
    await stage.choose("Commute")
    await stage.until(lambda: "> No prediction" in stage.words)
    stage.press("select")
    await stage.until(lambda: any("not running" in word for word in stage.words))

    async def nothing() -> list[str]:
        return []

    async def some() -> list[str]:
        return ["7", "8"]

    stage.library.commute = nothing
    for key in ("back", "back", "select"):
        stage.press(key)
    await stage.until(lambda: "> Nothing predicted yet" in stage.words)
    stage.library.commute = some
    for key in ("back", "select"):
        stage.press(key)
    await stage.choose("Song 8")
    await stage.until(lambda: ("play_list", ["7", "8"], 1) in stage.player.done)


async def test_settings(stage: Stage) -> None:
    """F5: what the player can change while it runs, and where the box is found."""
    stage.open()
    await menu(stage)
    await stage.choose("Settings")
    for row, what in (
        ("Shuffle", ("shuffle", True)),
        ("Repeat", ("repeat", "all")),
        ("Loudness", ("loudness", "album")),
    ):
        await stage.choose(row)
        await stage.until(lambda what=what: what in stage.player.done)  # type: ignore[misc]
    await stage.until(lambda: any(word.endswith("Loudness (album)") for word in stage.words))
    await stage.choose("This box")
    await stage.until(lambda: "Address: 192.0.2.7" in stage.words)
    stage.press("back")
    stage.press("scroll", -9)
    await stage.choose("Display off")
    await stage.until(lambda: stage.frames[-1].level == "off")


async def test_a_job_that_ends_hides_no_other(stage: Stage) -> None:
    """F4, R7."""
    stage.open()
    for job, state, progress in ((1, "running", 10), (2, "running", 0), (2, "done", 100)):
        stage.bus.publish(JobChanged(job, "fill", state, progress, None))
    assert stage.panel.state.job == ("fill", 10)
    stage.bus.publish(JobChanged(1, "fill", "done", 100, None))
    assert stage.panel.state.job is None
