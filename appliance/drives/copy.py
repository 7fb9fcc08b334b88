"""One file onto a drive: under a temporary name, synced, read back, renamed (C4).

The temporary file stands in the folder where the file will, always under the same name: so its directory entry always
takes the same hole, and on FAT the entries of the files come in the order of writing, which is the order in which many
car stereos play.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from appliance.drives.errors import DriveError
from appliance.drives.names import PART
from appliance.drives.tree import Tree, readable, settle
from appliance.errors import StorageError

T = TypeVar("T")

NAME = "copying" + PART
CHUNK = 1 << 20
SYNC_EVERY = 16 << 20  # bytes: so that no single sync takes long, and little of the memory is dirty at once

Count = Callable[[int], None]  # so many bytes more are written
Tick = Callable[[], None]  # called between pieces: tells that it goes on, and raises when it should not


class Part:
    """A file that is being written. All calls block; OSError and DriveError.

    `known` is the SHA-256 of what will be written, if somebody has taken it already.
    """

    def __init__(
        self, tree: Tree, path: str, tick: Tick, count: Count = lambda size: None, known: str | None = None
    ) -> None:
        self.size = 0
        self._known = known
        self._count = count
        self._tree, self._path, self._tick = tree, path, tick
        self._folder, _, self._name = path.rpartition("/")
        self._hash = hashlib.sha256()
        self._unsynced = 0
        at = tree.folder(self._folder, make=True)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(NAME, dir_fd=at)
        self._file = os.open(NAME, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644, dir_fd=at)
        readable(self._file)

    def write(self, data: bytes | memoryview) -> None:
        if self._known is None:
            self._hash.update(data)
        view = memoryview(data)
        while view:
            self._tick()
            written = os.write(self._file, view[:CHUNK])
            view = view[written:]
            self.size += written
            self._unsynced += written
            self._count(written)
            if self._unsynced >= SYNC_EVERY:
                settle(self._file, self._tree.folder(self._folder))
                self._unsynced = 0

    @property
    def sha256(self) -> str:
        return self._known or self._hash.hexdigest()

    def finish(self, *, replace: bool, source: int = -1) -> str:
        """Sync, check what the drive has stored, give it its name; returns the SHA-256.

        `source` is an open file with the same bytes: comparing with it costs less than a second SHA-256, which a
        Raspberry Pi takes at some 80 MB/s. Raises FileExistsError when there is a file of that name and not `replace`.
        """
        tick = self._tick
        tick()
        settle(self._file, self._tree.folder(self._folder))
        tick()
        stored = same(self._file, source, tick) if source >= 0 else read_back(self._file, tick) == self.sha256
        if not stored:
            raise DriveError(
                "the drive does not give back what was written to it: it is broken, or smaller than it says"
            )
        at = self._tree.folder(self._folder)
        if self._tree.stat(self._path) is not None:
            if not replace:
                raise FileExistsError(17, "a file of that name is there already", self._path)
            # On FAT a rename frees the old file's clusters before the name is off them: pulled in between, the name
            # would lead to what the next file is written over. Without an old file it leads nowhere: to an empty file.
            os.unlink(self._name, dir_fd=at)
            os.fsync(at)
        os.rename(NAME, self._name, src_dir_fd=at, dst_dir_fd=at)
        tick()
        # The folder first, so that the old name is gone before the new one has the file: two names for the same
        # clusters would be the end of both. Then the file: on FAT its size and place are in its new name, which the
        # folder's sync does not write; it would stay empty for half a minute.
        os.fsync(at)
        tick()
        os.fsync(self._file)
        os.close(self._file)
        self._file = -1
        return self.sha256

    def __del__(self) -> None:
        if getattr(self, "_file", -1) >= 0:  # nobody could abandon it: the drive was pulled
            with contextlib.suppress(OSError):
                os.close(self._file)

    def abandon(self) -> None:
        """Leave nothing behind, as far as the drive still lets us."""
        if self._file >= 0:
            with contextlib.suppress(OSError):
                os.close(self._file)
            self._file = -1
        with contextlib.suppress(OSError):
            os.unlink(NAME, dir_fd=self._tree.folder(self._folder))


def read_back(file: int, tick: Tick) -> str:
    """SHA-256 of an open file as the drive has it, and not as the memory remembers it."""
    os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
    digest, at = hashlib.sha256(), 0
    while data := os.pread(file, CHUNK, at):
        tick()
        digest.update(data)
        at += len(data)
    return digest.hexdigest()


def same(file: int, source: int, tick: Tick) -> bool:
    """Whether the drive has in `file` what `source` holds."""
    os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
    at = 0
    while True:
        tick()
        data, wanted = os.pread(file, CHUNK, at), _of_the_box(lambda: os.pread(source, CHUNK, at))  # noqa: B023
        if data != wanted:
            return False
        if not data:
            return True
        at += len(data)


def hash_of(tree: Tree, path: str, tick: Tick) -> str:
    file = tree.open(path)
    try:
        return read_back(file, tick)
    finally:
        os.close(file)


def put_file(
    tree: Tree, path: str, source: Path, tick: Tick, *, replace: bool, expected: str | None = None,
    known: str | None = None, count: Count = lambda size: None,
) -> str:  # fmt: skip
    """Copy the file `source` of the box to `path` on the drive; its SHA-256. Whatever is raised, nothing is left.

    `known` is the SHA-256 when it was taken a moment ago: a Raspberry Pi hashes more slowly than drives write.

    ValueError when it is not the `expected` one, StorageError when the box cannot read it, FileExistsError when there
    is a file of that name and not `replace`, DriveError and other OSErrors when it is the drive.
    """
    opened = _of_the_box(lambda: os.open(source, os.O_RDONLY | os.O_CLOEXEC))
    try:
        part = Part(tree, path, tick, count, known)
        try:
            at = 0
            while data := _of_the_box(lambda: os.pread(opened, CHUNK, at)):  # noqa: B023 - called at once
                part.write(data)
                at += len(data)
            if expected is not None and part.sha256 != expected:
                raise ValueError("the box's copy is damaged; it will be fetched anew")
            return part.finish(replace=replace, source=opened)
        except BaseException:
            part.abandon()
            raise
    finally:
        os.close(opened)


def _of_the_box(work: Callable[[], T]) -> T:
    """An error of the box's own disk is no error of the drive."""
    try:
        return work()
    except OSError as error:
        raise StorageError(f"the box's copy cannot be read: {error.strerror}") from None
