"""SQLite behind two kinds of thread: one writer, a few readers; the event loop never touches the file.

Write-ahead logging lets readers go on while the writer works. `synchronous=FULL` makes each transaction survive the
plug being pulled; callers batch, so the flash sees few of them. A database that cannot be read is set aside, never
deleted, and a new one is begun: music must play even then.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from appliance.errors import StorageError

log = logging.getLogger(__name__)

T = TypeVar("T")
_DISK_ERRORS = tuple(f"SQLITE_{e}" for e in ("FULL", "IOERR", "READONLY", "CORRUPT", "NOTADB", "CANTOPEN"))
READERS = 2
CACHE_KIB = 1024  # a page cache per connection; 512 MiB machines have the kernel's as well


class Store:
    """Runs functions of a connection on the right thread.

    `await store.write(fn)` runs `fn(connection)` inside one transaction: it commits when `fn` returns and rolls back
    when it raises. `await store.read(fn)` runs it on a read-only connection. What `fn` raises is raised here, except
    that `sqlite3.OperationalError` and `DatabaseError` of a full or broken disk become `StorageError`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._local = threading.local()
        self._connections: list[sqlite3.Connection] = []
        self._writer = ThreadPoolExecutor(1, "store-writer")
        self._readers = ThreadPoolExecutor(READERS, "store-reader")

    @classmethod
    async def open(cls, path: Path) -> Store:
        """Open or create the database at `path` and bring its schema up to date."""
        store = cls(path)
        try:
            await asyncio.get_running_loop().run_in_executor(store._writer, store._prepare)
        except BaseException:
            await store.close()
            raise
        return store

    async def write(self, fn: Callable[[sqlite3.Connection], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._writer, self._transact, fn)

    async def read(self, fn: Callable[[sqlite3.Connection], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._readers, self._query, fn)

    async def close(self) -> None:
        """Finish what was begun and close every connection."""
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(None, self._close)

    def _close(self) -> None:
        self._writer.shutdown(wait=True)
        self._readers.shutdown(wait=True, cancel_futures=True)
        for connection in self._connections:
            connection.close()

    def _prepare(self) -> None:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            try:
                migrate(self._connection(write=True))
            except sqlite3.DatabaseError as error:
                if isinstance(error, sqlite3.OperationalError) and not _corrupt(error):
                    raise
                self._set_aside(error)
                migrate(self._connection(write=True))
        except (OSError, sqlite3.Error) as error:
            raise StorageError(f"{self.path}: cannot be opened: {error}; check the disk and its owner") from error

    def _set_aside(self, error: Exception) -> None:
        """A damaged database keeps its bytes under another name."""
        for connection in self._connections:
            connection.close()
        self._connections.clear()
        self._local = threading.local()
        log.error("%s is damaged (%s); kept as %s.damaged, starting a new one", self.path, error, self.path.name)
        for suffix in ("", "-wal", "-shm"):
            file = self.path.with_name(self.path.name + suffix)
            if file.exists():
                file.replace(file.with_name(file.name + ".damaged"))

    def _connection(self, *, write: bool) -> sqlite3.Connection:
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = sqlite3.connect(self.path, timeout=30, isolation_level=None, check_same_thread=False)
            connection.execute(f"PRAGMA cache_size=-{CACHE_KIB}")
            if write:
                connection.execute("PRAGMA journal_mode=WAL")
                connection.execute("PRAGMA synchronous=FULL")
                connection.execute("PRAGMA journal_size_limit=4194304")
                connection.execute("PRAGMA foreign_keys=ON")
            else:
                connection.execute("PRAGMA query_only=ON")
            self._local.connection = connection
            self._connections.append(connection)
        return connection

    def _transact(self, fn: Callable[[sqlite3.Connection], T]) -> T:
        connection = self._connection(write=True)
        try:
            connection.execute("BEGIN IMMEDIATE")
            try:
                result = fn(connection)
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
        except (sqlite3.OperationalError, sqlite3.DatabaseError) as error:
            raise _storage_error(error, self.path) from error
        return result

    def _query(self, fn: Callable[[sqlite3.Connection], T]) -> T:
        try:
            return fn(self._connection(write=False))
        except (sqlite3.OperationalError, sqlite3.DatabaseError) as error:
            raise _storage_error(error, self.path) from error


def migrate(connection: sqlite3.Connection) -> None:
    """Apply the numbered files of `migrations/` that this database has not seen; each in one transaction."""
    (have,) = connection.execute("PRAGMA user_version").fetchone()
    for file in sorted((Path(__file__).parent / "migrations").iterdir(), key=lambda f: f.name):
        number = file.name.partition("_")[0]
        if file.name.endswith(".sql") and number.isdigit() and int(number) > have:
            script = file.read_text("utf-8")
            connection.executescript(f"BEGIN IMMEDIATE;\n{script}\nPRAGMA user_version={int(number)};\nCOMMIT;")


def _corrupt(error: sqlite3.Error) -> bool:
    return getattr(error, "sqlite_errorname", "") in ("SQLITE_CORRUPT", "SQLITE_NOTADB")


def _storage_error(error: sqlite3.Error, path: Path) -> Exception:
    name: str = getattr(error, "sqlite_errorname", "")
    if name.startswith(_DISK_ERRORS):
        return StorageError(f"{path}: {error}; check free space and the state of the disk")
    return error
