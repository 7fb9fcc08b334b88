"""Reading tags in a process of its own: it takes no time from requests, and a file that kills or hangs it is skipped.

Frames both ways are a 4-byte length and MessagePack. In: root and paths; out: one frame of Facts for each batch.
`python -m appliance.server.worker` is the process; `Reader` is the side of the server.
"""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import struct
import subprocess
import sys
import threading
from collections.abc import Sequence
from typing import IO

import msgspec

from appliance.server.models import Facts

log = logging.getLogger(__name__)
BATCH = 64  # files a frame
TIMEOUT = 120.0  # seconds for one frame; a batch on a slow disk takes a few
MEMORY = 1 << 30  # address space of the process: a tag that unpacks to more than this is not music
_LENGTH = struct.Struct("<I")


class Stopped(Exception):
    """The server is shutting down."""


class Reader:
    """Hands files to the process, a few batches ahead. For one thread; `close` may come from any."""

    def __init__(self, timeout: float = TIMEOUT) -> None:
        self.timeout = timeout
        self._process: subprocess.Popen[bytes] | None = None
        self._answers: queue.SimpleQueue[list[Facts] | None] = queue.SimpleQueue()
        self._closed = False
        self._guard = threading.Lock()

    def read(self, root: bytes, files: Sequence[bytes]) -> list[Facts]:
        """The facts of `files` (paths below `root`), in their order. Raises Stopped when closed meanwhile."""
        answer = self._ask(root, files)
        if answer is not None:
            return answer
        if len(files) == 1:
            return [
                Facts(files[0].rpartition(b"/")[2], error="reading it failed: it made the tag reader hang or crash")
            ]
        return [facts for file in files for facts in self.read(root, [file])]  # one of them is to blame

    def _ask(self, root: bytes, files: Sequence[bytes]) -> list[Facts] | None:
        process = self._start()
        try:
            assert process.stdin is not None  # noqa: S101  (it is a pipe: for the type checker)
            _send(process.stdin, msgspec.msgpack.encode((root, files)))
            answer = self._answers.get(timeout=self.timeout)
        except (OSError, ValueError, queue.Empty):
            answer = None
        if answer is None or len(answer) != len(files):
            self._end()
            if self._closed:
                raise Stopped
            return None
        return answer

    def _start(self) -> subprocess.Popen[bytes]:
        with self._guard:
            if self._closed:
                raise Stopped
            if self._process is None:
                self._answers = queue.SimpleQueue()
                environment = {"PYTHONPATH": os.pathsep.join(p or os.getcwd() for p in sys.path), "PATH": os.defpath}
                self._process = subprocess.Popen(
                    [sys.executable, "-m", "appliance.server.worker"],
                    stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, start_new_session=True,
                )  # fmt: skip
                threading.Thread(
                    target=_collect, args=(self._process, self._answers), name="tag-reader", daemon=True
                ).start()
            return self._process

    def _end(self) -> None:
        with self._guard:
            process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    with contextlib.suppress(OSError):
                        pipe.close()

    def rest(self) -> None:
        """Nothing more to read for now: give the process's memory back."""
        self._end()

    def close(self) -> None:
        self._closed = True
        with self._guard:
            process = self._process
        if process is not None:
            process.kill()


def _collect(process: subprocess.Popen[bytes], answers: queue.SimpleQueue[list[Facts] | None]) -> None:
    decoder = msgspec.msgpack.Decoder(list[Facts])
    with contextlib.suppress(OSError, ValueError, msgspec.MsgspecError):
        while process.stdout is not None and (frame := _receive(process.stdout)) is not None:
            answers.put(decoder.decode(frame))
    answers.put(None)


def _send(pipe: IO[bytes], data: bytes) -> None:
    pipe.write(_LENGTH.pack(len(data)) + data)
    pipe.flush()


def _receive(pipe: IO[bytes]) -> bytes | None:
    head = pipe.read(4)
    if len(head) < 4:
        return None
    (length,) = _LENGTH.unpack(head)
    data: bytes = pipe.read(length)
    return data if len(data) == length else None


def main() -> None:
    import resource

    from appliance.server import tags

    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    with contextlib.suppress(OSError):
        os.nice(10)
    decoder = msgspec.msgpack.Decoder(tuple[bytes, list[bytes]])
    source, sink = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a library prints must not get among the frames
    while (frame := _receive(source)) is not None:
        root, files = decoder.decode(frame)
        _send(sink, msgspec.msgpack.encode([tags.read(root, file) for file in files]))


if __name__ == "__main__":
    main()
