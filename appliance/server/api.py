"""The routes of the v1 API and their older names; each answers JSON and turns what is wrong into an ApiError."""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Annotated, Any, TypeVar
from uuid import UUID

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from appliance.server import delta
from appliance.server.auth import MAX_TTL, Shares
from appliance.server.browse import CATEGORIES, Browser
from appliance.server.catalog import Catalog
from appliance.server.delta import Delta
from appliance.server.errors import ApiError, bad_request, json_response, not_found
from appliance.server.intake import json_body
from appliance.server.origin import origin
from appliance.server.paths import suffix
from appliance.server.scan import Scanner
from appliance.server.text import clean
from appliance.server.upload import Uploads
from appliance.server.uploading import Uploading

T = TypeVar("T")
THREADS = 4
MAX_FILES, MAX_PLAYS = 1000, 10_000

Number = Annotated[int, Meta(ge=1, le=9999)]
Text = Annotated[str, Meta(max_length=2000)]


class Patch(Struct, forbid_unknown_fields=True):
    title: Text | UnsetType = UNSET
    artist: Text | UnsetType = UNSET
    album: Text | UnsetType = UNSET
    album_artist: Text | UnsetType | None = UNSET
    disc: Number | UnsetType | None = UNSET
    no: Number | UnsetType | None = UNSET
    year: Number | UnsetType | None = UNSET
    genre: Text | UnsetType | None = UNSET
    publisher: Text | UnsetType | None = UNSET
    country: Text | UnsetType | None = UNSET
    type: Text | UnsetType | None = UNSET
    status: Text | UnsetType | None = UNSET


class Play(Struct):
    id: UUID
    track_id: int | str
    seconds: Annotated[float, Meta(ge=0, le=10_000_000)]
    played_at: str | None = None


class File(Struct):
    sha256: str | None = None
    duration: float | None = None
    artist: str | None = None
    title: str | None = None


class Files(Struct):
    files: list[File]


class ShareRequest(Struct):
    track_id: int | str
    ttl: Annotated[int, Meta(ge=1, le=MAX_TTL)]


