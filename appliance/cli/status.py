"""`status`: what plays, from where, and what is wrong with it; `--watch` keeps telling."""

from __future__ import annotations

import sys
import time

from appliance.cli.entry import Call, document
from appliance.cli.output import columns, say, show_json
from appliance.cli.text import bar, clean, clock, count, cut, number, size
from appliance.words import ADVICE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Doc = dict[str, Any]


def status(call: Call) -> int:
    if call.line.flag("watch"):
        return _watch(call)
    doc = call.ask("status")
    if call.json:
        show_json(doc)
    else:
        say(*describe(doc))
    return 0


def part(doc: Doc, key: str) -> Doc:
    """The document under `key`, empty where there is none."""
    value = doc.get(key)
    return value if isinstance(value, dict) else {}


def name_of(track: Doc) -> str:
    """`Title - Artist`."""
    title = clean(track.get("title")) or clean(track.get("id")) or "?"
    artist = clean(track.get("artist"))
    return f"{title} - {artist}" if artist else title


def summary(doc: Doc, position: float | None = None) -> str:
    """One line: state, track, time, volume and what is wrong."""
    parts = [clean(doc.get("state")) or "?"]
    if part(doc, "track"):
        at = number(doc.get("position")) if position is None else position
        parts += [name_of(part(doc, "track")), f"{clock(at)} / {clock(doc.get('duration'))}"]
    parts.append(f"volume {int(number(doc.get('volume')))}")
    wrong = _wrong(doc)
    if wrong:
        parts.append("! " + ", ".join(wrong))
    return "  ".join(parts)


def describe(doc: Doc) -> list[str]:
    """The lines of `chadbox status` for people."""
    lines = []
    track = part(doc, "track")
    state = clean(doc.get("state")) or "?"
    if track:
        lines.append(f"{state}: {name_of(track)}")
        album = clean(track.get("album"))
        if album:
            year = int(number(track.get("year")))
            lines.append(f"  {album} ({year})" if year else f"  {album}")
        duration = number(doc.get("duration"))
        percent = 100 * number(doc.get("position")) / duration if duration > 0 else 0
        lines.append(f"  {clock(doc.get('position'))} {bar(percent, 32)} {clock(duration)}")
    else:
        lines.append(state)
    lines.append("  " + ", ".join(_sound(doc)))
    queue = part(doc, "queue")
    index = queue.get("index")
    place = f"place {int(number(index))} of " if isinstance(index, int) and number(queue.get("length")) else ""
    modes = f", shuffle {'on' if queue.get('shuffle') else 'off'}, repeat {clean(queue.get('repeat')) or 'off'}"
    lines.append(f"queue    {place}{count(queue.get('length'), '' if place else 'track')}{modes}")
    library = part(doc, "library")
    busy = ", sync is running" if library.get("syncing") else ""
    lines.append(f"library  {count(library.get('tracks'), 'track')}{busy}")
    cache = part(doc, "cache")
    limit = f" of {size(cache.get('limit'))}" if cache.get("limit") else ""
    lines.append(f"cache    {count(cache.get('tracks'), 'track')}, {size(cache.get('bytes'))}{limit}")
    drives = doc.get("drives")
    for drive in drives if isinstance(drives, list) else []:
        if isinstance(drive, dict):
            adopted = "" if drive.get("adopted") else ", not adopted"
            progress = f", {int(number(drive.get('progress')))}%"
            lines.append(f"drive    {clean(drive.get('name'))}: {clean(drive.get('state'))}{adopted}{progress}")
    wrong = _wrong(doc)
    lines.append("health   ok" if not wrong else "health   " + ", ".join(wrong))
    lines += [f"  {word}: {ADVICE[word]}" for word in wrong if word in ADVICE]
    return lines


def _sound(doc: Doc) -> list[str]:
    parts = [f"volume {int(number(doc.get('volume')))}"]
    if doc.get("source"):
        parts.append(f"from {clean(doc['source'])}")
    if part(doc, "track"):
        parts.append(f"{int(number(doc.get('cached_percent')))}% on the box")
    audio = part(doc, "audio")
    if audio:
        parts.append(
            f"{clean(audio.get('output'))} {number(audio.get('rate')) / 1000:g} kHz {clean(audio.get('format'))}"
        )
        underruns = int(number(audio.get("underruns")))
        if underruns:
            parts.append(count(underruns, "underrun"))
    gain = number(doc.get("gain_db"))
    if gain:
        parts.append(f"gain {gain:+.1f} dB")
    return parts


def _wrong(doc: Doc) -> list[str]:
    health = doc.get("health")
    words = [clean(word) for word in health] if isinstance(health, list) else []
    return [word for word in words if word and word != "ok"]


def _watch(call: Call) -> int:
    """A document or a line for every change; on a terminal one line that is kept fresh, the time running by itself."""
    live = not call.json and columns() is not None
    last: Doc = {}
    heard = 0.0
    try:
        for event in call.client().watch(tick=0.5 if live else None):
            if event is not None:
                last, heard = document(event), time.monotonic()
            if call.json:
                show_json(last)
            elif not live:
                say(summary(last))
                sys.stdout.flush()
            elif last:
                _redraw(last, time.monotonic() - heard)
    finally:
        if live and last:
            print(flush=True)
    return 0


def _redraw(doc: Doc, age: float) -> None:
    position = number(doc.get("position"))
    if doc.get("state") == "playing":
        position = min(position + age, max(position, number(doc.get("duration"))))
    print("\r" + cut(clean(summary(doc, position)), (columns() or 80) - 1) + "\x1b[K", end="", flush=True)
