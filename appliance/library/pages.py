"""Pages of the delta library: from the bytes of a hostile server to rows that fit the database.

A page must make sense as a whole (library id, sequence, lists), else it is a `ServerError` and nothing of it counts.
One track that does not make sense is left out with a warning, so that it cannot keep the rest away for ever.
"""

from __future__ import annotations

import logging
import math
from typing import Any

import msgspec
from msgspec import Raw, Struct

from appliance.cloud.mend import mend
from appliance.cloud.models import Id, Track
from appliance.errors import ServerError
from appliance.own import is_own

log = logging.getLogger(__name__)

ID = 255  # most characters of an id
TEXT = 1000  # characters of a title or name that are kept
URL = 8192
SECONDS = 10_000_000.0  # longest duration that is believed, about four months
INT64 = 2**63 - 1
WARNINGS = 5  # a page of 1,000 broken tracks must not write 1,000 lines to flash

COLUMNS = (
    "track_id", "int_id", "album_id", "int_album_id", "title", "artist", "album", "album_artist", "disc", "no", "year",
    "genre", "publisher", "country", "type", "status", "duration", "samples", "sample_rate", "size", "mime", "etag",
    "sha256", "lufs", "true_peak", "album_lufs", "album_true_peak", "seq", "url",
)  # fmt: skip
Row = tuple[Any, ...]  # the values of COLUMNS


class Page(Struct):
    """A checked page: rows to write, ids (as text) to delete, and where to go on."""

    library: str
    rows: list[Row]
    deleted: list[str]
    seq: int
    more: bool
    skipped: int = 0


class _RawPage(Struct):
    """`LibraryPage` with everything that may be bad left as it came."""

    library: Id
    seq: int
    added: list[Raw] = []
    updated: list[Raw] = []
    deleted: list[Raw] = []
    more: bool = False


class _Named(Struct):
    id: Any = None


_page = msgspec.json.Decoder(_RawPage)
_track = msgspec.json.Decoder(Track)


def decode(body: bytes) -> Page:
    """Raises ServerError in one line when the page as a whole makes no sense.

    Tracks are decoded one by one: a bad one harms no other, and no step holds the interpreter for more than a moment.
    """
    try:
        try:
            page = _page.decode(body)
        except msgspec.ValidationError:
            raise
        except msgspec.DecodeError:
            page = _page.decode(mend(body))
    except RecursionError:
        raise ServerError("the server's library page is nested too deeply to be one") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ServerError(
            f"the server's library page makes no sense: {error}; check that server.url names a music server"
        ) from None
    if not 0 <= page.seq <= INT64:
        raise ServerError(f"the server sent sequence number {str(page.seq)[:30]}; it must be between 0 and 2^63-1")
    if not _good_id(page.library):
        raise ServerError("the server sent a library id that is empty, not printable or longer than 255 characters")
    skipped = 0
    rows: dict[str, Row] = {}  # a track that comes twice counts once, as it was told last
    for raw in (*page.added, *page.updated):
        try:
            track = _not_own(_lenient(raw))
            rows[str(track.id)] = to_row(track)
        except (ValueError, RecursionError) as error:
            skipped += 1
            _warn(skipped, _id_of(raw), str(error))
    if skipped > WARNINGS:
        log.warning("%d tracks of this page made no sense and were left out", skipped)
    deleted = [i for raw in page.deleted if (i := _deleted_id(raw)) is not None]
    return Page(str(page.library), list(rows.values()), deleted, page.seq, page.more, skipped)


def to_rows(tracks: list[dict[str, Any]]) -> list[Row]:
    """Rows of tracks as decoded JSON; what makes no sense is left out with a warning."""
    rows: dict[str, Row] = {}
    skipped = 0
    for fields in tracks:
        try:
            track = _not_own(_convert(fields))
            rows[str(track.id)] = to_row(track)
        except (ValueError, RecursionError) as error:
            skipped += 1
            _warn(skipped, fields.get("id"), str(error))
    return list(rows.values())


