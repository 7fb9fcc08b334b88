"""States to pictures: pure functions of a state and of the time (monotonic for motion, wall for the clock).

Each screen also says its text, for people who have it read to them, and when its picture will change by itself if
nothing happens: the panel sleeps until then.

    128 x 64                        128 x 32
    +-----------------------+       +-----------------------+
    | title                 |       | title · artist        |
    | artist                |       | ----=====.....        |
    | album, or what's wrong|       | > 1:02          -3:17 |
    | ----=====.....        |       +-----------------------+
    | > 1:02          -3:17 |
    +-----------------------+
"""

from __future__ import annotations

import time
from typing import NamedTuple

from appliance import words
from appliance.panel.listing import draw_page
from appliance.panel.picture import Picture, scaled
from appliance.panel.pieces import Canvas, clock
from appliance.panel.small import ICONS, small
from appliance.panel.state import Now, Question, State
from appliance.panel.text import Typesetter, wrapped

OVERLAY_S = 1.5  # how long the volume is shown
CLOCK_AFTER_S = 60.0  # without a key and without music the now-playing screen gives way to the clock
MENU_S = 45.0  # as keys.MENU_S: then what plays is shown again
ALTERNATE_S = 4.0  # album and what is wrong take turns
READ_S = 3.0  # for three lines of a notice


class Shown(NamedTuple):
    """`words` is the text from top to bottom, `until` when it changes by itself (None: it does not)."""

    picture: Picture
    words: tuple[str, ...]
    until: float | None


def show(state: State, now: float, wall: float | None, setter: Typesetter) -> Shown:
    """What is to be seen of `state` at `now`; `wall` is the time of day in seconds since 1970, None when not known."""
    canvas = Canvas(Picture(state.width, state.height), setter, now)
    if state.code is not None and now < state.code.until and not state.pages:
        _sign_in(canvas, state)
        canvas.change_at(state.code.until)
    elif (question := state.asked(now)) is not None:
        _ask(canvas, state, question)
        canvas.change_at(question.until)
    elif state.notice is not None and now < state.notice.until:
        _notice(canvas, state)
        canvas.change_at(state.notice.until)
    elif state.pages and now < state.touched + MENU_S:
        draw_page(canvas, state)
        canvas.change_at(state.touched + MENU_S)
    elif state.now.track and (state.now.state in ("playing", "buffering") or now < state.touched + CLOCK_AFTER_S):
        _now_playing(canvas, state)
        if state.now.state not in ("playing", "buffering"):
            canvas.change_at(state.touched + CLOCK_AFTER_S)
    else:
        _clock(canvas, state, wall)
    if now < state.turned + OVERLAY_S:
        _volume(canvas, state)
        canvas.change_at(state.turned + OVERLAY_S)
    return Shown(canvas.picture, tuple(line for line in canvas.words if line), canvas.until)


def _now_playing(canvas: Canvas, state: State) -> None:
    now, tall = state.now, state.height >= 64
    if tall:
        canvas.marquee(now.title, 0, since=now.since)
        canvas.marquee(now.artist, 16, since=now.since)
        wrong = _wrong(now)
        turn, left = divmod(canvas.now - now.since, ALTERNATE_S)
        if wrong and (int(turn) % 2 or not now.album):
            canvas.icon("warning", 0, 36)
            canvas.marquee(wrong, 32, left=9, since=canvas.now - left, word=False)
        else:
            canvas.marquee(now.album, 32, since=now.since, word=False)
        if wrong:
            canvas.change_at(canvas.now + ALTERNATE_S - left)
        canvas.say(now.album, wrong)
    else:
        canvas.marquee(" · ".join(part for part in (now.title, now.artist) if part), 0, since=now.since)
        canvas.say(_wrong(now))
    canvas.say(_state_in_words(now))
    _progress(canvas, now, 49 if tall else 17)
    _status_line(canvas, state, 54 if tall else 22)


