"""What the history says about one moment: how much each track, artist and genre is heard at such times, and how.

A play weighs more the younger it is and the better its day and time of day fit the moment. Plays without a known time
(the clock was not set) take the age of their neighbours and a middling fit. Nothing is kept between two calls: the
tables are the truth (R1), and the newest PLAYS plays are all that is ever in memory.
"""

from __future__ import annotations

import math
import sqlite3
import time
from collections import Counter
from typing import Any

from msgspec import Struct, field

from appliance.own import is_own

PLAYS = 8_000  # newest plays that are looked at: months, for who hears sixty tracks a day
ENOUGH = 30.0  # seconds; what was heard for less, of a track longer than that, was skipped
SPREAD = 60.0  # minutes, standard deviation of what counts as the same time of day
OTHER_DAY = 0.25  # weight of a weekday's play for a weekend and the other way round
ANY_TIME = 0.08  # least fit of a play at quite another time
UNTIMED = 0.3  # fit of a play whose time is not known
SHORT, LONG = 4.0, 30.0  # days, half-lives: what one is on to now, and what one likes
SITTING = 4 * 3600.0  # seconds between two plays that still belong together


class Moment(Struct, frozen=True):
    """A Unix time as people see it; `timed` is False when the clock cannot be believed."""

    at: float
    weekend: bool
    minute: float  # of the day
    timed: bool = True

    @property
    def name(self) -> str:
        """In words, for the reasons: `weekday mornings`."""
        if not self.timed:
            return "any day"
        part = next(name for end, name in _PARTS if self.minute < end)
        return f"{'weekend' if self.weekend else 'weekday'} {part}"


_PARTS = ((300, "nights"), (720, "mornings"), (1020, "afternoons"), (1320, "evenings"), (1441, "nights"))


def moment(at: float, *, timed: bool = True) -> Moment:
    """The moment of Unix time `at` in the box's time zone."""
    local = time.localtime(at)
    return Moment(at, local.tm_wday >= 5, local.tm_hour * 60 + local.tm_min + local.tm_sec / 60, timed)


class Song(Struct, gc=False):
    """What a choice needs to know of a track. `n` is its row, `place` its (disc, number) in the album."""

    n: int
    id: str
    album: int
    artist: str
    genre: str
    place: tuple[int, int]
    minutes: float


class Heard(Struct, gc=False):
    """One track's part of the history."""

    song: Song
    weight: float = 0.0
    fitting: int = 0  # plays at such times
    plays: int = 0
    last: float = 0.0  # Unix time, as well as it is known


class Anchor(Struct):
    """The place in an album where the listener left off. `fits`: it was at such a time of day."""

    song: Song
    age: float  # days
    fits: bool


class Habits(Struct):
    """Weights are relative to `total`; the shares are 0-1."""

    moment: Moment
    heard: dict[str, Heard] = field(default_factory=dict)
    artists: Counter[str] = field(default_factory=Counter)
    genres: Counter[str] = field(default_factory=Counter)
    total: float = 0.0
    in_order: float = 0.0  # share of plays that follow the album
    repeats: float = 0.0  # share of the others that were heard before
    known_artist: float = 0.0  # share of the new ones by an artist heard before
    anchors: list[Anchor] = field(default_factory=list)


COLUMNS = "t.id, t.track_id, t.album_n, t.artist, t.genre, t.disc, t.no, t.duration"


def song(row: tuple[Any, ...]) -> Song:
    """Of COLUMNS."""
    n, track_id, album, artist, genre, disc, no, duration = row
    minutes = float(duration) / 60 if isinstance(duration, (int, float)) and 0 < duration < 1e6 else 4.0
    place = (disc if isinstance(disc, int) else 1, no if isinstance(no, int) else 0)
    return Song(n, str(track_id), album, str(artist or ""), str(genre or ""), place, minutes)


def fit(played: Moment, wanted: Moment) -> float:
    """How well the time of a play fits the moment, 0-1."""
    if not wanted.timed:
        return UNTIMED
    apart = abs(played.minute - wanted.minute)
    apart = min(apart, 1440 - apart)
    near = math.exp(-((apart / SPREAD) ** 2) / 2)
    if played.weekend != wanted.weekend:
        near *= OTHER_DAY
    return ANY_TIME + (1 - ANY_TIME) * near


