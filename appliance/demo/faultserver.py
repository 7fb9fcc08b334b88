"""An HTTP/1.1 server whose every answer can be bent: too short, too long, late, broken off, or a lie.

It says what it would say honestly, and a hook makes of that what goes over the line. It counts the bytes of bodies and
remembers every request, so that a test can tell what a client did.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import ssl
import struct
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Self

_CHUNK = 65536
MODIFIED = "Thu, 01 Jan 2026 00:00:00 GMT"


@dataclass
class Seen:
    """A request as it arrived."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes = b""

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]

    @property
    def range(self) -> tuple[int, int] | None:
        """First and last byte asked for."""
        match = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("range", ""))
        return (int(match[1]), int(match[2] or 1 << 62)) if match else None


@dataclass
class Answer:
    """What goes back, and how."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    cut: int | None = None  # close the connection after so many bytes of the body
    reset: bool = False  # close it with RST, as a broken line does
    raw: bytes | None = None  # instead of everything else
    chunked: bool = False
    silent: bool = False  # not a byte more once `cut`, or everything when that is None, has been reached: no close
    head: bool = True  # False: the fault strikes before the first byte of the headers
    trickle: float = 0.0  # seconds between two bytes, from `cut` on (from the headers on when that is None)
    whole: bytes | None = None  # the file that `body` is a part of


Hook = Callable[[Seen, Answer], Awaitable[Answer | None]]


class FaultServer:
    """Serves `files` (path -> bytes) with ETag and Range; `hook` sees each request and the honest answer to it."""

    def __init__(self, files: dict[str, bytes] | None = None, *, delay: float = 0.0, token: str | None = None) -> None:
        self.files = files if files is not None else {}
        self.etags = {path: f'"{len(data)}-{n}"' for n, (path, data) in enumerate(self.files.items())}
        self.delay = delay  # seconds before each answer
        self.bandwidth: float | None = None  # bytes a second, a connection
        self.token = token
        self.hook: Hook | None = None
        self.seen: list[Seen] = []
        self.sent: Counter[str] = Counter()  # bytes of bodies, by path
        self.connections = 0
        self.tls: ssl.SSLContext | None = None
        self.port = 0
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        await self.listen()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.away()

    async def listen(self) -> None:
        """Take connections (again, at the same port)."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, ssl=self.tls, limit=1 << 20)
        self.port = self._server.sockets[0].getsockname()[1]

    async def away(self) -> None:
        """Drop every connection and refuse new ones."""
        if self._server:
            self._server.close()
            self._server = None
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def url(self) -> str:
        return f"http{'s' if self.tls else ''}://127.0.0.1:{self.port}"

    async def answer(self, seen: Seen) -> Answer:
        """The honest answer; a subclass may get it from elsewhere."""
        return self.honest(seen)

    def honest(self, seen: Seen) -> Answer:
        """What a correct server says."""
        if self.token and seen.headers.get("authorization") != f"Bearer {self.token}":
            return Answer(401, b"{}", {"WWW-Authenticate": "Bearer", "Content-Type": "application/json"})
        data = self.files.get(seen.path)
        if data is None:
            return Answer(404, b'{"error": {"code": "not_found", "message": "no"}}')
        return part(data, self.etags.get(seen.path, f'"{len(data)}"'), seen)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None:
            return
        self._tasks.add(task)
        self.connections += 1
        try:
            while await self._exchange(reader, writer):
                pass
        except (OSError, ValueError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        method, target, _ = head[0].split(" ")
        headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in head[1:] if line)}
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        seen = Seen(method, target, headers, body)
        self.seen.append(seen)
        answer = await self.answer(seen)
        if self.hook:
            answer = await self.hook(seen, answer) or answer
        await asyncio.sleep(self.delay)
        ends = await self._send(seen, answer, reader, writer)
        if ends and answer.reset:
            raw = writer.get_extra_info("socket")
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()
        return not ends

    async def _send(
        self, seen: Seen, answer: Answer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        """Whether the connection is at its end."""
        ends = answer.cut is not None or answer.raw is not None or not answer.head
        if not answer.head:
            if answer.silent:
                await reader.read()  # until the client has enough of it
            return True
        if answer.raw is not None:
            writer.write(answer.raw)
            await writer.drain()
            return True
        length = {"Transfer-Encoding": "chunked"} if answer.chunked else {"Content-Length": str(len(answer.body))}
        fields = {"Date": _now()} | length | answer.headers
        lines = [f"HTTP/1.1 {answer.status} X", *(f"{k}: {v}" for k, v in fields.items() if v), "", ""]
        start = "\r\n".join(lines).encode("latin-1")
        if answer.trickle and answer.cut is None:
            await _trickle(start, answer.trickle, reader, writer)
        writer.write(start)
        body = b"" if seen.method == "HEAD" else answer.body
        for at in range(0, len(body[: answer.cut]), _CHUNK):
            piece = body[: answer.cut][at : at + _CHUNK]
            writer.write(b"%x\r\n%b\r\n" % (len(piece), piece) if answer.chunked else piece)
            self.sent[seen.path] += len(piece)
            await writer.drain()
            if self.bandwidth:
                await asyncio.sleep(len(piece) / self.bandwidth)
        if answer.trickle and answer.cut is not None:
            await _trickle(body[answer.cut :], answer.trickle, reader, writer)
        elif answer.silent:
            await reader.read()
        elif answer.chunked and not ends:
            writer.write(b"0\r\n\r\n")
        await writer.drain()
        return ends or answer.silent


def part(data: bytes, etag: str, seen: Seen, kind: str = "audio/flac") -> Answer:
    """The answer of a correct server that has `data`."""
    headers = {"ETag": etag, "Content-Type": kind, "Accept-Ranges": "bytes", "Last-Modified": MODIFIED}
    wanted = seen.range
    if wanted is None or seen.headers.get("if-range", etag) != etag:
        return Answer(200, data, headers, whole=data)
    first, last = wanted[0], min(wanted[1], len(data) - 1)
    if first >= len(data):
        return Answer(416, b"", {"Content-Range": f"bytes */{len(data)}"}, whole=data)
    where = {"Content-Range": f"bytes {first}-{last}/{len(data)}"}
    return Answer(206, data[first : last + 1], headers | where, whole=data)


async def _trickle(data: bytes, pause: float, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """`data`, a byte at a time, until the client leaves."""
    left = asyncio.ensure_future(reader.read())
    try:
        for byte in data:
            writer.write(bytes((byte,)))
            done, _ = await asyncio.wait({left}, timeout=pause)
            if done:
                raise ConnectionResetError("the client left")
    finally:
        left.cancel()
        with contextlib.suppress(asyncio.CancelledError, OSError):
            await left


def _now() -> str:
    from email.utils import formatdate

    return formatdate(usegmt=True)
