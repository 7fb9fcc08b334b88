"""libmpv's readers: bytes of sparse cache files, straight into mpv's buffer, waiting for what is not there yet.

libmpv calls from threads of its own, knows a reader by an integer cookie, and may have one stream open many times (a
track queued twice in a row, a prefetch beside the one that plays). No exception may leave a callback, `open` must
return at once, and every wait must end when mpv cancels it, when bytes arrive, when the stream is given up, or when a
seek makes it pointless.

    read at pos --> size known and reached ----------------------------------> 0 (end)
                --> bytes there ------------------------------------------> pread --> n
                --> failed, dropped ---------------------> error noted -----------> -1
                --> neither: report "waiting", sleep --> cancelled ---------------> -1
                                                     --> seek issued meanwhile ---> 0, and mpv reads elsewhere
"""

from __future__ import annotations

import ctypes
import errno
import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from threading import Condition
from typing import Any

from appliance.engine.item import SCHEME
from appliance.engine.libmpv import mpv
from appliance.engine.sparse import Stream

REPORT_BYTES = 256 * 1024  # reading progress is reported once per so many bytes
_INTERRUPT = 0.1  # seconds; FFmpeg tries a read that ended early once more or twice before it gives up
_UNSUPPORTED = -18  # MPV_ERROR_UNSUPPORTED
_LOADING_FAILED = -13  # MPV_ERROR_LOADING_FAILED

_libc = ctypes.CDLL(None, use_errno=True)
_pread = _libc.pread64 if hasattr(_libc, "pread64") else _libc.pread
_pread.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int64]
_pread.restype = ctypes.c_ssize_t


class Reader:
    """One open of a stream by mpv."""

    __slots__ = ("cancelled", "entry", "interrupt", "interrupted", "pos", "reported", "seeks", "sid", "since", "stream")

    def __init__(self, entry: int, sid: int, stream: Stream) -> None:
        self.entry = entry
        self.sid = sid
        self.stream = stream
        self.pos = 0
        self.seeks = 0  # seeks that mpv made; tells a read from before a seek from one after it
        self.cancelled = False
        self.since = 0  # number of the seek order in force when the present wait began
        self.interrupt = 0.0  # until when (monotonic) a read that would wait ends at once, for a seek is pending
        self.interrupted = False  # the last read was ended by us, not by the data
        self.reported = -1


