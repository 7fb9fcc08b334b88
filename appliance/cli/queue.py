"""`queue` and its changes. Positions count from 0, in what is printed, typed and in JSON alike."""

from __future__ import annotations

from appliance.cli.entry import Call
from appliance.cli.output import say, show_json, table
from appliance.cli.parse import whole
from appliance.cli.status import part
from appliance.cli.text import clean, clock, count, number, where

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def show(call: Call) -> int:
    doc = call.ask("queue")
    if call.json:
        show_json(doc)
        return 0
    items = doc.get("items")
    rows = []
    for n, item in enumerate(items if isinstance(items, list) else []):
        item = item if isinstance(item, dict) else {}
        track = part(item, "track")
        mark = ">" if item.get("current") else ""
        title = track.get("title") or track.get("id") or "?"
        rows.append(
            (mark, n, title, track.get("artist"), track.get("album"), clock(track.get("duration")), where(track))
        )
    table(("", "N", "Title", "Artist", "Album", "Time", "Where"), rows, right="15", flexible="234")
    say(_modes(doc))
    return 0


def add(call: Call) -> int:
    return _add(call, soon=False)


def add_next(call: Call) -> int:
    return _add(call, soon=True)


def remove(call: Call) -> int:
    return _change(call, "queue_remove", index=_position(call.line.words[0], "N"))


def move(call: Call) -> int:
    a, b = call.line.words
    return _change(call, "queue_move", **{"from": _position(a, "A"), "to": _position(b, "B")})


def clear(call: Call) -> int:
    return _change(call, "queue_clear")


def shuffle(call: Call) -> int:
    return _change(call, "queue_shuffle", on=_one_of(call, "on", "off") == "on")


def repeat(call: Call) -> int:
    return _change(call, "queue_repeat", mode=_one_of(call, "off", "one", "all"))


def _add(call: Call, *, soon: bool) -> int:
    doc = call.ask("queue_add", what=call.line.text, next=soon)
    if call.json:
        show_json(doc)
    else:
        say(f"added {count(doc.get('added'), 'track')}; the queue has {count(doc.get('length'))}")
    return 0


def _change(call: Call, cmd: str, **args: Any) -> int:
    doc = call.ask(cmd, **args)
    if call.json:
        show_json(doc)
    else:
        say(_modes(doc if "length" in doc else part(doc, "queue")))
    return 0


def _modes(doc: dict[str, Any]) -> str:
    length = int(number(doc.get("length")))
    text = "the queue is empty" if length == 0 else f"{count(length, 'track')} in the queue"
    if "shuffle" in doc:
        text += f", shuffle {'on' if doc['shuffle'] else 'off'}"
    if "repeat" in doc:
        text += f", repeat {clean(doc['repeat'])}"
    return text


def _position(word: str, name: str) -> int:
    return whole(word, f"{name} as `chadbox queue` prints it", 0)


def _one_of(call: Call, *choices: str) -> str:
    word = call.line.words[0]
    if word not in choices:
        raise call.line.wrong(f'"{word}" is none of {", ".join(choices)}')
    return word
