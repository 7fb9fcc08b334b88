"""The table `job`: functions of a connection, each for one transaction.

            submit             claim                 handler returns
(nothing) ----------> queued ----------> running -----------------------> done
                        ^  \\                | |  error, attempts used up
                        |   \\ cancel        | +------------------------> failed --+
                        |    +-> cancelled <-+ cancel                              | retry
                        +------------------- + error, try again; close; crash      |
                        +----------------------------------------------------------+
"""

from __future__ import annotations

import sqlite3
import time
from typing import Any

import msgspec
from msgspec import Struct

KEPT = 100  # finished jobs that stay to be looked at
CRASHES = (
    10  # times that the process may die under a job which does not get on, before the job is taken to be the cause
)
FINAL = ("done", "failed", "cancelled")

_COLUMNS = "id, kind, state, progress, attempt, error"


class Info(Struct):
    """A job as `jobs --json` shows it; progress 0-100, `attempt` counts from 1 once it runs."""

    id: int
    kind: str
    state: str
    progress: int
    attempt: int
    error: str | None


class Claimed(Struct):
    id: int
    kind: str
    args: Any
    progress: int
    attempt: int


def insert(con: sqlite3.Connection, kind: str, args: Any, key: str | None) -> tuple[int, bool]:
    """The id of a new job, or of the live one with the same kind and key; and whether it is new."""
    if key is not None:
        sql = "SELECT id FROM job WHERE kind = ? AND key = ? AND state IN ('queued', 'running')"
        if row := con.execute(sql, (kind, key)).fetchone():
            return int(row[0]), False
    now = time.time()
    cursor = con.execute(
        "INSERT INTO job (kind, args, state, created, updated, key) VALUES (?, ?, 'queued', ?, ?, ?)",
        (kind, msgspec.json.encode(args).decode(), now, now, key),
    )
    return int(cursor.lastrowid or 0), True


def claim(con: sqlite3.Connection, room: dict[str, int], longest: float) -> tuple[list[Claimed], float | None]:
    """Mark due jobs of the kinds that have room as running.

    Returns them, and the seconds until the next one of those kinds is due (None: nothing waits). No wait is believed
    that is longer than `longest`: a box without a clock battery may have written it in another year.
    """
    now = time.time()
    claimed: list[Claimed] = []
    wait: float | None = None
    for kind, free in room.items():
        sql = """SELECT id, args, progress, attempt FROM job WHERE state = 'queued' AND kind = ?
            AND (not_before <= ? OR not_before > ?) ORDER BY id LIMIT ?"""
        rows = con.execute(sql, (kind, now, now + longest, free)).fetchall()
        for n, args, progress, attempt in rows:
            con.execute(
                "UPDATE job SET state = 'running', attempt = ?, error = NULL, updated = ? WHERE id = ?",
                (attempt + 1, now, n),
            )
            claimed.append(Claimed(n, kind, msgspec.json.decode(args), progress, attempt + 1))
        if len(rows) < free:
            sql = "SELECT min(not_before) FROM job WHERE state = 'queued' AND kind = ? AND not_before > ?"
            (soonest,) = con.execute(sql, (kind, now)).fetchone()
            if soonest is not None:
                wait = min(wait if wait is not None else longest, max(0.0, soonest - now))
    return claimed, wait


def put_back(con: sqlite3.Connection, n: int, progress: int, delay: float, error: str | None, count: bool) -> None:
    """Queue a running job again after `delay` seconds; without `count`, this attempt was not its own fault."""
    now = time.time()
    con.execute(
        """UPDATE job SET state = 'queued', progress = ?, error = ?, not_before = ?, updated = ?,
            attempt = attempt - ?, interrupted = 0 WHERE id = ?""",
        (progress, error, now + delay if delay else 0, now, 0 if count else 1, n),
    )


def finish(con: sqlite3.Connection, n: int, state: str, progress: int, error: str | None) -> None:
    """Close a job and forget the oldest of those that were closed long ago."""
    con.execute(
        "UPDATE job SET state = ?, progress = ?, error = ?, updated = ?, interrupted = 0 WHERE id = ?",
        (state, progress, error, time.time(), n),
    )
    con.execute(
        """DELETE FROM job WHERE id IN (SELECT id FROM job WHERE state IN ('done', 'failed', 'cancelled') AND id <> ?
            ORDER BY updated DESC, id DESC LIMIT -1 OFFSET ?)""",
        (n, KEPT - 1),
    )


def set_progress(con: sqlite3.Connection, n: int, progress: int) -> None:
    sql = "UPDATE job SET progress = ?, updated = ?, interrupted = 0 WHERE id = ? AND state = 'running'"
    con.execute(sql, (progress, time.time(), n))


def again(con: sqlite3.Connection, n: int) -> Info | None:
    """Queue a failed or cancelled job as if it were new; None when it is neither, or a live job has its key."""
    row = con.execute("SELECT kind, key FROM job WHERE id = ? AND state IN ('failed', 'cancelled')", (n,)).fetchone()
    if row is None:
        return None
    sql = "SELECT 1 FROM job WHERE kind = ? AND key = ? AND state IN ('queued', 'running')"
    if row[1] is not None and con.execute(sql, row).fetchone():
        return None
    con.execute(
        """UPDATE job SET state = 'queued', progress = 0, attempt = 0, error = NULL, not_before = 0, updated = ?,
            interrupted = 0 WHERE id = ?""",
        (time.time(), n),
    )
    return get(con, n)


def recover(con: sqlite3.Connection) -> list[Info]:
    """At the start, queue what was running when the process ended; returns those jobs.

    A power cut costs no attempt. But a job under which the process dies again and again without getting on has failed.
    """
    running = [n for (n,) in con.execute("SELECT id FROM job WHERE state = 'running' ORDER BY id")]
    con.execute(
        """UPDATE job SET interrupted = interrupted + 1, attempt = max(attempt - 1, 0), updated = ?,
            state = iif(interrupted + 1 >= ?, 'failed', 'queued'), not_before = 0,
            error = iif(interrupted + 1 >= ?, 'the player died while this ran; see its log, then retry', NULL)
            WHERE state = 'running'""",
        (time.time(), CRASHES, CRASHES),
    )
    return [info for n in running if (info := get(con, n))]


def get(con: sqlite3.Connection, n: int) -> Info | None:
    row = con.execute(f"SELECT {_COLUMNS} FROM job WHERE id = ?", (n,)).fetchone()  # noqa: S608
    return Info(*row) if row else None


def everything(con: sqlite3.Connection) -> list[Info]:
    """Live jobs and then finished ones, newest first."""
    sql = f"""SELECT {_COLUMNS} FROM job ORDER BY
        CASE state WHEN 'running' THEN 0 WHEN 'queued' THEN 1 ELSE 2 END, updated DESC, id DESC"""  # noqa: S608
    return [Info(*row) for row in con.execute(sql)]
