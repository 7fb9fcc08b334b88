"""Finding out what is in the music folders: at launch and on request, one scan at a time, on a thread of its own.

A file whose size and time are the known ones is not opened. What is found is served as soon as its batch is written.
Nothing is deleted before the end, so a file that moved keeps its track; and nothing is deleted because a folder could
not be looked into or is suddenly empty, which is what an unmounted drive looks like.
"""

from __future__ import annotations

import logging
import os
import queue
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from appliance.server import paths
from appliance.server.catalog import Catalog
from appliance.server.models import Facts
from appliance.server.worker import BATCH, Reader, Stopped

log = logging.getLogger(__name__)
FLUSH_FILES, FLUSH_SECONDS = 256, 1.0
MAX_DEPTH = 64
WARNINGS_KEPT = 10_000


@dataclass
class _Root:
    """What one walk through a music folder has seen."""

    id: int
    path: bytes
    visited: set[bytes] = field(default_factory=set)
    missing: list[int] = field(default_factory=list)  # tracks whose file is not in its folder, which was looked into
    closed: list[bytes] = field(default_factory=list)  # folders that may hold more than could be seen; b"" is all


class Scanner:
    """Scans `roots` when asked. `idle` is set while no scan is running or waiting."""

    def __init__(self, catalog: Catalog, roots: Mapping[int, bytes], reader: Reader | None = None) -> None:
        self.catalog = catalog
        self.roots = dict(roots)
        self.idle = threading.Event()
        self._reader = reader or Reader()
        self._requests: queue.SimpleQueue[int | None] = queue.SimpleQueue()
        self._waiting: int | None = None
        self._guard = threading.Lock()
        self._stop = threading.Event()
        self._warned: set[tuple[int, bytes, int]] = set()
        self._thread = threading.Thread(target=self._run, name="scan", daemon=True)

    def start(self) -> None:
        """Begin with a scan; jobs that a crash interrupted are closed, as this scan does what they were for."""
        with self.catalog.db.write() as tx:
            tx.sql.execute(
                "UPDATE job SET state = 'failed', error = 'interrupted by a restart', updated = ? "
                "WHERE state IN ('queued', 'running')",
                (time.time(),),
            )
            tx.sql.execute("DELETE FROM job WHERE id < (SELECT max(id) - 1000 FROM job)")
        self.request()
        self._thread.start()

    def request(self) -> int:
        """The id of a job that will scan everything from now; several requests before it begins share it."""
        with self._guard:
            if self._waiting is None:
                now = time.time()
                with self.catalog.db.write() as tx:
                    cursor = tx.sql.execute(
                        "INSERT INTO job (kind, state, created, updated) VALUES ('scan', 'queued', ?, ?)", (now, now)
                    )
                    self._waiting = int(cursor.lastrowid or 0)
                self.idle.clear()
                self._requests.put(self._waiting)
            return self._waiting

    def stop(self) -> None:
        """End within a moment, in the middle of a scan too: the next one goes on from what was written."""
        self._stop.set()
        self._reader.close()
        self._requests.put(None)
        if self._thread.is_alive():
            self._thread.join(timeout=1.5)

    def gone(self, root_id: int, path: bytes) -> bool:
        """Whether a file is really no longer there, as opposed to on a drive that is away or in a shut folder."""
        root = self.roots.get(root_id)
        if root is None:
            return True  # its folder is not served any more
        try:
            folder, _, name = path.rpartition(b"/")
            directory = paths.open_directory(root, folder)
        except (FileNotFoundError, NotADirectoryError):
            return os.path.isdir(root)
        except OSError:
            return False
        try:
            os.stat(name, dir_fd=directory, follow_symlinks=False)
        except FileNotFoundError:
            return True
        except OSError:
            return False
        finally:
            os.close(directory)
        return False

    # -- the thread ---------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._stop.is_set():
            job = self._requests.get()
            if job is None:
                return
            with self._guard:
                self._waiting = None
            try:
                self._job(job, "running", 0)
                self._scan(job)
                self._job(job, "done", 100)
            except Stopped:
                return
            except Exception as error:  # a broken scan must not end scanning for good
                log.exception("the scan failed")
                self._job(job, "failed", None, f"{type(error).__name__}: {error}")
            self._reader.rest()
            with self._guard:
                if self._waiting is None:
                    self.idle.set()

    def _job(self, job: int, state: str, progress: int | None, error: str | None = None) -> None:
        with self.catalog.db.write() as tx:
            tx.sql.execute(
                "UPDATE job SET state = ?, progress = coalesce(?, progress), error = ?, updated = ? WHERE id = ?",
                (state, progress, error, time.time(), job),
            )

    def _scan(self, job: int) -> None:
        total = sum(1 for root_id, path in self.roots.items() for _ in self._names(_Root(root_id, path)))
        done, shown, told = 0, 0, time.monotonic()
        walked, batch = [], _Batch(self)
        for root_id, path in self.roots.items():
            root = _Root(root_id, path)
            walked.append(root)
            for folder, names in self._names(root, warn=True):
                done += 1
                self._compare(root, folder, names, batch)
                percent = min(99, done * 100 // max(total, 1))
                if percent != shown and time.monotonic() - told >= 1:
                    self._job(job, "running", percent)
                    shown, told = percent, time.monotonic()
        batch.flush()
        self._delete_vanished(walked)
        self.catalog.purge()

    def _names(self, root: _Root, *, warn: bool = False) -> Iterator[tuple[bytes, dict[bytes, os.DirEntry[str]]]]:
        """Every folder below `root` that can be looked into, with the music files in it. Symlinks are not followed."""
        stack = [b""]
        while stack:
            if self._stop.is_set():
                raise Stopped
            folder = stack.pop()
            files: dict[bytes, os.DirEntry[str]] = {}
            below, entries = [], 0
            try:
                directory = paths.open_directory(root.path, folder)
                try:
                    with os.scandir(directory) as listing:
                        for entry in listing:
                            entries += 1
                            name = os.fsencode(entry.name)
                            if paths.skipped(name):
                                continue
                            if entry.is_dir(follow_symlinks=False):
                                below.append(folder + b"/" + name if folder else name)
                            elif paths.mime(name) and entry.is_file(follow_symlinks=False):
                                files[name] = entry
                    if folder.count(b"/") >= MAX_DEPTH:
                        below = []
                    yield folder, files  # while the directory is open: the entries are looked at through it
                finally:
                    os.close(directory)
            except OSError as error:
                root.closed.append(folder)
                if warn:
                    what = "music folder" if not folder else "folder"
                    where = paths.printable(root.path + (b"/" + folder if folder else b""))
                    log.warning("%s: the %s cannot be read (%s); its tracks are kept", where, what, error.strerror)
                continue
            root.visited.add(folder)
            if entries == 0:
                root.closed.append(folder)
            stack.extend(sorted(below, reverse=True))

    def _compare(self, root: _Root, folder: bytes, names: dict[bytes, os.DirEntry[str]], batch: _Batch) -> None:
        known = {
            name: (track_id, size, mtime)
            for track_id, name, size, mtime in self.catalog.db.reader.execute(
                "SELECT t.id, t.name, t.size, t.mtime_ns FROM track t JOIN folder f ON f.id = t.folder_id "
                "WHERE f.root_id = ? AND f.path = ? AND t.deleted_at IS NULL",
                (root.id, folder),
            )
        }
        for name in sorted(names):
            try:
                status = names[name].stat(follow_symlinks=False)
            except OSError:
                continue  # it vanished between listing and looking
            if known.pop(name, (0,))[1:] != (status.st_size, status.st_mtime_ns):
                batch.add(root, folder, name, status.st_mtime_ns)
        root.missing += [row[0] for row in known.values()]

    def warn(self, root: _Root, path: bytes, mtime_ns: int, error: str) -> None:
        """Say once a version of a file that it is left out."""
        key = (root.id, path, mtime_ns)
        if key not in self._warned and len(self._warned) < WARNINGS_KEPT:
            self._warned.add(key)
            log.warning("%s: left out: %s", paths.printable(root.path + b"/" + path), error)

    def _delete_vanished(self, walked: list[_Root]) -> None:
        for root in walked:
            if b"" in root.closed and self._tracks_below(root.id):
                log.warning(
                    "%s: the music folder is empty or away; is a drive not mounted? Its tracks are kept",
                    paths.printable(root.path),
                )
                continue
            closed = tuple(folder + b"/" for folder in root.closed)
            suspects, kept = root.missing, 0
            for folder_id, folder in self.catalog.db.reader.execute(
                "SELECT id, path FROM folder WHERE root_id = ?", (root.id,)
            ).fetchall():
                if folder in root.visited:
                    continue
                ids = [
                    i
                    for (i,) in self.catalog.db.reader.execute(
                        "SELECT id FROM track WHERE folder_id = ? AND deleted_at IS NULL", (folder_id,)
                    )
                ]
                if folder in root.closed or folder.startswith(closed):
                    kept += len(ids)
                else:
                    suspects += ids
            if kept:
                log.warning("%s: %d tracks are in folders that cannot be seen; kept", paths.printable(root.path), kept)
            self._delete([i for i in suspects if self._vanished(i)])
        marks = ", ".join("?" * len(self.roots))
        unserved = f"SELECT id FROM folder WHERE root_id NOT IN ({marks})"  # noqa: S608
        query = f"SELECT id FROM track WHERE deleted_at IS NULL AND folder_id IN ({unserved})"  # noqa: S608
        self._delete([i for (i,) in self.catalog.db.reader.execute(query, tuple(self.roots)).fetchall()])

    def _vanished(self, track_id: int) -> bool:
        """Whether the file of a track is gone from where the track is now: a moved one has another path by then."""
        if self._stop.is_set():
            raise Stopped
        row = self.catalog.db.reader.execute(
            "SELECT f.root_id, f.path, t.name FROM track t JOIN folder f ON f.id = t.folder_id WHERE t.id = ?",
            (track_id,),
        ).fetchone()
        return row is not None and self.gone(row[0], row[1] + b"/" + row[2] if row[1] else row[2])

    def _delete(self, ids: list[int]) -> None:
        for start in range(0, len(ids), 500):  # short transactions: a request that writes waits for one at most
            self.catalog.delete(ids[start : start + 500])

    def _tracks_below(self, root_id: int) -> bool:
        row = self.catalog.db.reader.execute(
            "SELECT 1 FROM folder f JOIN track t ON t.folder_id = f.id AND t.deleted_at IS NULL "
            "WHERE f.root_id = ? LIMIT 1",
            (root_id,),
        ).fetchone()
        return row is not None


class _Batch:
    """New and changed files on their way through the tag reader into the database."""

    def __init__(self, scanner: Scanner) -> None:
        self._scanner = scanner
        self._root: _Root | None = None
        self._files: list[tuple[bytes, bytes, int]] = []
        self._read: dict[tuple[int, bytes], list[Facts]] = {}
        self._count, self._since = 0, time.monotonic()

    def add(self, root: _Root, folder: bytes, name: bytes, mtime_ns: int) -> None:
        if self._root is not root:
            self._ask()
            self._root = root
        self._files.append((folder, name, mtime_ns))
        if len(self._files) >= BATCH:
            self._ask()
        if self._count >= FLUSH_FILES or (self._count and time.monotonic() - self._since > FLUSH_SECONDS):
            self._write()

    def flush(self) -> None:
        self._ask()
        self._write()

    def _ask(self) -> None:
        files, self._files = self._files, []
        root = self._root
        if root is None or not files:
            return
        names = [folder + b"/" + name if folder else name for folder, name, _ in files]
        answers = self._scanner._reader.read(root.path, names)
        for (folder, _, mtime_ns), path, facts in zip(files, names, answers, strict=True):
            if facts.error is not None:
                self._scanner.warn(root, path, mtime_ns, facts.error)
                continue
            self._read.setdefault((root.id, folder), []).append(facts)
            self._count += 1

    def _write(self) -> None:
        read, self._read = self._read, {}
        if read:
            folders = ((root_id, folder, facts) for (root_id, folder), facts in read.items())
            self._scanner.catalog.put(folders, self._scanner.gone)
        self._count, self._since = 0, time.monotonic()