class Readers:
    """All streams and readers. `report(stream, offset, waiting)` is called on mpv's threads and must not block."""

    def __init__(self, report: Callable[[int, int, bool], None]) -> None:
        self._report = report
        self._change = Condition()
        self._streams: dict[int, Stream] = {}
        self._readers: dict[int, Reader] = {}
        self._waiting: set[int] = set()
        self._errors: dict[int, str] = {}
        self._cookie = 0
        self._order = 0
        self._marks: dict[int, int] = {}
        # ctypes callbacks live as long as this object: mpv holds bare pointers to them.
        self._read_cb = mpv.StreamReadFn(self._guarded_read)
        self._seek_cb = mpv.StreamSeekFn(self._seek)
        self._size_cb = mpv.StreamSizeFn(self._size)
        self._close_cb = mpv.StreamCloseFn(self._close)
        self._cancel_cb = mpv.StreamCancelFn(self._cancel)
        self.opener: Any = mpv.StreamOpenFn(self._open)

    # what the player process tells

    def add(self, sid: int, path: str, size: int | None, ranges: Iterable[tuple[int, int]]) -> None:
        stream = Stream(path, size)
        for start, stop in ranges:
            stream.add(start, stop)
        with self._change:
            old = self._streams.pop(sid, None)
            if old is not None:
                self._retire(old)
            self._streams[sid] = stream
            self._change.notify_all()

    def available(self, sid: int, ranges: Iterable[tuple[int, int]]) -> None:
        with self._change:
            stream = self._streams.get(sid)
            if stream is not None:
                stream.failed = None
                for start, stop in ranges:
                    stream.add(start, stop)
                self._change.notify_all()

    def size(self, sid: int, size: int) -> None:
        with self._change:
            stream = self._streams.get(sid)
            if stream is not None:
                stream.size = size
                self._change.notify_all()

    def fail(self, sid: int, reason: str) -> None:
        with self._change:
            stream = self._streams.get(sid)
            if stream is not None:
                stream.failed = reason
                self._change.notify_all()

    def drop(self, sid: int) -> None:
        with self._change:
            stream = self._streams.pop(sid, None)
            if stream is not None:
                self._retire(stream)
                self._change.notify_all()

    # what the session asks

    def waiting(self, entry: int) -> bool:
        """Whether a reader of this entry waits for bytes."""
        return any(reader.entry == entry for c in tuple(self._waiting) if (reader := self._readers.get(c)) is not None)

    def error(self, entry: int) -> str | None:
        """Why reading this entry failed, if it did; asking forgets it."""
        return self._errors.pop(entry, None)

    def interrupted(self, entry: int) -> bool:
        """Whether the last thing that a reader of this entry got was an end that only meant "you are seeking"."""
        return any(reader.entry == entry and reader.interrupted for reader in tuple(self._readers.values()))

    @contextmanager
    def descriptor(self, sid: int) -> Iterator[int]:
        """The stream's file for a look at bytes that mpv has read; -1 when there is none."""
        with self._change:
            stream = self._streams.get(sid)
            try:
                copy = os.dup(stream.open()) if stream is not None else -1
            except OSError:
                copy = -1
        try:
            yield copy
        finally:
            if copy >= 0:
                os.close(copy)

    def before_seek(self, entry: int) -> None:
        """Remember what each reader of this entry is doing when a seek is ordered."""
        with self._change:
            self._order += 1
            self._marks = {c: r.seeks for c, r in self._readers.items() if r.entry == entry}

    def after_seek(self) -> None:
        """mpv has taken up the seek: end the reads that wait for bytes which are no longer wanted.

        Only reads that are surely older than the seek: those that waited before it was ordered, or whose reader has not
        moved since. Ending a read at the new place would be taken for the end of the file.
        """
        with self._change:
            for cookie, seeks in self._marks.items():
                reader = self._readers.get(cookie)
                if cookie in self._waiting and reader and (reader.since < self._order or reader.seeks == seeks):
                    reader.interrupt = time.monotonic() + _INTERRUPT
            self._marks = {}
            self._change.notify_all()

    def cancel_all(self) -> None:
        """End every wait for good: the process is going down."""
        with self._change:
            for reader in self._readers.values():
                reader.cancelled = True
            self._change.notify_all()

    # libmpv's callbacks

    def _open(self, _data: Any, uri: bytes, info: Any) -> int:
        try:
            entry, sid = (int(part) for part in uri.decode().removeprefix(f"{SCHEME}://").split("/"))
            with self._change:
                stream = self._streams.get(sid)
                if stream is None:
                    self._errors[entry] = "its data was taken away"
                    return _LOADING_FAILED
                stream.users += 1
                self._cookie += 1
                self._readers[self._cookie] = Reader(entry, sid, stream)
                target = info.contents
                target.cookie = self._cookie
            target.read, target.seek, target.size = self._read_cb, self._seek_cb, self._size_cb
            target.close, target.cancel = self._close_cb, self._cancel_cb
            return 0
        except Exception:
            return _LOADING_FAILED

    def _guarded_read(self, cookie: int, buffer: Any, count: int) -> int:
        try:
            return self._read(cookie, buffer, count)
        except Exception as error:
            reader = self._readers.get(cookie)
            if reader is not None:
                self._errors[reader.entry] = (
                    (isinstance(error, OSError) and error.strerror) or str(error) or "read error"
                )
            return -1

    def _read(self, cookie: int, buffer: Any, count: int) -> int:
        reader = self._readers[cookie]
        with self._change:
            stop = self._wait(cookie, reader)
            if stop <= reader.pos:
                return stop - reader.pos if stop < 0 else 0
            descriptor = reader.stream.open()
        got: int = _pread(descriptor, buffer, min(count, stop - reader.pos), reader.pos)
        if got < 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        if got == 0:
            raise OSError(errno.EIO, f"the cache file ends at byte {reader.pos}, before what is recorded of it")
        reader.pos += got
        reader.interrupted = False
        if reader.pos // REPORT_BYTES != reader.reported:
            reader.reported = reader.pos // REPORT_BYTES
            self._report(reader.sid, reader.pos, False)
        return got

    def _wait(self, cookie: int, reader: Reader) -> int:
        """Where the bytes at the reader's place end; its place itself at the end of the data, -1 on failure."""
        stream = reader.stream
        told = False
        try:
            while True:
                if reader.cancelled:
                    return -1
                if stream.size is not None and reader.pos >= stream.size:
                    return reader.pos
                stop = stream.until(reader.pos)
                if stop > reader.pos:
                    return stop
                if stream.failed is not None or stream.dropped:
                    self._errors[reader.entry] = stream.failed or "its data was taken away"
                    return -1
                if reader.interrupt > time.monotonic():
                    reader.interrupted = True
                    return reader.pos
                if not told:
                    told = True
                    reader.since = self._order
                    reader.reported = reader.pos // REPORT_BYTES
                    self._waiting.add(cookie)
                    self._report(reader.sid, reader.pos, True)
                self._change.wait()
        finally:
            self._waiting.discard(cookie)

    def _seek(self, cookie: int, offset: int) -> int:
        reader = self._readers.get(cookie)
        if reader is None or offset < 0:
            return _UNSUPPORTED
        reader.pos = offset
        reader.seeks += 1
        reader.interrupt = 0.0
        reader.interrupted = False
        return offset

    def _size(self, cookie: int) -> int:
        reader = self._readers.get(cookie)
        size = reader.stream.size if reader else None
        return _UNSUPPORTED if size is None else size

    def _close(self, cookie: int) -> None:
        with self._change:
            reader = self._readers.pop(cookie, None)
            if reader is not None:
                reader.stream.users -= 1
                if reader.stream.dropped and reader.stream.users == 0:
                    reader.stream.close()

    def _cancel(self, cookie: int) -> None:
        with self._change:
            reader = self._readers.get(cookie)
            if reader is not None:
                reader.cancelled = True
                self._change.notify_all()

    def _retire(self, stream: Stream) -> None:
        stream.dropped = True
        if stream.users == 0:
            stream.close()
