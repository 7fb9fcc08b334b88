"""`cache`, its pins and checks, and `fetch`."""

from __future__ import annotations

from appliance.cli.entry import Call, document
from appliance.cli.output import Progress, complain, say, show_json, table
from appliance.cli.text import clean, count, number, size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Doc = dict[str, Any]


def show(call: Call) -> int:
    doc = call.ask("cache")
    if call.json:
        show_json(doc)
        return 0
    files = _docs(doc, "files")
    table(("Title", "Bytes", "On disk", "Pinned", "WHAT"), map(_row, files), right="12", flexible="0")
    limit = f" of {size(doc.get('limit'))}" if doc.get("limit") else ""
    say(f"{count(doc.get('tracks'), 'track')}, {size(doc.get('bytes'))}{limit}")
    return 0


def pin(call: Call) -> int:
    return _pin(call, "cache_pin", "pinned")


def unpin(call: Call) -> int:
    return _pin(call, "cache_unpin", "unpinned")


def verify(call: Call) -> int:
    """Exit code 1 when a file is damaged."""
    with Progress("verify") as progress:
        doc = document(call.client().call("cache_verify", None, progress.update))
    bad = _docs(doc, "bad")
    if call.json:
        show_json(doc)
    else:
        _reasons(bad)
        say(f"{count(doc.get('checked'), 'file')} checked, {count(len(bad))} damaged")
    if bad:
        complain(
            f"{count(len(bad), 'cached file')} damaged: {clean(bad[0].get('title'))}: {clean(bad[0].get('reason'))}"
        )
    return 1 if bad else 0


def clear(call: Call) -> int:
    doc = call.ask("cache_clear")
    if call.json:
        show_json(doc)
    else:
        say(f"removed {count(doc.get('removed'), 'file')}, {size(doc.get('bytes'))}")
    return 0


def fetch(call: Call) -> int:
    """Exit code 1 when none of the tracks could be had."""
    with Progress("fetch") as progress:
        doc = document(call.client().call("fetch", {"what": call.line.text}, progress.update))
    failed = _docs(doc, "failed")
    if call.json:
        show_json(doc)
    else:
        _reasons(failed)
        tail = f"; {count(len(failed))} failed" if failed else ""
        say(f"{count(doc.get('tracks'), 'track')} in the cache, {size(doc.get('bytes'))} fetched{tail}")
    if failed and not number(doc.get("tracks")):
        complain(f"nothing could be fetched: {clean(failed[0].get('title'))}: {clean(failed[0].get('reason'))}")
        return 1
    return 0


def _pin(call: Call, cmd: str, done: str) -> int:
    doc = call.ask(cmd, what=call.line.text)
    if call.json:
        show_json(doc)
    else:
        say(f"{done} {count(doc.get('tracks'), 'track')}")
    return 0


def _row(file: Doc) -> tuple[object, ...]:
    total, have = number(file.get("size")), number(file.get("bytes"))
    # never 100 before the last byte (R9 wants whole numbers)
    percent = 100 if file.get("complete") else min(99, int(100 * have / total)) if total else 0
    pinned = "yes" if file.get("pinned") else ""
    return file.get("title"), size(have), f"{percent}%", pinned, f"track:{file.get('id')}"


def _reasons(items: list[Doc]) -> None:
    table(
        ("Title", "Reason", "WHAT"),
        [(i.get("title"), i.get("reason"), f"track:{i.get('id')}") for i in items],
        "",
        "01",
    )


def _docs(doc: Doc, key: str) -> list[Doc]:
    value = doc.get(key)
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
