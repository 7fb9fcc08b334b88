"""F4: an OLED that shows the same picture for a year is worn; these rules keep every pixel dark most of the time."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from appliance.panel.care import NONE, PLACES, Care, place
from appliance.panel.state import Now
from tests.panel.samples import SCREENS, SCRIPTS
from tests.panel.support import WALL, lit, needs_unifont, shown

CARE = Care()
MINUTE = 60.0


@pytest.mark.parametrize(
    ("idle", "playing", "level", "change"),
    [
        (0, False, "on", 60), (59, True, "on", 1), (60, False, "dim", 540), (60, True, "dim", 3540),
        (600, False, "off", None), (600, True, "dim", 3000), (3600, True, "off", None),
    ],
)  # fmt: skip
def test_levels(idle: float, playing: bool, level: str, change: float | None) -> None:
    assert CARE.level(idle, playing) == (level, change)


def test_nought_means_never() -> None:
    assert NONE.level(1e9, False) == ("on", None)
    assert Care(0, 600, 0).level(100, False) == ("on", 500)
    assert Care(60, 0, 0).level(1e9, True) == ("dim", None)


def longest_lit(frames: list[bytes]) -> int:
    """How many pictures in a row the pixel that was lit longest was lit."""
    worst, run = 0, [lit(frames[0])]
    for frame in frames:
        now = lit(frame)
        run = [now, *(before & now for before in run)]  # run[n]: lit in the last n + 1 pictures
        while run and run[-1] == 0:
            run.pop()
        worst = max(worst, len(run))
        run = run or [0]
    return worst


@needs_unifont
@pytest.mark.parametrize("height", [64, 32])
@pytest.mark.parametrize("screen", ["clock", "clock-wrong"])
def test_no_pixel_of_the_idle_clock_is_lit_for_long(screen: str, height: int) -> None:
    """A whole day, minute by minute: the clock moves; with a word of trouble under it there is less room for that."""
    state = SCREENS[screen](SCRIPTS["latin"], height)
    frames = [shown(state, n * MINUTE, WALL + n * MINUTE).picture.pages() for n in range(24 * 60)]
    assert longest_lit(frames) <= (4 if screen == "clock" else 7)
    share = [sum(lit(frame) >> pixel & 1 for frame in frames) / len(frames) for pixel in range(0, 128 * height, 7)]
    assert max(share) < 0.35  # and over the day each rests most of the time


@needs_unifont
@pytest.mark.parametrize("height", [64, 32])
def test_playing_moves_inside_its_margin_and_loses_nothing(height: int) -> None:
    now = Now(state="playing", track="1", title="Title", artist="Me", album="Al", duration=300, cached=100, since=0)
    picture = shown(replace(SCREENS["playing"](SCRIPTS["latin"], height), now=now), 5.0).picture
    count = lit(picture.pages()).bit_count()
    seen = set()
    for minute in range(len(PLACES)):
        dx, dy, left = place(minute * MINUTE + 1)
        seen.add((dx, dy))
        assert left == MINUTE - 1
        assert lit(picture.moved(dx, dy).pages()).bit_count() == count
    assert len(seen) == 9
