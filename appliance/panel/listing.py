"""How an open list is drawn: rows of text, the chosen one inverted and scrolling, a bar that says where one is."""

from __future__ import annotations

from appliance.panel.picture import scaled
from appliance.panel.pieces import Canvas
from appliance.panel.small import ICONS, small
from appliance.panel.state import Page, Row, State

LETTER_S = 0.9  # how long the letter is shown after a jump
BAR = 3  # columns at the right edge
METER = 29  # columns of a bar that says how far something is


def draw_page(canvas: Canvas, state: State) -> None:
    """The visible list of `state`."""
    page = state.pages[-1]
    right = canvas.picture.width - BAR
    canvas.say(f"{page.node.title}:" if page.node.title else "")
    if page.total == 0:
        canvas.marquee(page.node.title, 0, since=page.moved, word=False)
        canvas.line("Nothing here", 0, 16)
        canvas.say("nothing here")
        return
    for n in range(state.rows):
        at = page.top + n
        row = page.row(at)
        if row is None and (page.total is None or at >= page.total):
            continue
        _row(canvas, row, 16 * n, right, chosen=at == page.cursor, since=page.moved)
    _bar(canvas, page, state.rows)
    if canvas.now < page.jumped + LETTER_S and page.letter:
        _letter(canvas, page.letter)
        canvas.change_at(page.jumped + LETTER_S)


def _row(canvas: Canvas, row: Row | None, y: int, right: int, *, chosen: bool, since: float) -> None:
    if row is None:  # on its way
        canvas.small("...", 2, y + 5)
        return
    end = right
    if row.tail:
        tail = small(row.tail[:8])
        end -= len(tail) + 2
        canvas.picture.draw(tail, end + 1, y + 5)
        end -= 2
    if row.icon:
        end -= len(ICONS[row.icon]) + 1
        canvas.icon(row.icon, end, y + 5)
        end -= 2
    if row.percent is not None:
        end = _percent(canvas, row.percent, end, y + 5)
    if chosen:
        canvas.marquee(row.text, y, left=1, right=end, since=since, word=False)
        canvas.picture.invert(0, y, right, 16)
    else:
        canvas.line(row.text, 1, y, end)
    canvas.say(f"{'> ' if chosen else ''}{row.text}{' (' + row.tail + ')' if row.tail else ''}")


def _percent(canvas: Canvas, percent: int, right: int, y: int) -> int:
    """How far something is, as a bar that ends at the column `right`; the column before it."""
    left = right - METER
    canvas.picture.frame(left, y, METER, 7)
    canvas.picture.fill(left + 2, y + 2, (METER - 4) * max(0, min(percent, 100)) // 100, 3)
    return left - 3


def _bar(canvas: Canvas, page: Page, rows: int) -> None:
    total, height = page.total or 0, canvas.picture.height
    if total <= rows:
        return
    size = max(5, height * rows // total)
    y = (height - size) * page.top // max(1, total - rows)
    canvas.picture.fill(canvas.picture.width - 2, y, 2, size)


def _letter(canvas: Canvas, letter: str) -> None:
    """The letter that was jumped to, large, in the middle."""
    picture = canvas.picture
    strip = scaled(canvas.setter.line(letter.upper() if len(letter.upper()) == 1 else letter), 2)
    wide = len(strip) + 8
    x, y = (picture.width - wide) // 2, (picture.height - 32) // 2
    picture.clear(x - 2, y, wide + 4, 32)
    picture.frame(x - 1, y, wide + 2, 32)
    picture.draw(strip, x + 4, y)
