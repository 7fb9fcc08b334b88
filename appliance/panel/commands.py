"""What the panel's commands do: each goes to the player or the library, and what they refuse is shown."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Literal, Protocol

from appliance.panel.drives import DONE, Drives
from appliance.panel.lists import Library, Lists, Queue
from appliance.panel.state import Command, Node

LOUDNESS: dict[str, Literal["auto", "album", "track", "off"]] = {
    "auto": "album", "album": "track", "track": "off", "off": "auto",
}  # fmt: skip
REPEATS: dict[str, Literal["off", "one", "all"]] = {"off": "all", "all": "one", "one": "off"}


class PlayerQueue(Queue, Protocol):
    @property
    def shuffle(self) -> bool: ...
    @property
    def repeat(self) -> str: ...


class Player(Protocol):
    """What the panel asks of the player; `appliance.player.player.Player` is one."""

    @property
    def queue(self) -> PlayerQueue: ...
    def set_volume(self, percent: int, /) -> None: ...
    async def play(self, what: str | None = None) -> None: ...
    async def play_list(self, track_ids: Sequence[str], first: int = 0) -> None: ...
    async def play_at(self, index: int) -> None: ...
    async def pause(self) -> None: ...
    async def toggle(self) -> None: ...
    async def stop(self) -> None: ...
    async def next(self) -> None: ...
    async def previous(self) -> None: ...
    async def seek(self, seconds: float, *, relative: bool = False) -> None: ...
    async def enqueue(self, what: str, *, following: bool) -> int: ...
    async def set_shuffle(self, on: bool, /) -> None: ...
    async def set_repeat(self, mode: Literal["off", "one", "all"], /) -> None: ...
    @property
    def loudness(self) -> str: ...
    async def set_loudness(self, mode: Literal["auto", "album", "track", "off"], /) -> None: ...


class Commands:
    """Runs commands. `tell(title, text)` shows something to be read, `marked(track, on)` takes note of a favourite."""

    def __init__(
        self, player: Player, library: Library, lists: Lists,
        tell: Callable[[str, str], None], marked: Callable[[str, bool], None], drives: Drives | None,
    ) -> None:  # fmt: skip
        self._player, self._library, self._lists, self._drives = player, library, lists, drives
        self._tell, self._marked = tell, marked
        self._table: dict[str, Callable[[Command], Awaitable[object]]] = {
            "play": lambda command: player.play(command.text),
            "play_list": lambda command: self._play_list(command.node, command.number),
            "jump": lambda command: player.play_at(command.number),
            "pause": lambda _: player.pause(),
            "toggle": lambda _: player.toggle(),
            "stop": lambda _: player.stop(),
            "next": lambda _: player.next(),
            "previous": lambda _: player.previous(),
            "seek": lambda command: player.seek(float(command.number), relative=True),
            "shuffle": lambda _: player.set_shuffle(not player.queue.shuffle),
            "repeat": lambda _: player.set_repeat(REPEATS[player.queue.repeat]),
            "enqueue": lambda command: self._enqueue(command.text),
            "loudness": lambda _: self._loudness(),
            **dict.fromkeys(DONE, self._drive),
            "favourite": lambda command: self._favourite(command.text),
        }

    def now(self, command: Command) -> bool:
        """Do at once what neither waits nor reads; False when `command` is not of that kind."""
        if command.do == "volume":
            self._player.set_volume(command.number)
        elif command.do == "tell":
            self._tell("What to do", command.text)
        else:
            return False
        return True

    async def run(self, command: Command) -> None:
        """Raises ChadboxError when it cannot be done."""
        await self._table[command.do](command)

    async def _play_list(self, node: Node | None, first: int) -> None:
        if node is not None:
            await self._player.play_list(await self._lists.ids(node), first)

    async def _enqueue(self, what: str) -> None:
        added = await self._player.enqueue(what, following=False)
        self._tell("Queue", f"{added} track{'' if added == 1 else 's'} added")

    async def _loudness(self) -> None:
        await self._player.set_loudness(LOUDNESS[self._player.loudness])

    async def _drive(self, command: Command) -> None:
        drives, uuid = self._drives, command.text
        if drives is not None:
            name = next((d["name"] for d in drives.documents() if d["uuid"] == uuid), "Drive")
            await {"adopt": drives.adopt, "forget": drives.forget, "fill": drives.fill, "eject": drives.eject}[
                command.do
            ](uuid)
            self._tell(name, DONE[command.do])

    async def _favourite(self, track: str) -> None:
        on = track not in await self._library.favourites()
        await self._library.set_favourite(track, on)
        self._marked(track, on)
        self._tell("Favourites", "added" if on else "removed")
