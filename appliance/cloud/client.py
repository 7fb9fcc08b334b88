"""The music server's API as the box uses it."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC
from typing import TypeVar

import msgspec

from appliance.cloud import older
from appliance.cloud.auth import TokenSource
from appliance.cloud.body import Body, check_status, read_headers
from appliance.cloud.http import Http, Response, Stream, host_of
from appliance.cloud.models import Id, Stats, Track
from appliance.cloud.timing import Timing
from appliance.errors import CloudError, Gone, SequenceExpired, ServerError, TokenRejected

MAX_PAGE = 64 << 20  # bytes of JSON
T = TypeVar("T")


class CloudClient:
    """Every request to the server goes through here: the token in its header, errors as `CloudError`."""

    def __init__(self, base_url: str, tokens: TokenSource, timing: Timing | None = None) -> None:
        self.timing = timing or Timing()
        self.http = Http(base_url, tokens, self.timing)
        self.tokens = tokens
        self.tags_agree = True  # files come under the ETags that the library tells; a proxy in front may use its own
        self.heads_lie = False  # HEAD tells other sizes than GET
        self.on_token: Callable[[TokenRejected | None], None] = lambda refusal: None  # told of every answer
        self._date: tuple[float, float] | None = None  # of the last Date header: Unix time, and when it came
        tokens.attach(self.http)

    @property
    def server_time(self) -> float | None:
        """Unix time by the server's clock now, for "is our clock right?"; None when it never told."""
        if self._date is None:
            return None
        told, came = self._date
        return told + time.clock_gettime(time.CLOCK_BOOTTIME) - came

    async def library_page(self, since: int, limit: int) -> bytes:
        """The raw JSON of one delta page; SequenceExpired when `since` is too old, Gone from an older server."""
        try:
            return await self._get(f"/api/v1/library?since={since}&limit={limit}")
        except Gone as error:
            if error.status != 410:
                raise
            where = host_of(self.http.base_url)
            raise SequenceExpired(f"{where}: the library's history was dropped; a full sync is due") from None

    async def stats(self) -> Stats:
        return self._decode(await self._get("/api/v1/stats"), Stats)

    async def album_tracks(self, album_id: Id) -> list[Track]:
        """An album's tracks with fresh URLs; those that make no sense are left out. Asks the older API as well."""
        path = f"album/{_segment(album_id)}/tracks"
        try:
            body = await self._get(f"/api/v1/{path}")
        except Gone as error:
            if error.status != 404:
                raise
            body = await self._get(f"/api/{path}")
        found = []
        for fields in older.tracks(body, album_id):
            try:
                found.append(msgspec.convert(fields, Track, strict=False))
            except msgspec.ValidationError:
                found.append(Track(id=fields["id"], album_id=album_id, url=fields["url"]))
        return found

    # The older API (L2)

    @property
    def older_library(self) -> str:
        """The library id of a server that does not tell one."""
        return older.library_id(self.http.base_url)

    async def older_albums(self, offset: int, limit: int) -> bytes:
        """The raw JSON of a part of the older API's album list; Gone when it has none either."""
        return await self._get(f"/api/cat/album?offset={offset}&limit={limit}")

    async def older_tracks(self, album_id: Id) -> bytes:
        """The raw JSON of an album's tracks by the older API; Gone when there is no such album."""
        return await self._get(f"/api/album/{_segment(album_id)}/tracks")

    @asynccontextmanager
    async def open(
        self, reference: str, start: int, stop: int | None, *, etag: str | None = None
    ) -> AsyncIterator[Body]:
        """Ask for bytes [start, stop) of a file (`stop` None: all of it, without Range).

        `etag`, a strong one, makes the server answer with the whole of a changed file instead of a part of it.
        Raises Gone (403, 404, 410), TokenRejected, ServerError (nonsense, 5xx, 416, a page instead of audio), Offline.
        """
        url = self.http.url(reference)
        headers = {}
        if stop is not None:
            headers["Range"] = f"bytes={start}-{stop - 1}"
            if etag is not None:
                headers["If-Range"] = etag
        async with self.authorised("GET", url, headers) as response:
            yield read_headers(response, start, stop)

    async def document(self, url: str, limit: int) -> tuple[bytes, str]:
        """A small file that is not the API's, and the URL that it came from in the end. Raises as `open` does."""
        async with self.authorised("GET", url) as response:
            host = host_of(response.url)
            if response.status in (401, 403, 404, 410):
                status = 403 if response.status == 401 else response.status
                raise Gone(f"{host} does not have the file any more ({response.status})", status=status)
            check_status(response)
            return await response.body(limit), response.url

    async def length(self, reference: str) -> int | None:
        """Bytes of a file by HEAD; None when the server does not tell. Raises CloudError."""
        async with self.authorised("HEAD", self.http.url(reference)) as response:
            told = response.headers.get("content-length", "")
            plain = response.headers.get("content-encoding", "identity").strip().lower() == "identity"
            known = response.status == 200 and plain and told.isascii() and told.isdigit() and len(told) < 16
            return int(told) if known else None

    async def is_itself(self) -> bool:
        """Whether the server speaks its API right now: not away, not failing, not hidden behind a sign-in page."""
        try:
            await self.stats()
        except Gone:  # an older server
            return True
        except CloudError:
            return False
        return True

    async def report_plays(self, plays: bytes) -> None:
        """Send a JSON array of plays. Raises Gone (403, 404, 405), ServerError with the status, Offline ..."""
        headers = {"Content-Type": "application/json"}
        async with self.authorised("POST", self.http.url("/api/v1/plays"), headers, plays) as response:
            if response.status in (403, 404, 405, 501):
                raise Gone(f"{host_of(response.url)} takes no plays", status=response.status)
            check_status(response)
            await response.body(MAX_PAGE)

    async def close(self) -> None:
        await self.tokens.close()
        await self.http.close()

    async def _get(self, path: str) -> bytes:
        async with self.authorised("GET", self.http.url(path)) as response:
            body = await response.body(MAX_PAGE)
            if response.status in (403, 404, 410):
                raise Gone(f"{host_of(response.url)} has no {path.partition('?')[0]}", status=response.status)
            check_status(response)
            return body

    @asynccontextmanager
    async def authorised(
        self, method: str, url: str, headers: dict[str, str] | None = None, content: bytes | Stream | None = None
    ) -> AsyncIterator[Response]:
        """An exchange that survives one 401, if another token is to be had; one renewal serves all who wait."""
        for attempt in (1, 2):
            await self.tokens.ready()
            used = self.tokens.header()
            async with self.http.exchange(method, url, headers, content) as response:
                self._note_time(response)
                if response.status != 401 or not self.http.may_carry_token(response.url):
                    if self.http.may_carry_token(response.url):
                        self.on_token(None)
                    yield response  # another host never had the token: no renewal would please it
                    return
            if attempt == 2 or not await self.tokens.refresh(used):
                refusal = TokenRejected(f"{host_of(url)} rejected the token (401); {self.tokens.where}")
                self.on_token(refusal)
                raise refusal

    def _note_time(self, response: Response) -> None:
        from email.utils import parsedate_to_datetime  # 14 ms that the start of the player need not wait for

        try:
            date = parsedate_to_datetime(response.headers["date"])
            now = time.clock_gettime(time.CLOCK_BOOTTIME)
            self._date = date.replace(tzinfo=date.tzinfo or UTC).timestamp(), now
        except (KeyError, ValueError, TypeError, OverflowError):
            self._date = None

    def _decode(self, body: bytes, kind: type[T]) -> T:
        try:
            return msgspec.json.decode(body, type=kind)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            where = host_of(self.http.base_url)
            raise ServerError(f"{where} sent something that is not its API: {error}; check server.url") from None


def _segment(value: Id) -> str:
    from urllib.parse import quote

    return quote(str(value), safe="")


__all__ = ["Body", "CloudClient", "CloudError"]
