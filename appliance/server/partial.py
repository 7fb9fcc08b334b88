"""Uploads that arrive in pieces, in the spirit of tus 1.0, so that a cut costs a piece and not the file.

    HEAD  /api/v1/upload/KEY    200, `Upload-Offset`: bytes that are safely here (0 for a key that is new), and
                                `Upload-Complete: ?1` when a file with this key was taken
    PATCH /api/v1/upload/KEY    a piece from `Upload-Offset` on, of `Upload-Length` bytes in all, with X-Filename and
                                `Repr-Digest: sha-256=:BASE64:` of the whole file (RFC 9530)
          204 `Upload-Offset`   the piece is on disk, more is to come
          201, 200              that was the last one: the answers of `POST /api/v1/upload`
          409 offset_mismatch   `Upload-Offset` says where to go on; 422 digest_mismatch: start anew
          409 idempotency_conflict, 413, 415, 507 as there

KEY is the idempotency key of the multipart route. Bytes that came before a cut are kept. A part that nobody went on
with for a day is removed, at the start and whenever another one begins; there are at most MOST of them, and of the
oldest only as many as, together, are not larger than TIMES the largest file that is taken.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import hashlib
import os
import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path

from starlette.requests import Request

from appliance.server.errors import ApiError, bad_request
from appliance.server.intake import BUFFER, check_space, chunks, file_name, storage_error

PREFIX = "part-"
KEPT = 86_400.0  # seconds without a new byte
MOST, TIMES = 64, 2
_DIGEST = re.compile(r"(?:^|[\s,])sha-256=:([A-Za-z0-9+/=]{43,44}):")


class Part:
    """What has arrived of one file; looks like `Arriving` to whoever takes it. Methods that are not async block."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder, self.name = folder, name
        self.path = folder / "incoming"
        self.size = 0

    def close(self) -> None:
        """Nothing is open between two pieces."""

    def measure(self) -> int:
        with contextlib.suppress(FileNotFoundError):
            return os.stat(self.path, follow_symlinks=False).st_size
        return 0

    def append(self, data: bytes, at: int, *, last: bool) -> None:
        """Write `data` at byte `at`, the end so far; with `last` it is on disk afterwards. Raises ApiError 507."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            file = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
            try:
                view = memoryview(data)
                while view:
                    done = os.pwrite(file, view, at)
                    at, view = at + done, view[done:]
                if last:
                    os.fsync(file)
            finally:
                os.close(file)
        except OSError as error:
            raise storage_error(error) from error

    def digest(self) -> str:
        """SHA-256 of the whole file as it is on disk, in hexadecimal."""
        with self.path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()


class Parts:
    """The unfinished uploads in `folder`; `limit` is the largest file in bytes."""

    def __init__(self, folder: Path, limit: int) -> None:
        self.folder, self.limit = folder, limit
        self._owners: dict[str, object] = {}  # by folder name: the request that writes now
        self._turn: dict[str, asyncio.Lock] = {}

    def tidy(self, room: int = 0) -> None:
        """Remove stale parts, then the oldest that nobody writes until there is room for `room` more. Blocks."""
        found = []
        with contextlib.suppress(OSError):
            for folder in self.folder.glob(f"{PREFIX}*"):
                if folder.name not in self._owners:
                    found.append((*_age_and_size(folder), folder))
        found.sort(reverse=True)
        stale, kept = time.time() - KEPT, 0
        for n, (touched, size, folder) in enumerate(found):
            kept += size
            if touched < stale or n + room >= MOST or kept > TIMES * self.limit:
                shutil.rmtree(folder, ignore_errors=True)

    def of(self, key: str, name: str = "") -> Part:
        return Part(self.folder / (PREFIX + hashlib.sha256(key.encode("utf-8", "replace")).hexdigest()[:40]), name)

    async def offset(self, key: str) -> int:
        return await asyncio.to_thread(self.of(key).measure)

    async def receive(self, request: Request, key: str) -> Part | None:
        """Take the piece that a PATCH brings; the part once it is whole, else None. Raises ApiError.

        A second request for a key takes over from the first, which may be waiting on a line that is dead.
        """
        offset, length = _number(request, "upload-offset"), _number(request, "upload-length")
        part = self.of(key, file_name(request))
        if length > self.limit:
            raise ApiError(413, "too_large", f"at most {self.limit} bytes are taken")
        if not length or offset > length:
            raise bad_request("Upload-Length must be more than 0 and not less than Upload-Offset")
        name, me = part.folder.name, object()
        turn = self._turn.setdefault(name, asyncio.Lock())
        if name not in self._owners:
            await asyncio.to_thread(self.tidy, 1)
        self._owners[name] = me
        try:
            async with turn:
                have = await asyncio.to_thread(part.measure)
            if have != offset:
                told = {"Upload-Offset": str(have)}
                raise ApiError(409, "offset_mismatch", f"{have} bytes of this file are here", told)
            check_space(self.folder.parent, length - offset)
            part.size = await self._take(request, part, offset, length, lambda: self._owners.get(name) is me, turn)
        finally:
            if self._owners.get(name) is me:
                del self._owners[name]
                self._turn.pop(name, None)
        return part if part.size == length else None

    async def _take(
        self, request: Request, part: Part, at: int, length: int, mine: Callable[[], bool], turn: asyncio.Lock
    ) -> int:
        buffer = bytearray()

        async def write(*, last: bool) -> None:
            nonlocal at, buffer
            data, buffer = bytes(buffer), bytearray()
            async with turn:
                if not mine():
                    raise ApiError(409, "superseded", "another request goes on with this upload")
                if data or last:
                    await asyncio.shield(asyncio.to_thread(part.append, data, at, last=last))
            at += len(data)

        try:
            async for chunk in chunks(request):
                if at + len(buffer) + len(chunk) > length:
                    raise ApiError(413, "too_large", "there is more of the file than Upload-Length says")
                buffer += chunk
                if len(buffer) >= BUFFER:
                    await write(last=False)
        finally:  # what came before a cut is kept
            await write(last=True)
        return at


def _age_and_size(folder: Path) -> tuple[float, int]:
    for path in (folder / "incoming", folder):
        with contextlib.suppress(OSError):
            status = path.stat()
            return status.st_mtime, status.st_size
    return 0.0, 0


def stated_digest(request: Request) -> str | None:
    """The SHA-256 that the client says the whole file has, in hexadecimal; None when it says nothing."""
    match = _DIGEST.search(request.headers.get("repr-digest", ""))
    if match is None:
        return None
    try:
        raw = base64.b64decode(match[1], validate=True)
    except binascii.Error:
        raise bad_request("Repr-Digest is not base64") from None
    if len(raw) != 32:
        raise bad_request("Repr-Digest holds no SHA-256")
    return raw.hex()


def _number(request: Request, name: str) -> int:
    text = request.headers.get(name, "")
    if not re.fullmatch(r"\d{1,18}", text, re.ASCII):
        raise bad_request(f"{name} must be a number of bytes")
    return int(text)
