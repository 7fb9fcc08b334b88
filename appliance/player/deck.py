"""From a place in the queue to something that the engine can play, and back."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Protocol

from appliance.cloud.models import Track
from appliance.config import Audio
from appliance.engine import Engine, Entry
from appliance.errors import NotFound
from appliance.own import is_own
from appliance.player.loudness import Mode, gain
from appliance.player.queue import Item
from appliance.stream import Cache, CacheEntry, Demand, Fetcher, Role

WORD_EVERY = 0.6  # seconds within which the engine says where a running track is; beyond, nobody guesses
JUMP = 0.3  # seconds back that are a jump, and not the time that a message took
IN_MEMORY = 64 << 20  # bytes of a drive's own track that are held in memory while it plays


class Tracks(Protocol):
    """What the player needs of the library."""

    @property
    def library_id(self) -> str | None: ...
    async def track(self, track_id: str) -> Track: ...
    async def get_tracks(self, track_ids: Sequence[str]) -> Sequence[Track]: ...


class Play:
    """One play of one track. `from_cache`: it was whole when the play began."""

    def __init__(self, item: Item, track: Track, file: CacheEntry, demand: Demand | None, entry: Entry) -> None:
        self.item = item
        self.track = track
        self.file = file
        self.demand = demand
        self.entry = entry
        self.from_cache = file.complete
        self.heard = 0.0  # seconds that really sounded
        self.position = entry.start  # seconds, by the engine's last word
        self._since: float | None = None  # when that came (monotonic seconds), while it runs on
        self._told = entry.start
        self.length = track.duration  # seconds: the library's word until the decoder knows better
        self.started = False

    def moved(self, seconds: float, now: float, *, running: bool) -> None:
        """The engine's word of where it is at the time `now`, and whether it goes on from there in real time."""
        self.position, self._since = seconds, now if running else None
        if seconds < self._told - JUMP:
            self._told = seconds

    def sought(self, seconds: float) -> None:
        """Its place is `seconds` now, whatever the engine said last."""
        self.position = self._told = seconds
        self._since = None

    def position_at(self, now: float) -> float:
        """Where it is at the time `now`, in seconds, between two words of the engine too; never runs backwards."""
        run = min(max(0.0, now - self._since), WORD_EVERY) if self._since is not None else 0.0
        guess = min(self.position + run, self.length) if self.length else self.position + run
        self._told = max(self._told, self.position, guess)
        return self._told


class Deck:
    """Opens and closes plays; keeps engine and fetcher informed of each other's bytes."""

    def __init__(self, tracks: Tracks, cache: Cache, fetcher: Fetcher, engine: Engine, audio: Audio) -> None:
        self._audio = audio
        self.loudness: Mode = audio.loudness
        self._tracks = tracks
        self._cache = cache
        self._fetcher = fetcher
        self._engine = engine
        self._plays: list[Play] = []
        self._ids = itertools.count(1)

    async def open(self, item: Item, role: Role, *, start: float = 0.0, beside: Item | None = None) -> Play:
        """Everything that is needed to play `item` from `start` seconds.

        `beside` is its neighbour in the order of play: one of the same album means album gain. Raises NotFound when
        the library does not know the track, StorageError when its file cannot be opened.
        """
        wanted = [item.track_id] if beside is None else [item.track_id, beside.track_id]
        found = {str(t.id): t for t in await self._tracks.get_tracks(wanted)}
        track, neighbour = found.get(item.track_id), found.get(wanted[-1])
        if track is None:
            raise NotFound("it is not in the library any more")
        in_order = neighbour is not None and neighbour is not track and neighbour.album_id == track.album_id
        gain_db = gain(track, self.loudness, self._audio.target_lufs, in_album_order=in_order)
        keep = not is_own(track.id) or (track.size or 0) > IN_MEMORY  # it is on the drive already: spare the SD card
        file = await self._cache.acquire(self._tracks.library_id or "", track, keep=keep)
        entry = Entry(
            id=next(self._ids), stream=file.id, start=start, samples=track.samples, sample_rate=track.sample_rate,
            gain_db=gain_db, duration=track.duration or None,
        )  # fmt: skip
        file.on_bytes = lambda f, a, b: self._engine.stream_available(f.id, a, b)
        file.on_size = lambda f, size: self._engine.stream_size(f.id, size)
        if any(p.file is file for p in self._plays):  # twice in a row: the engine reads it already
            self._engine.stream_available(file.id, 0, 0)  # only lifts an earlier failure
        else:
            self._engine.add_stream(file)
        demand = None if file.complete else self._fetcher.demand(file, track, role)
        play = Play(item, track, file, demand, entry)
        self._plays.append(play)
        return play

    def promote(self, play: Play) -> None:
        """The next play is the current one now."""
        if play.demand:
            self._fetcher.set_role(play.demand, Role.CURRENT)

    def close(self, play: Play | None) -> None:
        """Let go of a play; what is on its way for it still arrives."""
        if play is None or play not in self._plays:
            return
        self._plays.remove(play)
        if play.demand:
            self._fetcher.withdraw(play.demand)
        if all(p.file is not play.file for p in self._plays):
            self._engine.drop_stream(play.file.id)
            play.file.on_bytes = play.file.on_size = None
        self._cache.release(play.file)

    def read_at(self, stream: int, offset: int, *, waiting: bool) -> None:
        """The engine reads byte `offset` of `stream`; `waiting` when it is missing and sound depends on it."""
        for file in {p.file for p in self._plays if p.file.id == stream}:
            self._fetcher.read_at(file, offset, waiting=waiting)
