"""Waits until a drive is in one of some states, and prints its document. Runs in the box.

drive.py NAME SECONDS STATE...: "gone" is the state of a drive that is not there.
"""

import json
import sys
import threading

from appliance.control.client import Client

name, seconds, *states = sys.argv[1:]
last: dict = {}


def watch() -> None:
    for status in Client("/run/chadbox/control.sock", 60).watch(cmd="watch"):
        found = [drive for drive in status["drives"] if drive["name"] == name]
        drive = found[0] if found else {"state": "gone"}
        last.update(drive)
        if drive["state"] in states:
            print(json.dumps(drive), flush=True)
            return


thread = threading.Thread(target=watch, daemon=True)
thread.start()
thread.join(float(seconds))
if thread.is_alive():
    sys.exit(f"{name} does not become {' or '.join(states)}; it is {json.dumps(last)}")
