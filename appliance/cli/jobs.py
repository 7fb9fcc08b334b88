"""`jobs`: durable background work, seen, cancelled and tried again."""

from __future__ import annotations

from appliance.cli.entry import Call
from appliance.cli.output import say, show_json, table
from appliance.cli.parse import whole
from appliance.cli.text import number
from appliance.errors import ChadboxError


def show(call: Call) -> int:
    jobs = call.client().call("jobs")
    if not isinstance(jobs, list):
        raise ChadboxError("the player's answer makes no sense; are it and this command of one version?")
    if call.json:
        show_json(jobs)
    elif not jobs:
        say("no jobs")
    else:
        keys = ("id", "kind", "state", "progress", "attempt", "error")
        rows = [[job.get(key) for key in keys] for job in jobs if isinstance(job, dict)]
        for row in rows:
            row[3] = f"{int(number(row[3]))}%"
        table(("ID", "Kind", "State", "Done", "Try", "Error"), rows, right="034", flexible="5")
    return 0


def cancel(call: Call) -> int:
    return _change(call, "job_cancel", "cancelled")


def retry(call: Call) -> int:
    return _change(call, "job_retry", "will be tried again")


def _change(call: Call, cmd: str, done: str) -> int:
    number_ = whole(call.line.words[0], "ID as `chadbox jobs` prints it", 0, 2**62)
    answer = call.client().call(cmd, {"id": number_})
    if call.json:
        show_json(answer)
    else:
        say(f"job {number_} {done}")
    return 0
