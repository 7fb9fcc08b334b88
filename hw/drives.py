"""Folders that stand in for drives, on a machine without udisks or for trying things out; and what a drive looks like.

A folder that is there is plugged in; one that is renamed, removed or unmounted is pulled.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from hw.errors import HardwareError

LOOK = 1.0  # seconds between two looks whether a folder is there
MARK = ".chadbox/uuid"  # of a folder that was adopted: its name for good, wherever it is


class DriveError(HardwareError):
    """A drive cannot be mounted, unmounted or found."""

    code = "drive"


class Found(NamedTuple):
    """A file system that can be plugged and pulled; `size` in bytes, 0 when not known."""

    node: str
    uuid: str
    name: str
    kind: str
    size: int


class FolderDrives:
    """Announces `folders` as drives. All methods belong on the event loop; the folders are looked at on threads."""

    def __init__(self, folders: Sequence[str], look: float = LOOK) -> None:
        self._folders = [Path(folder) for folder in folders]
        self._look = look
        self._task: asyncio.Task[None] | None = None
        self._there: dict[str, tuple[int, int]] = {}

    def start(self, added: Callable[[Found], None], removed: Callable[[str], None]) -> None:
        self._task = asyncio.create_task(self._watch(added, removed))

    async def mount(self, node: str, *, writable: bool) -> Path:
        """Where it is; raises DriveError when it is not there."""
        path = Path(node)
        if await asyncio.to_thread(_identity, path) is None:
            raise DriveError(f"{node} is not there")
        if writable:
            await asyncio.to_thread(_mark, path)
        return path

    async def unmount(self, node: str, *, power_off: bool) -> None:
        """Nothing is mounted; everything was written when it was copied."""

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _watch(self, added: Callable[[Found], None], removed: Callable[[str], None]) -> None:
        while True:
            for folder in self._folders:
                node = str(folder)
                now = await asyncio.to_thread(_identity, folder)
                before = self._there.get(node)
                if before is not None and now != before:
                    del self._there[node]
                    removed(node)
                if now is not None and now != before:
                    self._there[node] = now
                    added(await asyncio.to_thread(_found, folder, now))
            await asyncio.sleep(self._look)


def _identity(folder: Path) -> tuple[int, int] | None:
    """Device and inode of a folder; None when it is not one, or cannot be listed."""
    try:
        status = os.stat(folder)
        os.scandir(folder).close()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _found(folder: Path, identity: tuple[int, int]) -> Found:
    try:
        room = os.statvfs(folder)
        size = room.f_blocks * room.f_frsize
    except OSError:
        size = 0
    return Found(str(folder), _uuid(folder, identity), folder.name, "folder", size)


def _uuid(folder: Path, identity: tuple[int, int]) -> str:
    try:
        text = (folder / MARK).read_text("ascii").strip()
        if 0 < len(text) <= 64 and text.isprintable():
            return text
    except (OSError, UnicodeDecodeError):
        pass
    return f"{identity[0]:x}-{identity[1]:x}"


def _mark(folder: Path) -> None:
    """Give a folder that may be written to its name for good."""
    identity = _identity(folder)
    try:
        if identity is not None and not (folder / MARK).exists() and not (folder / MARK).parent.is_symlink():
            (folder / MARK).parent.mkdir(exist_ok=True)
            (folder / MARK).write_text(_uuid(folder, identity) + "\n", "ascii")
    except OSError:
        pass  # the adoption itself will tell
