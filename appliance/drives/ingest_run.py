"""One import: every music file of a drive is hashed, asked about, and sent if the server lacks it (C10, R5).

Files are taken in groups: what is read of a group is asked about at once, and what is missing is sent before the next
group is read. Each key is made from the library and the SHA-256, so whatever is sent a second time after a cut, a crash
or a yank is the same upload to the server. A file that cannot be had or is not wanted fails alone.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import PurePosixPath
from typing import TypeVar

from appliance.cloud.timing import Timing
from appliance.cloud.upload import Music, Refused, Uploader
from appliance.drives import ingest_rows as rows
from appliance.drives.errors import GONE, DriveError, explain
from appliance.drives.ingest_reader import Changed, IngestReader
from appliance.drives.ingest_rows import File
from appliance.errors import ChadboxError, Gone, Offline, ServerError
from appliance.events import Bus, ImportChanged
from appliance.store import Store
from appliance.stream.retry import delay

T = TypeVar("T")
GROUP = 64  # files
ATTEMPTS = 8  # tries in a row of one request that do not get on
IN_A_ROW = 3  # files after which a full server, a failing one or an unreadable drive is taken for what it is
YIELD, PATIENCE = 0.05, 15.0  # seconds between two looks whether playing needs the line, and at most of one wait
SAVING = 1.0  # seconds between two writes of what became of files
FINAL = (400, 409, 413, 415)


class Unreadable(DriveError):
    """One file could not be read while it was sent."""

    def __init__(self, error: OSError) -> None:
        super().__init__(str(error))
        self.error = error


class IngestRun:
    """`drive` is its UUID; `busy()` says that playing needs the line; `progress` is told percents."""

    def __init__(
        self, job: int, drive: str, name: str, library: str, reader: IngestReader, uploader: Uploader,
        store: Store, bus: Bus, timing: Timing, busy: Callable[[], bool], progress: Callable[[float], None],
    ) -> None:  # fmt: skip
        self._job, self._drive, self._name, self._library = job, drive, name, library
        self._reader, self._uploader, self._store, self._bus = reader, uploader, store, bus
        self._timing, self._busy, self._progress = timing, busy, progress
        self._older = False
        self._full = self._failing = self._unreadable = 0  # in a row
        self._done, self._total = 0, 1  # bytes, each file counted twice: read and settled
        self._changed: dict[bytes, File] = {}
        self._saved = time.monotonic()

    async def run(self, owned: list[str], asked: bool) -> None:
        """Raises DriveError (Pulled, Moved), Offline, TokenRejected, ServerError; what was settled is kept."""
        found = await self._reader.walk(owned)
        files = await self._store.write(
            lambda con: rows.plan(con, self._drive, self._library, self._job, found, asked)
        )  # fmt: skip
        self._total = 2 * sum(f.size + 1 for f in files) or 1
        queued = [f for f in files if f.state == "queued"]
        self._step(self._total - 2 * sum(f.size + 1 for f in queued))
        try:
            for n in range(0, len(queued), GROUP):
                await self._group(queued[n : n + GROUP])
        finally:
            await asyncio.shield(self._save())

    async def _group(self, group: list[File]) -> None:
        for file in group:
            await self._probe(file)
        there = [f for f in group if f.state == "queued"]
        if fresh := [f for f in there if not f.duration]:
            await self._reader.read_tags(fresh)
        await self._ask(there)
        for file in there:
            if file.state == "queued":
                await self._upload(file)
            self._step(file.size + 1)
            await self._save_now_and_then()

    async def _probe(self, file: File) -> None:
        try:
            if not file.size:
                self._settle(file, "failed", "the file is empty", final=True)
            elif file.sha256 is None:
                file.sha256 = await self._reader.digest(file)
                self._note(file)
            self._unreadable = 0
        except (OSError, Changed) as error:
            self._not_readable(file, error)
        self._step(file.size + 1 + (file.size + 1 if file.state != "queued" else 0))
        await self._save_now_and_then()

    async def _ask(self, files: list[File]) -> None:
        if files and not self._older:
            try:
                known = await self._again(lambda: self._uploader.exists([_music(f) for f in files]))
            except Gone:
                self._older = True
            else:
                for file, there in zip(files, known, strict=True):
                    if there:
                        self._settle(file, _ours(file))
        if self._older:  # it cannot be asked, but it was told
            for file in files:
                if file.before in ("done", "duplicate"):
                    self._settle(file, "duplicate")

    async def _upload(self, file: File) -> None:
        if self._full >= IN_A_ROW:
            self._settle(file, "failed", "the server refused it (507): its disk is full")
            return
        file.state = "uploading"
        self._note(file)

        def sent(count: int) -> None:
            before, file.sent = file.percent, max(file.sent, count)
            if file.percent != before:
                self._note(file)

        settled = _ours(file)  # what it means when the server has it: by what was sent before this try

        def attempt() -> Awaitable[bool]:
            nonlocal settled
            settled = _ours(file)
            source: Callable[[int, int], AsyncIterator[bytes]] = lambda a, b: self._source(file, a, b)  # noqa: E731
            return self._uploader.send(_music(file), self._key(file), source, sent, older=self._older)

        try:
            duplicate = await self._again(attempt, lambda: file.sent)
        except Refused as refusal:
            self._full = self._full + 1 if refusal.status == 507 else 0
            self._settle(file, "failed", str(refusal), final=refusal.status in FINAL)
        except ServerError as error:
            self._failing += 1
            self._settle(file, "failed", str(error))
            if self._failing >= IN_A_ROW:
                raise
        except (OSError, Changed) as error:
            if isinstance(error, ChadboxError) and not isinstance(error, DriveError):
                raise  # no connection: Offline is an OSError as well
            self._not_readable(file, error)
        else:
            self._full = self._failing = self._unreadable = 0
            self._settle(file, settled if duplicate else "done")

    async def _again(self, work: Callable[[], Awaitable[T]], got: Callable[[], int] = lambda: 0) -> T:
        """`work`, again with growing pauses as long as `got` grows, else ATTEMPTS times. Raises the last error."""
        failures, before = 0, got()
        while True:
            try:
                return await work()
            except (Offline, ServerError) as error:
                if got() > before:
                    failures, before = 0, got()
                failures += 1
                if failures >= ATTEMPTS:
                    raise
                await asyncio.sleep(delay(failures, getattr(error, "retry_after", None), self._timing))

    async def _source(self, file: File, start: int, stop: int) -> AsyncIterator[bytes]:
        """The file's bytes, with a pause wherever playing needs the line; not so long that the server gives up."""
        left = PATIENCE
        try:
            async for chunk in self._reader.read(file, start, stop):
                while left > 0 and self._busy():
                    left -= YIELD
                    await asyncio.sleep(YIELD)
                yield chunk
        except OSError as error:
            if isinstance(error, ChadboxError):
                raise
            raise Unreadable(error) from None  # else it would be taken for the network's

    def _key(self, file: File) -> str:
        return hashlib.sha256(f"{self._library}\n{file.sha256}".encode()).hexdigest()

    # -- what became of a file ----------------------------------------------------------------------------------------

    def _not_readable(self, file: File, error: BaseException) -> None:
        """One file, unless it is the drive. Raises DriveError then."""
        if isinstance(error, Changed):
            self._settle(file, "failed", str(error))
            return
        if isinstance(error, Unreadable):
            error = error.error
        elif isinstance(error, DriveError):
            raise error
        assert isinstance(error, OSError)  # noqa: S101 - as caught
        self._unreadable += 1
        wrong = explain(error, self._name)
        if error.errno in GONE or self._unreadable >= IN_A_ROW:
            raise wrong from None
        self._settle(file, "failed", f"it cannot be read: {error.strerror or error}")

    def _settle(self, file: File, state: str, reason: str | None = None, *, final: bool = False) -> None:
        file.state, file.reason, file.final = state, reason, final
        self._note(file)

    def _note(self, file: File) -> None:
        self._changed[file.path] = file
        self._bus.publish(ImportChanged(self._job, file.shown, file.state, file.percent, file.reason))

    def _step(self, count: int) -> None:
        self._done += count
        self._progress(100 * self._done / self._total)

    async def _save_now_and_then(self) -> None:
        if time.monotonic() - self._saved >= SAVING:
            await self._save()

    async def _save(self) -> None:
        changed, self._changed = list(self._changed.values()), {}
        self._saved = time.monotonic()
        if changed:
            await self._store.write(lambda con: rows.save(con, self._drive, changed))


def _ours(file: File) -> str:
    """The server has it: because all of it was sent before a cut took the answer, or all along."""
    return "done" if file.sent >= file.size > 0 else "duplicate"


def _music(file: File) -> Music:
    name = PurePosixPath(file.path.decode("utf-8", "replace")).name
    return Music(name, file.size, file.sha256 or "", file.duration, file.artist, file.title)
