"""Simulated listeners, each with one plain habit, and the walk through their days. They know nothing of the scoring.

    album    on weekdays one album after the other, in order, going on where the last trip ended; a third of the albums
             is one they had before. Evenings and weekends: single songs by a few other artists
    genre    random songs by artists they like, of one genre in the morning, another in the evening, a third at home
    explorer a song is seldom heard twice: for some days one artist of a liked genre, then the next
    holiday  a morning and an evening repertoire of songs on the way; two weeks away with other music all day
    shift    early, late and night shift by the week; lively songs on the way to work, calm ones on the way home

A trip takes 30 to 45 minutes; there are two a weekday. Before each one a plan is made from what was played until then.
"""

from __future__ import annotations

import random
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

from appliance.commute.habits import moment
from appliance.commute.plan import Choice, Limits, plan
from appliance.library import apply as index
from appliance.library import history
from appliance.library.pages import Page, to_rows
from appliance.store.db import migrate

LIBRARY = "lib"
HABITS = ("album", "genre", "explorer", "holiday", "shift")
GENRES = ("Rock", "Jazz", "Pop", "Folk", "Metal", "Soul", "Ambient", "Baroque")
ARTISTS, ALBUMS, TRACKS = 64, 3, 10  # artists, albums of each, tracks of each
START = time.mktime((2026, 1, 5, 0, 0, 0, 0, 0, -1))  # a Monday
MINUTES = 150.0  # of music that a plan holds

Session = tuple[float, bool, list[int]]  # Unix time, whether it is a trip, tracks


def minutes(n: int) -> float:
    return 3.0 + n * 37 % 11 / 5


def artist_of(n: int) -> int:
    return n // (ALBUMS * TRACKS)


def library(path: Path | str, artists: int = ARTISTS) -> sqlite3.Connection:
    """A store of its own with the whole library in it, as a sync leaves it."""
    con = sqlite3.connect(path, isolation_level=None)
    migrate(con)
    con.execute("PRAGMA synchronous=OFF")
    items = [
        {"id": n, "album_id": f"al{n // TRACKS}", "title": f"Song {n}", "artist": f"Artist {artist_of(n)}",
         "album": f"Album {n // TRACKS}", "no": n % TRACKS + 1, "disc": 1, "genre": GENRES[artist_of(n) % len(GENRES)],
         "duration": minutes(n) * 60, "size": 20_000_000, "seq": n + 1, "url": f"/music/{n}.flac"}
        for n in range(artists * ALBUMS * TRACKS)
    ]  # fmt: skip
    con.execute("BEGIN")
    for start in range(0, len(items), 500):
        index.apply(
            con,
            Page(rows=to_rows(items[start : start + 500]), deleted=[], seq=start, library=LIBRARY, more=False),
            seen=False,
        )
    con.execute("COMMIT")
    return con


