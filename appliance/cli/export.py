"""`export`: any music onto an adopted drive or into a folder, told beforehand, with progress and a report (C9)."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from appliance.cli.entry import Call, document
from appliance.cli.output import Progress, columns, complain, say, show_json, table
from appliance.cli.text import bar, clean, clock, count, cut, number, size
from appliance.errors import ChadboxError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from appliance.drives.export import Wish
    from appliance.drives.folder import Goal

    Doc = dict[str, Any]

DRIVE = "drive:"
MOST_TOLD = 20  # missing tracks that are listed, and that the player hears of: its job needs one reason
LOOK = 0.25  # seconds between two looks at how far it is


def export(call: Call) -> int:
    """Exit code 1 when none could be had, or the person did not want it after all."""
    to = call.line.value("to")
    if to is None:
        raise call.line.wrong("say where: --to DIR or --to drive:NAME")
    ask = not call.line.flag("yes") and not call.json
    if ask and not sys.stdin.isatty():
        raise UsageError("export: nobody can be asked here; say --yes (or --json)")
    if to.startswith(DRIVE):
        name = to.removeprefix(DRIVE).strip()
        if not name:
            raise call.line.wrong("--to drive: needs the name of a drive")
        return _to_drive(call, name, ask)
    return _to_folder(call, Path(os.path.abspath(to)), ask)


def _to_drive(call: Call, name: str, ask: bool) -> int:
    plan = call.ask("export_check", what=call.line.text, drive=name)
    if not _agreed(call, plan, f"the drive {name}", ask):
        return 1
    if _nothing(plan):
        return _report(call, {"copied": 0, "kept": 0, "bytes": 0, "missing": plan.get("missing")})
    args = {"what": call.line.text, "drive": name, "reaper": call.line.flag("reaper")}
    with Bars() as bars:
        doc = document(call.client().call("export_drive", args, bars.update))
    return _report(call, doc)


def _to_folder(call: Call, path: Path, ask: bool) -> int:
    import logging

    import msgspec

    from appliance.drives.export import Wish
    from appliance.drives.folder import Goal
    from appliance.drives.preflight import Pace, look, preflight

    logging.getLogger("appliance").addHandler(logging.NullHandler())
    logging.getLogger("appliance").propagate = False  # what went wrong is in the report
    client = call.client()
    wish = msgspec.convert(client.call("export_check", {"what": call.line.text}), Wish)
    goal = Goal(path)
    try:
        target = goal.target
        try:
            plan, _ = look(target.tree, target.kind, wish.library, wish.tracks, lambda: None)
        except OSError as error:
            from appliance.drives.folder import explain

            raise ChadboxError(explain(error, path)) from None
        told = msgspec.to_builtins(preflight(wish.name, plan, wish.missing, wish.have, Pace()))
        if not _agreed(call, told, str(path), ask):
            return 1
        if _nothing(told):
            return _report(call, {"copied": 0, "kept": 0, "bytes": 0, "missing": told["missing"]})
        return _report(call, _run(client.path, call, goal, wish))
    finally:
        goal.close()


def _run(socket: str, call: Call, goal: Goal, wish: Wish) -> Doc:
    """Copy; what became of it. Ctrl-C and SIGTERM end it with nothing half left."""
    import asyncio
    import signal

    import msgspec

    async def run() -> Doc:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - asyncio runs this as a task
        for ending in (signal.SIGTERM, signal.SIGHUP):
            asyncio.get_running_loop().add_signal_handler(ending, task.cancel)
        bars = Bars()
        with bars:
            result = await _copy(socket, call.line.text, goal, wish, call.line.flag("reaper"), bars)
        found: Doc = msgspec.to_builtins(result)
        return found

    try:
        return asyncio.run(run())
    except asyncio.CancelledError:
        raise ChadboxError("the export was ended; what is whole stays") from None


async def _copy(socket: str, what: str, goal: Goal, wish: Wish, project: bool, bars: Bars) -> Any:
    import asyncio

    from appliance.cli.lending import Lender, Line, ask
    from appliance.drives.export import PURPOSE, also, ignore
    from appliance.drives.fill import Fill
    from appliance.drives.preflight import Meter

    main = await Line.open(socket, "export_folder", what=what, to=str(goal.path))
    meter = Meter()
    told = -1

    async def tell() -> None:
        nonlocal told
        while True:
            doc = meter.document()
            bars.update(doc)
            if doc["percent"] != told:
                told = doc["percent"]
                await ask(socket, "export_moved", job=job, percent=told)
            await asyncio.sleep(LOOK)

    def progress(percent: int) -> None:
        meter.copied = min(meter.to_copy, fill.done)

    try:
        job = (await main.next())["event"]["job"]
        fill = Fill(goal.target, Lender(socket, wish, meter), progress, ignore)
        fill.planned = lambda plan: meter.plan(plan, wish.have)
        ids = [*(str(t.id) for t in wish.tracks), *(str(m.id) for m in wish.missing)]
        copying = asyncio.create_task(fill.run(ids, PURPOSE, wish.name, also(wish.name, project)))
        listening = asyncio.create_task(main.end())
        telling = asyncio.create_task(tell())
        try:
            await asyncio.wait({copying, listening}, return_when=asyncio.FIRST_COMPLETED)
            if not copying.done():  # cancelled from elsewhere, or the player has gone
                copying.cancel()
                await asyncio.wait({copying})
                await listening
                raise ChadboxError("the export was ended by the player")
            error = copying.exception()
            if error is not None:
                await _ended(socket, job, error=str(error)[:300])
                raise error
            result = copying.result()
            missing = [{"id": m.id, "title": m.title[:200], "reason": m.reason[:300]} for m in result.missing]
            await _ended(
                socket, job, copied=result.copied, kept=result.kept, bytes=result.bytes, missing=missing[:MOST_TOLD]
            )
            return result
        finally:
            tasks = {copying, listening, telling}
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            for task in tasks:
                task.cancelled() or task.exception()
    finally:
        main.close()


async def _ended(socket: str, job: int, **args: Any) -> None:
    import contextlib

    from appliance.cli.lending import ask

    with contextlib.suppress(ChadboxError):  # what is copied is copied, whatever becomes of the job
        await ask(socket, "export_ended", job=job, **args)


def _agreed(call: Call, plan: Doc, where: str, ask: bool) -> bool:
    """Tell what is going to happen, unless that is for a program; whether it may."""
    if call.json:
        return True
    kept = f", {count(plan.get('kept'))} there already" if number(plan.get("kept")) else ""
    say(f"{clean(plan.get('name'))}: {count(plan.get('tracks'), 'track')} to {where}{kept}")
    say(f"  to download  {count(plan.get('download'), 'track')}, {size(plan.get('download_bytes'))}")
    say(f"  to copy      {count(plan.get('copy'), 'track')}, {size(plan.get('bytes'))}")
    say(f"  room         {size(plan.get('free'))}")
    say(f"  time         about {clock(plan.get('seconds'))}")
    missing = _missing(plan)
    if missing:
        say(f"  {count(len(missing), 'track')} cannot be exported:")
        _reasons(missing)
    if _nothing(plan) or not ask:
        return True
    print("Go on? [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().casefold() in ("y", "yes"):
        return True
    complain("nothing was exported")
    return False


def _nothing(plan: Doc) -> bool:
    return not number(plan.get("copy")) and not number(plan.get("kept"))


def _report(call: Call, doc: Doc) -> int:
    missing = _missing(doc)
    copied, kept = int(number(doc.get("copied"))), int(number(doc.get("kept")))
    if call.json:
        told = [{key: item.get(key) for key in ("id", "title", "reason")} for item in missing]
        show_json({"copied": copied, "kept": kept, "bytes": int(number(doc.get("bytes"))), "missing": told})
    else:
        if copied or kept:
            _reasons(missing)
        tail = f"; {count(len(missing))} missing, see MISSING.txt" if missing else ""
        there = f", {count(kept)} there already" if kept else ""
        say(f"{count(copied, 'track')} copied, {size(doc.get('bytes'))}{there}{tail}")
    if missing and not copied and not kept:
        complain(f"nothing could be exported: {clean(missing[0].get('title'))}: {clean(missing[0].get('reason'))}")
        return 1
    return 0


def _missing(doc: Doc) -> list[Doc]:
    return [item for item in doc.get("missing") or [] if isinstance(item, dict)]


def _reasons(missing: list[Doc]) -> None:
    rows = [(i.get("title"), i.get("reason"), f"track:{i.get('id')}") for i in missing[:MOST_TOLD]]
    table(("Title", "Reason", "WHAT"), rows, "", "01")
    if missing[MOST_TOLD:]:
        say(f"and {count(len(missing) - MOST_TOLD)} more")


class Bars(Progress):
    """Two bars on one line: what is downloaded, and what is copied."""

    def __init__(self) -> None:
        super().__init__("export")

    def update(self, doc: Doc) -> None:
        """Draw a document with `download` and `copy` in percent."""
        if self._room is None:
            return
        self._room = columns(sys.stderr) or self._room
        wide = min(24, max(4, (self._room - 34) // 2))
        parts = []
        for key in ("download", "copy"):
            percent = number(doc.get(key))
            parts.append(f"{key} {bar(percent, wide)} {int(percent):3}%")
        line = "  ".join(parts) + self._left(number(doc.get("copy")))
        print("\r" + cut(line, self._room - 1) + "\x1b[K", end="", file=sys.stderr, flush=True)
        self._drawn = True
