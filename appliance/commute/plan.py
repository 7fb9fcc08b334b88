"""The plan: which tracks, in what order, and why.

Each candidate's score is an estimate of the chance that it is heard on the next trip, 0-1, put together from four ways
in which people choose, each weighted by how often this listener does so at such times:

    the album goes on     share of plays that follow the album ^ (tracks away from where it was left)
    heard again           share of repeats      x the track's part of what was heard, less when it was heard just now
    new of an artist      share of new, known   x the artist's part, over all that is still unheard of it
    new of a genre        share of new, unknown x the genre's part, over all that is still unheard of it

Favourites get a small bonus. The plan takes the best until it is full; tracks of one album that go together stay
together, in the album's order, at the place of their best.
"""

from __future__ import annotations

import json
import sqlite3
from collections import defaultdict
from collections.abc import Callable

from msgspec import Struct, field

from appliance.commute.habits import COLUMNS, Anchor, Habits, Moment, Song, read, song
from appliance.library.search import tracks_by_id

TRIP = 12.0  # tracks that one trip takes, about
ARTISTS, GENRES = 40, 6  # so many of each are looked at
ALBUMS = 60  # of an artist or a genre
FORGOTTEN = 45.0  # days after which an album that was left is not gone on with
RESTED = 3.0  # days after which a track may well be heard again
FAVOURITE = 0.03


class Limits(Struct, frozen=True):
    """Most of each; None: no limit."""

    tracks: int = 5_000
    minutes: float | None = None
    bytes: int | None = None


class Choice(Struct):
    """One track of the plan; `score` is the chance that it is heard, 0-1, `reasons` are for people."""

    id: int | str
    title: str
    artist: str
    album: str
    score: float
    reasons: list[str]
    duration: float = 0.0
    size: int | None = None
    cached: bool = False


class _Candidate(Struct):
    song: Song
    score: float = 0.0
    parts: list[tuple[float, str]] = field(default_factory=list)

    def add(self, score: float, why: str) -> None:
        self.score += score
        self.parts.append((score, why))


_Of = Callable[[Song], _Candidate]


def plan(con: sqlite3.Connection, library: str, moment: Moment, limits: Limits) -> list[Choice]:
    """What to have on the box at `moment`, in play order."""
    habits = read(con, library, moment)
    candidates: dict[str, _Candidate] = {}

    def of(this: Song) -> _Candidate:
        return candidates.setdefault(this.id, _Candidate(this))

    _going_on(con, habits, of)
    _again(habits, of)
    _new(con, habits, of)
    _favourites(con, library, of)
    best = sorted(candidates.values(), key=lambda c: (-c.score, c.song.album, c.song.place, c.song.n))
    return _bounded(con, library, _together(best, habits), limits)


def _going_on(con: sqlite3.Connection, habits: Habits, of: _Of) -> None:
    seen: set[int] = set()
    for anchor in habits.anchors:
        if anchor.song.album in seen or anchor.age > FORGOTTEN:
            continue
        seen.add(anchor.song.album)
        for far, this in enumerate(_rest(con, anchor), start=1):
            score = min(0.98, habits.in_order) ** (0.5 * far + 0.5) * (1.0 if anchor.fits else 0.6)
            if score < 0.01:
                break
            where = "next" if far == 1 else f"{far} tracks on"
            of(this).add(score, f"{where} in the album you are in the middle of")


def _rest(con: sqlite3.Connection, anchor: Anchor) -> list[Song]:
    """The tracks of the anchor's album behind it."""
    songs = _album_songs(con, [anchor.song.album])
    return [
        s for s in sorted(songs, key=lambda s: (s.place, s.n)) if (s.place, s.n) > (anchor.song.place, anchor.song.n)
    ]


def _again(habits: Habits, of: _Of) -> None:
    when, total = habits.moment.name, max(habits.total, 1e-9)
    for heard in habits.heard.values():
        days = max(0.0, habits.moment.at - heard.last) / 86400
        rested = 1 - (1 - habits.repeats) * 0.5 ** (days / RESTED)
        score = min(1.0, TRIP * habits.repeats * heard.weight / total) * rested
        if heard.fitting and habits.moment.timed:
            why = f"heard {_times(heard.fitting)} on {when}"
        else:
            why = f"heard {_times(heard.plays)}"
        of(heard.song).add(score, why)