def read(con: sqlite3.Connection, library: str, wanted: Moment) -> Habits:
    """The habits as they bear on the moment `wanted`; plays after it are not looked at."""
    songs: dict[str, Song] = {}
    plays: list[tuple[str, float | None]] = []
    # the + keeps SQLite on the row order: no sort of the whole history
    rows = con.execute(
        "SELECT track_id, played_at, seconds FROM play WHERE +library = ? ORDER BY n DESC LIMIT ?", (library, PLAYS)
    ).fetchall()
    if not wanted.timed:  # the clock may say 1970: go by the newest play instead
        newest = max((row[1] for row in rows if row[1] is not None), default=wanted.at)
        wanted = Moment(newest, wanted.weekend, wanted.minute, timed=False)
    ids = list({row[0] for row in rows if not is_own(row[0])})  # what is on a drive need not be fetched
    for start in range(0, len(ids), 500):
        part = ids[start : start + 500]
        marks = ",".join("?" * len(part))
        for row in con.execute(f"SELECT {COLUMNS} FROM track t WHERE t.track_id IN ({marks})", part):  # noqa: S608
            songs[row[1]] = song(row)
    known = wanted.at
    ages: list[float] = []
    for track_id, played_at, seconds in rows:
        if played_at is not None:
            if played_at > wanted.at:
                continue
            known = played_at
        found = songs.get(track_id)
        if found is None or seconds < min(ENOUGH, found.minutes * 30):
            continue
        plays.append((track_id, None if played_at is None else played_at - seconds))
        ages.append(known)
    plays.reverse()
    ages.reverse()
    before = _before(con, library, plays)
    return _count(wanted, songs, plays, ages, before)


def _before(con: sqlite3.Connection, library: str, plays: list[tuple[str, float | None]]) -> set[str]:
    """Tracks that were heard before the oldest play that is looked at."""
    if len(plays) < PLAYS * 0.9:
        return set()
    counts = Counter(track_id for track_id, _ in plays)
    sql = "SELECT track_id, plays FROM playcount WHERE library = ? AND plays > 1"
    return {track_id for track_id, n in con.execute(sql, (library,)) if n > counts.get(track_id, n)}


def _count(
    wanted: Moment, songs: dict[str, Song], plays: list[tuple[str, float | None]], ages: list[float], before: set[str]
) -> Habits:
    habits = Habits(wanted)
    order = repeats = others = fresh = fresh_known = 0.0
    followed = 0.0
    previous: Song | None = None
    previous_at = 0.0
    overall: Anchor | None = None
    fitting: Anchor | None = None
    artists_heard: set[str] = {songs[i].artist for i in before if i in songs}
    for (track_id, played_at), age_at in zip(plays, ages, strict=True):
        this = songs[track_id]
        days = max(0.0, wanted.at - age_at) / 86400
        young = 0.5 * 0.5 ** (days / SHORT) + 0.5 * 0.5 ** (days / LONG)
        suits = UNTIMED if played_at is None else fit(moment(played_at), wanted)
        weight = young * suits
        heard = habits.heard.get(track_id)
        known = heard is not None or track_id in before
        follows = previous is not None and previous.album == this.album and _next_place(previous, this)
        if previous is not None and (follows or previous_at - age_at < SITTING):
            followed += weight
            order += weight if follows else 0.0
        if not follows:
            others += weight
            if known:
                repeats += weight
            else:
                fresh += weight
                fresh_known += weight if this.artist in artists_heard else 0.0
        if heard is None:
            heard = habits.heard[track_id] = Heard(this)
        heard.weight += weight
        heard.plays += 1
        heard.fitting += suits > 0.5
        heard.last = age_at
        habits.artists[this.artist] += weight
        habits.genres[this.genre] += weight
        habits.total += weight
        artists_heard.add(this.artist)
        overall = Anchor(this, days, suits > 0.5)
        if suits > 0.5:
            fitting = overall
        previous, previous_at = this, age_at
    # a handful of plays says little: begin from middling habits
    habits.in_order = (order + 0.05) / (followed + 0.2)
    habits.repeats = (repeats + 0.1) / (others + 0.2)
    habits.known_artist = (fresh_known + 0.05) / (fresh + 0.1)
    habits.anchors = [a for a in (fitting, overall) if a is not None]
    return habits


def _next_place(before: Song, this: Song) -> bool:
    """Whether `this` is the next track of the album, also over the end of a disc."""
    disc, no = before.place
    return this.place == (disc, no + 1) or this.place == (disc + 1, 1)
