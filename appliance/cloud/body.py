"""What the headers of a file's answer promise, and whether that can be what was asked for (P4)."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from msgspec import Struct

from appliance.cloud.http import Response, host_of
from appliance.errors import ChadboxError, Gone, ServerError

_PLAYLISTS = ("application/vnd.apple.mpegurl", "application/x-mpegurl", "audio/mpegurl", "audio/x-mpegurl")
_PAGES = ("text/html", "application/json", "application/problem+json", "application/xml", "text/xml")
_NUMBER = r"([0-9]{1,18})"
_RANGE = re.compile(rf"bytes\s+{_NUMBER}-{_NUMBER}/({_NUMBER}|\*)")
_NOTHING = re.compile(rf"bytes\s+\*/{_NUMBER}")


class IsPlaylist(ChadboxError):
    """The answer is a playlist of HLS, not the sound itself."""


class Body(Struct):
    """Offsets in bytes. `etag` only when it is a strong one, as a weak one does not promise equal bytes."""

    start: int
    stop: int | None  # exclusive; None: until the connection ends
    size: int | None  # of the whole file
    etag: str | None
    modified: str | None
    weak: str | None  # weak entity tag: the same one proves nothing, another one proves a change
    response: Response
    ranged: bool
    delimited: bool  # the end is told by a length or by chunks, not by a closed connection alone

    def mark(self) -> str:
        """Names the version: the strong ETag, else the date and the weak one. The size is compared apart from it."""
        return f"etag:{self.etag}" if self.etag else f"date:{self.modified}{self.weak or ''}"

    @property
    def unmarked(self) -> bool:
        """Neither a tag nor a date: the answer says nothing of its version."""
        return not (self.etag or self.modified or self.weak)


def read_headers(response: Response, start: int, stop: int | None) -> Body:
    """Judge the answer to a request for bytes [start, stop). Raises Gone, ServerError and IsPlaylist."""
    host, headers = host_of(response.url), response.headers
    if response.status in (401, 403, 404, 410):  # 401 only from another host, which has never seen a token
        status = 403 if response.status == 401 else response.status
        raise Gone(f"{host} does not have the file any more ({response.status})", status=status)
    nothing = _NOTHING.fullmatch(headers.get("content-range", "").strip())
    if response.status == 416 and nothing and int(nothing[1]) <= start:  # an empty file, or a shorter one
        return Body(start, start, int(nothing[1]), None, None, None, response, ranged=True, delimited=True)
    check_status(response)
    if response.status not in (200, 206):
        raise ServerError(f"{host} answered {response.status} where a file was expected", status=response.status)
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind in _PLAYLISTS:
        raise IsPlaylist(f"{host} sent a playlist")
    encoding = headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("identity", ""):
        raise ServerError(f"{host} compressed the file ({encoding}) though it was asked not to")
    if kind in _PAGES or kind.startswith("multipart/"):
        raise ServerError(f"{host} sent {kind} where audio was expected", status=response.status)
    etag, modified = headers.get("etag", "").strip(), headers.get("last-modified")
    strong = etag if len(etag) > 2 and etag.startswith('"') and etag.endswith('"') else None
    weak = etag if etag.startswith("W/") else None
    told = headers.get("content-length", "")
    length = int(told) if re.fullmatch(_NUMBER, told) else None
    delimited = length is not None or "chunked" in headers.get("transfer-encoding", "").lower()
    if response.status == 200:
        return Body(0, length, length, strong, modified, weak, response, ranged=False, delimited=delimited)
    match = _RANGE.fullmatch(headers.get("content-range", "").strip())
    if not match:
        raise ServerError(f"{host} sent a part of the file without saying which")
    first, last = int(match[1]), int(match[2])
    whole = int(match[3]) if match[3] != "*" else None
    wrong = (
        first != start or last < first or (stop is not None and last >= stop) or (whole is not None and last >= whole)
    )
    if wrong or (length is not None and length < last + 1 - first):
        wanted = f"{start}-{'' if stop is None else stop - 1}"
        raise ServerError(f"{host} sent bytes {match[0][6:].strip()} when {wanted} were asked for")
    return Body(first, last + 1, whole, strong, modified, weak, response, ranged=True, delimited=delimited)


def check_status(response: Response) -> None:
    """ServerError, with the server's wish when to come again, unless the status is 2xx."""
    if not 200 <= response.status < 300:
        raise ServerError(
            f"{host_of(response.url)} answered {response.status}",
            status=response.status,
            retry_after=_retry_after(response.headers),
        )


def is_page(beginning: bytes) -> bool:
    """Whether a file begins like HTML, XML or JSON, which no audio does."""
    return beginning.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] in (b"<", b"{", b"[")


def is_playlist(beginning: bytes) -> bool:
    """Whether a body begins like a playlist of HLS."""
    return beginning.removeprefix(b"\xef\xbb\xbf").startswith(b"#EXTM3U")


def _retry_after(headers: dict[str, str]) -> float | None:
    """Seconds, from a number or from a date; the latter against the server's clock, as ours may not be set."""
    wish = headers.get("retry-after", "").strip()
    if re.fullmatch(_NUMBER, wish):
        return float(wish)
    try:
        then = _time(wish)
        return max(0.0, then - (_time(headers["date"]) if "date" in headers else datetime.now(UTC).timestamp()))
    except (ValueError, TypeError, OverflowError):
        return None


def _time(text: str) -> float:
    date = parsedate_to_datetime(text)
    return date.replace(tzinfo=date.tzinfo or UTC).timestamp()


__all__ = ["Body", "IsPlaylist", "check_status", "is_page", "is_playlist", "read_headers"]
