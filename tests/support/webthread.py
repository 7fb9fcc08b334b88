"""A small HTTP/1.1 server on a thread of its own: a function answers each request, everything is counted."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import Self


@dataclass(frozen=True)
class Ask:
    """A request: `path` with its query, headers in lower case, `at` monotonic seconds."""

    method: str
    path: str
    headers: dict[str, str]
    at: float


@dataclass
class Reply:
    """`wait` seconds go by before it, `rate` bytes a second pace its body, `cut` bytes of it are sent."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    wait: float = 0.0
    rate: float | None = None
    cut: int | None = None


class WebThread:
    """`with WebThread(answer) as web`: `web.url`; `answer` runs on the server's thread."""

    def __init__(self, answer: Callable[[Ask], Reply]) -> None:
        self.answer = answer
        self.asked: list[Ask] = []
        self.sent: dict[str, int] = {}  # body bytes by path without query
        self.most_at_once = 0
        self._now = 0
        self._news = threading.Condition()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._tasks: set[asyncio.Task[None]] = set()

    def __enter__(self) -> Self:
        self._thread.start()
        start = asyncio.start_server(self._serve, "127.0.0.1", 0)
        self._server = asyncio.run_coroutine_threadsafe(start, self._loop).result(5)
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self

    def __exit__(self, *_: object) -> None:
        async def end() -> None:
            self._server.close()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

        asyncio.run_coroutine_threadsafe(end(), self._loop).result(5)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def paths(self, prefix: str = "/") -> list[str]:
        """Paths with queries asked for so far that begin with `prefix`."""
        with self._news:
            return [a.path for a in self.asked if a.path.startswith(prefix)]

    def wait_asked(self, prefix: str, count: int = 1, seconds: float = 10.0) -> None:
        """Until `count` requests for paths that begin with `prefix` have come in."""
        deadline = time.monotonic() + seconds
        with self._news:
            while sum(a.path.startswith(prefix) for a in self.asked) < count:
                left = deadline - time.monotonic()
                assert left > 0, f"{count} requests for {prefix} were expected: {[a.path for a in self.asked][-20:]}"
                self._news.wait(left)

    def forget(self) -> None:
        with self._news:
            self.asked.clear()
            self.sent.clear()
            self.most_at_once = 0

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            while await self._exchange(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        method, path, _ = lines[0].split(" ")
        headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in lines[1:] if line)}
        await reader.readexactly(int(headers.get("content-length", 0)))
        ask = Ask(method, path, headers, time.monotonic())
        with self._news:
            self.asked.append(ask)
            self._now += 1
            self.most_at_once = max(self.most_at_once, self._now)
            self._news.notify_all()
        try:
            reply = self.answer(ask)
            await asyncio.sleep(reply.wait)
            fields = {"Date": formatdate(usegmt=True), "Content-Length": str(len(reply.body))} | reply.headers
            head = [f"HTTP/1.1 {reply.status} X", *(f"{k}: {v}" for k, v in fields.items()), "", ""]
            writer.write("\r\n".join(head).encode("latin-1"))
            body = reply.body if reply.cut is None else reply.body[: reply.cut]
            piece = 65536 if reply.rate is None else max(1, int(reply.rate * 0.02))
            for at in range(0, len(body) if method != "HEAD" else 0, piece):
                writer.write(body[at : at + piece])
                with self._news:
                    name = path.partition("?")[0]
                    self.sent[name] = self.sent.get(name, 0) + len(body[at : at + piece])
                await writer.drain()
                if reply.rate is not None:
                    await asyncio.sleep(0.02)
        finally:
            with self._news:
                self._now -= 1
        if reply.cut is not None:
            with contextlib.suppress(OSError):
                writer.transport.abort()
        return reply.cut is None
