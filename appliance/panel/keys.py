"""What keys mean: a state and a key give the next state and what is to be done. Pure; nothing here waits or reads.

`scroll` moves in lists and sets the volume elsewhere; `skip` goes by first letters in lists and through the track
elsewhere; `select` opens or does the row, elsewhere it is play/pause; `menu` opens the menu and in it goes back.
"""

from __future__ import annotations

from bisect import bisect_right

from msgspec.structs import replace

from appliance.panel import asking
from appliance.panel.state import CHUNK, Command, Key, Node, Notice, Page, Row, State
from appliance.panel.volume import stepped

MENU = Node("menu", title="Menu")
MENU_S = 45.0  # a menu that nobody touches is left by itself
NOTICE_S = 8.0
LONG_LIST = 60  # rows from which a fast turn goes by letters
PAGEFUL, LETTERS = 2, 3  # steps a detent from which a turn moves by screens, by letters
SEEK_S = (5, 5, 5, 5, 10, 10, 10, 10, 20)  # seconds a repeat; the last one goes on
SKIP_S = 5  # seconds a step of the knob
_KEPT = 6  # chunks of a list in memory

Result = tuple[State, tuple[Command, ...]]

_TRANSPORT = {"play_pause": "toggle", "next": "next", "previous": "previous", "stop": "stop"}
_STAYS = {"shuffle", "repeat", "loudness", "enqueue", "tell", "adopt", "forget", "fill", "eject"}  # the list stays open
_WAKING = {"none", "select", "back", "menu", "home", "display_off"}  # on a dark display these only light it


def press(state: State, key: Key, now: float, *, asleep: bool = False) -> Result:
    """The state after `key`. `asleep`: the display was dark, so what needs eyes only wakes it."""
    stale = state.pages and now - state.touched > MENU_S
    state = replace(state, touched=now, darkened=False, pages=() if stale else state.pages)
    page = state.pages[-1] if state.pages else None
    action = key.action
    if asleep and (action in _WAKING or (page and action in ("scroll", "skip"))):
        return state, ()
    if action in asking.KEYS and state.asked(now) is not None:
        return asking.answer(state, key, now)
    if state.notice is not None:
        state = replace(state, notice=None)
        if action in ("select", "back"):
            return state, ()
    if action == "back" and state.code is not None and page is None:
        return replace(state, code=None), ()
    if page is not None and action in ("scroll", "skip"):
        return replace(state, pages=(*state.pages[:-1], _turned(page, key, state.rows, now))), ()
    if action in ("scroll", "volume", "volume_up", "volume_down", "mute"):
        return _volume(state, key, now)
    if action == "skip":
        return state, (Command("seek", number=key.steps * SKIP_S),)
    if action in _TRANSPORT:
        return state, (Command(_TRANSPORT[action]),)
    if action in ("seek_forward", "seek_back"):
        seconds = SEEK_S[min(max(key.count, 1), len(SEEK_S)) - 1]
        return state, (Command("seek", number=seconds if action == "seek_forward" else -seconds),)
    return _other(state, page, key, now)


def _other(state: State, page: Page | None, key: Key, now: float) -> Result:
    action = key.action
    if action == "select":
        return _select(state, page, now)
    if action == "menu" and page is None:
        return replace(state, pages=(Page(MENU, moved=now),)), ()
    if action in ("back", "menu"):
        return replace(state, pages=state.pages[:-1]), ()
    if action == "home":
        return replace(state, pages=()), ()
    if action == "favourite":
        row = page.row(page.cursor) if page else None
        track = row.track if row and row.track else state.now.track
        return state, (Command("favourite", track),) if track else ()
    if action in ("shuffle", "repeat"):
        return state, (Command(action),)
    if action == "display_off":
        return replace(state, darkened=True, pages=()), ()
    if action == "eject":
        return _eject(state, page, now)
    if action == "shut_down":  # pausing makes everything durable: there is nothing more to do before the plug is pulled
        return tell(state, "Paused", "You can switch off now", now), (Command("pause"),)
    return state, ()


def tell(state: State, title: str, text: str, now: float) -> State:
    """Show something to be read for a while."""
    return replace(state, notice=Notice(title, text, now, now + NOTICE_S))


def _eject(state: State, page: Page | None, now: float) -> Result:
    """The drive that is looked at, the only one, or a list to choose from."""
    there = [stick for stick in state.drives if stick.state != "safe-to-remove"]
    row = page.row(page.cursor) if page else None
    nodes = [page.node] if page else []
    nodes += [row.opens] if row and row.opens else []
    chosen = [stick for stick in there if any(node.kind == "drive" and node.key == stick.uuid for node in nodes)]
    if len(chosen or there) == 1:
        return state, (Command("eject", (chosen or there)[0].uuid),)
    if there:
        return replace(state, pages=(Page(Node("eject", title="Eject"), moved=now),)), ()
    return tell(state, "Eject", "Safe to remove" if state.drives else "There is no drive", now), ()


