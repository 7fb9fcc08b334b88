"""Music files on a drive, found and read without ever writing to it; names and contents are a stranger's (R6).

It has a descriptor of the root and a thread of its own, as playing from a drive has, so that neither waits for the
other. Tags are read by the process that the embedded server has for that: a file that kills or hangs it is passed over.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import hashlib
import logging
import os
from collections.abc import AsyncIterator, Collection, Sequence
from importlib.util import find_spec
from pathlib import Path

from appliance.drives.errors import DriveError
from appliance.drives.ingest_rows import File
from appliance.drives.names import PART
from appliance.drives.thread import DriveThread
from appliance.drives.tree import Tree
from appliance.server.models import Facts
from appliance.server.paths import mime, skipped
from appliance.server.worker import Reader as TagReader
from appliance.server.worker import Stopped

log = logging.getLogger(__name__)
DEPTH, MOST = 12, 50_000  # folders one in the other, and files, that are looked at
CHUNK = 256 << 10
_ALIEN = (errno.EACCES, errno.EPERM, errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.EINVAL)


class Moved(DriveError):
    """The drive is being mounted in another way just now."""


class Changed(DriveError):
    """The file is not what it was a moment ago."""


class IngestReader:
    """`open` first. Raises OSError for one file or folder, DriveError (Pulled, Moved) when the drive is gone."""

    def __init__(self, name: str, path: Path) -> None:
        self._name, self._path = name, path
        self._thread = DriveThread(f"{name} import")
        self._tree: Tree | None = None
        self._tags = TagReader()
        self._closed = False

    @staticmethod
    def usable() -> bool:
        """Whether the tag library is installed."""
        return find_spec("mutagen") is not None

    async def open(self) -> None:
        self._tree = await self._thread.run(Tree, self._path)

    async def walk(self, owned: Collection[str]) -> list[File]:
        """The music files in order, without those that are `owned`, hidden, links, or of another file system."""
        return await self._thread.run(self._walk, set(owned))

    async def digest(self, file: File) -> str:
        """SHA-256 in hexadecimal. Changed: its size or date is another one by now."""
        return await self._thread.run(self._digest, file)

    async def read_tags(self, files: Sequence[File]) -> None:
        """Fill in duration, artist and title, as far as they can be told."""
        for file, facts in zip(files, await self.facts(files), strict=True):
            if facts.error is None and (facts.size, facts.mtime_ns) == (file.size, file.mtime_ns):
                file.duration, file.artist, file.title = facts.duration, facts.artist or None, facts.title or None

    async def facts(self, files: Sequence[File]) -> list[Facts]:
        """All that the files say of themselves, in their order."""
        try:
            names = [f.path for f in files]
            return await asyncio.to_thread(self._tags.read, os.fsencode(self._path), names)
        except Stopped:
            raise Moved(f"{self._name} is being mounted anew") from None

    def rest(self) -> None:
        """No more tags to read for now: give the memory of the process back. Blocks for a moment."""
        self._tags.rest()

    async def read(self, file: File, start: int, stop: int) -> AsyncIterator[bytes]:
        """Bytes [start, stop) in pieces. Changed, when there are fewer."""
        while start < stop:
            data = await self._thread.run(self._pread, file, start, min(CHUNK, stop - start))
            yield data
            start += len(data)

    async def close(self) -> None:
        """Let go of the drive, so that it can be unmounted."""
        self._closed = True
        self._tags.close()
        tree, self._tree = self._tree, None
        if tree is not None and not self._thread.dead and not self._thread.pulled:
            with contextlib.suppress(OSError):
                await self._thread.run(tree.close)
        self._thread.close()

    def lose(self) -> None:
        """It was pulled out."""
        self._tags.close()
        self._thread.lose(*([self._tree.close] if self._tree is not None else []))

    # -- on the thread ------------------------------------------------------------------------------------------------

    def _tick(self) -> Tree:
        self._thread.tick()
        if self._closed or self._tree is None:
            raise Moved(f"{self._name} is being mounted anew")
        return self._tree

    def _walk(self, owned: set[str]) -> list[File]:
        found: list[File] = []
        stack = [("", 0)]
        while stack:
            folder, depth = stack.pop()
            tree, below = self._tick(), []
            try:
                with os.scandir(tree.folder(folder)) as entries:
                    for entry in entries:
                        path = f"{folder}/{entry.name}" if folder else entry.name
                        if _left_out(entry.name) or path in owned:
                            continue
                        if entry.is_dir(follow_symlinks=False):
                            below.append((path, depth + 1))
                        elif mime(os.fsencode(entry.name)) and entry.is_file(follow_symlinks=False):
                            status = entry.stat(follow_symlinks=False)
                            if status.st_dev == tree.device:
                                found.append(File(os.fsencode(path), status.st_size, status.st_mtime_ns))
                        if len(found) > MOST:
                            log.warning("%s: only %d music files are looked at", self._name, MOST)
                            return sorted(found[:MOST], key=lambda f: f.path)
            except OSError as error:
                if error.errno not in _ALIEN:
                    raise
                log.info("%s: a folder cannot be looked into: %s", self._name, error.strerror)
            if depth < DEPTH:
                stack.extend(below)
        return sorted(found, key=lambda f: f.path)

    def _digest(self, file: File) -> str:
        digest, at = hashlib.sha256(), 0
        opened = self._open(file)
        try:
            while data := os.pread(opened, CHUNK, at):
                self._tick()
                digest.update(data)
                os.posix_fadvise(opened, at, len(data), os.POSIX_FADV_DONTNEED)
                at += len(data)
        finally:
            os.close(opened)
        if at != file.size:
            raise Changed("it changed while it was read")
        return digest.hexdigest()

    def _pread(self, file: File, at: int, count: int) -> bytes:
        opened = self._open(file)
        try:
            data = os.pread(opened, count, at)
        finally:
            os.close(opened)
        if len(data) != count:
            raise Changed("it changed while it was read")
        return data

    def _open(self, file: File) -> int:
        opened = self._tick().open(os.fsdecode(file.path))
        status = os.fstat(opened)
        if (status.st_size, status.st_mtime_ns) != (file.size, file.mtime_ns):
            os.close(opened)
            raise Changed("it changed while it was read")
        return opened


def _left_out(name: str) -> bool:
    return name.startswith(".") or name.endswith(PART) or skipped(os.fsencode(name))
