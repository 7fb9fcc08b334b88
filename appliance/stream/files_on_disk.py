"""What the cache does to its folder; blocking, so called on the cache's threads only."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path

from appliance.stream.ranges import IntervalSet

SUFFIX = ".audio"


def sha256(path: Path) -> str:
    """Hex digest of the whole file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def free(folder: Path) -> int:
    """Bytes that this user may still write there."""
    stat = os.statvfs(folder)
    return stat.f_bavail * stat.f_frsize


def remove(paths: Iterable[Path]) -> None:
    for path in paths:
        path.unlink(missing_ok=True)


def tidy(folder: Path, rows: list[tuple[int, bytes]]) -> list[int]:
    """Delete files that have no row; return the ids of rows (id, ranges) whose bytes are not all there."""
    ends: dict[str, tuple[int, int]] = {}
    for file_id, ranges in rows:
        try:
            stops = [stop for _, stop in IntervalSet.from_bytes(ranges)]
            ends[f"{file_id}{SUFFIX}"] = file_id, stops[-1] if stops else 0
        except ValueError:
            continue
    good = set()
    with os.scandir(folder) as listing:
        for item in listing:
            known = ends.get(item.name)
            if known and item.stat(follow_symlinks=False).st_size >= known[1]:
                good.add(known[0])
            elif item.name.endswith(SUFFIX):
                os.unlink(item.path)
    return [file_id for file_id, _ in rows if file_id not in good]
