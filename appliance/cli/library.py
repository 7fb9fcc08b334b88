"""search, browse, sync."""

from __future__ import annotations

from appliance.cli.entry import Call, document
from appliance.cli.output import Progress, say, show_json, table
from appliance.cli.text import clock, count, where

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Doc = dict[str, Any]


def search(call: Call) -> int:
    limit = call.line.integer("limit", 1, 10_000)
    args: Doc = {"words": call.line.text} | ({} if limit is None else {"limit": limit})
    doc = call.ask("search", **args)
    if call.json:
        show_json(doc)
    elif not any(_list(doc, key) for key in ("tracks", "albums", "artists")):
        say(f"nothing found for: {call.line.text}")
    else:
        _sections(doc)
    return 0


def browse(call: Call) -> int:
    line = call.line
    args: Doc = {}
    if line.words:
        args["category"] = line.words[0]
    if line.words[1:]:
        args["value"] = " ".join(line.words[1:])
    for key, least in (("offset", 0), ("limit", 1)):
        value = line.integer(key, least, 10_000 if key == "limit" else 1_000_000_000)
        if value is not None:
            args[key] = value
    if line.value("filter"):
        args["filter"] = line.value("filter")
    doc = call.ask("browse", **args)
    if call.json:
        show_json(doc)
    elif "categories" in doc:
        names = doc["categories"]
        say(*(str(name) for name in (names if isinstance(names, list) else [])))
    elif "items" in doc:
        # a value's items are its albums, whatever the category
        _items(doc, "album" if line.words[1:] else line.words[0] if line.words else "", int(args.get("offset", 0)))
    else:
        _sections(doc)
    return 0


def sync(call: Call) -> int:
    with Progress("sync") as progress:
        args = {"full": True} if call.line.flag("full") else {}
        doc = document(call.client().call("sync", args, progress.update))
    if call.json:
        show_json(doc)
    else:
        say(
            f"{'full sync' if doc.get('full') else 'sync'}: added {count(doc.get('added'))}, "
            f"updated {count(doc.get('updated'))}, deleted {count(doc.get('deleted'))}"
        )
    return 0


def _list(doc: Doc, key: str) -> list[Doc]:
    value = doc.get(key)
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _sections(doc: Doc) -> None:
    """Tracks, albums, artists: what is there, each with the WHAT that `play` takes."""
    blank = False
    for key, heads, right, flexible, row in (
        ("tracks", ("Title", "Artist", "Album", "Time", "Where", "WHAT"), "3", "012", _track_row),
        ("albums", ("Album", "Artist", "Year", "Tracks", "WHAT"), "23", "01", _album_row),
        ("artists", ("Artist", "Tracks", "WHAT"), "1", "02", _artist_row),
    ):
        items = _list(doc, key)
        if not items:
            continue
        if blank:
            print()
        table(heads, [row(item) for item in items], right=right, flexible=flexible)
        blank = True
    if not blank:
        say("nothing there")


def _track_row(item: Doc) -> tuple[object, ...]:
    title, time = item.get("title"), clock(item.get("duration"))
    return title, item.get("artist"), item.get("album"), time, where(item), f"track:{item.get('id')}"


def _album_row(item: Doc) -> tuple[object, ...]:
    what = f"album:{item['id']}" if "id" in item else ""
    return _name(item), item.get("artist"), item.get("year"), item.get("tracks"), what


def _artist_row(item: Doc) -> tuple[object, ...]:
    return _name(item), item.get("tracks"), f"artist:{_name(item)}"


def _name(item: Doc) -> object:
    return item.get("name") or item.get("title") or item.get("album") or ""


def _items(doc: Doc, category: str, offset: int) -> None:
    items = _list(doc, "items")
    if category == "album":
        table(("Album", "Artist", "Year", "Tracks", "WHAT"), map(_album_row, items), right="23", flexible="01")
    elif category in ("artist", "genre"):
        rows = [(_name(i), i.get("tracks"), i.get("albums"), f"{category}:{_name(i)}") for i in items]
        table((category.capitalize(), "Tracks", "Albums", "WHAT"), rows, right="12", flexible="03")
    else:
        plain = [(_name(i), i.get("tracks"), i.get("albums")) for i in items]
        table(("Name", "Tracks", "Albums"), plain, right="12", flexible="0")
    total = doc.get("total")
    if not items:
        say("nothing there")
    elif isinstance(total, int) and total > offset + len(items):
        say(f"{offset + 1} to {offset + len(items)} of {count(total)}; go on with --offset {offset + len(items)}")
