"""The server's SQLite file: one connection that writes, one for each thread that reads.

Write-ahead logging lets readers go on while a scan writes; `synchronous=FULL` makes every accepted write survive the
plug being pulled (S4). Everything here blocks: the event loop calls it through threads only (R2).
"""

from __future__ import annotations

import logging
import secrets
import sqlite3
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import TypeVar

from appliance.errors import StorageError

log = logging.getLogger(__name__)
T = TypeVar("T")
DATABASE = "server.db"
UPGRADES = {2: "sign_in.sql"}  # what a database of the version before lacks
VERSION = max(UPGRADES)
CACHE_KIB = 2048
STEP = 2  # between two sequence numbers; see delta.py


class Tx:
    """One write transaction: its connection and the counter of changes."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.sql = connection
        (self._begun,) = connection.execute("SELECT CAST(value AS INTEGER) FROM meta WHERE key = 'seq'").fetchone()
        self.seq: int = self._begun

    def next_seq(self) -> int:
        """A sequence number that no change before this one has. Even: the odd ones name places between two pages."""
        self.seq += STEP
        return self.seq

    def _finish(self) -> None:
        if self.seq != self._begun:
            self.sql.execute("UPDATE meta SET value = ? WHERE key = 'seq'", (str(self.seq),))


class Database:
    """Opens or creates `path`. Raises StorageError, in one line, when that is not possible."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._local = threading.local()
        self._all: list[sqlite3.Connection] = []
        self._guard = threading.Lock()  # of _all
        self._writing = threading.RLock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._writer = self._connect()
            self._writer.execute("PRAGMA journal_mode=WAL")
            self._writer.execute("PRAGMA synchronous=FULL")
            self._writer.execute("PRAGMA journal_size_limit=16777216")
            self._prepare()
        except (OSError, sqlite3.Error) as error:
            raise StorageError(f"{path}: cannot be opened: {error}; check the disk, its owner and --state") from error

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.path, timeout=30, isolation_level=None, check_same_thread=False)
        connection.execute(f"PRAGMA cache_size=-{CACHE_KIB}")
        with self._guard:
            self._all.append(connection)
        return connection

    def _prepare(self) -> None:
        (have,) = self._writer.execute("PRAGMA user_version").fetchone()
        if have > VERSION:
            raise sqlite3.DatabaseError("it was written by a newer chadbox")
        if have == 0:
            script = _script("schema.sql")
            first = {"library": str(uuid.uuid4()), "seq": "0", "horizon": "0", "share_key": secrets.token_hex(32)}
            values = ", ".join(f"('{k}', '{v}')" for k, v in first.items())  # our own words and hexadecimal digits
            self._writer.executescript(
                f"BEGIN IMMEDIATE;\n{script}\nINSERT INTO meta (key, value) VALUES {values};\n"
                "PRAGMA user_version=1;\nCOMMIT;"
            )
        for version in range(max(have, 1) + 1, VERSION + 1):
            script = _script(UPGRADES[version])
            self._writer.executescript(f"BEGIN IMMEDIATE;\n{script}\nPRAGMA user_version={version};\nCOMMIT;")

    @contextmanager
    def write(self) -> Iterator[Tx]:
        """A transaction: committed, and on disk, when the block ends; rolled back when it raises."""
        with self._writing:
            self._writer.execute("BEGIN IMMEDIATE")
            try:
                tx = Tx(self._writer)
                yield tx
                tx._finish()
                self._writer.execute("COMMIT")
            except BaseException:
                if self._writer.in_transaction:
                    self._writer.execute("ROLLBACK")
                raise

    @property
    def reader(self) -> sqlite3.Connection:
        """This thread's read-only connection."""
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._connect()
            connection.execute("PRAGMA query_only=ON")
            self._local.connection = connection
        return connection

    def snapshot(self, fn: Callable[[sqlite3.Connection], T]) -> T:
        """Run `fn` with everything it reads from one state of the database."""
        connection = self.reader
        connection.execute("BEGIN")
        try:
            return fn(connection)
        finally:
            connection.execute("COMMIT")

    def meta(self, key: str) -> str:
        (value,) = self.reader.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return str(value)

    def close(self) -> None:
        with self._writing, self._guard:
            for connection in self._all:
                connection.close()
            self._all.clear()


def _script(name: str) -> str:
    return resources.files("appliance.server").joinpath(name).read_text("utf-8")
