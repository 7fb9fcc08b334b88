"""Uploaded files on their way into the library: checked, compared with what is there, given a safe name, recorded.

    arrive in ROOT/.chadbox-upload/ID/ (synced)  ->  known key or audio: answer with that track
                                                 ->  link to Artist/Album/NN Title.ext, sync the folder, record

A crash before the record leaves a file that the scan at the next launch finds, and that a repeated upload, which would
get the same name, finds as well. What is in `.chadbox-upload` at launch is left over from a crash and removed (R8), but
for files that come in pieces (partial.py). Known audio has the same SHA-256, else the same artist, title and, within
2 s, duration (S3).
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import shutil
import stat
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path

from appliance.server import paths
from appliance.server.browse import Browser
from appliance.server.catalog import Catalog
from appliance.server.errors import ApiError, bad_request
from appliance.server.hashing import Hasher
from appliance.server.intake import Arriving, storage_error
from appliance.server.models import Facts, Track
from appliance.server.partial import PREFIX, Part, Parts
from appliance.server.text import UNKNOWN_ALBUM, UNKNOWN_ARTIST, clean, safe_name
from appliance.server.worker import Reader, Stopped

log = logging.getLogger(__name__)
FOLDER = ".chadbox-upload"
MAX_KEY = 200
READER_STAYS = 5.0  # seconds that the tag reader waits for another file; starting it takes longer than reading one

Arrived = Arriving | Part


class Uploads:
    """Takes files into the first of `roots`."""

    def __init__(self, catalog: Catalog, browser: Browser, hasher: Hasher, roots: dict[int, bytes], limit: int) -> None:
        self.catalog, self.browser, self.hasher, self.limit = catalog, browser, hasher, limit
        self.roots = roots
        self._one = threading.Lock()  # comparing and recording happen for one upload at a time
        self._reader: Reader | None = None
        self._rest: threading.Timer | None = None
        self._closed = False
        for path in roots.values():
            _clear(Path(os.fsdecode(path)) / FOLDER)
        self.parts = Parts(self._folder, limit)
        self.parts.tidy()

    @property
    def _folder(self) -> Path:
        return Path(os.fsdecode(next(iter(self.roots.values())))) / FOLDER

    def begin(self) -> Arriving:
        """A place for a file to arrive in; give it to `discard` whatever happens."""
        return Arriving(self._folder / uuid.uuid4().hex, self.limit)

    def discard(self, arriving: Arrived) -> None:
        arriving.close()
        shutil.rmtree(arriving.folder, ignore_errors=True)
        with contextlib.suppress(OSError):
            arriving.folder.parent.rmdir()  # only when nothing else is arriving

    def known(self, key: str, sha256: str | None = None) -> Track | None:
        """The track that the file with this key became. Blocks. Raises ApiError 400, and 409 for another file."""
        check_key(key)
        track_id = self._known_key(key, sha256)
        return self.browser.track(track_id) if track_id is not None else None

    def take(self, arriving: Arrived, sha256: str, key: str | None) -> tuple[Track, bool]:
        """(track, whether it was there already) of a file that has arrived. Blocks. Raises ApiError 409, 415, 507."""
        if key is not None:
            check_key(key)
        _local_name(arriving)  # a kind of file that is not served is refused whatever is in it
        with self._one:
            track_id = self._known_key(key, sha256) if key is not None else None
            if track_id is None:
                track_id = self._known_audio(arriving.size, sha256)
                if track_id is None:
                    return self._import(arriving, sha256, key)
                self._note(key, sha256, track_id)
            return self.browser.track(track_id), True

    def close(self) -> None:
        """End the tag reader; what is being read is answered with 503."""
        self._closed = True
        if self._reader is not None:
            self._reader.close()
        if self._rest is not None:
            self._rest.cancel()

    def _note(self, key: str | None, sha256: str, track_id: int) -> None:
        if key is not None:
            with self.catalog.db.write() as tx:
                tx.sql.execute(*_remember(key, sha256, track_id))

    def _known_key(self, key: str, sha256: str | None) -> int | None:
        """A key whose track was deleted since is as good as new: the person wants the music back."""
        row = self.catalog.db.reader.execute(
            "SELECT i.sha256, t.id FROM idempotency i LEFT JOIN track t ON t.id = i.track_id AND t.deleted_at IS NULL "
            "WHERE i.key = ?",
            (key,),
        ).fetchone()
        if row is not None and sha256 is not None and row[0] != sha256:
            raise ApiError(409, "idempotency_conflict", "this X-Idempotency-Key was used for another file")
        return int(row[1]) if row and row[1] is not None else None

    def _known_audio(self, size: int, sha256: str) -> int | None:
        """The track with this hash; what has no hash yet but the same size is hashed now."""
        reader = self.catalog.db.reader
        rows = reader.execute(
            "SELECT t.id, t.size, t.mtime_ns, f.root_id, f.path, t.name FROM track t JOIN folder f "
            "ON f.id = t.folder_id WHERE t.size = ? AND t.sha256 IS NULL AND t.deleted_at IS NULL LIMIT 100",
            (size,),
        ).fetchall()
        found = []
        for track_id, length, mtime_ns, root_id, folder, name in rows:
            if root_id in self.roots:
                path = folder + b"/" + name if folder else name
                digest = self.hasher.digest(self.roots[root_id], path, length, mtime_ns)
                if digest is not None:
                    found.append((track_id, length, mtime_ns, digest))
        if found:
            self.catalog.set_hashes(found)
        return self.browser.find(sha256, None, None, None)

    def _import(self, arriving: Arrived, sha256: str, key: str | None) -> tuple[Track, bool]:
        name = _local_name(arriving)
        local = arriving.folder / name
        try:
            arriving.path.rename(local)
        except OSError as error:
            raise storage_error(error) from error
        facts = self._read(arriving.folder, name)
        if facts.error is not None:
            raise ApiError(415, "unsupported_media_type", f"{clean(name)}: {facts.error}")
        if facts.artist != UNKNOWN_ARTIST:
            same = self.browser.find(None, facts.artist, facts.title, facts.duration)
            if same is not None:
                self._note(key, sha256, same)
                return self.browser.track(same), True
        root_id, root = next(iter(self.roots.items()))
        artist = safe_name(facts.album_artist or facts.artist, UNKNOWN_ARTIST)
        folder = f"{artist}/{safe_name(facts.album, UNKNOWN_ALBUM)}".encode()
        facts.sha256 = sha256
        try:
            directory = _make_directory(root, folder)
            try:
                wanted = _file_name(facts, Path(name).suffix.lower())
                facts.name, placed = _place(os.fsencode(local), directory, wanted, sha256)
                facts.mtime_ns = os.stat(facts.name, dir_fd=directory, follow_symlinks=False).st_mtime_ns
                try:
                    os.fsync(directory)
                    return self._record(root_id, folder, facts, sha256, key), False
                except BaseException:
                    if placed:
                        os.unlink(facts.name, dir_fd=directory)
                    raise
            finally:
                os.close(directory)
        except OSError as error:
            raise storage_error(error) from error

    def _read(self, folder: Path, name: str) -> Facts:
        """What the tag reader, a process of its own, makes of a file that a stranger sent; it stays for the next."""
        if self._rest is not None:
            self._rest.cancel()
        if self._reader is None:
            self._reader = Reader()
        try:
            if self._closed:
                raise Stopped
            (facts,) = self._reader.read(os.fsencode(folder), [os.fsencode(name)])
        except Stopped:
            raise ApiError(503, "stopping", "the server is stopping; send the file again") from None
        self._rest = threading.Timer(READER_STAYS, self._let_rest)
        self._rest.daemon = True
        self._rest.start()
        return facts

    def _let_rest(self) -> None:
        with self._one:
            if self._reader is not None:
                self._reader.rest()

    def _record(self, root_id: int, folder: bytes, facts: Facts, sha256: str, key: str | None) -> Track:
        gone: Callable[[int, bytes], bool] = lambda _root, _path: False  # noqa: E731  (a new file, whatever it is like)
        with self.catalog.db.write() as tx:
            (track_id,) = self.catalog.put_in(tx, root_id, folder, [facts], gone)
            if key is not None:
                tx.sql.execute(*_remember(key, sha256, track_id))
        self.catalog.version += 1
        return self.browser.track(track_id)


def check_key(key: str) -> None:
    """ApiError 400 for what is no idempotency key."""
    if not 0 < len(key) <= MAX_KEY:
        raise bad_request(f"X-Idempotency-Key has 1 to {MAX_KEY} characters")


def _clear(folder: Path) -> None:
    """Remove what a crash has left of files that came in one piece."""
    with contextlib.suppress(OSError):
        for left in folder.iterdir():
            if not left.name.startswith(PREFIX):
                shutil.rmtree(left, ignore_errors=True)
        folder.rmdir()  # only when it is empty


def _remember(key: str, sha256: str, track_id: int) -> tuple[str, tuple[object, ...]]:
    return "INSERT OR REPLACE INTO idempotency VALUES (?, ?, ?, ?)", (key, sha256, track_id, time.time())


def _local_name(arriving: Arrived) -> str:
    """The last part of the name that the client gave. Raises ApiError 415 when it is no kind of music."""
    given = clean(Path(arriving.name.replace("\\", "/")).name)
    suffix = Path(given).suffix
    if paths.mime(given.encode("utf-8", "replace")) is None:
        raise ApiError(415, "unsupported_media_type", f"{given[:100] or 'the file'}: not a kind of music served here")
    return safe_name(given[: -len(suffix)], "Untitled") + suffix  # a name that is cut keeps its kind


def _file_name(facts: Facts, suffix: str) -> str:
    """`NN Title.ext`, or `D-NN Title.ext` beyond the first disc."""
    number = f"{facts.no:02d} " if facts.no else ""
    if number and facts.disc and facts.disc > 1:
        number = f"{facts.disc}-{number}"
    return safe_name(number + facts.title, "Untitled") + suffix


def _make_directory(root: bytes, folder: bytes) -> int:
    """A descriptor of `folder` below `root`, made and synced where it was missing; no symlink is followed."""
    descriptor = paths.open_directory(root, b"")
    try:
        for part in folder.split(b"/"):
            with contextlib.suppress(FileExistsError):
                os.mkdir(part, 0o755, dir_fd=descriptor)
            os.fsync(descriptor)  # also where it was there: a crash may have kept it from being synced
            flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
            deeper = os.open(part, flags, dir_fd=descriptor)
            os.close(descriptor)
            descriptor = deeper
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _place(source: bytes, directory: int, name: str, sha256: str) -> tuple[bytes, bool]:
    """Give the file at `source` a name in `directory`, never over another file; the name, and whether it is new.

    A file of that name with the same bytes is this one: a crash kept an earlier upload from being recorded.
    """
    stem, dot, suffix = name.rpartition(".")
    for number in range(1, 1000):
        candidate = os.fsencode(name if number == 1 else f"{stem} ({number}){dot}{suffix}")
        try:
            os.link(source, candidate, dst_dir_fd=directory)
        except FileExistsError:
            if _is(candidate, directory, os.stat(source).st_size, sha256):
                return candidate, False
            continue
        except OSError:  # a file system without hard links
            try:
                os.stat(candidate, dir_fd=directory, follow_symlinks=False)
                if _is(candidate, directory, os.stat(source).st_size, sha256):
                    return candidate, False
                continue
            except FileNotFoundError:
                os.rename(source, candidate, dst_dir_fd=directory)
        return candidate, True
    raise OSError(17, "there are too many files of this name")


def _is(name: bytes, directory: int, size: int, sha256: str) -> bool:
    """Whether this file of `directory` holds exactly these bytes."""
    file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=directory)
    with open(file, "rb") as opened:
        status = os.fstat(file)
        if not stat.S_ISREG(status.st_mode) or status.st_size != size:
            return False
        os.fsync(file)
        return hashlib.file_digest(opened, "sha256").hexdigest() == sha256
