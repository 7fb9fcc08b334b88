"""Files below the root of a drive, reached through directory descriptors only.

The root is opened once: whatever is mounted over the path later, or when the drive is pulled and another one takes its
place, these calls reach the drive that was looked at, or fail. No component is ever followed if it is a symlink (R6).
All calls block and belong on the drive's own thread; they raise OSError.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import stat
from pathlib import Path

from appliance.drives.names import PART

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_sync_file_range = ctypes.CDLL(None, use_errno=True).sync_file_range
_WRITE_AND_WAIT = 7  # SYNC_FILE_RANGE_WAIT_BEFORE | WRITE | WAIT_AFTER
_LARGEST = 64 << 20  # bytes of a list of ours; more is not one


class Tree:
    """`path` arguments are relative, with `/`, and "" is the root."""

    def __init__(self, root: Path) -> None:
        self._last: tuple[str, int] | None = None
        self._root = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self.device = os.fstat(self._root).st_dev

    def close(self) -> None:
        self._forget()
        if self._root >= 0:
            os.close(self._root)
            self._root = -1

    def __del__(self) -> None:
        if getattr(self, "_root", -1) >= 0:  # opened for somebody who had left: held open it could not be unmounted
            os.close(self._root)

    def folder(self, path: str, *, make: bool = False) -> int:
        """A descriptor of a folder that stays open until the next call; with `make`, what lacks is made."""
        if not path:
            return self._root
        if self._last and self._last[0] == path:
            return self._last[1]
        at, opened = self._root, -1
        try:
            for part in path.split("/"):
                try:
                    deeper = os.open(part, _FOLDER, dir_fd=at)
                except FileNotFoundError:
                    if not make:
                        raise
                    os.mkdir(part, 0o755, dir_fd=at)
                    with contextlib.suppress(OSError):  # others may look at the drive, whatever our umask is
                        os.chmod(part, 0o755, dir_fd=at)  # noqa: S103 - as on every drive
                    deeper = os.open(part, _FOLDER, dir_fd=at)
                    settle(at, deeper)
                if opened >= 0:
                    os.close(opened)
                at = opened = deeper
        except BaseException:
            if opened >= 0:
                os.close(opened)
            raise
        self._forget()
        self._last = (path, opened)
        return opened

    def open(self, path: str, flags: int = os.O_RDONLY) -> int:
        """A descriptor of a regular file."""
        folder, _, name = path.rpartition("/")
        # O_NONBLOCK: opening a FIFO that someone put there must not hang
        at = self.folder(folder)
        file = os.open(name, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o644, dir_fd=at)
        if not stat.S_ISREG(os.fstat(file).st_mode):
            os.close(file)
            raise FileNotFoundError(2, "not a file", path)
        return file

    def stat(self, path: str) -> os.stat_result | None:
        """None when there is nothing of that name."""
        folder, _, name = path.rpartition("/")
        try:
            return os.stat(name, dir_fd=self.folder(folder), follow_symlinks=False)
        except (FileNotFoundError, NotADirectoryError):
            return None

    def size(self, path: str) -> int | None:
        """Bytes of a regular file; None when there is none."""
        found = self.stat(path)
        return found.st_size if found and stat.S_ISREG(found.st_mode) else None

    def listing(self, path: str) -> list[str]:
        """Names in a folder, in no order; empty when there is none."""
        try:
            return os.listdir(self.folder(path))
        except (FileNotFoundError, NotADirectoryError):
            return []

    def subfolders(self, path: str) -> list[str]:
        try:
            with os.scandir(self.folder(path)) as items:
                return [item.name for item in items if item.is_dir(follow_symlinks=False)]
        except (FileNotFoundError, NotADirectoryError):
            return []

    def remove(self, path: str) -> None:
        """Remove a file, and the folders above it that this leaves empty (not the first one)."""
        folder, _, name = path.rpartition("/")
        try:
            at = self.folder(folder)
            os.unlink(name, dir_fd=at)
            os.fsync(at)
        except FileNotFoundError:
            pass
        while folder.count("/"):
            parent, _, name = folder.rpartition("/")
            self._forget()
            try:
                os.rmdir(name, dir_fd=self.folder(parent))
            except OSError:
                break
            folder = parent

    def sync(self, path: str) -> None:
        """Make the names in a folder durable."""
        os.fsync(self.folder(path))

    def read(self, path: str) -> bytes | None:
        """A small file of ours; None when there is none."""
        try:
            file = self.open(path)
        except (FileNotFoundError, NotADirectoryError, OSError) as error:
            if isinstance(error, (FileNotFoundError, NotADirectoryError)):
                return None
            raise
        with open(file, "rb") as opened:
            return opened.read(_LARGEST)

    def write(self, path: str, data: bytes) -> None:
        """Make `path` hold `data`: all of it or what was there before, whenever the drive is pulled.

        Nothing is written when it holds that already.
        """
        if self.size(path) == len(data) and self.read(path) == data:
            return
        folder, _, name = path.rpartition("/")
        at = self.folder(folder, make=True)
        part = name + PART
        with contextlib.suppress(FileNotFoundError):
            os.unlink(part, dir_fd=at)
        file = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644, dir_fd=at)
        try:
            readable(file)
            with open(file, "wb") as opened:
                opened.write(data)
                opened.flush()
                settle(file, at)
                if not stored(part, at, data):
                    raise OSError(errno.EIO, "the drive does not give back what was written to it")
                replaces = self.stat(path) is not None
                os.rename(part, name, src_dir_fd=at, dst_dir_fd=at)
                # FAT keeps in the name where the file is, and the folder's sync does not write that. An old file's
                # place is given free by it, so the name must lead to the new one before; a new name is as in copy.py.
                for each in (file, at) if replaces else (at, file):
                    os.fsync(each)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(part, dir_fd=at)
            raise

    def room(self) -> tuple[int, int, int]:
        """Bytes that can still be written, bytes in all, bytes of the smallest piece."""
        found = os.fstatvfs(self._root)
        return found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize, max(found.f_frsize, 512)

    @property
    def writable(self) -> bool:
        """Whether it is mounted so that it can be written at all."""
        return not os.fstatvfs(self._root).f_flag & os.ST_RDONLY and os.access(
            f"/proc/self/fd/{self._root}", os.W_OK | os.X_OK
        )

    def _forget(self) -> None:
        if self._last:
            os.close(self._last[1])
            self._last = None


def settle(file: int, folder: int) -> None:
    """Sync a file, or a folder, so that a drive which is pulled meanwhile is left in order.

    A file's own sync writes on FAT first where it begins and only then that this place is taken. Pulled in between, the
    name leads to free clusters: it cannot be read, and removing it makes Linux take the whole drive as broken. The sync
    of another file, or of its `folder`, writes what is taken before. What is taken and has no name is lost until the
    drive is repaired, so the contents, which take long, go first of all.
    """
    if _sync_file_range(file, ctypes.c_int64(0), ctypes.c_int64(0), _WRITE_AND_WAIT):
        number = ctypes.get_errno()
        if number != errno.ENOSYS:
            raise OSError(number, os.strerror(number))
    os.fsync(folder)
    os.fsync(file)


def readable(file: int) -> None:
    """Let others read a file of ours on a file system that has owners, whatever our umask is."""
    with contextlib.suppress(OSError):
        os.fchmod(file, 0o644)


def stored(name: str, folder: int, data: bytes) -> bool:
    """Whether the drive, and not only the memory, holds `data` in this file."""
    file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    with open(file, "rb") as opened:
        os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
        return opened.read() == data
