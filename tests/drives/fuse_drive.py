"""A FUSE drive that fails on demand: `python fuse_drive.py FOLDER MOUNT CONTROL`.

CONTROL is a file with one word, read at every call: EIO, ENOSPC, EROFS (what writes, fails so), LIE (what is written
is not what is read back, beyond the first 300,000 bytes of all), HANG (writes do not return until it says otherwise),
or `ENOSPC n`: the n-th call that writes, counted since the word was set, and all after it, fail.
"""

from __future__ import annotations

import errno
import os
import sys
import time
from pathlib import Path
from typing import Any

from fuse import FUSE, FuseOSError, Operations

WRITES = ("write", "create", "mkdir", "truncate", "rename", "unlink", "fsync", "rmdir")
LIED = 300_000


class Drive(Operations):  # type: ignore[misc]
    """Passes everything through to `root`."""

    use_ns = False

    def __init__(self, root: str, control: str) -> None:
        self.root, self.control = root, Path(control)
        self.count, self.word = 0, ""
        self.stored = 0

    def __call__(self, op: str, *args: Any) -> Any:
        text = self.control.read_text()
        if text != self.word:
            self.word, self.count = text, 0
        word, _, number = text.partition(" ")
        if op in WRITES:
            self.count += 1
            while word == "HANG":
                time.sleep(0.05)
                word = self.control.read_text()
            if word in ("EIO", "ENOSPC", "EROFS") and self.count >= int(number or 0):
                grows = op in ("write", "create", "mkdir", "truncate")
                if word != "ENOSPC" or grows:
                    raise FuseOSError(getattr(errno, word))
        return super().__call__(op, *args)

    def path(self, path: str) -> str:
        return self.root + path

    def getattr(self, path: str, fh: int | None = None) -> dict[str, Any]:
        try:
            st = os.lstat(self.path(path))
        except OSError as error:
            raise FuseOSError(error.errno) from None
        names = ("st_atime", "st_ctime", "st_mtime", "st_gid", "st_uid", "st_mode", "st_nlink", "st_size")
        return {name: getattr(st, name) for name in names}

    def readdir(self, path: str, fh: int) -> list[str]:
        return [".", "..", *os.listdir(self.path(path))]

    def open(self, path: str, flags: int) -> int:
        return os.open(self.path(path), flags)

    def create(self, path: str, mode: int, fi: Any = None) -> int:
        return os.open(self.path(path), os.O_RDWR | os.O_CREAT, mode)

    def read(self, path: str, size: int, offset: int, fh: int) -> bytes:
        return os.pread(fh, size, offset)

    def write(self, path: str, data: bytes, offset: int, fh: int) -> int:
        self.stored += len(data)
        if self.word == "LIE" and self.stored > LIED:
            os.pwrite(fh, bytes(len(data)), offset)
            return len(data)
        return os.pwrite(fh, data, offset)

    def truncate(self, path: str, length: int, fh: int | None = None) -> None:
        os.truncate(self.path(path), length)

    def release(self, path: str, fh: int) -> None:
        os.close(fh)

    def unlink(self, path: str) -> None:
        os.unlink(self.path(path))

    def rmdir(self, path: str) -> None:
        os.rmdir(self.path(path))

    def mkdir(self, path: str, mode: int) -> None:
        os.mkdir(self.path(path), mode)

    def rename(self, old: str, new: str) -> None:
        os.rename(self.path(old), self.path(new))

    def chmod(self, path: str, mode: int) -> None:
        os.chmod(self.path(path), mode)

    def fsync(self, path: str, datasync: int, fh: int) -> None:
        os.fsync(fh)

    def statfs(self, path: str) -> dict[str, int]:
        return {"f_bsize": 4096, "f_frsize": 4096, "f_blocks": 1 << 18, "f_bavail": 1 << 17, "f_bfree": 1 << 17}


if __name__ == "__main__":
    uncached = {"attr_timeout": 0, "entry_timeout": 0}
    FUSE(Drive(sys.argv[1], sys.argv[3]), sys.argv[2], foreground=True, nothreads=False, big_writes=True, **uncached)
