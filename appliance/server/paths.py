"""Where files may lie and what they are called in a URL; nothing here ever leaves its root (R6).

A file is named by its root and the bytes of its path below it. Every directory on the way is opened relative to the one
above it with O_NOFOLLOW, so neither `..`, an absolute path nor a symlink swapped in at the last moment leads outside.
"""

from __future__ import annotations

import os
import re
import stat
from urllib.parse import unquote_to_bytes

MIME = {
    ".flac": "audio/flac",
    ".m4a": "audio/mp4",
    ".mp4": "audio/mp4",
    ".alac": "audio/mp4",
    ".wav": "audio/wav",
    ".aiff": "audio/aiff",
    ".aif": "audio/aiff",
    ".mp3": "audio/mpeg",
    ".ogg": "audio/ogg",
    ".oga": "audio/ogg",
    ".opus": "audio/ogg",
    ".aac": "audio/aac",
}
URL_PREFIX = "/music/"
MAX_PATH = 4096
SKIPPED = frozenset((b"lost+found", b"$RECYCLE.BIN", b"System Volume Information", b"@eaDir", b".AppleDouble"))
OUR_PREFIX = b".chadbox"  # folders and files of ours inside a music folder: never music
_ROOT_MARK = re.compile(rb"~([0-9]{1,9})\Z")
_UNSAFE = re.compile(rb"[^A-Za-z0-9/!'(),;=@&+$\-._~]")
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def suffix(name: bytes) -> str:
    """The lower-case extension with its dot, "" when there is none."""
    dot = name.rfind(b".")
    return name[dot:].decode("ascii", "replace").lower() if dot > 0 else ""


def mime(name: bytes) -> str | None:
    """The media type of a file name, None when it is not one of the formats served."""
    return MIME.get(suffix(name))


def skipped(name: bytes) -> bool:
    """Names that systems leave behind on every drive, and our own."""
    return name in SKIPPED or name.startswith((b"._", b".Trash", OUR_PREFIX))


def to_url(root_id: int, path: bytes) -> str:
    """The URL path of a file. The first root has no mark, so that adding a second one changes no URL."""
    mark = f"~{root_id}/" if root_id != 1 or path.startswith(b"~") else ""
    return URL_PREFIX + mark + quote(path)


def quote(path: bytes) -> str:
    """Percent-encode what may not stand in a URL path; several times faster than urllib's for the usual names."""
    return _UNSAFE.sub(lambda match: b"%%%02X" % match[0][0], path).decode("ascii")


def from_url(raw: bytes) -> tuple[int, bytes] | None:
    """(root id, path below it) of a percent-encoded URL path; None when it names nothing that could be ours."""
    prefix = URL_PREFIX.encode()
    if not raw.startswith(prefix) or len(raw) > 3 * MAX_PATH:
        return None
    path = unquote_to_bytes(raw[len(prefix) :])
    first, _, rest = path.partition(b"/")
    root_id = 1
    marked = _ROOT_MARK.match(first)
    if marked:
        root_id, path = int(marked[1]), rest
    return (root_id, path) if legal(path) else None


def legal(path: bytes) -> bool:
    """Whether every component is an ordinary name."""
    if not path or b"\0" in path or len(path) > MAX_PATH:
        return False
    return all(part not in (b"", b".", b"..") and not skipped(part) for part in path.split(b"/"))


def open_directory(root: bytes, path: bytes) -> int:
    """A descriptor of the directory `path` ("" for the root itself) below `root`. Raises OSError."""
    descriptor = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for part in path.split(b"/") if path else ():
            deeper = os.open(part, _DIRECTORY, dir_fd=descriptor)
            os.close(descriptor)
            descriptor = deeper
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def open_file(root: bytes, path: bytes) -> tuple[int, os.stat_result]:
    """(descriptor, status) of the regular file `path` below `root`. Raises OSError, ValueError for an illegal path."""
    if not legal(path):
        raise ValueError("the path is not one below its root")
    folder, _, name = path.rpartition(b"/")
    directory = open_directory(root, folder)
    try:
        # O_NONBLOCK: opening a FIFO that someone put there must not hang
        file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=directory)
    finally:
        os.close(directory)
    try:
        status = os.fstat(file)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(22, "not a regular file")
    except BaseException:
        os.close(file)
        raise
    return file, status


def etag(size: int, mtime_ns: int) -> str:
    """The strong entity tag of a file version, with its quotes; known without reading the file.

    The same as SQL's `printf('"%x%016x"', size, mtime_ns)`. No inode: a library that was copied elsewhere with its
    times keeps its tags, and clients their caches.
    """
    return f'"{size:x}{mtime_ns & 0xFFFFFFFFFFFFFFFF:016x}"'


def printable(path: bytes) -> str:
    """A path for a log line: one line, no escapes."""
    return "".join(c if c.isprintable() else "\ufffd" for c in path.decode("utf-8", "replace"))
