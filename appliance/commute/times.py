"""When listening will begin: from the starts of listening sessions, by weekday/weekend and time of day.

Only plays with a known time count. A time of day is a habit when on enough of the days of its kind, in the last weeks,
a session began within half an hour of it; shifts that change by the week make more than one.
"""

from __future__ import annotations

import sqlite3
import time
from collections import defaultdict

WEEKS = 6  # that are looked at
PLAYS = 20_000  # newest plays that are looked at
PAUSE = 45 * 60.0  # seconds of silence after which a new session begins
WINDOW = 30  # minutes to both sides that are one habit
STEP = 10  # minutes
SHARE = 0.25  # of the days of a kind
DAYS = 3  # at least


def starts(con: sqlite3.Connection, library: str, now: float) -> list[float]:
    """Unix times at which sessions began in the last weeks, oldest first."""
    sql = "SELECT played_at - seconds, played_at FROM play WHERE +library = ? AND n > (SELECT max(n) FROM play) - ?"
    since = now - WEEKS * 7 * 86400
    plays = sorted(
        (begun, ended) for begun, ended in con.execute(sql, (library, PLAYS)) if ended and since <= ended <= now
    )
    found: list[float] = []
    until = 0.0
    for begun, ended in plays:
        if begun - until > PAUSE:
            found.append(begun)
        until = max(until, ended)
    return found


def habits(sessions: list[float], now: float) -> dict[bool, list[int]]:
    """Minutes of the day at which listening begins, by weekend: what to be ready for, so early within each habit."""
    found: dict[bool, list[tuple[int, str]]] = defaultdict(list)
    for begun in sessions:
        local = time.localtime(begun)
        found[local.tm_wday >= 5].append((local.tm_hour * 60 + local.tm_min, time.strftime("%F", local)))
    weeks = min(float(WEEKS), max(1.0, (now - sessions[0]) / 604800)) if sessions else 1.0
    return {kind: _peaks(of, weeks * (2 if kind else 5)) for kind, of in found.items()}


def _peaks(found: list[tuple[int, str]], days: float) -> list[int]:
    """The busiest time of day, then the busiest of what is left, and so on."""
    peaks: list[int] = []
    while found:
        best: list[tuple[int, str]] = []
        for middle in range(0, 1440, STEP):
            near = [f for f in found if _apart(f[0], middle) <= WINDOW]
            if len({day for _, day in near}) > len({day for _, day in best}):
                best, at = near, middle
        on = len({day for _, day in best})
        if on < DAYS or on / days < SHARE:
            break
        offsets = sorted((minute - at + 720) % 1440 - 720 for minute, _ in best)
        peaks.append((at + offsets[len(offsets) // 4]) % 1440)
        found = [f for f in found if f not in best]
    return sorted(peaks)


def _apart(a: int, b: int) -> int:
    return min((a - b) % 1440, (b - a) % 1440)


def following(peaks: dict[bool, list[int]], now: float) -> float | None:
    """The first Unix time after `now` at which listening is expected; None when nothing is known."""
    today = time.localtime(now)
    for ahead in range(8):
        for minute in peaks.get(time.localtime(_at(today, ahead, 720)).tm_wday >= 5, []):
            if (at := _at(today, ahead, minute)) > now:
                return at
    return None


def _at(day: time.struct_time, ahead: int, minute: int) -> float:
    """Unix time of a minute of the day, days ahead, summer time minded."""
    return time.mktime((day.tm_year, day.tm_mon, day.tm_mday + ahead, minute // 60, minute % 60, 0, 0, 0, -1))


def predict(con: sqlite3.Connection, library: str, now: float) -> float | None:
    """The next time after `now` at which listening is expected, as Unix time; None when nothing is known."""
    return following(habits(starts(con, library, now), now), now)
