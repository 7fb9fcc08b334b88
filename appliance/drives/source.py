"""Where drives come from: what this room asks of the machine (hw/drives.py, hw/udisks.py)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol


class Found(Protocol):
    """A file system that can be plugged and pulled: `node` tells it from all others while it is there, `kind` is
    vfat, exfat, ext4, folder ..., `size` in bytes (0: not known)."""

    @property
    def node(self) -> str: ...
    @property
    def uuid(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def size(self) -> int: ...


class DriveSource(Protocol):
    """`start` announces what is there and what comes and goes, on the event loop. Mounts are never made by the player
    itself; without `writable` a drive is mounted read-only, nosuid, nodev, noexec. All raise ChadboxError."""

    def start(self, added: Callable[[Found], None], removed: Callable[[str], None]) -> None: ...
    async def mount(self, node: str, *, writable: bool) -> Path: ...
    async def unmount(self, node: str, *, power_off: bool) -> None: ...
    async def close(self) -> None: ...
