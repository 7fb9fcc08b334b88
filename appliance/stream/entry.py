"""One track's bytes on this box: a sparse file and the record of which of its bytes are real."""

from __future__ import annotations

import asyncio
import ctypes
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from appliance.cloud.models import Track
from appliance.stream.ranges import IntervalSet

if TYPE_CHECKING:
    from appliance.stream.hls.source import Source

FRESH = 600.0  # seconds for which a file that was read through counts as read
SYNC_EVERY = 3 << 19  # bytes after which they are synced, while more arrives
SYNC_AT_LAST = 3 << 20  # bytes that a power cut may take: no more arrives before they are synced


_PUNCH_HOLE = 3  # FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE
_libc = ctypes.CDLL(None)
_fallocate = getattr(_libc, "fallocate64", _libc.fallocate)
_fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]


class CacheEntry:
    """A file of the cache while somebody uses it.

    `have` are the bytes that can be read now, `synced` those that a power cut cannot take; only the latter are
    recorded in the database. The attributes belong to the event loop; `pwrite`, `sync` and `close` to the disk thread.
    """

    def __init__(
        self, entry_id: int, key: tuple[str, str], version: str, path: Path, *, volatile: bool = False
    ) -> None:
        self.id = entry_id
        self.library, self.track_id = key
        self.version = version  # "" until the server has named one
        self.path = path
        self.volatile = volatile  # in memory only, because the disk has no room
        self.size: int | None = None
        self.mark: str | None = None  # what the answers say of their version, see Body.mark; None: none has come yet
        self.modified: str | None = None  # Last-Modified of the answers
        self.doubt: str | None = None  # another version that the last answer told of
        self.doubts = 0  # how many answers in a row told of it
        self.sha256: str | None = None
        self.checking: asyncio.Task[None] | None = None  # the hash of the whole file is being taken
        self.checked_at = -FRESH  # when `sha256` was taken from the file (monotonic seconds)
        self.expected_sha256: str | None = None
        self.have = IntervalSet()
        self.synced = IntervalSet()
        self.users = 0
        self.from_drive = False  # some of it came from a drive, not over the network
        self.recorded = False  # whether the database has its row
        self.superseded = False  # the server has another version now, or this file failed its check
        self.hls: Source | None = None  # where the bytes come from when they are in segments
        self.on_bytes: Callable[[CacheEntry, int, int], None] | None = None
        self.on_size: Callable[[CacheEntry, int], None] | None = None
        self._fd = -1

    @property
    def etag(self) -> str | None:
        """The strong ETag under which the bytes came, for If-Range."""
        return self.mark.removeprefix("etag:") if self.mark and self.mark.startswith("etag:") else None

    @property
    def just_checked(self) -> bool:
        """`sha256` was taken from the file a moment ago, so that it need not be taken again."""
        return time.monotonic() - self.checked_at < FRESH

    @property
    def complete(self) -> bool:
        return self.size is not None and self.have.covers(0, self.size)

    @property
    def percent(self) -> int:
        """Share of the file that is here, 0-100; 100 only when all is."""
        if not self.size:
            return 0
        return 100 if self.complete else min(99, self.have.total() * 100 // self.size)

    @property
    def unsynced(self) -> int:
        return self.have.total() - self.synced.total()

    def available(self) -> list[tuple[int, int]]:
        """Readable intervals [start, stop) in bytes."""
        return list(self.have)

    def arrived(self, start: int, stop: int) -> None:
        """Bytes [start, stop) are in the file now: tell whoever waits for them."""
        self.have.add(start, stop)
        if self.on_bytes:
            self.on_bytes(self, start, stop)

    def learn_size(self, size: int) -> None:
        """The server has told how large the file is."""
        if self.size is None:
            self.size = size
            if self.on_size:
                self.on_size(self, size)

    # On the disk thread -----------------------------------------------------------------------------------------------

    def pwrite(self, offset: int, data: bytes) -> None:
        """Write all of `data`; raises OSError. The file is made at the first byte."""
        if self._fd < 0:
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
            self._fd = os.open(self.path, flags, 0o640) if not self.volatile else os.open(self.path, os.O_RDWR)
        view = memoryview(data)
        while view:
            written = os.pwrite(self._fd, view, offset)
            view, offset = view[written:], offset + written

    def forget(self, start: int, stop: int) -> None:
        """Give back the memory of bytes that nobody will read again; they read as zeros from now on."""
        if self._fd >= 0 and self.volatile and start < stop:
            _fallocate(self._fd, _PUNCH_HOLE, start, stop - start)

    def sync(self) -> None:
        if self._fd >= 0 and not self.volatile:
            os.fdatasync(self._fd)

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def version_of(track: Track) -> str:
    """The version that the library promises: strong ETag, else SHA-256, else "" (the first response will tell)."""
    etag = strong_etag(track.etag)
    if etag:
        return f"etag:{etag}"
    if track.sha256:
        return f"sha256:{track.sha256.lower()}"
    return ""


def strong_etag(etag: str | None) -> str | None:
    """An entity tag in the quoted form of the header; None for weak ones, which may not join ranges (RFC 9110)."""
    if not etag or etag.startswith("W/"):
        return None
    return etag if etag.startswith('"') else f'"{etag}"'
