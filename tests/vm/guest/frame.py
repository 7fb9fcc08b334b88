"""Prints the panel's newest frame as JSON once it has stayed the same for a second. Runs in the box."""

import json
import threading
from queue import Empty, SimpleQueue

from appliance.control.client import Client

frames: SimpleQueue = SimpleQueue()


def watch() -> None:
    for frame in Client("/run/chadbox/control.sock", 30).watch(cmd="panel"):
        frames.put(frame)


threading.Thread(target=watch, daemon=True).start()
frame = frames.get(timeout=30)
while True:
    try:
        frame = frames.get(timeout=1)
    except Empty:
        break
print(json.dumps(frame))
