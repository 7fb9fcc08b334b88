"""The older API's answers in the shape of the present one (L2).

Today's server lists albums under `/api/cat/album` and an album's tracks under `/api/album/ID/tracks`, as a bare array
or as an object with `items` or `tracks`. Much may be missing: counts, sizes, hashes, album ids, artists, even the ids
of tracks. What the album list knows fills in for its tracks.
"""

from __future__ import annotations

import hashlib
import re
from typing import Any
from urllib.parse import unquote, urlsplit

import msgspec
from msgspec import Struct

from appliance.cloud.mend import mend
from appliance.cloud.models import Id
from appliance.errors import ServerError

MAX_ALBUMS = 500_000
MAX_TRACKS = 20_000  # of one album
_INT64 = 2**63 - 1
_FROM_ALBUM = ("album", "artist", "album_artist", "year", "publisher", "country", "genre", "type", "status")


class Album(Struct):
    """A line of the album list: its id, what it says of all its tracks, and a hash of its own words."""

    id: Id
    fields: dict[str, Any]
    print: bytes


class AlbumList(Struct):
    """Some of the albums, in the server's order; `total` when it says how many there are."""

    albums: list[Album]
    total: int | None
    length: int  # lines that came, also those that made no sense


def library_id(base_url: str) -> str:
    """The library id of a server that has none: the same for every spelling of its address."""
    parts = urlsplit(base_url)
    port = parts.port if parts.port not in (None, {"http": 80, "https": 443}.get(parts.scheme)) else ""
    plain = f"{parts.scheme}://{(parts.hostname or '').lower()}:{port}{parts.path.rstrip('/')}"
    return "older-" + hashlib.sha256(plain.encode()).hexdigest()[:16]


def albums(body: bytes) -> AlbumList:
    """Raises ServerError when the answer as a whole makes no sense; a line that makes none is left out."""
    answer, lines = _lines(body, "album list", ("items", "albums"))
    found = []
    for line in lines[:MAX_ALBUMS]:
        if not isinstance(line, dict) or (album_id := _id(line.get("id"))) is None:
            continue
        name = line.get("album") or line.get("name") or line.get("title") or line.get("item")
        told = line | {"album": name, "album_artist": line.get("album_artist") or line.get("artist")}
        fields = {k: v for k in _FROM_ALBUM if (v := told.get(k)) is not None and isinstance(v, str | int)}
        raw = msgspec.json.encode(line, order="sorted")
        found.append(Album(album_id, fields, hashlib.blake2b(raw, digest_size=8).digest()))
    total = answer.get("total")
    return AlbumList(found, total if type(total) is int and total >= 0 else None, len(lines))


def tracks(body: bytes, album_id: Id, fields: dict[str, Any] | None = None) -> list[dict[str, Any]]:
    """An album's tracks as decoded JSON with `id`, `album_id`, `title` and `url`; `fields` fill in what is missing.

    A track without a file is left out. Raises ServerError when the answer as a whole makes no sense.
    """
    answer, lines = _lines(body, "track list", ("tracks", "items"))
    album = answer.get("album")
    if isinstance(album, dict):
        told = album | {"album": album.get("name") or album.get("title") or album.get("album")}
        fields = {k: v for k in _FROM_ALBUM if (v := told.get(k)) is not None} | (fields or {})
    found = []
    for line in lines[:MAX_TRACKS]:
        if not isinstance(line, dict):
            continue
        url = next((u for key in ("url", "path", "file", "src") if isinstance(u := line.get(key), str) and u), None)
        if url is None:
            continue
        track = (fields or {}) | {k: v for k, v in line.items() if v is not None}
        track["url"] = url = _url(url)
        try:
            path = unquote(urlsplit(url).path)
        except ValueError:  # brackets that are no IPv6 address: nobody could request it
            continue
        # Without an id of its own a track is its path, which the server itself builds from the tags.
        own = _id(line.get("id"))
        track["id"] = own if own is not None else "~" + hashlib.sha256(path.encode()).hexdigest()[:20]
        track["album_id"] = album_id  # the one that this list is asked for with
        if not track.get("title"):
            track["title"] = line.get("name") or path.rpartition("/")[2].rpartition(".")[0]
        found.append(track)
    return found


def _lines(body: bytes, what: str, names: tuple[str, ...]) -> tuple[dict[str, Any], list[Any]]:
    """The object around the list (empty for a bare array) and the list."""
    try:
        try:
            answer = msgspec.json.decode(body)
        except msgspec.DecodeError:
            answer = msgspec.json.decode(mend(body))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ServerError(f"the server's {what} makes no sense: {error}; check server.url") from None
    if isinstance(answer, list):
        return {}, answer
    if isinstance(answer, dict):
        for name in names:
            if isinstance(answer.get(name), list):
                return answer, answer[name]
    raise ServerError(f"the server's {what} is neither a list nor an object with {' or '.join(names)}")


def _id(value: Any) -> Id | None:
    """An id as we keep them: numbers and texts as they are, another kind of number as its text."""
    if type(value) is int:
        return value if abs(value) <= _INT64 else str(value)
    if type(value) is float:
        return str(value)
    return value if isinstance(value, str) and 0 < len(value) <= 255 and value.isprintable() else None


def _url(url: str) -> str:
    """A path may be given as the file is called: `#` and a `%` that escapes nothing are part of the name."""
    return re.sub(r"%(?![0-9A-Fa-f]{2})", "%25", url.replace("#", "%23"))
