"""One client of the control socket: reads requests, runs their handlers, writes what they say."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import select
from collections import deque
from collections.abc import Mapping
from typing import Any

from appliance.control.protocol import (
    ALIVE_SECONDS,
    MAX_REQUEST,
    BadRequest,
    Handler,
    Request,
    encode,
    encode_error,
    parse,
)
from appliance.errors import ChadboxError

log = logging.getLogger(__name__)

BACKLOG = 64  # lines kept for a client that reads slower than its command speaks
IDLE_SECONDS = 300.0  # a connection without a request does not hold its place for ever
SEND_SECONDS = 30.0  # for a client to take its answer
DISCARD_SECONDS = 2.0
GRACE_SECONDS = 1.0  # for a cancelled handler to end


class Stopping(ChadboxError):
    code = "stopping"


class Internal(ChadboxError):
    code = "internal"


class Connection:
    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, handlers: Mapping[str, Handler]
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._handlers = handlers
        self._lines: deque[tuple[str, bytes]] = deque(maxlen=BACKLOG)
        self._wake = asyncio.Event()
        # drain() then waits until the kernel has every byte, so that closing loses none and leaks no transport
        writer.transport.set_write_buffer_limits(high=0)

    async def run(self) -> None:
        """Serve requests until the client goes. Raises ConnectionError or TimeoutError when it goes badly."""
        ahead: asyncio.Task[bytes] | None = None
        try:
            while True:
                ahead = ahead or asyncio.create_task(self._reader.readline())
                async with asyncio.timeout(IDLE_SECONDS):
                    try:
                        line = await ahead
                    except ValueError:
                        return await self._refuse_long_line()
                ahead = None
                if not line:
                    return
                if line.strip():
                    # the next line is read while the handler runs: that is how a client is seen to go
                    ahead = asyncio.create_task(self._reader.readline())
                    if not await self._answer(line, ahead):
                        return
        finally:
            if ahead is not None:
                ahead.cancel()
                with contextlib.suppress(asyncio.CancelledError, Exception):
                    await ahead

    async def _answer(self, line: bytes, ahead: asyncio.Task[bytes]) -> bool:
        """Run one request and send its answer; False when the client has gone."""
        try:
            cmd, args = parse(line)
            handler = self._handlers.get(cmd)
            if handler is None:
                raise BadRequest(f'the player has no command "{cmd[:40]}"; is chadbox here of another version?')
        except ChadboxError as error:
            await self._send(encode_error(error))
            return True
        self._lines.clear()
        work = asyncio.create_task(_run(handler, Request(cmd, args, self._post)))
        pump = asyncio.create_task(self._pump())
        try:
            await self._attend(work, pump, ahead)
        finally:
            if not work.done():
                work.cancel()
            pump.cancel()
            await asyncio.wait({work, pump}, timeout=GRACE_SECONDS)
            if not work.done():
                log.warning("the handler of %s does not stop", cmd)
        if not pump.cancelled() and pump.exception() is not None:
            _retrieve(work)
            return False
        if self._gone(ahead):
            _retrieve(work)
            return False
        answer = _result(cmd, work)
        rest = b"".join(line for _, line in self._lines)
        self._lines.clear()
        await self._send(rest + answer)
        return True

    async def _attend(self, work: asyncio.Future[Any], pump: asyncio.Task[None], ahead: asyncio.Task[bytes]) -> None:
        """Wait for the handler, the client's departure or a failure to write, whichever is first."""
        while True:
            watched: set[asyncio.Future[Any]] = {work, pump}
            if not ahead.done():
                watched.add(ahead)
            done, _ = await asyncio.wait(watched, timeout=ALIVE_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            if work in done or pump in done or self._gone(ahead):
                return
            if not done and not self._lines and not self._writer.transport.get_write_buffer_size():
                self._writer.write(encode("alive", True))

    def _gone(self, ahead: asyncio.Task[bytes]) -> bool:
        """Whether the client is away altogether; having closed only its writing half, it still wants the answer."""
        if self._writer.transport.is_closing():
            return True
        if not ahead.done() or ahead.cancelled():
            return False
        error = ahead.exception()
        if error is None and ahead.result():
            return False
        if isinstance(error, ConnectionError):
            return True
        handle = self._writer.get_extra_info("socket").fileno()
        if handle < 0:
            return True
        poll = select.poll()
        poll.register(handle, 0)
        return any(flags & (select.POLLHUP | select.POLLERR) for _, flags in poll.poll(0))

    def _post(self, kind: str, doc: Any) -> None:
        line = encode(kind, doc)
        if kind == "progress" and self._lines and self._lines[-1][0] == kind:
            self._lines.pop()
        self._lines.append((kind, line))
        self._wake.set()

    async def _pump(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._lines:
                self._writer.write(self._lines.popleft()[1])
                await self._writer.drain()

    async def _send(self, data: bytes) -> None:
        async with asyncio.timeout(SEND_SECONDS):
            self._writer.write(data)
            await self._writer.drain()

    async def _refuse_long_line(self) -> None:
        await self._send(encode_error(BadRequest(f"the request is longer than {MAX_REQUEST} bytes")))
        # what is unread when a Unix socket closes turns into a reset: let the client finish, so that it sees the answer
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(DISCARD_SECONDS):
                while await self._reader.read(MAX_REQUEST):
                    pass


async def _run(handler: Handler, request: Request) -> Any:
    return await handler(request)  # in a coroutine of its own, so that what raises before the first await is seen too


def _result(cmd: str, work: asyncio.Future[Any]) -> bytes:
    """The answer line of a handler that has ended, whichever way."""
    try:
        return encode("ok", work.result())
    except ChadboxError as error:
        return encode_error(error)
    except asyncio.CancelledError:  # what it waited for was taken down before it
        return encode_error(Stopping(f"{cmd} was ended: the player is stopping"))
    except Exception as error:
        log.exception("the handler of %s failed", cmd)
        # the text of the exception stays in the log: it may hold anything
        kind = type(error).__name__
        return encode_error(Internal(f"{cmd} failed inside the player ({kind}); see its log: journalctl -u chadbox"))


def _retrieve(work: asyncio.Future[Any]) -> None:
    """Take note of the end of a handler whose client has gone."""
    if work.done() and not work.cancelled() and (error := work.exception()) is not None:
        log.info("a handler ended after its client went: %s", type(error).__name__)
