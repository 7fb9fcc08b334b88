"""The engine process: `python -m appliance.engine.child FD`, FD one end of a SEQPACKET socket pair.

Three kinds of thread: this one (libmpv's events, orders from the player process, the pulse), one that receives orders
and hands bytes to the readers without waiting for this one, and libmpv's own. It ends when the socket does, whatever
libmpv is doing, so it cannot outlive the player. A message is one packet: a JSON array that begins with its kind.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import threading
import time
from collections import deque
from typing import Any

# Seconds between signs of life and between looks at the position. Each wakes four threads in two processes, which is
# most of what playing costs; the player reckons what is between (deck.Play).
BEAT = 0.5
_DROPPABLE = {"pos", "read", "beat"}


class Link:
    """The socket as the child sees it. Sending never blocks: what does not fit waits, or is dropped if soon stale."""

    def __init__(self, descriptor: int) -> None:
        self.socket = socket.socket(fileno=descriptor)
        self._lock = threading.Lock()
        self._backlog: deque[bytes] = deque()

    def send(self, *message: Any) -> None:
        data = json.dumps(message).encode()
        with self._lock:
            self._flush()
            # A read that waits must be told of, or it waits for ever.
            keep = message[0] not in _DROPPABLE or (message[0] == "read" and message[3])
            if (self._backlog or not self._try(data)) and keep:
                self._backlog.append(data)

    def flush(self) -> None:
        with self._lock:
            self._flush()

    def receive(self) -> list[Any] | None:
        """The next message; None when the player process is gone."""
        try:
            data = self.socket.recv(1 << 20)
        except OSError:
            return None
        return json.loads(data) if data else None

    def _flush(self) -> None:
        while self._backlog and self._try(self._backlog[0]):
            self._backlog.popleft()

    def _try(self, data: bytes) -> bool:
        try:
            self.socket.send(data, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
        except BlockingIOError:
            return False
        except OSError:
            os._exit(0)
        return True


def _receive(link: Link, readers: Any, session: Any) -> None:
    """Thread: bytes go to the readers at once, everything else to the session in order."""
    while (message := link.receive()) is not None:
        kind, *args = message
        if kind == "bytes":
            readers.available(*args)
        elif kind == "stream":
            readers.add(*args)
        elif kind == "size":
            readers.size(*args)
        elif kind == "failed":
            readers.fail(*args)
        elif kind == "drop":
            readers.drop(*args)
        else:
            session.post(message)
            if kind == "quit":
                # A core that waits for a sound card does not come round to it: go without its consent.
                time.sleep(1.0)
                break
    os._exit(0)


def main() -> int:
    # Ctrl-C and the service manager's TERM reach the whole group; the player process decides when this one ends.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    link = Link(int(sys.argv[1]))
    try:
        from appliance.engine.readers import Readers
        from appliance.engine.session import Session
        from appliance.engine.shed import shed

        shed()  # before libmpv has threads
        first = link.receive()
        if first is None:
            return 0
        readers = Readers(lambda stream, offset, waiting: link.send("read", stream, offset, waiting))
        session = Session(first[1], link.send, readers)
    except Exception as error:
        link.send("fatal", f"{type(error).__name__}: {error}".splitlines()[0])
        return 1
    threading.Thread(target=_receive, args=(link, readers, session), daemon=True).start()
    link.send("ready", os.getpid())
    try:
        next_beat = 0.0
        while session.step(max(0.0, next_beat - time.monotonic())):
            now = time.monotonic()
            if now >= next_beat:
                next_beat = now + BEAT
                if session.tick(now):
                    link.send("beat")
                link.flush()
    except Exception as error:
        link.send("fatal", f"{type(error).__name__}: {error}".splitlines()[0])
        link.flush()
        os._exit(1)
    link.flush()
    os._exit(0)  # libmpv's own way out waits for threads; everything that matters is closed


if __name__ == "__main__":
    sys.exit(main())