def _progress(canvas: Canvas, now: Now, y: int) -> None:
    """Played is a bar, what is on the box a line, the rest dots."""
    picture, room = canvas.picture, canvas.picture.width - 4
    position = now.position_at(canvas.now)
    whole = int(position)  # the bar moves with the seconds beside it, not between them
    played = int(room * min(1.0, whole / now.duration)) if now.duration > 0 else 0
    picture.dots(1, y + 1, room)
    picture.fill(1, y + 1, room * min(now.cached, 100) // 100, 1)
    picture.fill(1, y, played, 3)
    if now.state == "playing" and position < now.duration:
        canvas.change_at(canvas.now + 1.0 - position % 1.0)


def _status_line(canvas: Canvas, state: State, y: int) -> None:
    now, picture = state.now, canvas.picture
    canvas.icon(now.state, 1, y)
    at = canvas.small(clock(now.position_at(canvas.now)), 10, y) + 6
    left = now.duration - int(now.position_at(canvas.now))
    end = picture.width - 3
    if now.duration > 0:
        text = f"-{clock(max(0.0, left))}"
        end -= len(text) * 6
        canvas.small(text, end + 1, y)
    for name, wanted in (
        ("favourite", now.favourite),
        (now.source, now.source in ICONS),
        ("warning", bool(now.health) and state.height < 64),
        ("download", state.job is not None),
        ("shuffle", now.shuffle),
        ("repeat", now.repeat != "off"),
    ):
        if wanted and at + len(ICONS[name]) < end:
            at = canvas.icon(name, at, y) + 3


def _state_in_words(now: Now) -> str:
    parts = [now.state, {"cache": "from cache", "drive": "from drive", "network": "from network"}.get(now.source, "")]
    parts += [f"{now.cached}% on the box" if 0 < now.cached < 100 else "", "favourite" if now.favourite else ""]
    parts += ["shuffle" if now.shuffle else "", f"repeat {now.repeat}" if now.repeat != "off" else ""]
    return ", ".join(part for part in parts if part)


def _wrong(now: Now) -> str:
    return ", ".join(words.title(word) for word in now.health)


def _volume(canvas: Canvas, state: State) -> None:
    """Over the lower half, or everything where there is only half."""
    picture, volume = canvas.picture, state.now.volume
    top = picture.height - 32
    picture.clear(0, top, picture.width, 32)
    picture.frame(0, top, picture.width, 32)
    picture.draw(scaled(ICONS["volume"], 2), 7, top + 9)
    if not volume:
        picture.draw(scaled(small("x"), 2), 16, top + 8)
    number = scaled(small(str(volume)), 2)
    picture.draw(number, picture.width - 6 - len(number), top + 8)
    room = picture.width - 28 - 6 - 40
    picture.frame(28, top + 12, room + 4, 8)
    picture.fill(30, top + 14, room * volume // 100, 4)
    canvas.say(f"volume {volume}" if volume else "muted")


def _notice(canvas: Canvas, state: State) -> None:
    notice = state.notice
    assert notice is not None  # noqa: S101 - the caller has looked
    picture, rows = canvas.picture, state.height // 16
    canvas.line(notice.title, 2, 0)
    picture.invert(0, 0, picture.width, 16)
    lines = wrapped(notice.text, picture.width // 8)
    per = rows - 1
    if len(lines) > per:
        count = -(-len(lines) // per)
        turn, left = divmod(canvas.now - notice.since, READ_S)
        first = int(turn) % count * per
        canvas.change_at(canvas.now + READ_S - left)
    else:
        first = 0
    for n, line in enumerate(lines[first : first + per]):
        canvas.line(line, 0, 16 * (n + 1))
    canvas.say(notice.title, notice.text)


def _ask(canvas: Canvas, state: State, question: Question) -> None:
    """The question, and No and Yes side by side; the one that a press means is inverted."""
    picture, width = canvas.picture, canvas.picture.width
    low = picture.height - 16
    if state.height >= 64:
        words = question.text.removesuffix(f"{question.name}?").strip()
        for n, line in enumerate(wrapped(words, width // 8)[:2]):
            canvas.line(line, 0, 16 * n)
        canvas.marquee(f"{question.name}?", 32, since=question.since, word=False)
    else:
        canvas.marquee(question.text, 0, since=question.since, word=False)
    half = width // 2
    for text, left, chosen in (("No", 0, not question.yes), ("Yes", half, question.yes)):
        canvas.line(text, left + (half - 8 * len(text)) // 2, low)
        if chosen:
            picture.invert(left, low, half, 16)
        else:
            picture.frame(left, low, half, 16)
    canvas.say(question.text, *("> Yes" if question.yes else "> No", "No" if question.yes else "Yes"))


def _sign_in(canvas: Canvas, state: State) -> None:
    code = state.code
    assert code is not None  # noqa: S101 - the caller has looked
    picture, tall = canvas.picture, state.height >= 64
    if tall:
        canvas.line("To sign in, open", 0, 0)
        canvas.say("To sign in, open")
    canvas.marquee(code.url, 16 if tall else 0, since=code.since)
    big = scaled(small(code.code), 2)
    if len(big) > picture.width:
        big = small(code.code)
    picture.draw(big, (picture.width - len(big)) // 2, 42 if tall else 17)
    canvas.say(f"and enter {code.code}")


def _clock(canvas: Canvas, state: State, wall: float | None) -> None:
    """The time, in another place every minute, so that no pixel is lit for long."""
    picture = canvas.picture
    if wall is None:
        text, step = "--:--", canvas.now
    else:
        local = time.localtime(wall)
        text, step = f"{local.tm_hour}:{local.tm_min:02}", wall
    size = 3 if state.height >= 64 else 2
    digits = scaled(small(text), size)
    wrong = small(state.now.health[0][:16]) if state.now.health else ()
    height = 7 * size + (10 if wrong else 0)
    minute = int(step // 60)
    wide = max(len(digits), len(wrong))
    x, y = minute * 29 % (picture.width - wide + 1), minute * 11 % (picture.height - height + 1)
    picture.draw(digits, x, y)
    picture.draw(wrong, x, y + 7 * size + 3)
    canvas.say(text, _wrong(state.now), "paused: " + state.now.title if state.now.state == "paused" else "")
    canvas.change_at(canvas.now + 60.0 - step % 60.0)
