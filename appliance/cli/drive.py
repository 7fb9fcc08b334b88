"""`drive`: what is plugged in, whether the box may write to it, filling it, and making it safe to pull out."""

from __future__ import annotations

from appliance.cli.entry import Call, document
from appliance.cli.output import Progress, complain, say, show_json, table
from appliance.cli.text import clean, count, number, size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Doc = dict[str, Any]


def show(call: Call) -> int:
    answer = call.client().call("drive")
    drives = [drive for drive in answer if isinstance(drive, dict)] if isinstance(answer, list) else []
    if call.json:
        show_json(drives)
        return 0
    if not drives:
        say("no drive is plugged in")
    table(
        ("Name", "State", "Adopted", "Tracks", "Bytes", "Missing", "UUID"), map(_row, drives), right="345", flexible="0"
    )
    for drive in drives:
        if drive.get("message"):
            say(f"{clean(drive.get('name'))}: {clean(drive['message'])}")
    return 0


def adopt(call: Call) -> int:
    return _change(call, "drive_adopt", "is adopted; the box may write to it now")


def forget(call: Call) -> int:
    return _change(call, "drive_forget", "is not adopted any more; what is on it stays")


def eject(call: Call) -> int:
    return _change(call, "drive_eject", "can be pulled out now")


def fill(call: Call) -> int:
    """Exit code 1 when something should have been copied and nothing is there."""
    with Progress("fill") as progress:
        doc = document(call.client().call("drive_fill", {"name": call.line.text}, progress.update))
    missing = [item for item in doc.get("missing") or [] if isinstance(item, dict)]
    if call.json:
        show_json(doc)
    else:
        table(
            ("Title", "Reason", "WHAT"),
            [(i.get("title"), i.get("reason"), f"track:{i.get('id')}") for i in missing], "", "01",
        )  # fmt: skip
        tail = f"; {count(len(missing))} missing" if missing else ""
        kept = f", {count(doc.get('kept'))} there already" if number(doc.get("kept")) else ""
        say(f"{count(doc.get('copied'), 'track')} copied, {size(doc.get('bytes'))}{kept}{tail}")
    if missing and not number(doc.get("copied")) and not number(doc.get("kept")):
        complain(f"nothing could be copied: {clean(missing[0].get('title'))}: {clean(missing[0].get('reason'))}")
        return 1
    return 0


def import_(call: Call) -> int:
    """Exit code 1 when files failed and none is on the server."""
    with Progress("import") as progress:
        doc = document(call.client().call("drive_import", {"name": call.line.text}, progress.update))
    failed = [item for item in doc.get("failed") or [] if isinstance(item, dict)]
    uploaded, known = int(number(doc.get("uploaded"))), int(number(doc.get("known")))
    if call.json:
        show_json(doc)
    else:
        table(("File", "Reason"), [(i.get("path"), i.get("reason")) for i in failed], "", "01")
        tail = f": {clean(failed[0].get('reason'))}" if failed else ""
        say(f"{uploaded:,} uploaded, {known:,} there already, {len(failed):,} failed{tail}")
    if failed and not uploaded and not known:
        complain(f"nothing could be imported: {clean(failed[0].get('path'))}: {clean(failed[0].get('reason'))}")
        return 1
    return 0


def queue(call: Call) -> int:
    answer = call.client().call("drive_queue", {"name": call.line.text})
    files = [file for file in answer if isinstance(file, dict)] if isinstance(answer, list) else []
    if call.json:
        show_json(files)
        return 0
    if not files:
        say("nothing was imported from this drive yet")
    table(("File", "State", "Bytes", "Reason"), map(_file, files), right="2", flexible="03")
    return 0


def _file(file: Doc) -> tuple[object, ...]:
    state = clean(file.get("state"))
    if state == "uploading":
        state += f" {int(number(file.get('percent')))}%"
    return file.get("path"), state, size(file.get("size")), file.get("reason") or ""


def _change(call: Call, cmd: str, done: str) -> int:
    doc = call.ask(cmd, name=call.line.text)
    if call.json:
        show_json(doc)
    else:
        say(f"{clean(doc.get('name'))} {done}")
    return 0


def _row(drive: Doc) -> tuple[object, ...]:
    state = clean(drive.get("state"))
    if state == "filling":
        state += f" {int(number(drive.get('progress')))}%"
    adopted = "yes" if drive.get("adopted") else "no"
    missing = int(number(drive.get("missing"))) or ""
    return drive.get("name"), state, adopted, drive.get("files"), size(drive.get("bytes")), missing, drive.get("uuid")
