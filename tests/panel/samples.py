"""One state of every screen, in several scripts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from msgspec.structs import replace

from appliance import words
from appliance.panel import asking, keys
from appliance.panel.drives import rows_of
from appliance.panel.state import Code, Command, Key, Node, Now, Page, Row, State


@dataclass(frozen=True)
class Script:
    title: str
    artist: str
    album: str
    rows: tuple[str, ...]
    letter: str


SCRIPTS = {
    "latin": Script(
        "Blåbærtur", "Sigur Rós", "Ágætis byrjun",
        ("Ágætis byrjun", "Flugufrelsarinn", "Hjartað hamast (bamm bamm bamm)", "Ný batterí", "Viðrar vel"), "a",
    ),
    "cyrillic": Script(
        "Лебединое озеро", "П. И. Чайковский", "Балет в 4-х действиях",
        ("Анданте", "Времена года", "Лебединое озеро, соч. 20", "Щелкунчик", "Юморески"), "л",
    ),
    "japanese": Script(
        "夜に駆ける", "久石譲", "千と千尋の神隠し",
        ("あの夏へ", "竜の少年", "千と千尋の神隠しサウンドトラック", "ふたたび", "六番目の駅"), "せ",
    ),
}  # fmt: skip


def playing(script: Script, height: int) -> State:
    now = Now(
        state="playing", track="1", title=script.title, artist=script.artist, album=script.album, position=62, at=10,
        duration=337, volume=42, source="network", cached=70, favourite=True, since=10,
    )  # fmt: skip
    return State(height=height, now=now, touched=10)


ADOPT = Command("adopt", "1")


class _Sticks(NamedTuple):
    """Drives for looking at."""

    found: list[dict[str, Any]]

    def documents(self) -> list[dict[str, Any]]:
        return self.found


def drive(script: Script, **facts: Any) -> Any:
    document = {"name": script.title, "uuid": "1", "state": "not-adopted", "adopted": False, "progress": 0}
    return _Sticks([document | {"message": "", "files": 0, "bytes": 0, "missing": 0} | facts])


def _wrong(script: Script, height: int) -> State:
    state = playing(script, height)
    return replace(state, now=replace(state.now, health=("offline",), since=5.5))


def _notice(script: Script, height: int) -> State:
    return keys.tell(playing(script, height), "Output lost", words.ADVICE["output-lost"], 10)


def _volume(script: Script, height: int) -> State:
    return replace(playing(script, height), turned=10)


def _list(script: Script, height: int) -> State:
    node = Node("category", "album", title=script.album)
    rows = tuple(Row(text, str(n + 1)) for n, text in enumerate(script.rows))
    state = replace(playing(script, height), pages=(Page(node, moved=10),))
    state = keys.arrived(state, node, 0, rows, len(rows))
    return keys.press(state, Key("scroll", 2, 2), 10)[0]


def _where(script: Script, height: int) -> State:
    node = Node("queue", title="Queue")
    state = replace(playing(script, height), pages=(Page(node, moved=10),))
    rows = tuple(
        Row(text, tail, icon=icon)
        for text, (tail, icon) in zip(
            script.rows, (("3:05", "cache"), (">", "drive"), ("4:12", ""), ("away", "")), strict=False
        )
    )
    return keys.arrived(state, node, 0, rows, len(rows))


def _letter(script: Script, height: int) -> State:
    state = _list(script, height)
    state = keys.lettered(state, state.pages[-1].node, ((" ", 0), (script.letter, 2), ("~", 4)))
    return replace(state, pages=(replace(state.pages[-1], jumped=10),))


def _empty(script: Script, height: int) -> State:
    node = Node("tracks", "favourites", title=script.album)
    state = replace(playing(script, height), pages=(Page(node, moved=10),))
    return keys.arrived(state, node, 0, (), 0)


def _ask(script: Script, height: int) -> State:
    state = asking.ask(playing(script, height), script.title, f"Let this box write to {script.title}?", ADOPT, 10)
    return keys.press(state, Key("scroll", 1, 1), 10.9)[0]


def _rows(script: Script, height: int, node: Node, rows: list[Row]) -> State:
    state = replace(playing(script, height), pages=(Page(node, moved=10),))
    return keys.arrived(state, node, 0, tuple(rows), len(rows))


def _drive(script: Script, height: int) -> State:
    stick = drive(script, state="filling", adopted=True, progress=42, files=120, bytes=4_400_000_000, missing=3)
    return _rows(script, height, Node("drive", "1"), rows_of(stick, "drive", "1"))


def _stranger(script: Script, height: int) -> State:
    state = _rows(script, height, Node("drive", "1"), rows_of(drive(script), "drive", "1"))
    return keys.press(state, Key("scroll", 1, 1), 10)[0]


def _sign_in(script: Script, height: int) -> State:
    return replace(playing(script, height), code=Code("WDJB-MJHT", "http://box.local/device", 10, 400))


def _idle(script: Script, height: int) -> State:
    return State(height=height, now=replace(playing(script, height).now, state="paused"), touched=-100)


def _stopped(script: Script, height: int) -> State:
    return State(height=height, now=Now(health=("token-rejected",)), touched=-100)


SCREENS: dict[str, Callable[[Script, int], State]] = {
    "playing": playing, "wrong": _wrong, "volume": _volume, "list": _list, "letter": _letter, "empty": _empty,
    "where": _where, "ask": _ask, "drive": _drive, "stranger": _stranger,
    "notice": _notice, "sign-in": _sign_in, "clock": _idle, "clock-wrong": _stopped,
}  # fmt: skip
