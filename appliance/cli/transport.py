"""play, pause, toggle, stop, next, prev, seek, volume: each answers with one line that says what is now."""

from __future__ import annotations

import re

from appliance.cli.entry import Call, document
from appliance.cli.output import say, show_json
from appliance.cli.parse import whole
from appliance.cli.status import summary
from appliance.cli.text import number
from appliance.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_TIME = re.compile(r"([+-]?)(?:(?:(\d{1,4}):)?(\d{1,4}):)?(\d{1,9}(?:\.\d{1,9})?|\.\d{1,9})", re.ASCII)


def play(call: Call) -> int:
    return _tell(call, call.ask("play", **({"what": call.line.text} if call.line.words else {})))


def simple(call: Call) -> int:
    """A command whose name is all there is to it."""
    return _tell(call, call.ask(call.line.name))


def seek(call: Call) -> int:
    seconds, relative = time_of(call.line.words[0])
    return _tell(call, call.ask("seek", seconds=seconds, relative=relative))


def volume(call: Call) -> int:
    args: dict[str, Any] = {}
    if call.line.words:
        word = call.line.words[0]
        relative = word[0] in "+-"
        args = {"value": whole(word, "volume", -100 if relative else 0, 100), "relative": relative}
    doc = document(call.client().call("volume", args))
    if call.json:
        show_json(doc)
    else:
        say(f"volume {int(number(doc.get('volume')))}")
    return 0


def time_of(text: str) -> tuple[float, bool]:
    """Seconds of `90`, `1:30`, `+10`, `-0.5`, and whether they are relative. Raises UsageError."""
    match = _TIME.fullmatch(text)
    if match is None:
        raise UsageError(f'seek: "{text}" is not a time; write 90, 1:30, +10 or -10')
    sign, hours, minutes, seconds = match.groups()
    value = int(hours or 0) * 3600 + int(minutes or 0) * 60 + float(seconds)
    if value > 1e7:
        raise UsageError(f"seek: {text} is longer than any track")
    return (-value if sign == "-" else value), bool(sign)


def _tell(call: Call, doc: dict[str, Any]) -> int:
    if call.json:
        show_json(doc)
    else:
        say(summary(doc))
    return 0
