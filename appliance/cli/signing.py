"""`login` and `logout` of the box; `serve approve` and its kin for the owner of an embedded server."""

from __future__ import annotations

import sys

from appliance.cli.entry import Call, document
from appliance.cli.output import say, show_json, table
from appliance.cli.parse import whole
from appliance.cli.text import clean, number

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def login(call: Call) -> int:
    """Show the code and wait until it was approved; Ctrl-C ends the sign-in."""
    shown = sys.stderr if call.json else sys.stdout  # --json keeps standard output for its one document
    last: dict[str, Any] = {}

    def show(doc: dict[str, Any]) -> None:
        if doc != last:
            last.update(doc)
            code, minutes = clean(doc.get("code")), max(1, round(number(doc.get("expires_in")) / 60))
            print(f"To sign in this box, open  {clean(doc.get('url'))}", file=shown)
            print(f"and approve the code       {code}", file=shown)
            print(f"A chadbox server approves with: chadbox serve approve {code}", file=shown)
            print(f"Waiting, {minutes} min at most; Ctrl-C gives up", file=shown, flush=True)

    doc = document(call.client().call("login", None, show))
    if call.json:
        show_json(doc)
    else:
        say("signed in")
    return 0


def logout(call: Call) -> int:
    doc = call.ask("logout")
    if call.json:
        show_json(doc)
    else:
        say("signed out" if doc.get("signed_out") else "nobody was signed in")
    return 0


def approve(call: Call) -> int:
    return _decide(call, "approved")


def deny(call: Call) -> int:
    return _decide(call, "denied")


def devices(call: Call) -> int:
    """Who is signed in at this server."""
    found = _owner().devices(call.line.value("state"))
    if call.json:
        show_json(found)
    elif not found:
        say("no device is signed in")
    else:
        rows = [(d["id"], d["name"], d["signed_in"], d["renewed"]) for d in found]
        table(("ID", "Device", "Signed in", "Renewed"), rows, "0", "1")
    return 0


def revoke(call: Call) -> int:
    n = whole(call.line.words[0], "ID as `chadbox serve devices` prints it", 0, 2**62)
    _owner().revoke(n, call.line.value("state"))
    if call.json:
        show_json({"id": n, "revoked": True})
    else:
        say(f"device {n} is signed out")
    return 0


def _decide(call: Call, done: str) -> int:
    device = _owner().decide(call.line.text, call.line.value("state"), approve=done == "approved")
    if call.json:
        show_json({"state": done, **device})
    else:
        say(f"{done}: {device['name']} ({device['address']})")
    return 0


def _owner() -> Any:
    """Loaded by name: the server is an extra."""
    from importlib import import_module

    return import_module("appliance.server.owner")