class Listener:
    """`sessions(weeks)` are the listener's days from START on."""

    def __init__(self, habit: str, seed: int) -> None:
        self.rng = rng = random.Random(f"{habit} {seed}")
        self.habit = habit
        genres = rng.sample(range(len(GENRES)), 4)
        self.liked = [rng.sample([a for a in range(ARTISTS) if a % len(GENRES) == g], 4) for g in genres]
        self.sets = [self._repertoire(artists) for artists in self.liked]
        self.album: list[int] = []
        self.had: list[int] = []
        self.artist, self.on_artist = -1, 0

    def _repertoire(self, artists: list[int]) -> list[int]:
        songs = [n for a in artists for n in range(a * ALBUMS * TRACKS, (a + 1) * ALBUMS * TRACKS)]
        return self.rng.sample(songs, 45)

    def sessions(self, weeks: int) -> Iterator[Session]:
        for day in range(weeks * 7):
            away = self.habit == "holiday" and weeks - 3 <= day // 7 < weeks - 1
            for hour, kind in self._hours(day, away):
                at = START + day * 86400 + hour * 3600 + self.rng.gauss(0, 8) * 60
                long = self.rng.uniform(30, 45) if kind < 2 else self.rng.uniform(40, 90)
                yield at, kind < 2, self._songs(kind, long)

    def _hours(self, day: int, away: bool) -> list[tuple[float, int]]:
        """(hour, 0 there, 1 back, 2 at home, 3 away)."""
        if away:
            return [(10.0, 3), (15.0, 3)]
        if day % 7 >= 5:
            return [(11.0, 2), (17.0, 2)]
        if self.habit == "shift":
            there, back = ((5.0, 14.5), (13.0, 22.5), (21.0, 30.5))[day // 7 % 3]
            return [(there, 0), (back, 1)]
        return [(7.5, 0), (17.5, 1), *([(20.5, 2)] if self.rng.random() < 0.5 else [])]

    def _songs(self, kind: int, long: float) -> list[int]:
        songs: list[int] = []
        while long > 0:
            songs.append(self._song(kind))
            long -= minutes(songs[-1])
        return songs

    def _song(self, kind: int) -> int:
        rng = self.rng
        if kind >= 2:
            return rng.choice(self.sets[kind])
        if self.habit == "album":
            if not self.album:
                artists = self.liked[0] + self.liked[1]
                fresh = [a * ALBUMS + i for a in artists for i in range(ALBUMS) if a * ALBUMS + i not in self.had]
                again = self.had and (not fresh or rng.random() < 1 / 3)
                chosen = rng.choice(self.had if again else fresh)
                self.had = [*(a for a in self.had if a != chosen), chosen]
                self.album = [chosen * TRACKS + i for i in range(TRACKS)]
            return self.album.pop(0)
        if self.habit == "genre":
            artist = self.liked[kind][min(int(rng.expovariate(0.8)), 3)]
            return artist * ALBUMS * TRACKS + rng.randrange(ALBUMS * TRACKS)
        if self.habit == "explorer":
            if self.on_artist <= 0:
                genre = self.liked[rng.randrange(2)][0] % len(GENRES)
                self.artist = rng.choice([a for a in range(ARTISTS) if a % len(GENRES) == genre])
                self.on_artist = rng.randrange(15, 30)
                songs = range(self.artist * ALBUMS * TRACKS, (self.artist + 1) * ALBUMS * TRACKS)
                self.album = rng.sample(songs, len(songs))
            self.on_artist -= 1
            return self.album.pop()
        return rng.choice(self.sets[kind])


def most_played(con: sqlite3.Connection, at: float) -> list[int]:
    sql = "SELECT track_id FROM playcount ORDER BY plays DESC, last DESC LIMIT 300"
    return [int(n) for (n,) in con.execute(sql)]


def most_recent(con: sqlite3.Connection, at: float) -> list[int]:
    return [int(n) for n in history.recent(con, LIBRARY, 300)]


def cut(tracks: list[int]) -> set[int]:
    """As many from the front as a plan may hold."""
    kept: set[int] = set()
    left = MINUTES
    for n in tracks:
        if minutes(n) <= left:
            kept.add(n)
            left -= minutes(n)
    return kept


def play(con: sqlite3.Connection, at: float, songs: list[int]) -> None:
    con.execute("BEGIN")
    for n in songs:
        at += minutes(n) * 60
        key = history.record(con, LIBRARY, str(n), minutes(n) * 60, True)
        con.execute("UPDATE play SET played_at = ? WHERE id = ?", (at, key))
    con.execute("COMMIT")


def walk(con: sqlite3.Connection, listener: Listener, weeks: int, quiet: int) -> tuple[dict[str, float], list[Choice]]:
    """Live through the days. Shares (0-1) of the minutes of trips after `quiet` weeks that the plan, the most played
    and the most recent of the same size had; and every choice that was made.
    """
    hits = {"plan": 0.0, "most played": 0.0, "most recent": 0.0}
    total = 0.0
    made: list[Choice] = []
    for at, trip, songs in listener.sessions(weeks):
        if trip and at > START + quiet * 604800:
            before = at - 600  # what the prefetch has
            choices = plan(con, LIBRARY, moment(before), Limits(minutes=MINUTES))
            made += choices
            had = {
                "plan": {int(c.id) for c in choices},
                "most played": cut(most_played(con, before)),
                "most recent": cut(most_recent(con, before)),
            }
            for n in songs:
                total += minutes(n)
                for name, kept in had.items():
                    hits[name] += minutes(n) * (n in kept)
        play(con, at, songs)
    return {name: value / total for name, value in hits.items()}, made
