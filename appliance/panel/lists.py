"""What the lists of the menu hold: a window of rows at a time, never a whole category (F5)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, Protocol

from appliance import words
from appliance.cloud.models import Track
from appliance.errors import NotFound, UsageError
from appliance.panel import drives as sticks
from appliance.panel.state import Command, Node, Now, Row


class Library(Protocol):
    """What the panel asks about music; `appliance.library.Library` is one."""

    @property
    def library_id(self) -> str | None: ...
    @property
    def tracks(self) -> int: ...
    async def get_tracks(self, track_ids: Iterable[int | str], /) -> Sequence[Track]: ...
    async def browse(
        self, category: str | None = None, value: str | None = None, offset: int = 0, limit: int = 100
    ) -> dict[str, Any]: ...
    async def letters(self, category: str, /) -> list[tuple[str, int]]: ...
    async def resolve(self, what: str, /) -> list[str]: ...
    async def recently_played(self, limit: int = 50) -> Sequence[Track]: ...
    async def favourites(self) -> list[str]: ...
    async def set_favourite(self, track_id: str, on: bool = True) -> None: ...
    async def playlists(self) -> list[tuple[str, int]]: ...


class QueueItem(Protocol):
    @property
    def track_id(self) -> str: ...


class Queue(Protocol):
    """The order of play, for looking."""

    @property
    def items(self) -> Sequence[QueueItem]: ...
    @property
    def index(self) -> int | None: ...


class JobLike(Protocol):
    @property
    def kind(self) -> str: ...
    @property
    def state(self) -> str: ...
    @property
    def progress(self) -> int: ...


CATEGORIES = {
    "artist": "Artists", "album": "Albums", "genre": "Genres", "year": "Years", "publisher": "Publishers",
    "country": "Countries", "type": "Types", "status": "Statuses",
}  # fmt: skip
Where = Callable[[Sequence[Track]], Awaitable[Sequence[list[str]]]]  # network, cache, drive; nothing: it is away
About = Callable[[], Awaitable[Sequence[tuple[str, str]]]]  # (what, value) of this box
LEARNING = "What is heard at which time of the day is learnt from playing; look again in some days"
_PLAYABLE = ("artist", "genre")  # values that WHAT can name
RECENT = 200

Window = tuple[tuple[Row, ...], int]


class Lists:
    """Reads rows. `now` tells what plays at the time, `loudness` how it is evened out; `jobs` lists the background work
    and `drives` the drives, if there are any; `about` tells of this box.
    """

    def __init__(
        self, library: Library, queue: Queue, now: Callable[[], Now],
        jobs: Callable[[], Awaitable[Sequence[JobLike]]] | None = None, drives: sticks.Drives | None = None,
        loudness: Callable[[], str] = lambda: "off", about: About | None = None, where: Where | None = None,
    ) -> None:  # fmt: skip
        self._drives, self._loudness, self._about, self._where = drives, loudness, about, where
        self._library, self._queue, self._now, self._jobs = library, queue, now, jobs
        self._ids: tuple[Node, list[str]] | None = None  # of the last list of tracks, so that its windows agree

    async def read(self, node: Node, offset: int, limit: int) -> Window:
        """Rows `offset` to `offset + limit` of `node`, and how many it has. Raises ChadboxError."""
        if node.kind == "category":
            answer = await self._library.browse(node.key, None, offset, limit)
            return tuple(_entry(node.key, item) for item in answer["items"]), answer["total"]
        if node.kind == "value":
            return await self._value(node, offset, limit)
        if node.kind in ("album", "tracks"):
            return await self._tracks(node, offset, limit)
        if node.kind == "queue":
            return await self._queued(offset, limit)
        rows = await self._short(node)
        return tuple(rows[offset : offset + limit]), len(rows)

    async def letters(self, node: Node) -> tuple[tuple[str, int], ...]:
        """(first letter, row) of a list that is sorted by letters; empty for the others."""
        return tuple(await self._library.letters(node.key)) if node.kind == "category" else ()

    async def ids(self, node: Node, *, again: bool = False) -> list[str]:
        """The track ids of an album or a list of tracks, in order. Raises ChadboxError."""
        if again or self._ids is None or self._ids[0] != node:
            try:
                found = await self._library.resolve(node.key)
            except NotFound:
                found = []  # an empty playlist is no error
            self._ids = (node, found)
        return self._ids[1]

    async def _value(self, node: Node, offset: int, limit: int) -> Window:
        """The albums of an artist, a genre ..., after the rows that play them all."""
        head = _all_of(f"{node.key}:{node.value}") if node.key in _PLAYABLE else ()
        start = max(0, offset - len(head))
        answer = await self._library.browse(node.key, node.value, start, limit - len(head[offset:]))
        rows = tuple(_entry("album", item) for item in answer["items"])
        return (*head[offset:], *rows), answer["total"] + len(head)

    async def _tracks(self, node: Node, offset: int, limit: int) -> Window:
        try:
            ids = await self.ids(node, again=offset == 0)
        except UsageError as error:
            if node.key != "commute":
                raise
            return (Row("No prediction", does=Command("tell", str(error))),), 1
        if not ids and node.key == "commute":
            return (Row("Nothing predicted yet", does=Command("tell", LEARNING)),), 1
        if not ids:
            return (), 0
        head = _all_of(node.key, ids[0])
        start = max(0, offset - len(head))
        window = ids[start : start + limit - len(head[offset:])]
        found, places = await self._found(window)
        rows = [
            _track(
                found.get(i),
                i,
                Command("play_list", number=start + n, node=node),
                album=node.kind == "album",
                where=places.get(i),
            )
            for n, i in enumerate(window)
        ]
        return (*head[offset:], *rows), len(ids) + len(head)

    async def _queued(self, offset: int, limit: int) -> Window:
        items, index = self._queue.items, self._queue.index
        window = [item.track_id for item in items[offset : offset + limit]]
        found, places = await self._found(window)
        rows = tuple(
            _track(found.get(i), i, Command("jump", number=offset + n), mark=offset + n == index, where=places.get(i))
            for n, i in enumerate(window)
        )
        return rows, len(items)

    async def _found(self, ids: Sequence[str]) -> tuple[dict[str, Track], dict[str, list[str]]]:
        """Tracks by id, and where each of them is."""
        tracks = await self._library.get_tracks(ids)
        places = await self._where(tracks) if self._where is not None else []
        keys = [str(track.id) for track in tracks]
        return dict(zip(keys, tracks, strict=True)), dict(zip(keys, places, strict=False))

    async def _short(self, node: Node) -> list[Row]:
        """Lists that are read whole."""
        kind = node.kind
        if kind == "menu":
            return self._menu()
        if kind == "playlists":
            return [
                Row(name, str(count), opens=Node("tracks", f"playlist:{name}", title=name))
                for name, count in await self._library.playlists()
            ]
        if kind == "recent":
            played = await self._library.recently_played(RECENT)
            return [_track(track, str(track.id), Command("play", f"track:{track.id}")) for track in played]
        if kind == "jobs" and self._jobs is not None:
            return [_job(job) for job in await self._jobs()] or [Row("Nothing is loading")]
        if kind == "health":
            now = self._now()
            return [
                Row(words.title(word), does=Command("tell", words.ADVICE.get(word) or now.details.get(word, "")))
                for word in now.health
            ] or [Row("All is well")]
        if kind in ("drives", "drive", "eject") and self._drives is not None:
            return sticks.rows_of(self._drives, kind, node.key)
        if kind == "settings":
            return self._settings()
        if kind == "about" and self._about is not None:
            return [Row(f"{what}: {value}", does=Command("tell", value)) for what, value in await self._about()]
        raise UsageError(f"there is no list {kind}")

    def _settings(self) -> list[Row]:
        now, about = self._now(), Node("about", title="This box")
        return [
            Row("Shuffle", "on" if now.shuffle else "off", does=Command("shuffle")),
            Row("Repeat", now.repeat, does=Command("repeat")),
            Row("Loudness", self._loudness(), does=Command("loudness")),
            Row("Display off", does=Command("display_off")),
            *([Row("This box", opens=about)] if self._about is not None else []),
        ]

    def _menu(self) -> list[Row]:
        now = self._now()
        wrong = str(len(now.health)) if now.health else "ok"
        return [
            Row("Queue", str(len(self._queue.items)), opens=Node("queue", title="Queue")),
            *(Row(name, opens=Node("category", key, title=name)) for key, name in CATEGORIES.items()),
            Row("Playlists", opens=Node("playlists", title="Playlists")),
            Row("Favourites", opens=Node("tracks", "favourites", title="Favourites")),
            Row("Recently played", opens=Node("recent", title="Recently played")),
            Row("Commute", opens=Node("tracks", "commute", title="Commute")),
            *([sticks.menu_row(self._drives)] if self._drives is not None else []),
            *([Row("Downloads", opens=Node("jobs", title="Downloads"))] if self._jobs is not None else []),
            Row("Settings", opens=Node("settings", title="Settings")),
            Row("State", wrong, opens=Node("health", title="State")),
        ]


def _all_of(what: str, first: str = "") -> tuple[Row, ...]:
    return (
        Row("Play all", does=Command("play", what), peek=f"track:{first}" if first else ""),
        Row("Add to queue", does=Command("enqueue", what)),
    )


def _entry(category: str, item: Any) -> Row:
    """A row for an album or a value of a category (library.search.Item)."""
    if category == "album":
        what = f"album:{item.id}"
        name = f"{item.name} · {item.artist}" if item.artist else item.name
        return Row(name, _year(item.year), opens=Node("album", what, title=item.name), peek=what)
    node = Node("value", category, str(item.name), str(item.name))
    return Row(str(item.name), str(item.albums or ""), opens=node)


def _year(year: object) -> str:
    return str(year) if isinstance(year, int) and 0 < year < 10_000 else ""


def _track(
    track: Track | None, key: str, does: Command, *, album: bool = False, mark: bool = False,
    where: Sequence[str] | None = None,
) -> Row:  # fmt: skip
    if track is None:  # in the queue or a playlist, and not in the library any more
        return Row("?", does=does)
    name = track.title or key
    if album:
        name = f"{track.no} {name}" if track.no else name
    elif track.artist:
        name = f"{name} · {track.artist}"
    minutes, seconds = divmod(max(0, int(min(track.duration or 0, 359_999))), 60)
    tail = ">" if mark else "away" if where == [] else f"{minutes}:{seconds:02}" if album else ""
    icon = next((word for word in ("cache", "drive") if where and word in where), "")
    return Row(name, tail, does=does, track=key, peek=f"track:{key}", icon=icon)


def _job(job: JobLike) -> Row:
    if job.state == "running":
        return Row(job.kind, f"{job.progress}%", percent=job.progress)
    return Row(job.kind, job.state)
