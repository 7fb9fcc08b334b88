"""Ids of tracks that are on a drive and not on the server: `drive:DRIVE:FILE`, two hashes; no server can use them."""

from __future__ import annotations

import hashlib

PREFIX, AFTER = "drive:", "drive;"  # AFTER is the first text that sorts behind every such id


def is_own(track_id: object) -> bool:
    """Whether an id, or an album's, means music of a drive."""
    return isinstance(track_id, str) and track_id.startswith(PREFIX)


def drive_part(uuid: str) -> str:
    """What all ids of a drive begin with."""
    return f"{PREFIX}{_hash(uuid.encode('utf-8', 'surrogateescape'), 4)}:"


def own_id(uuid: str, path: bytes) -> str:
    """The id of a file; the same whenever the drive is plugged in, whatever its tags say by then."""
    return drive_part(uuid) + _hash(path, 8)


def _hash(data: bytes, size: int) -> str:
    return hashlib.blake2b(data, digest_size=size).hexdigest()
