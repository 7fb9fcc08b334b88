"""The table `import_file`: what became of each file of a drive; functions of a connection, each for one transaction.

queued --> uploading --> done          it was sent, and is on the server now
   |           |-------> failed        why is in `reason`; `final` ones are not tried again unless somebody asks
   '-----------+-------> duplicate     the server had it already
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from typing import Any

from msgspec import Struct

DRIVES = 20  # whose files are remembered, those of the latest imports


class File(Struct, gc=False):
    """One file; `path` below the drive's root, `sent` bytes on their way, `before` its state in an earlier import."""

    path: bytes
    size: int
    mtime_ns: int
    sha256: str | None = None
    duration: float = 0.0
    artist: str | None = None
    title: str | None = None
    state: str = "queued"
    sent: int = 0
    reason: str | None = None
    final: bool = False
    before: str = ""

    @property
    def shown(self) -> str:
        """The path for people."""
        return "".join(c if c.isprintable() else "\ufffd" for c in self.path.decode("utf-8", "replace"))

    @property
    def percent(self) -> int:
        if self.state in ("done", "duplicate"):
            return 100
        return min(99, self.sent * 100 // max(self.size, 1))


class Failed(Struct):
    path: str
    reason: str


class Result(Struct):
    """As `drive import --json` shows it; `bytes` were uploaded."""

    uploaded: int = 0
    known: int = 0
    failed: list[Failed] = []
    bytes: int = 0


_READ = "path, size, mtime_ns, sha256, duration, artist, title, state, sent, reason, final"


def plan(con: sqlite3.Connection, drive: str, library: str, job: int, found: Sequence[File], asked: bool) -> list[File]:
    """Set down what job number `job` is to do with the files `found` on a drive; all of them, in that order.

    What an earlier import of this library has settled stays so, unless somebody asked for this one.
    """
    old = {}
    for row in con.execute(f"SELECT {_READ}, library, job FROM import_file WHERE drive = ?", (drive,)):  # noqa: S608
        old[row[0]] = (_file(row), row[11], row[12])
    con.execute("DELETE FROM import_file WHERE drive = ?", (drive,))
    for file in found:
        known, of, by = old.get(file.path, (None, "", 0))
        if known is None or (known.size, known.mtime_ns) != (file.size, file.mtime_ns):
            continue
        file.sha256, file.duration, file.artist, file.title = known.sha256, known.duration, known.artist, known.title
        if of != library:
            continue
        file.before = known.state
        if by == job and (known.state in ("done", "duplicate") or known.final):
            file.state, file.reason, file.final = known.state, known.reason, known.final
        elif by == job:
            file.sent = known.sent
        elif not asked and known.state in ("done", "duplicate"):
            file.state = "duplicate"
        elif not asked and known.final:
            file.state, file.reason, file.final = "failed", known.reason, True
    con.executemany(
        f"INSERT INTO import_file ({_READ}, drive, library, job) VALUES ({', '.join('?' * 14)})",  # noqa: S608
        (
            (f.path, f.size, f.mtime_ns, f.sha256, f.duration, f.artist, f.title, f.state, f.sent, f.reason, f.final,
             drive, library, job)
            for f in found
        ),
    )  # fmt: skip
    con.execute(
        "DELETE FROM import_file WHERE drive NOT IN "
        "(SELECT drive FROM import_file GROUP BY drive ORDER BY max(job) DESC LIMIT ?)",
        (DRIVES,),
    )
    return list(found)


def save(con: sqlite3.Connection, drive: str, files: Iterable[File]) -> None:
    con.executemany(
        "UPDATE import_file SET sha256 = ?, duration = ?, artist = ?, title = ?, state = ?, sent = ?, reason = ?, "
        "final = ? WHERE drive = ? AND path = ?",
        [
            (f.sha256, f.duration, f.artist, f.title, f.state, f.sent, f.reason, f.final, drive, f.path)
            for f in files
        ],
    )  # fmt: skip


def result(con: sqlite3.Connection, job: int) -> Result:
    """What job number `job` has done so far."""
    sql = "SELECT count(*), coalesce(sum(size), 0) FROM import_file WHERE job = ? AND state = ?"
    uploaded, size = con.execute(sql, (job, "done")).fetchone()
    known, _ = con.execute(sql, (job, "duplicate")).fetchone()
    failed = [Failed(f.shown, f.reason or "") for f in of_job(con, job) if f.state == "failed"]
    return Result(uploaded, known, failed, size)


def of_job(con: sqlite3.Connection, job: int) -> list[File]:
    """Its files by path."""
    sql = f"SELECT {_READ} FROM import_file WHERE job = ? ORDER BY path"  # noqa: S608
    return [_file(row) for row in con.execute(sql, (job,))]


def _file(row: tuple[Any, ...]) -> File:
    file = File(*row[:10])
    file.final = bool(row[10])
    return file
