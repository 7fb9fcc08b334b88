"""What `status --watch --json` tells, for tests that wait for something to happen."""

from __future__ import annotations

import json
import subprocess
import threading
import time
from collections.abc import Callable
from typing import Any

from appliance.demo.processes import die_with_parent

Status = dict[str, Any]


class Watch:
    """A running `status --watch --json` and every document that it has printed."""

    def __init__(self, command: list[str]) -> None:
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            preexec_fn=die_with_parent,
        )
        self._documents: list[Status] = []
        self._news = threading.Condition()
        self.alive = True
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            document = json.loads(line)
            with self._news:
                self._documents.append(document)
                self._news.notify_all()
        with self._news:
            self.alive = False
            self._news.notify_all()

    def documents(self) -> list[Status]:
        with self._news:
            return list(self._documents)

    def wait(self, condition: Callable[[Status], object], seconds: float) -> Status:
        """The first document for which `condition` holds, of the latest one and those to come.

        Raises TimeoutError, which tells the last one, after `seconds` or when the player goes away.
        """
        deadline = time.monotonic() + seconds
        with self._news:
            at = max(0, len(self._documents) - 1)  # the latest is the present
            while True:
                for document in self._documents[at:]:
                    if condition(document):
                        return document
                at = len(self._documents)
                left = deadline - time.monotonic()
                last = self._documents[-1] if self._documents else None
                if not self.alive:
                    raise TimeoutError(f"the player went away; last status: {last}")
                if left <= 0 or not self._news.wait(left):
                    raise TimeoutError(f"last status: {last}")

    def close(self) -> None:
        self._process.kill()
        self._process.wait(5)
        self._thread.join(5)
        if self._process.stdout:
            self._process.stdout.close()
