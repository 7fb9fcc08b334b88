"""The routes that take files: multipart, raw as today's server has it, and in pieces (partial.py)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Protocol, TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from appliance.server.errors import ApiError, bad_request, json_response
from appliance.server.intake import Arriving, drain, receive_multipart, receive_raw, storage_error
from appliance.server.partial import Part, stated_digest
from appliance.server.upload import Uploads

T = TypeVar("T")


class Run(Protocol):
    """Runs what blocks on a thread."""

    async def __call__(self, fn: Callable[[], T], /) -> T: ...


class Uploading:
    """Handlers; `uploads` is None where no music folder can be written."""

    def __init__(self, uploads: Uploads | None, run: Run) -> None:
        self._uploads, self._run = uploads, run

    async def upload(self, request: Request) -> Response:
        key = request.headers.get("x-idempotency-key")
        track, known = await self._receive(request, receive_multipart, key)
        return json_response(msgspec.json.encode({"track": track, "duplicate": known}), 200 if known else 201)

    async def upload_raw(self, request: Request) -> Response:
        """The way of today's server, with its own shape of errors."""
        try:
            _, known = await self._receive(request, receive_raw, None)
        except ApiError as error:
            status = error.status if error.status in (409, 413, 507) else 400
            return json_response(msgspec.json.encode({"status": "error", "message": error.message}), status)
        if known:
            message = "this music is in the library already"
            return json_response(msgspec.json.encode({"status": "error", "message": message}), 409)
        return json_response(msgspec.json.encode({"status": "imported", "tracks_added": 1, "albums_updated": 1}))

    async def offset(self, request: Request) -> Response:
        """How far an upload in pieces is; see partial.py."""
        uploads, key = self._writable(), request.path_params["key"]
        known = await self._run(lambda: uploads.known(key))
        headers = {"Upload-Offset": str(await uploads.parts.offset(key)), "Cache-Control": "no-store"}
        if known is not None:
            headers["Upload-Complete"] = "?1"
        return Response(status_code=200, headers=headers)

    async def piece(self, request: Request) -> Response:
        """The next piece of an upload; see partial.py."""
        uploads, key = self._writable(), request.path_params["key"]
        stated = stated_digest(request)
        if stated is None:
            raise bad_request("say the SHA-256 of the whole file with Repr-Digest")
        track = await self._run(lambda: uploads.known(key, stated))
        if track is not None:
            await drain(request.scope, request.receive)
            return json_response(msgspec.json.encode({"track": track, "duplicate": True}))
        part = await uploads.parts.receive(request, key)
        if part is None:
            offset = str(await uploads.parts.offset(key))
            return Response(status_code=204, headers={"Upload-Offset": offset})
        track, known = await self._finish(part, key, stated)
        return json_response(msgspec.json.encode({"track": track, "duplicate": known}), 200 if known else 201)

    async def _finish(self, part: Part, key: str, stated: str) -> tuple[Any, bool]:
        uploads = self._writable()

        def take() -> tuple[Any, bool]:
            try:
                digest = part.digest()
                if digest != stated:
                    raise ApiError(
                        422, "digest_mismatch", "the file is not the one that Repr-Digest names; send it anew"
                    )
                return uploads.take(part, digest, key)
            except OSError as error:
                raise storage_error(error) from error
            finally:
                uploads.discard(part)

        return await asyncio.shield(asyncio.to_thread(take))

    def _writable(self) -> Uploads:
        if self._uploads is None:
            raise ApiError(507, "storage", "no music folder can be written")
        return self._uploads

    async def _receive(
        self, request: Request, receive: Callable[[Request, Arriving], Awaitable[None]], key: str | None
    ) -> tuple[Any, bool]:
        uploads = self._writable()
        arriving = uploads.begin()
        try:
            await receive(request, arriving)
            if not arriving.size:
                raise bad_request("the file is empty")
            digest = await arriving.finish()
            if stated_digest(request) not in (None, digest):
                raise ApiError(422, "digest_mismatch", "the file is not the one that Repr-Digest names; send it anew")
            # on a thread of its own: reading tags and syncing may take a while, and browsing goes on
            return await asyncio.shield(asyncio.to_thread(uploads.take, arriving, digest, key))
        finally:
            await asyncio.shield(asyncio.to_thread(uploads.discard, arriving))