class Api:
    """Handlers; what blocks runs on threads of their own."""

    def __init__(
        self, catalog: Catalog, browser: Browser, scanner: Scanner, uploads: Uploads | None, shares: Shares
    ) -> None:
        self.catalog, self.browser, self.scanner, self.shares = catalog, browser, scanner, shares
        self.uploading = Uploading(uploads, self.run)
        self.delta = Delta(catalog.db)
        self._pool = ThreadPoolExecutor(THREADS, "api")

    def close(self) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)

    def routes(self) -> list[Route]:
        def older(path: str, handler: Callable[[Request], Awaitable[Response]], *methods: str) -> list[Route]:
            return [Route(prefix + path, handler, methods=methods) for prefix in ("/api/v1", "/api")]

        return [
            *older("/stats", self.stats, "GET"),
            *older("/cat", self.categories, "GET"),
            *older("/cat/{category}", self.category, "GET"),
            *older("/album/{id}/tracks", self.album, "GET"),
            *older("/rescan", self.rescan, "POST"),
            *older("/upload", self.uploading.upload, "POST"),
            *older("/upload", self.uploading.upload_raw, "PUT"),
            Route("/api/v1/upload/{key}", self.uploading.offset, methods=["HEAD"]),
            Route("/api/v1/upload/{key}", self.uploading.piece, methods=["PATCH"]),
            Route("/api/v1/search", self.search, methods=["GET"]),
            Route("/api/v1/library", self.library, methods=["GET"]),
            Route("/api/v1/exists", self.exists, methods=["POST"]),
            Route("/api/v1/track/{id}", self.track, methods=["GET"]),
            Route("/api/v1/track/{id}", self.patch, methods=["PATCH"]),
            Route("/api/v1/plays", self.plays, methods=["POST"]),
            Route("/api/v1/job/{id}", self.job, methods=["GET"]),
            Route("/api/v1/share", self.share, methods=["POST"]),
        ]

    async def run(self, fn: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._pool, fn)

    async def answer(self, fn: Callable[[], Any], status: int = 200) -> Response:
        """What `fn` gives, as JSON; both are made on a thread."""
        return json_response(await self.run(lambda: msgspec.json.encode(fn())), status)

    # -- reading ------------------------------------------------------------------------------------------------------

    async def stats(self, request: Request) -> Response:
        return await self.answer(self.browser.stats)

    async def categories(self, request: Request) -> Response:
        return json_response(msgspec.json.encode({"categories": CATEGORIES}))

    async def category(self, request: Request) -> Response:
        offset, limit = _integer(request, "offset", 0, 0), _integer(request, "limit", 100, 1, 10_000)
        narrow = {name: value for name in CATEGORIES if (value := request.query_params.get(name)) is not None}
        text, name = request.query_params.get("filter", ""), request.path_params["category"]

        def fetch() -> Any:
            items, total = self.browser.category(name, text, offset, limit, narrow)
            return {"items": items, "total": total}

        return await self.answer(fetch)

    async def album(self, request: Request) -> Response:
        album_id = _id(request.path_params["id"], "album")

        def fetch() -> Any:
            album, tracks = self.browser.album(album_id)
            return {"album": album, "tracks": tracks}

        return await self.answer(fetch)

    async def track(self, request: Request) -> Response:
        track_id = _id(request.path_params["id"], "track")
        return await self.answer(lambda: self.browser.track(track_id))

    async def search(self, request: Request) -> Response:
        query, limit = request.query_params.get("q", ""), _integer(request, "limit", 50, 1, 500)

        def fetch() -> Any:
            tracks, albums, artists = self.browser.search(query, limit)
            return {"tracks": tracks, "albums": albums, "artists": artists}

        return await self.answer(fetch)

    async def library(self, request: Request) -> Response:
        since = _integer(request, "since", 0, 0)
        limit = _integer(request, "limit", delta.DEFAULT_LIMIT, 1, delta.MAX_LIMIT)
        return await self.answer(lambda: self.delta.page(since, limit))

    async def job(self, request: Request) -> Response:
        job_id = _id(request.path_params["id"], "job")

        def fetch() -> Any:
            columns = ("id", "kind", "state", "progress", "error")
            row = self.catalog.db.reader.execute(
                "SELECT id, kind, state, progress, error FROM job WHERE id = ?", (job_id,)
            ).fetchone()
            if row is None:
                raise not_found(f"job {job_id}")
            return dict(zip(columns, row, strict=True))

        return await self.answer(fetch)

    # -- changing -----------------------------------------------------------------------------------------------------

    async def exists(self, request: Request) -> Response:
        files = (await json_body(request, Files)).files
        if len(files) > MAX_FILES:
            raise bad_request(f"at most {MAX_FILES} files are asked about at once")

        def find(file: File) -> Any:
            sha256 = file.sha256.lower() if file.sha256 and file.sha256.isascii() else None
            duration = file.duration if file.duration is not None and math.isfinite(file.duration) else None
            return {"sha256": file.sha256, "track_id": self.browser.find(sha256, file.artist, file.title, duration)}

        return await self.answer(lambda: {"files": [find(file) for file in files]})

    async def patch(self, request: Request) -> Response:
        track_id = _id(request.path_params["id"], "track")
        wanted = await json_body(request, Patch)
        changes: dict[str, Any] = {}
        for name in Patch.__struct_fields__:
            value = getattr(wanted, name)
            if value is UNSET:
                continue
            changes[name] = (clean(value) or None) if isinstance(value, str) else value
            if changes[name] is None and name in ("title", "artist", "album"):
                raise ApiError(422, "invalid", f"{name} cannot be empty")
        if not changes:
            return await self.answer(lambda: self.browser.track(track_id))
        return await self.answer(lambda: self.catalog.patch(track_id, changes))

    async def plays(self, request: Request) -> Response:
        plays = await json_body(request, list[Play])
        if len(plays) > MAX_PLAYS:
            raise bad_request(f"at most {MAX_PLAYS} plays are taken at once")
        rows = [(str(p.id), clean(p.track_id)[:200], _time(p.played_at), p.seconds) for p in plays]
        return await self.answer(lambda: {"accepted": self.catalog.add_plays(rows), "received": len(rows)})

    async def rescan(self, request: Request) -> Response:
        return await self.answer(lambda: {"job": self.scanner.request()}, 202)

    async def share(self, request: Request) -> Response:
        wanted = await json_body(request, ShareRequest)
        track = await self.run(lambda: self.browser.track(_id(wanted.track_id, "track")))
        path, expires = self.shares.path(track.id, wanted.ttl, suffix(track.url.encode()))
        until = datetime.fromtimestamp(expires, UTC).isoformat().replace("+00:00", "Z")
        return json_response(msgspec.json.encode({"url": origin(request) + path, "expires_at": until}))


def _integer(request: Request, name: str, default: int, least: int, most: int = 2**62) -> int:
    """A number of the query; above `most` it is taken for `most`. Raises ApiError 400."""
    text = request.query_params.get(name)
    if text is None or text == "":
        return default
    if not re.fullmatch(r"\d{1,18}", text, re.ASCII) or int(text) < least:
        raise bad_request(f"{name} must be a whole number from {least}")
    return min(int(text), most)


def _id(value: int | str, what: str) -> int:
    """An id of ours, which are numbers; anything else names nothing. Raises ApiError 404."""
    if isinstance(value, str):
        if not re.fullmatch(r"\d{1,18}", value, re.ASCII):
            raise not_found(f"{what} {clean(value)[:40]}")
        value = int(value)
    if not 0 < value < 2**62:
        raise not_found(f"{what} {value}")
    return value


def _time(text: str | None) -> float | None:
    if text is None:
        return None
    try:
        when = datetime.fromisoformat(text)
        return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError, OSError):
        raise ApiError(422, "invalid", "played_at must be a time in ISO 8601, or null") from None
