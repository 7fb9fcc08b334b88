"""Sending music to the server (C10): which of it is there already, and each file by the best way that the server has.

    POST /api/v1/exists                 asked first, many files at once
    PATCH /api/v1/upload/KEY            files of more than PIECE bytes, in pieces, from where a cut left off; a server
                                        that has no such route answers its HEAD without `Upload-Offset`
    POST /api/v1/upload                 everything else, whole, with the key in X-Idempotency-Key
    PUT /api/upload                     an older server: whole, without a key; 409 says that it was there

Nothing here tries again: the caller does, with the same key, as often as it likes.
"""

from __future__ import annotations

import base64
import secrets
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import msgspec
from msgspec import Struct

from appliance.cloud.body import check_status
from appliance.cloud.client import CloudClient
from appliance.cloud.http import Response, Stream, host_of
from appliance.errors import CloudError, Gone, ServerError

PIECE = 4 << 20  # bytes of one PATCH
MOST_ASKED = 1000  # files of one question, by the API
ANSWER = 1 << 20  # bytes of an answer
MISSTEPS = 3  # wrong offsets in a row that are believed to be a misunderstanding
_REFUSALS = (400, 403, 409, 413, 415, 422)

Source = Callable[[int, int], AsyncIterator[bytes]]  # bytes [start, stop) of the file


class Music(Struct):
    """A file to be sent. `name` is the last part of its path, `duration` in seconds (0: not known)."""

    name: str
    size: int
    sha256: str
    duration: float = 0.0
    artist: str | None = None
    title: str | None = None


class Refused(CloudError):
    """The server does not want this file, and said why; `status` 413, 415, 507 ..."""

    code = "refused"

    def __init__(self, message: str, *, status: int) -> None:
        super().__init__(message)
        self.status = status


class _Known(Struct):
    track_id: int | str | None = None


class _Existing(Struct):
    files: list[_Known]


class Uploader:
    """All raise CloudError: Offline, ServerError, TokenRejected; what a Source raises comes through."""

    def __init__(self, cloud: CloudClient) -> None:
        self._cloud = cloud

    async def exists(self, files: Sequence[Music]) -> list[bool]:
        """Which of at most MOST_ASKED files the server has. Gone: it is too old to be asked."""
        asked = [
            {"sha256": f.sha256, "duration": f.duration}
            | {k: v for k, v in (("artist", f.artist), ("title", f.title)) if v}
            for f in files
        ]
        headers = {"Content-Type": "application/json"}
        url, body = self._cloud.http.url("/api/v1/exists"), msgspec.json.encode({"files": asked})
        async with self._cloud.authorised("POST", url, headers, body) as response:
            data = await response.body(ANSWER)
            if response.status in (404, 405, 501):
                raise Gone(f"{host_of(url)} cannot be asked what it has", status=response.status)
            check_status(response)
        try:
            found = msgspec.json.decode(data, type=_Existing).files
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise ServerError(f"{host_of(url)} sent something that is not its API: {error}") from None
        if len(found) != len(files):
            raise ServerError(f"{host_of(url)} was asked about {len(files)} files and told of {len(found)}")
        return [one.track_id is not None for one in found]

    async def send(
        self, file: Music, key: str, source: Source, sent: Callable[[int], None], *, older: bool = False
    ) -> bool:
        """Upload `file`; whether the server had it already. `sent` is told how many bytes are on their way.

        Raises Refused, and Gone when there is no way to upload at all.
        """

        def counted(start: int, stop: int) -> AsyncIterator[bytes]:
            return _count(source(start, stop), start, sent)

        if not older:
            if file.size > PIECE and (done := await self._pieces(file, key, counted)) is not None:
                return done
            if (done := await self._whole(file, key, counted)) is not None:
                return done
        return await self._as_of_old(file, counted)

    # -- the three ways -----------------------------------------------------------------------------------------------

    async def _pieces(self, file: Music, key: str, source: Source) -> bool | None:
        """None: the server does not take pieces."""
        url = self._cloud.http.url(f"/api/v1/upload/{key}")
        async with self._cloud.authorised("HEAD", url) as response:
            if response.status in (404, 405, 501):
                return None
            check_status(response)
            offset = _offset(response)
            if offset is None:
                return None
            if response.headers.get("upload-complete") == "?1":
                offset = file.size
        missteps = 0
        while True:
            if offset > file.size:
                raise ServerError(f"{host_of(url)} says that it has more of a file than there is", status=409)
            at, stop = offset, min(offset + PIECE, file.size)
            headers = {
                "Content-Type": "application/offset+octet-stream", "Upload-Offset": str(at),
                "Upload-Length": str(file.size), "X-Filename": _quoted(file.name), "Repr-Digest": _digest(file),
            }  # fmt: skip
            content = Stream(stop - at, lambda at=at, stop=stop: source(at, stop))  # type: ignore[misc]
            async with self._cloud.authorised("PATCH", url, headers, content) as response:
                data = await response.body(ANSWER)
                told = _offset(response)
                if response.status in (200, 201):
                    return _duplicate(response, data)
                if response.status not in (204, 409) or told is None:
                    raise _wrong(response, data)
            missteps = 0 if told > at else missteps + 1
            if missteps > MISSTEPS:
                raise ServerError(f"{host_of(url)} does not say how it wants the file to go on")
            offset = told

    async def _whole(self, file: Music, key: str, source: Source) -> bool | None:
        """None: there is no such route."""
        boundary = secrets.token_hex(16)
        name = file.name.encode("utf-8", "replace").replace(b"\\", b"_")
        for bad, good in ((b'"', b"%22"), (b"\r", b"%0D"), (b"\n", b"%0A")):  # as browsers do
            name = name.replace(bad, good)
        head = (
            f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="'.encode()
            + name
            + b'"\r\nContent-Type: application/octet-stream\r\n\r\n'
        )
        tail = f"\r\n--{boundary}--\r\n".encode()

        async def body() -> AsyncIterator[bytes]:
            yield head
            async for chunk in source(0, file.size):
                yield chunk
            yield tail

        headers = {
            "Content-Type": f"multipart/form-data; boundary={boundary}", "X-Idempotency-Key": key,
            "Repr-Digest": _digest(file),
        }  # fmt: skip
        url, content = self._cloud.http.url("/api/v1/upload"), Stream(len(head) + file.size + len(tail), body)
        async with self._cloud.authorised("POST", url, headers, content) as response:
            data = await response.body(ANSWER)
            if response.status in (404, 405, 501):
                return None
            if response.status in (200, 201):
                return _duplicate(response, data)
            raise _wrong(response, data)

    async def _as_of_old(self, file: Music, source: Source) -> bool:
        headers = {"Content-Type": "application/octet-stream", "X-Filename": _quoted(file.name)}
        url, content = self._cloud.http.url("/api/upload"), Stream(file.size, lambda: source(0, file.size))
        async with self._cloud.authorised("PUT", url, headers, content) as response:
            data = await response.body(ANSWER)
            if response.status == 409:
                return True
            if response.status in (404, 405, 501):
                raise Gone(f"{host_of(url)} takes no uploads", status=response.status)
            if response.status != 200:
                raise _wrong(response, data)
            if _json(data).get("status") != "imported":
                raise ServerError(f"{host_of(url)} does not say that it took the file")
            return False


