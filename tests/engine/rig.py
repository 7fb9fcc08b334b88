"""What the engine's tests drive: the real engine, real files, events awaited by what they say."""

from __future__ import annotations

import asyncio
import itertools
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from appliance.config import Audio
from appliance.engine import Engine, EngineEvent, Entry, EntryEnded, EntryStarted, Idle

E_ = TypeVar("E_", bound=EngineEvent)
_ids = itertools.count(1)


class FileStream:
    """A StreamView over a file: all of it at once, or a sparse copy that gets its bytes by and by."""

    def __init__(self, source: Path, *, copy: Path | None = None, size_known: bool = True) -> None:
        self.id = next(_ids)
        self.data = source.read_bytes()
        self.path = copy or source
        self.whole = len(self.data)
        self.size = self.whole if size_known else None
        self.have: list[tuple[int, int]] = [] if copy else [(0, self.whole)]
        if copy:
            with copy.open("wb") as file:
                file.truncate(self.whole)

    def available(self) -> list[tuple[int, int]]:
        return list(self.have)

    def fill(self, engine: Engine, start: int, stop: int) -> None:
        """Put bytes into the file and tell the engine."""
        stop = min(stop, self.whole)
        if stop <= start:
            return
        with self.path.open("r+b") as file:
            file.seek(start)
            file.write(self.data[start:stop])
        self.have = sorted([*self.have, (start, stop)])
        merged: list[tuple[int, int]] = []
        for a, b in self.have:
            if merged and a <= merged[-1][1]:
                merged[-1] = (merged[-1][0], max(b, merged[-1][1]))
            else:
                merged.append((a, b))
        self.have = merged
        engine.stream_available(self.id, start, stop)


class Rig:
    """An engine and everything it has said."""

    def __init__(self, output: str, rate: Any = "native") -> None:
        self.events: list[EngineEvent] = []
        self._new = asyncio.Event()
        self.engine = Engine(Audio(output=output, rate=rate), self._on)
        self.hooks: list[Callable[[EngineEvent], None]] = []

    def _on(self, event: EngineEvent) -> None:
        self.events.append(event)
        for hook in self.hooks:
            hook(event)
        self._new.set()

    async def __aenter__(self) -> Rig:
        await self.engine.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.engine.close()

    async def event(
        self, kind: type[E_], when: Callable[[E_], bool] = lambda _: True, *, seconds: float = 5.0, after: int = 0
    ) -> E_:
        """The first event of `kind` for which `when` holds, from the `after`th on."""
        async with asyncio.timeout(seconds):
            seen = after
            while True:
                while seen < len(self.events):
                    event = self.events[seen]
                    seen += 1
                    if isinstance(event, kind) and when(event):
                        return event
                self._new.clear()
                await self._new.wait()

    def of(self, kind: type[E_]) -> list[E_]:
        return [event for event in self.events if isinstance(event, kind)]

    def add(self, source: Path, **more: Any) -> Entry:
        """An entry for the whole of a file."""
        stream = FileStream(source)
        self.engine.add_stream(stream)
        return Entry(id=next(_ids), stream=stream.id, **more)

    async def play(self, entries: list[Entry], seconds: float = 20.0) -> list[EntryEnded]:
        """Play these in a row, each made known as next when the one before starts, until nothing is left."""
        after = len(self.events)
        queue = list(entries)

        def follow(event: EngineEvent) -> None:
            if isinstance(event, EntryStarted):
                self.engine.set_next(queue.pop(0) if queue else None)

        self.hooks.append(follow)
        self.engine.load(queue.pop(0), paused=False)
        await self.event(Idle, seconds=seconds, after=after)
        self.hooks.remove(follow)
        return [e for e in self.events[after:] if isinstance(e, EntryEnded)]


def entry(stream: FileStream, **more: Any) -> Entry:
    return Entry(id=next(_ids), stream=stream.id, **more)


def read_wav(path: Path) -> tuple[int, np.ndarray]:
    """Rate and frames x channels of a WAV whose header must be true to the byte."""
    data = path.read_bytes()
    riff, size, wave, fmt, length, tag, channels, rate, _, frame, bits = struct.unpack("<4sI4s4sIHHIIHH", data[:36])
    assert (riff, wave, fmt, length, tag) == (b"RIFF", b"WAVE", b"fmt ", 16, 1)
    assert size == len(data) - 8, "RIFF size"
    assert int.from_bytes(data[40:44], "little") == len(data) - 44, "data size"
    assert frame == channels * bits // 8
    return rate, np.frombuffer(data[44:], "<i2" if bits == 16 else "<i4").reshape(-1, channels)


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