def to_row(track: Track) -> Row:
    """The row of `track`, with nonsense in optional fields taken out. Raises ValueError when it cannot be kept."""
    if not _good_id(track.id):
        raise ValueError("its id is empty, too long or not printable")
    album_id = track.album_id if track.album_id is None or _good_id(track.album_id) else None
    if len(track.url) > URL or (not track.url.isprintable() and any(c < " " for c in track.url)):
        raise ValueError(f"its url is longer than {URL} characters or has control characters in it")
    duration = track.duration if 0 <= track.duration <= SECONDS else 0.0
    return (
        str(track.id), type(track.id) is int, None if album_id is None else str(album_id), type(album_id) is int,
        _text(track.title), _text(track.artist), _text(track.album), _text(track.album_artist),
        _small(track.disc), _small(track.no), _small(track.year),
        _text(track.genre), _text(track.publisher), _text(track.country), _text(track.type), _text(track.status),
        duration, _count(track.samples), _count(track.sample_rate), _count(track.size),
        _short(track.mime), _short(track.etag), _short(track.sha256),
        _level(track.lufs), _level(track.true_peak), _level(track.album_lufs), _level(track.album_true_peak),
        _count(track.seq), track.url,
    )  # fmt: skip


def from_row(row: Row) -> Track:
    """The inverse of `to_row`, for the values of COLUMNS; ids get back the type that the server used."""
    values = dict(zip(COLUMNS, row, strict=True))
    track_id, album_id = values.pop("track_id"), values.pop("album_id")
    int_id, int_album_id = values.pop("int_id"), values.pop("int_album_id")
    return Track(id=typed(track_id, int_id), album_id=typed(album_id, int_album_id), **values)


def typed(text: Any, is_int: Any) -> Any:
    """An id as the server wrote it."""
    return int(text) if is_int and text is not None else text


def _lenient(raw: Raw) -> Track:
    """A track of one JSON value: null counts as absent, "1999" as 1999, and a field of the wrong type is left out."""
    try:
        return _track.decode(raw)
    except msgspec.ValidationError:
        fields = msgspec.json.decode(raw)
        if not isinstance(fields, dict):
            raise
    return _convert(fields)


def _convert(fields: dict[str, Any]) -> Track:
    """A track of decoded JSON, as lenient as `_lenient`. Raises ValueError without a usable id."""
    fields = {k: v for k, v in fields.items() if v is not None}
    for _ in range(len(fields)):
        try:
            return msgspec.convert(fields, Track, strict=False)
        except msgspec.ValidationError as error:
            name = str(error).partition(" - at `$.")[2].rstrip("`")
            if name in ("", "id") or name not in fields:
                raise
            del fields[name]
    return msgspec.convert(fields, Track, strict=False)


def _not_own(track: Track) -> Track:
    if is_own(track.id):
        raise ValueError("its id is one that only music on drives has")
    return track


def _id_of(raw: Raw) -> Any:
    try:
        return msgspec.json.decode(raw, type=_Named).id
    except (ValueError, RecursionError):
        return None


def _deleted_id(raw: Raw) -> str | None:
    try:
        value = msgspec.json.decode(raw)
    except (ValueError, RecursionError):
        value = None
    if _good_id(value) and not is_own(value):
        return str(value)
    log.warning("the server sent a deleted id that makes no sense; it is ignored")
    return None


def _warn(nth: int, track_id: Any, why: str) -> None:
    if nth <= WARNINGS:
        log.warning("track %s was left out: %s", repr(track_id)[:80], why[:200])


def _good_id(value: Any) -> bool:
    if type(value) is int:
        return abs(value) <= INT64
    return type(value) is str and 0 < len(value) <= ID and value.isprintable()


def _text(value: Any) -> Any:
    """A name as it may be shown: no control characters (terminal escapes!), a bounded length. None stays None."""
    if value is None or (len(value) <= TEXT and value.isprintable()):
        return value
    return "".join([" " if ord(c) < 32 or 127 <= ord(c) < 160 or c in "\u2028\u2029" else c for c in value[:TEXT]])


def _short(value: str | None) -> str | None:
    return value if value is not None and len(value) <= ID and value.isprintable() else None


def _small(value: int | None) -> int | None:
    return value if value is not None and 0 <= value < 100_000 else None


def _count(value: int | None) -> int | None:
    return value if value is not None and 0 <= value <= INT64 else None


def _level(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) and abs(value) <= 200 else None