# -- answers ----------------------------------------------------------------------------------------------------------


async def _count(chunks: AsyncIterator[bytes], at: int, sent: Callable[[int], None]) -> AsyncIterator[bytes]:
    async for chunk in chunks:
        yield chunk
        at += len(chunk)
        sent(at)


def _duplicate(response: Response, data: bytes) -> bool:
    answer = _json(data)
    if not isinstance(answer.get("track"), dict) or not isinstance(answer.get("duplicate"), bool):
        raise ServerError(f"{host_of(response.url)} does not say what became of the file")
    return bool(answer["duplicate"])


def _wrong(response: Response, data: bytes) -> CloudError:
    """What a status that is no success means: the file's fault, or the server's."""
    answer, status = _json(data), response.status
    error = answer.get("error")
    told = error.get("message") if isinstance(error, dict) else answer.get("message")
    why = "".join(c if c.isprintable() else " " for c in told)[:200].strip() if isinstance(told, str) else ""
    if status in _REFUSALS or status == 507:
        plain = {413: "it is too large", 415: "it is no music that it knows", 507: "its disk is full"}
        return Refused(
            f"the server refused it ({status}): {why or plain.get(status, 'without a reason')}", status=status
        )
    try:
        check_status(response)
    except ServerError as failure:
        return failure
    return ServerError(f"{host_of(response.url)} answered {status} to an upload", status=status)


def _json(data: bytes) -> dict[str, Any]:
    try:
        answer = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {}
    return answer if isinstance(answer, dict) else {}


def _offset(response: Response) -> int | None:
    text = response.headers.get("upload-offset", "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else None


def _digest(file: Music) -> str:
    return f"sha-256=:{base64.b64encode(bytes.fromhex(file.sha256)).decode()}:"


def _quoted(name: str) -> str:
    from urllib.parse import quote

    return quote(name.encode("utf-8", "replace"), safe="")


__all__ = ["MOST_ASKED", "PIECE", "Music", "Refused", "Source", "Uploader"]