def _volume(state: State, key: Key, now: float) -> Result:
    volume, unmuted = state.now.volume, None
    if key.action == "mute":
        target, unmuted = (0, volume) if volume else (state.unmuted or 0, None)
    else:
        fixed = {"volume_up": 1, "volume_down": -1}
        target = stepped(volume, fixed.get(key.action, key.steps or key.detents))
    # booked at once, so that the next detent counts from here
    after = replace(state, now=replace(state.now, volume=target), turned=now, unmuted=unmuted)
    return after, (Command("volume", number=target),) if target != volume else ()


def _select(state: State, page: Page | None, now: float) -> Result:
    if page is None:
        if state.now.track:
            return state, (Command("toggle"),)
        return replace(state, pages=(Page(MENU, moved=now),)), ()
    row = page.row(page.cursor)
    if row is None:
        return state, ()
    if row.opens is not None:
        return replace(state, pages=(*state.pages, Page(row.opens, moved=now))), ()
    if row.does is None:
        return state, ()
    if row.does.do == "display_off":
        return replace(state, darkened=True, pages=()), ()
    stays = row.does.do in _STAYS
    return replace(state, pages=state.pages if stays else ()), (row.does,)


def _turned(page: Page, key: Key, rows: int, now: float) -> Page:
    if not page.total:
        return page
    detents = key.detents or (1 if key.steps > 0 else -1)
    speed = abs(key.steps) // max(1, abs(detents))
    long_list = page.total >= LONG_LIST
    if key.action == "skip" or (speed >= LETTERS and long_list):
        target, jumped = _jump(page, detents), now
    else:
        target, jumped = page.cursor + detents * (rows if speed >= PAGEFUL and long_list else 1), page.jumped
    return moved(replace(page, moved=now, jumped=jumped), target, rows)


def _jump(page: Page, detents: int) -> int:
    """`detents` letters on; back goes to the start of this letter first. Without letters a twentieth of the list."""
    starts = [start for _, start in page.letters]
    if len(starts) < 2:
        return page.cursor + detents * max(1, (page.total or 0) // 20)
    at = bisect_right(starts, page.cursor) - 1
    if detents < 0 and at >= 0 and starts[at] < page.cursor:
        detents += 1
    return starts[max(0, min(at + detents, len(starts) - 1))]


def moved(page: Page, cursor: int, rows: int) -> Page:
    """`page` with the cursor at `cursor`, or at the nearest row that there is, and in view."""
    cursor = max(0, min(cursor, (page.total or 1) - 1))
    top = min(max(page.top, cursor - rows + 1), cursor)
    return replace(page, cursor=cursor, top=max(0, min(top, (page.total or 1) - rows)))


def missing(page: Page, rows: int) -> int | None:
    """The chunk that is needed most and is not here: under the eyes first, then where the next turn leads."""
    first, last = page.top // CHUNK, (page.top + rows - 1) // CHUNK
    wanted = [page.cursor // CHUNK, first, last]
    wanted += [(page.top + rows + CHUNK // 2) // CHUNK, max(0, page.top - CHUNK // 2) // CHUNK]
    for chunk in wanted:
        if chunk not in page.fresh and (page.total is None or chunk * CHUNK < page.total):
            return chunk
    return None


def arrived(state: State, node: Node, chunk: int, rows: tuple[Row, ...], total: int) -> State:
    """Rows `chunk * CHUNK` and following of the list `node` are here; it has `total`."""

    def take(page: Page) -> Page:
        chunks = {**page.chunks, chunk: rows}
        near = set(sorted(chunks, key=lambda n: abs(n - page.cursor // CHUNK))[:_KEPT])
        chunks = {n: c for n, c in chunks.items() if n in near}
        page = replace(page, total=total, chunks=chunks, fresh=(page.fresh | {chunk}) & near)
        return moved(page, page.cursor, state.rows)

    return replace(state, pages=tuple(take(page) if page.node == node else page for page in state.pages))


def lettered(state: State, node: Node, letters: tuple[tuple[str, int], ...]) -> State:
    """The first letters of the list `node` are known."""
    pages = tuple(replace(page, letters=letters) if page.node == node else page for page in state.pages)
    return replace(state, pages=pages)


def outdated(state: State, kinds: frozenset[str] | None = None) -> State:
    """The open lists (of `kinds`) show what is no longer so: keep what is seen until it is read again."""

    def age(page: Page) -> Page:
        return replace(page, fresh=frozenset()) if kinds is None or page.node.kind in kinds else page

    return replace(state, pages=tuple(age(page) for page in state.pages))