def _new(con: sqlite3.Connection, habits: Habits, of: _Of) -> None:
    when, total = habits.moment.name, max(habits.total, 1e-9)
    fresh = 1 - habits.repeats
    day = int(habits.moment.at // 86400)
    for category, weights, most, share in (
        ("artist", habits.artists, ARTISTS, fresh * habits.known_artist),
        ("genre", habits.genres, GENRES, fresh * (1 - habits.known_artist)),
    ):
        for name, weight in weights.most_common(most):
            if not name:
                continue
            songs, part = _unheard(con, habits, category, name, day)
            if not songs:
                continue
            score = min(1.0, TRIP * share * weight / total / len(songs) * part)
            what = f"by {name}" if category == "artist" else f"{name}"
            for this in songs:
                of(this).add(score, f"new to you, {what}, which you hear on {when}")


def _unheard(con: sqlite3.Connection, habits: Habits, category: str, name: str, day: int) -> tuple[list[Song], float]:
    """Songs of some albums of an artist or genre, other ones each day when there are many, that were never heard; and
    the part (0-1) of its albums that were looked at."""
    sql = """SELECT af.album, f.albums FROM facet f JOIN album_facet af ON af.facet = f.id
        WHERE f.category = ? AND f.value = ? ORDER BY (af.album * 7919 + ? * 104729) % 100003 LIMIT ?"""
    rows = con.execute(sql, (category, name, day, ALBUMS)).fetchall()
    songs = [
        s for s in _album_songs(con, [a for a, _ in rows])
        if s.id not in habits.heard and (s.artist if category == "artist" else s.genre) == name
    ]  # fmt: skip
    return songs, min(1.0, len(rows) / max(1, rows[0][1])) if rows else 0.0


def _favourites(con: sqlite3.Connection, library: str, of: _Of) -> None:
    sql = f"""SELECT {COLUMNS} FROM favourite f JOIN track t ON t.track_id = f.track_id
        WHERE f.library = ? AND f.track_id NOT GLOB 'drive:*' ORDER BY f.n DESC LIMIT 2000"""  # noqa: S608
    for row in con.execute(sql, (library,)):
        of(song(row)).add(FAVOURITE, "a favourite")


def _together(best: list[_Candidate], habits: Habits) -> list[_Candidate]:
    """Best first, except that an album of which much scores alike is kept whole, in order, at its best one's place."""
    albums: dict[int, list[_Candidate]] = defaultdict(list)
    for candidate in best:
        albums[candidate.song.album].append(candidate)
    placed: set[str] = set()
    ordered: list[_Candidate] = []
    for candidate in best:
        if candidate.song.id in placed:
            continue
        group = [candidate]
        if candidate.song.album and habits.in_order > 0.3:
            least = candidate.score / 4
            group = [c for c in albums[candidate.song.album] if c.score >= least and c.song.id not in placed]
            group.sort(key=lambda c: (c.song.place, c.song.n))
        ordered += group
        placed.update(c.song.id for c in group)
    return ordered


def _bounded(con: sqlite3.Connection, library: str, ordered: list[_Candidate], limits: Limits) -> list[Choice]:
    chosen: list[Choice] = []
    seconds = size = 0.0
    full = False
    for start in range(0, len(ordered), 200):
        part = {c.song.id: c for c in ordered[start : start + 200]}
        cached = _cached(con, library, list(part))
        for track in tracks_by_id(con, list(part)):
            candidate = part[str(track.id)]
            long = track.duration or candidate.song.minutes * 60
            big = track.size or long * 100_000  # of lossless music, about
            if limits.minutes is not None and seconds + long > limits.minutes * 60:
                full = True
                continue
            if limits.bytes is not None and size + big > limits.bytes:
                full = True
                continue
            seconds, size = seconds + long, size + big
            parts = sorted(candidate.parts, key=lambda p: -p[0])
            reasons = [why for _, why in parts[:3]]
            chosen.append(
                Choice(
                    track.id,
                    track.title,
                    track.artist,
                    track.album,
                    round(min(1.0, candidate.score), 4),
                    reasons,
                    track.duration,
                    track.size,
                    str(track.id) in cached,
                )
            )
            if len(chosen) >= limits.tracks:
                return chosen
        if full:  # what of this batch fits has filled the gaps
            break
    return chosen


def _cached(con: sqlite3.Connection, library: str, ids: list[str]) -> set[str]:
    sql = """SELECT track_id FROM cache_file WHERE library = ? AND complete = 1
        AND track_id IN (SELECT value FROM json_each(?))"""
    return {track_id for (track_id,) in con.execute(sql, (library, json.dumps(ids)))}


def _album_songs(con: sqlite3.Connection, albums: list[int]) -> list[Song]:
    sql = f"SELECT {COLUMNS} FROM track t WHERE t.album_n IN (SELECT value FROM json_each(?))"  # noqa: S608
    return [song(row) for row in con.execute(sql, (json.dumps(albums),))]


def _times(n: int) -> str:
    return "once" if n == 1 else f"{n} times"
