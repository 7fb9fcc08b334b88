"""Bodies that come in: JSON of a bounded size, and files that are written to disk as they arrive."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import hashlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, MutableMapping
from pathlib import Path
from typing import IO, Any, TypeVar
from urllib.parse import unquote

import msgspec
from starlette.requests import ClientDisconnect, Request

from appliance.server.errors import ApiError, bad_request

T = TypeVar("T")
MAX_JSON = 4 << 20
BUFFER = 1 << 20  # bytes that are collected before a thread writes them
SPARE = 64 << 20  # of the disk that stays free
MAX_DRAIN, DRAINING = 8 << 20, 5.0  # bytes and seconds of a refused body that are waited for

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]


async def json_body(request: Request, kind: type[T]) -> T:
    """The body as `kind`. Raises ApiError 400 for what is not JSON, 413, 422 for the wrong shape."""
    data = bytearray()
    too_large = ApiError(413, "too_large", f"at most {MAX_JSON} bytes of JSON are taken")
    if _length(request) > MAX_JSON:
        raise too_large
    async for chunk in chunks(request):
        data += chunk
        if len(data) > MAX_JSON:
            raise too_large
    try:
        return msgspec.json.decode(data, type=kind)
    except msgspec.ValidationError as error:
        raise ApiError(422, "invalid", str(error)) from None
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise bad_request(f"the body is not JSON: {error}") from None


class Arriving:
    """A file being received into `folder`: hashed and counted on the way, synced when `finish` returns."""

    def __init__(self, folder: Path, limit: int) -> None:
        self.folder = folder
        self.path = folder / "incoming"
        self.limit = limit
        self.name = ""
        self.size = 0
        self._hash = hashlib.sha256()
        self._buffer = bytearray()
        self._file: IO[bytes] | None = None

    async def feed(self, data: bytes) -> None:
        self._buffer += data
        self.size += len(data)
        if self.size > self.limit:
            raise ApiError(413, "too_large", f"at most {self.limit} bytes are taken")
        if len(self._buffer) >= BUFFER:
            await asyncio.to_thread(self._write, False)

    async def finish(self) -> str:
        """The SHA-256 of what came, in hexadecimal."""
        await asyncio.to_thread(self._write, True)
        return self._hash.hexdigest()

    def _write(self, last: bool) -> None:
        data, self._buffer = self._buffer, bytearray()
        try:
            if self._file is None:
                self.folder.mkdir(parents=True)
                self._file = self.path.open("xb")
            self._file.write(data)
            self._hash.update(data)
            if last:
                self._file.flush()
                os.fsync(self._file.fileno())
        except OSError as error:
            raise storage_error(error) from error
        finally:
            if last:
                self.close()

    def close(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            with contextlib.suppress(OSError):  # it is removed anyway, or was synced before
                file.close()


async def receive_raw(request: Request, arriving: Arriving) -> None:
    """A body that is the file itself, named by X-Filename (which may be percent-encoded)."""
    _check_length(request, arriving)
    arriving.name = file_name(request)
    async for chunk in chunks(request):
        await arriving.feed(chunk)


async def receive_multipart(request: Request, arriving: Arriving) -> None:
    """The part `file` of a multipart/form-data body. Raises ApiError 400, 413, 415 or 507."""
    from python_multipart.exceptions import FormParserError
    from python_multipart.multipart import MultipartParser, parse_options_header

    kind, options = parse_options_header(request.headers.get("content-type", ""))
    boundary = options.get(b"boundary")
    if kind != b"multipart/form-data" or not boundary:
        raise ApiError(415, "unsupported_media_type", "send the file as the part `file` of multipart/form-data")
    _check_length(request, arriving)
    collector = _Part()
    callbacks: Any = {
        "on_part_begin": collector.begin,
        "on_header_field": collector.field,
        "on_header_value": collector.value,
        "on_header_end": collector.header_end,
        "on_headers_finished": lambda: collector.start(parse_options_header),
        "on_part_data": collector.take,
        "on_part_end": collector.part_end,
        "on_end": collector.end,
    }
    try:
        parser = MultipartParser(boundary, callbacks)
        async for chunk in chunks(request):
            parser.write(chunk)
            if collector.data:
                data, collector.data = bytes(collector.data), bytearray()
                await arriving.feed(data)
    except FormParserError as error:
        raise bad_request(f"the multipart body is broken: {error}") from None
    if not collector.complete or not collector.ended:
        raise bad_request("the multipart body has no complete part `file`")
    arriving.name = collector.filename


class _Part:
    """What the parser's callbacks collect; only the first part called `file` counts."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.filename = ""
        self.complete = self.ended = False
        self._wanted = False
        self._name, self._value = bytearray(), bytearray()
        self._disposition = b""

    def begin(self) -> None:
        self._wanted, self._disposition = False, b""

    def field(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def header_end(self) -> None:
        if self._name.lower() == b"content-disposition":
            self._disposition = bytes(self._value)
        self._name.clear()
        self._value.clear()

    def start(self, parse: Any) -> None:
        _, options = parse(self._disposition)
        self._wanted = options.get(b"name") == b"file" and not self.complete
        if self._wanted:
            self.filename = options.get(b"filename", b"").decode("utf-8", "replace")

    def take(self, data: bytes, start: int, end: int) -> None:
        if self._wanted:
            self.data += data[start:end]

    def part_end(self) -> None:
        self.complete = self.complete or self._wanted
        self._wanted = False

    def end(self) -> None:
        self.ended = True


def storage_error(error: OSError) -> ApiError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return ApiError(507, "insufficient_storage", "the disk of the music folder is full")
    return ApiError(507, "storage", f"the music folder cannot be written: {error.strerror}; check its owner and mode")


def file_name(request: Request) -> str:
    """What X-Filename says, which may be percent-encoded. Raises ApiError 400 when it says nothing."""
    name = unquote(request.headers.get("x-filename", ""))
    if not name:
        raise bad_request("name the file with X-Filename")
    return name


async def chunks(request: Request) -> AsyncIterator[bytes]:
    try:
        async for chunk in request.stream():
            yield chunk
    except ClientDisconnect:
        raise bad_request("the connection ended before the body did") from None


def _length(request: Request) -> int:
    text = request.headers.get("content-length", "0")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else 0


def _check_length(request: Request, arriving: Arriving) -> None:
    """Refuse before the first byte what cannot fit."""
    length = _length(request)
    if length > arriving.limit + 65_536:
        raise ApiError(413, "too_large", f"at most {arriving.limit} bytes are taken")
    check_space(arriving.folder.parent.parent, length)


def check_space(folder: Path, length: int) -> None:
    """ApiError 507 when `length` more bytes would fill the disk of `folder`."""
    try:
        space = os.statvfs(folder)
    except OSError as error:
        raise storage_error(error) from error
    if length + SPARE > space.f_bavail * space.f_frsize:
        raise ApiError(507, "insufficient_storage", "the disk of the music folder is full")


async def drain(scope: Mapping[str, Any], receive: Receive) -> None:
    """Read what is left of a body that was refused, up to a limit.

    Closing a connection with unread bytes on it resets it, and the client may never see why it was refused.
    """
    if any(name == b"expect" for name, _ in scope["headers"]):
        return  # it has not sent its body yet
    left = MAX_DRAIN
    with contextlib.suppress(TimeoutError, OSError):
        async with asyncio.timeout(DRAINING):
            while left > 0:
                message = await receive()
                left -= len(message.get("body", b""))
                if message["type"] != "http.request" or not message.get("more_body"):
                    return
