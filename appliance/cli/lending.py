"""The files that the player lends to an export into a folder: what Fill asks for, asked of the control socket.

Each file has a connection of its own; closing it gives the file back, so nothing is held when this process dies.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from appliance.cloud.models import Track
from appliance.control.client import MAX_ANSWER, TIMEOUT
from appliance.drives.export import NO_ROOM, Wish
from appliance.drives.preflight import Meter
from appliance.errors import ChadboxError, CloudError, NotRunning, Offline, StorageError
from appliance.stream import CacheEntry

CLOSED = "no permission to read the box's cache; join its group: `sudo adduser $USER chadbox`, and log in again"


class Line:
    """One command to the player, as long as it is open."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, timeout: float) -> None:
        self._reader, self._writer, self._timeout = reader, writer, timeout

    @classmethod
    async def open(cls, socket: str, cmd: str, timeout: float = TIMEOUT, **args: Any) -> Line:
        """Raises NotRunning."""
        try:
            reader, writer = await asyncio.open_unix_connection(socket, limit=MAX_ANSWER)
        except OSError:
            raise NotRunning("the player does not run any more") from None
        writer.write(json.dumps({"cmd": cmd, "args": args}).encode("ascii") + b"\n")
        return cls(reader, writer, timeout)

    async def next(self) -> dict[str, Any]:
        """The next line that says something. Raises ChadboxError for the player's errors, NotRunning."""
        while True:
            try:
                async with asyncio.timeout(self._timeout):
                    raw = await self._reader.readline()
            except TimeoutError:
                raise ChadboxError("the player does not answer; see `systemctl status chadbox`") from None
            except OSError:
                raw = b""
            if not raw:
                raise NotRunning("the player stopped before the export was through; run it again, it goes on")
            line: dict[str, Any] = msgspec.json.decode(raw, type=dict[str, Any])
            if "error" in line:
                raise _error(line["error"])
            if "alive" not in line:
                return line

    async def end(self) -> Any:
        """Its result, however long that takes. Raises as `next`."""
        while "ok" not in (line := await self.next()):
            pass
        return line["ok"]

    def close(self) -> None:
        self._writer.close()


async def ask(socket: str, cmd: str, **args: Any) -> Any:
    line = await Line.open(socket, cmd, **args)
    try:
        return await line.end()
    finally:
        line.close()


class Lender:
    """A Source whose files are the player's; counts into `meter` what is downloaded for it."""

    def __init__(self, socket: str, wish: Wish, meter: Meter) -> None:
        self._socket, self._wish, self._meter = socket, wish, meter
        self._by_id = {str(track.id): track for track in wish.tracks}
        self._lent: dict[int, Line] = {}
        self._coming: dict[str, int] = {}
        self._asking = asyncio.Lock()
        self._number = 0

    @property
    def library(self) -> str:
        return self._wish.library

    @property
    def library_id(self) -> str | None:
        return self._wish.library

    @property
    def tracks(self) -> Lender:
        return self

    async def get_tracks(self, track_ids: Sequence[str]) -> Sequence[Track]:
        return [self._by_id[i] for i in track_ids if i in self._by_id]

    async def cached(self, track: Track, *, network: bool = True) -> CacheEntry | None:
        """As Supply's. The file's name is the player's, and it can be read by whoever may use the socket."""
        key = str(track.id)
        line: Line | None = None
        try:
            async with self._asking:  # lines that are open at once are heard in any order
                line = await Line.open(self._socket, "export_lend", track=key, network=network)
                said = await line.next()
            while "event" not in said:
                if "progress" in said:
                    self._coming[key] = int(said["progress"].get("downloaded", 0))
                    self._meter.downloaded = sum(self._coming.values())
                said = await line.next()
            doc = said["event"]
            self._number += 1
            if not await asyncio.to_thread(os.access, doc["path"], os.R_OK):
                raise StorageError(CLOSED)
            entry = CacheEntry(self._number, (self.library, key), "", Path(doc["path"]))
            entry.size, entry.sha256 = doc["size"], doc["sha256"]
            entry.mark = f"etag:{doc['etag']}" if doc["etag"] else None
        except BaseException:
            if line is not None:
                line.close()
            raise
        self._lent[entry.id] = line
        return entry

    def release(self, entry: CacheEntry) -> None:
        if line := self._lent.pop(entry.id, None):
            line.close()

    async def damaged(self, entry: CacheEntry) -> None:
        await ask(self._socket, "export_damaged", track=entry.track_id)

    async def download(self, track: Track) -> AsyncIterator[bytes]:
        """Never asked for: what is not in the cache is not lent."""
        raise StorageError(NO_ROOM)
        yield b""


def _error(doc: Any) -> ChadboxError:
    message = str(doc.get("message"))
    kinds: dict[Any, type[ChadboxError]] = {"offline": Offline, "untrusted": Offline, "clock_unset": Offline}
    return kinds.get(doc.get("code"), CloudError)(message)
