"""What goes over the wire and between the parts of the server, as typed structs."""

from __future__ import annotations

from msgspec import Struct


class Track(Struct, omit_defaults=True, gc=False):
    """A track as the API shows it, in the order of `TRACK_COLUMNS`; seconds, frames, Hz, bytes, LUFS, dBTP."""

    id: int
    album_id: int
    title: str
    artist: str
    album: str
    album_artist: str | None = None
    disc: int | None = None
    no: int | None = None
    year: int | None = None
    genre: str | None = None
    publisher: str | None = None
    country: str | None = None
    type: str | None = None
    status: str | None = None
    duration: float = -1.0  # never omitted: no duration is negative
    samples: int | None = None
    sample_rate: int | None = None
    size: int | None = None
    mime: str | None = None
    etag: str | None = None
    sha256: str | None = None
    lufs: float | None = None
    true_peak: float | None = None
    album_lufs: float | None = None
    album_true_peak: float | None = None
    seq: int | None = None
    url: str = ""


TRACK_COLUMNS = (
    "id, album_id, title, artist, album, album_artist, disc, no, year, genre, publisher, country, type, status, "
    "duration, samples, sample_rate, size, mime, printf('\"%x%016x\"', size, mtime_ns), sha256, "
    "lufs, true_peak, album_lufs, album_true_peak, seq, url"
)


class Facts(Struct, array_like=True, gc=False):
    """What reading one file told: its version (bytes, ns since 1970), tags and stream. `error` when it is not music."""

    name: bytes
    size: int = 0
    mtime_ns: int = 0
    error: str | None = None
    content: int = 0
    title: str = ""
    artist: str = ""
    album: str = ""
    album_artist: str | None = None
    disc: int | None = None
    no: int | None = None
    year: int | None = None
    genre: str | None = None
    publisher: str | None = None
    country: str | None = None
    type: str | None = None
    status: str | None = None
    duration: float = 0.0
    samples: int | None = None
    sample_rate: int | None = None
    lufs: float | None = None
    true_peak: float | None = None
    album_lufs: float | None = None
    album_true_peak: float | None = None
    sha256: str | None = None


class LibraryPage(Struct):
    """A page of the delta library; ask again with `since=seq` while `more`."""

    library: str
    added: list[Track]
    updated: list[Track]
    deleted: list[int]
    seq: int
    more: bool


class Stats(Struct):
    library: str
    tracks: int
    albums: int
    artists: int
    duration: float
    bytes: int
    seq: int


class Album(Struct, omit_defaults=True):
    id: int
    name: str
    artist: str
    year: int | None = None
    tracks: int = -1


class Item(Struct, omit_defaults=True):
    """A value of a category; `id` narrows other categories."""

    id: int | str
    name: str
    tracks: int = -1
    albums: int | None = None
    artist: str | None = None
    year: int | None = None
