"""`GET, HEAD /music/...`: bytes of a file, whole or one range, as RFC 9110 has it (sections 8.8, 13 and 14)."""

from __future__ import annotations

import asyncio
import os
import re
import time
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from email.utils import formatdate, parsedate_to_datetime
from typing import Any

from appliance.server import paths
from appliance.server.errors import ApiError, not_found

Message = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]
Receive = Callable[[], Awaitable[Message]]

CHUNK = 256 * 1024
READERS = 8
_RANGE = re.compile(r"bytes=[ \t]*(\d*)-(\d*)[ \t]*\Z", re.IGNORECASE)


class FileServer:
    """Streams files; reads happen on threads, one chunk ahead of what is being sent.

    `stopping` ends every stream at its next chunk. `active` is the number of streams under way.
    """

    def __init__(self, roots: Mapping[int, bytes]) -> None:
        self.roots = roots
        self.active = 0
        self.stopping = False
        self._pool = ThreadPoolExecutor(READERS, "files")

    def close(self) -> None:
        self.stopping = True
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def serve(self, scope: Mapping[str, Any], receive: Receive, send: Send, raw_path: bytes) -> None:
        """Answer a request for the file at the URL path `raw_path`. Raises ApiError for what is not 2xx or 304."""
        method = scope["method"]
        if method not in ("GET", "HEAD"):
            raise ApiError(405, "method_not_allowed", "a file can only be read", {"allow": "GET, HEAD"})
        named = paths.from_url(raw_path)
        root = self.roots.get(named[0]) if named else None
        kind = paths.mime(named[1]) if named else None
        if named is None or root is None or kind is None:
            raise not_found("this path")
        loop = asyncio.get_running_loop()
        try:
            descriptor, status = await loop.run_in_executor(self._pool, paths.open_file, root, named[1])
        except PermissionError:
            raise ApiError(403, "forbidden", "the server may not read this file; check its owner and mode") from None
        except (OSError, ValueError):
            raise not_found("this file") from None
        try:
            await self._answer(scope, receive, send, descriptor, status, kind)
        finally:
            os.close(descriptor)

    async def _answer(
        self, scope: Mapping[str, Any], receive: Receive, send: Send, descriptor: int, status: os.stat_result, kind: str
    ) -> None:
        request, head = _headers(scope), scope["method"] == "HEAD"
        size, tag = status.st_size, paths.etag(status.st_size, status.st_mtime_ns)
        modified = formatdate(int(status.st_mtime), usegmt=True)
        base = {"etag": tag, "last-modified": modified, "accept-ranges": "bytes"}
        code = _precondition(request, tag, int(status.st_mtime))
        if code == 412:
            raise ApiError(412, "precondition_failed", "the file is another version by now", base)
        if code == 304:
            await _start(send, 304, base)
            await send({"type": "http.response.body", "body": b""})
            return
        first, stop = 0, size
        wanted = None
        if not head and "range" in request and _may_range(request.get("if-range"), tag, status.st_mtime, modified):
            wanted = parse_range(request["range"], size)
        headers = base | {"content-type": kind, "x-content-type-options": "nosniff"}
        if wanted is not None:
            first, stop = wanted
            if first >= stop:
                raise ApiError(
                    416,
                    "range_not_satisfiable",
                    f"the file has {size} bytes",
                    base | {"content-range": f"bytes */{size}"},
                )
            headers["content-range"] = f"bytes {first}-{stop - 1}/{size}"
        headers["content-length"] = str(stop - first)
        await _start(send, 200 if wanted is None else 206, headers)
        if head or first == stop:
            await send({"type": "http.response.body", "body": b""})
            return
        self.active += 1
        listener = asyncio.ensure_future(_disconnected(receive))
        try:
            await self._stream(send, listener, descriptor, status, first, stop)
        finally:
            self.active -= 1
            listener.cancel()

    async def _stream(
        self, send: Send, listener: asyncio.Future[None], descriptor: int, status: os.stat_result, first: int, stop: int
    ) -> None:
        """Send [first, stop). Stops short, which closes the connection, when the file changes under way: nobody may
        take bytes of two versions for one."""
        loop = asyncio.get_running_loop()
        version = (status.st_size, status.st_mtime_ns)

        def read(offset: int) -> bytes:
            data = os.pread(descriptor, min(CHUNK, stop - offset), offset)
            now = os.fstat(descriptor)
            return data if (now.st_size, now.st_mtime_ns) == version else b""

        ahead = loop.run_in_executor(self._pool, read, first)
        try:
            while True:
                data = await ahead
                first += len(data)
                if not data or self.stopping or listener.done():
                    return
                if first < stop:
                    ahead = loop.run_in_executor(self._pool, read, first)
                await send({"type": "http.response.body", "body": data, "more_body": first < stop})
                if first >= stop:
                    return
        finally:
            if not ahead.done():  # the descriptor is closed next: not while a thread reads from it
                await asyncio.shield(asyncio.wait([ahead]))


def parse_range(value: str, size: int) -> tuple[int, int] | None:
    """[first, stop) of a single range; first >= stop means that it cannot be satisfied; None means to ignore it, which
    is right for several ranges, other units and nonsense."""
    match = _RANGE.match(value.strip())
    if match is None or not (match[1] or match[2]) or len(value) > 80:
        return None
    if not match[1]:
        length = int(match[2])
        return (max(0, size - length), size) if length and size else (size, size)
    first = int(match[1])
    last = int(match[2]) if match[2] else size - 1
    if match[2] and last < first:
        return None
    return (first, min(last + 1, size)) if first < size else (size, size)


def _headers(scope: Mapping[str, Any]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in scope["headers"]:
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        found[key] = f"{found[key]}, {text}" if key in found else text
    return found


def _precondition(request: Mapping[str, str], tag: str, mtime: int) -> int | None:
    """412, 304 or None, in the order of RFC 9110, 13.2.2."""
    if "if-match" in request:
        if request["if-match"].strip() != "*" and tag not in _tags(request["if-match"]):
            return 412
    elif (since := _date(request.get("if-unmodified-since"))) is not None and mtime > since:
        return 412
    if "if-none-match" in request:
        value = request["if-none-match"]
        if value.strip() == "*" or tag in (t.removeprefix("W/") for t in _tags(value)):
            return 304
    elif (since := _date(request.get("if-modified-since"))) is not None and mtime <= since:
        return 304
    return None


def _may_range(if_range: str | None, tag: str, mtime: float, modified: str) -> bool:
    """Strong comparison: never a weak tag; a date only when it is exact and old enough to name one version."""
    if if_range is None:
        return True
    value = if_range.strip()
    return value == tag or (value == modified and time.time() - mtime > 60)


def _tags(value: str) -> list[str]:
    return re.findall(r'(?:W/)?"[^"]*"', value)


def _date(value: str | None) -> float | None:
    try:
        return parsedate_to_datetime(value).timestamp() if value else None
    except (ValueError, TypeError, OverflowError, OSError):
        return None


async def _disconnected(receive: Receive) -> None:
    """Ends when the client is gone: `send` alone would not tell."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def _start(send: Send, status: int, headers: Mapping[str, str]) -> None:
    raw = [(name.encode(), value.encode("latin-1", "replace")) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": raw})
