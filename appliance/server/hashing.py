"""SHA-256 of every file, in the background after a scan, one file at a time and behind everything else."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import threading
import time
from collections.abc import Callable

from appliance.server import paths
from appliance.server.catalog import Catalog
from appliance.server.scan import Scanner

log = logging.getLogger(__name__)
CHUNK = 1 << 20
BATCH_FILES, BATCH_SECONDS = 500, 30.0  # a transaction at a time, so that clients see few, larger changes
LISTED = 500


class Hasher:
    """Hashes what has no hash whenever the scanner is idle; goes on after a restart where it was.

    `busy()` says that files are being streamed: then it goes at a fraction of its speed.
    """

    def __init__(self, scanner: Scanner, busy: Callable[[], bool] = lambda: False) -> None:
        self._scanner = scanner
        self._catalog: Catalog = scanner.catalog
        self._busy = busy
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="hash", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout=1.5)

    def _run(self) -> None:
        with contextlib.suppress(OSError, AttributeError):  # of this thread alone, on Linux
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 19)
        seen = -1
        while not self._stop.is_set():
            if self._scanner.idle.wait(timeout=0.5) and self._catalog.version != seen:
                seen = self._catalog.version
                try:
                    self._pass()
                except Exception:  # the disk is full, say: try again after the next change
                    log.exception("hashing stopped")
            else:
                self._stop.wait(0.5)

    def _pass(self) -> None:
        last, done, since = 0, [], time.monotonic()
        while not self._stop.is_set():
            rows = self._catalog.db.reader.execute(
                "SELECT t.id, t.size, t.mtime_ns, f.root_id, f.path, t.name FROM track t JOIN folder f "
                "ON f.id = t.folder_id WHERE t.sha256 IS NULL AND t.deleted_at IS NULL AND t.id > ? "
                "ORDER BY t.id LIMIT ?",
                (last, LISTED),
            ).fetchall()
            if not rows:
                break
            for track_id, size, mtime_ns, root_id, folder, name in rows:
                last = track_id
                root = self._scanner.roots.get(root_id)
                path = folder + b"/" + name if folder else name
                digest = self.digest(root, path, size, mtime_ns) if root is not None else None
                if digest is not None:
                    done.append((track_id, size, mtime_ns, digest))
                if len(done) >= BATCH_FILES or (done and time.monotonic() - since > BATCH_SECONDS):
                    self._catalog.set_hashes(done)
                    done, since = [], time.monotonic()
                if self._stop.is_set():
                    break
        if done:
            self._catalog.set_hashes(done)

    def digest(self, root: bytes, path: bytes, size: int, mtime_ns: int) -> str | None:
        """SHA-256 in hexadecimal of exactly that version of a file; None when it is another one or cannot be read."""
        try:
            descriptor, status = paths.open_file(root, path)
        except (OSError, ValueError):
            return None
        digest = hashlib.sha256()
        try:
            if (status.st_size, status.st_mtime_ns) != (size, mtime_ns):
                return None
            offset = 0
            while chunk := os.pread(descriptor, CHUNK, offset):
                digest.update(chunk)
                # what was read once for this is not what the page cache is for
                os.posix_fadvise(descriptor, offset, len(chunk), os.POSIX_FADV_DONTNEED)
                offset += len(chunk)
                if self._stop.wait(0.05 if self._busy() else 0):
                    return None
            status = os.fstat(descriptor)
        except OSError:
            return None
        finally:
            os.close(descriptor)
        return digest.hexdigest() if (status.st_size, status.st_mtime_ns, offset) == (size, mtime_ns, size) else None
