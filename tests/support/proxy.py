"""A TCP proxy that understands enough HTTP/1.1 to delay, count and break what goes between player and server.

Delay is that of a line, not of a slow peer: bytes arrive `delay` seconds later than they left, at full bandwidth, and a
new connection costs a round trip more, as a TCP handshake does. Bytes are counted when they are handed to the client's
socket: of an answer that the client breaks off, what was under way counts.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, Literal, Self
from urllib.parse import urlsplit

_CHUNK = 64 * 1024
_IN_FLIGHT = 64  # chunks on the line in one direction; more waits at the sender, as with a full TCP window


@dataclass
class Exchange:
    """One request: `range` is its Range header, `body` the bytes of the answer's body sent to the client so far."""

    method: str
    path: str
    range: str | None = None
    status: int | None = None
    body: int = 0
    authorized: bool = False


@dataclass
class _Cut:
    prefix: str
    after: int
    times: int
    reset: bool


@dataclass
class _State:
    exchanges: list[Exchange] = field(default_factory=list)
    bodies: Counter[str] = field(default_factory=Counter)
    cuts: list[_Cut] = field(default_factory=list)
    connections: int = 0


class Proxy:
    """`with Proxy(server_url, delay=0.1) as proxy:` and clients use `proxy.url`; 0.1 s each way is 200 ms a round trip.

    It runs in a thread of its own; every method may be called from any thread.
    """

    def __init__(
        self, target: str, *, delay: float = 0.0, handshake: bool = True, bandwidth: float | None = None
    ) -> None:
        parts = urlsplit(target)
        self._host, self._port = parts.hostname or "127.0.0.1", parts.port or 80
        self.delay = delay  # seconds each way; may be changed while it runs
        self.bandwidth = bandwidth  # bytes a second to the clients, a connection; None: unlimited; may be changed
        # asked with the place, "body" or "answer", and the bytes of the request's body so far: whether to reset there
        self.saboteur: Callable[[Exchange, str, int], bool] = lambda exchange, place, sent: False
        self._handshake = handshake
        self._state = _State()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[Any]] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def exchanges(self) -> list[Exchange]:
        """Every request so far, in order."""
        return list(self._state.exchanges)

    @property
    def connections(self) -> int:
        """How many the clients have opened so far."""
        return self._state.connections

    def body_bytes(self, prefix: str = "/") -> int:
        """Bytes of answers' bodies for paths that begin with `prefix`, without transfer coding, HEAD not counted."""
        return sum(size for path, size in self._state.bodies.copy().items() if path.startswith(prefix))

    def per_path(self) -> dict[str, int]:
        """`body_bytes` for each path (percent-encoded, without query)."""
        return dict(self._state.bodies)

    def forget(self) -> None:
        """Start counting anew."""
        self._call(self._forget())

    def cut_after(self, prefix: str, body_bytes: int, *, times: int = 1, reset: bool = True) -> None:
        """End the client's connection once an answer for a path with `prefix` has had `body_bytes`, `times` times.

        By RST, or with `reset=False` by an orderly close, which makes the body too short.
        """
        self._state.cuts.append(_Cut(prefix, body_bytes, times, reset))

    def cut(self) -> int:
        """Reset all connections now; how many there were."""
        return int(self._call(self._cut()))

    def refuse(self) -> None:
        """Reset all connections and take no new ones: the server is away."""
        self._call(self._close_server())
        self.cut()

    def accept(self) -> None:
        """Take connections again, at the same port."""
        self._call(self._open())

    def start(self) -> Self:
        self._thread.start()
        self._call(self._open())
        return self

    def close(self) -> None:
        self.refuse()
        self._call(self._drain())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    def _call(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def _forget(self) -> None:
        self._state.exchanges.clear()
        self._state.bodies.clear()
        self._state.connections = 0

    async def _open(self) -> None:
        if self._server is None:
            self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, limit=1 << 20)
            self.port = self._server.sockets[0].getsockname()[1]

    async def _close_server(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None

    async def _cut(self) -> int:
        writers = list(self._writers)
        for writer in writers:
            _reset(writer)
        return len(writers)

    async def _drain(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._writers.add(writer)
        self._state.connections += 1
        writers = [writer]
        try:
            if self._handshake:
                await asyncio.sleep(2 * self.delay)
            source, upstream = await asyncio.open_connection(self._host, self._port, limit=1 << 20)
            writers.append(upstream)
            waiting: asyncio.Queue[Exchange] = asyncio.Queue()
            there, back = _Line(self, upstream), _Line(self, writer)
            # whichever of the four ends first ends the connection
            work = [
                self._requests(reader, there, waiting),
                self._answers(source, back, waiting),
                there.run(),
                back.run(),
            ]
            tasks = [asyncio.ensure_future(one) for one in work]
            try:
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for one in tasks:
                    one.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            self._writers.discard(writer)
            for one_writer in writers:
                _reset(one_writer)

    async def _requests(self, reader: asyncio.StreamReader, line: _Line, waiting: asyncio.Queue[Exchange]) -> None:
        while head := await _head(reader):
            method, target, *_ = head.split(b"\r\n", 1)[0].decode("latin-1").split(" ")
            headers = _headers(head)
            path = urlsplit(target).path
            exchange = Exchange(method, path, headers.get("range"), authorized="authorization" in headers)
            self._state.exchanges.append(exchange)
            waiting.put_nowait(exchange)
            await line.send(head)
            sent = 0
            async for data, _ in _body(reader, headers, until_close=False):
                sent += len(data)
                if self.saboteur(exchange, "body", sent):
                    raise ConnectionResetError("cut inside a request")
                await line.send(data)
        await asyncio.sleep(self.delay)  # the client is gone, which the server learns later

    async def _answers(self, source: asyncio.StreamReader, line: _Line, waiting: asyncio.Queue[Exchange]) -> None:
        while head := await _head(source):
            exchange, headers = await waiting.get(), _headers(head)
            exchange.status = int(head.split(b" ", 2)[1])
            if self.saboteur(exchange, "answer", 0):
                raise ConnectionResetError("cut before the answer")
            await line.send(head)
            if exchange.method != "HEAD" and exchange.status not in (204, 304):
                async for data, is_body in _body(source, headers, until_close=True):
                    await line.send(data, exchange if is_body else None)
        await line.end()

    def count(self, exchange: Exchange, size: int) -> tuple[int, Literal["", "reset", "end"]]:
        """Note that up to `size` more bytes go to the client: how many may, and what then befalls the connection."""
        for cut in self._state.cuts:
            if cut.times > 0 and exchange.path.startswith(cut.prefix) and exchange.body + size >= cut.after:
                cut.times -= 1
                size = max(0, cut.after - exchange.body)
                self._add(exchange, size)
                return size, "reset" if cut.reset else "end"
        self._add(exchange, size)
        return size, ""

    def _add(self, exchange: Exchange, size: int) -> None:
        exchange.body += size
        self._state.bodies[exchange.path] += size


class _Line:
    """One direction: what is sent is written `delay` later."""

    def __init__(self, proxy: Proxy, writer: asyncio.StreamWriter) -> None:
        self._proxy, self._writer = proxy, writer
        self._under_way: asyncio.Queue[tuple[float, bytes, Exchange | None]] = asyncio.Queue(_IN_FLIGHT)
        self._ended = asyncio.Event()

    async def send(self, data: bytes, exchange: Exchange | None = None) -> None:
        """Send `data`; it is part of a body to be counted when `exchange` is given."""
        await self._under_way.put((asyncio.get_running_loop().time() + self._proxy.delay, data, exchange))

    async def end(self) -> None:
        """Close once everything is delivered."""
        await self.send(b"")
        await self._ended.wait()

    async def run(self) -> None:
        clock = asyncio.get_running_loop().time
        while True:
            due, data, exchange = await self._under_way.get()
            if due > clock():
                await asyncio.sleep(due - clock())
            then: str = "" if data else "end"
            if exchange is not None:
                size, then = self._proxy.count(exchange, len(data))
                data = data[:size]
            self._writer.write(data)
            await self._writer.drain()
            if exchange is not None and self._proxy.bandwidth:
                await asyncio.sleep(len(data) / self._proxy.bandwidth)
            if then == "end":
                self._writer.close()
                await self._writer.wait_closed()
                self._ended.set()
            if then:
                return


async def _head(reader: asyncio.StreamReader) -> bytes:
    """The next message up to its empty line; b"" when the peer has closed."""
    try:
        return await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError as error:
        if error.partial:
            raise ConnectionResetError("closed inside a header") from None
        return b""


def _headers(head: bytes) -> dict[str, str]:
    lines = head.decode("latin-1").split("\r\n")[1:]
    return {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines) if name}


async def _body(
    reader: asyncio.StreamReader, headers: dict[str, str], *, until_close: bool
) -> AsyncIterator[tuple[bytes, bool]]:
    """The body that follows, in pieces as they come, each with whether it is content (or the framing of chunks)."""
    if "chunked" in headers.get("transfer-encoding", "").lower():
        while True:
            line = await reader.readuntil(b"\r\n")
            yield line, False
            size = int(line.split(b";")[0], 16)
            async for piece in _exactly(reader, size):
                yield piece, True
            yield await reader.readuntil(b"\r\n"), False
            if not size:
                return
    elif "content-length" in headers:
        async for piece in _exactly(reader, int(headers["content-length"])):
            yield piece, True
    elif until_close:
        while piece := await reader.read(_CHUNK):
            yield piece, True


async def _exactly(reader: asyncio.StreamReader, size: int) -> AsyncIterator[bytes]:
    while size:
        piece = await reader.read(min(size, _CHUNK))
        if not piece:
            raise ConnectionResetError("closed inside a body")
        size -= len(piece)
        yield piece


def _reset(writer: asyncio.StreamWriter) -> None:
    """Drop a connection the way a broken line does: at once, with RST."""
    raw = writer.get_extra_info("socket")
    with contextlib.suppress(OSError, AttributeError):
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
