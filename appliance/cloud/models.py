"""The server's JSON as typed structs; unknown fields are ignored, fields marked `?` in the API are None when absent."""

from __future__ import annotations

from msgspec import Struct

Id = int | str


class Track(Struct, kw_only=True, omit_defaults=True, gc=False):
    """One track. Durations in seconds, levels in LUFS and dBTP, `samples` are PCM frames after trimming."""

    id: Id
    album_id: Id | None = None
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


class LibraryPage(Struct, kw_only=True):
    """A page of `GET /api/v1/library`: ask again with `since=seq` while `more`."""

    library: Id
    added: list[Track] = []
    updated: list[Track] = []
    deleted: list[Id] = []
    seq: int
    more: bool = False


class Stats(Struct, kw_only=True):
    """`GET /api/v1/stats`."""

    library: Id | None = None
    tracks: int = 0
    albums: int = 0
    artists: int = 0
    duration: float = 0.0
    bytes: int = 0
    seq: int | None = None
