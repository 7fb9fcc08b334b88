"""A thread for one drive, which may hang in the kernel without anything else hanging with it (R2, C7)."""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

from appliance.drives.errors import DriveError, Pulled

T = TypeVar("T")
STALL = 60.0  # seconds without a sign of life after which a drive counts as dead
SETTLE = 1.0  # seconds that a cancelled piece of work gets to clean up


class Stopped(Exception):
    """Raised by `tick` inside work that nobody wants any more."""


class DriveThread:
    """Runs blocking functions one after the other. A daemon: the player ends even while the drive hangs.

    Long work calls `tick` now and then: it shows that the drive still moves, and ends the work when it is cancelled.
    """

    def __init__(self, name: str, stall: float = STALL) -> None:
        self._name, self._stall = name, stall
        self._work: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._beat = 0.0
        self._stop = threading.Event()
        self._lost: asyncio.Future[None] | None = None
        self.dead = False
        self.pulled = False

    def tick(self) -> None:
        self._beat = time.monotonic()
        if self._stop.is_set():
            raise Stopped

    async def run(self, fn: Callable[..., T], *args: Any) -> T:
        """The result of `fn(*args)`. Raises what it raises, and DriveError when the drive does not move any more.

        When the caller is cancelled the work is asked to stop and gets a moment to clean up.
        """
        self._check()
        loop = asyncio.get_running_loop()
        if self._lost is None:
            self._lost = loop.create_future()
        future: asyncio.Future[T] = loop.create_future()
        future.add_done_callback(lambda f: f.cancelled() or f.exception())  # it may end when nobody waits any more

        def settle(result: T | None, error: BaseException | None) -> None:
            if future.done():
                return
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(result)  # type: ignore[arg-type]

        def work() -> None:
            result, failure = None, None
            self._beat = time.monotonic()
            try:
                if not future.cancelled():
                    result = fn(*args)
            except BaseException as error:
                failure = error
            with contextlib.suppress(RuntimeError):  # the player has ended meanwhile
                loop.call_soon_threadsafe(settle, result, failure)

        self._beat = time.monotonic()
        self._start().put(work)
        try:
            while True:
                left = self._beat + self._stall - time.monotonic()
                if left <= 0:
                    self.dead = True
                    self._check()
                either: list[asyncio.Future[Any]] = [future, self._lost]
                await asyncio.wait(either, timeout=left, return_when=asyncio.FIRST_COMPLETED)
                if future.done():
                    return future.result()
                self._check()
        except asyncio.CancelledError:
            self._stop.set()
            try:
                await asyncio.wait([future], timeout=SETTLE)
            finally:
                if future.done():
                    self._stop.clear()
                    future.cancelled() or future.exception()
                else:
                    self.dead = True
            raise

    def lose(self, *closing: Callable[[], None]) -> None:
        """The drive is gone: whoever waits for it hears of it now, whatever the thread hangs in.

        `closing` lets go of it, after what runs: a drive that is held open can never be unmounted.
        """
        self.pulled = True
        self._stop.set()
        for work in closing:
            self._start().put(work)
        if self._lost is not None and not self._lost.done():
            self._lost.set_result(None)
        self.close()

    def close(self) -> None:
        """No more work; does not wait."""
        self._stop.set()
        self._work.put(None)

    def _check(self) -> None:
        if self.pulled:
            raise Pulled(f"{self._name} was pulled out; plug it in again and it goes on")
        if self.dead:
            raise DriveError(f"{self._name} does not answer any more; pull it out and plug it in again")

    def _start(self) -> queue.SimpleQueue[Callable[[], None] | None]:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name=f"drive {self._name}"[:15], daemon=True)
            self._thread.start()
        return self._work

    def _run(self) -> None:
        while (work := self._work.get()) is not None:
            work()
            del work  # and what it holds, while this waits
