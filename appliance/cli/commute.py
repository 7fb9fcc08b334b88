"""`commute`: what would be fetched for the way, and why."""

from __future__ import annotations

from appliance.cli.entry import Call
from appliance.cli.output import say, show_json, table
from appliance.cli.text import clean, count, number

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Doc = dict[str, Any]


def show(call: Call) -> int:
    at = call.line.value("at")
    doc = call.ask("commute", **({"at": at} if at is not None else {}))
    if call.json:
        show_json(doc)
        return 0
    value = doc.get("tracks")
    tracks = [track for track in value if isinstance(track, dict)] if isinstance(value, list) else []
    if call.line.flag("why"):
        table(("Score", "Title", "Artist", "Why"), [(*_row(t)[:3], _reasons(t)) for t in tracks], "0", "123")
    else:
        table(("Score", "Title", "Artist", "Album", "WHAT"), map(_row, tracks), "0", "123")
    if not tracks:
        say("nothing yet: play some music or mark favourites, and the box will learn")
    expected = clean(doc.get("next") or "").replace("T", " ")[:16]
    tail = f"; listening is expected at {expected}" if expected else "; no time of listening is known yet"
    say(f"{count(len(tracks), 'track')}{tail}")
    return 0


def _row(track: Doc) -> tuple[object, ...]:
    score = f"{number(track.get('score')):.2f}"
    return score, track.get("title"), track.get("artist"), track.get("album"), f"track:{track.get('id')}"


def _reasons(track: Doc) -> str:
    reasons = track.get("reasons")
    return "; ".join(clean(r) for r in reasons) if isinstance(reasons, list) else ""
