"""A music server's library over real HTTP on loopback, its client, and synthetic tracks."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

import msgspec

from appliance.cloud.models import Stats
from appliance.errors import Gone, Offline, SequenceExpired, ServerError


def track(n: int, **fields: Any) -> dict[str, Any]:
    """A plausible track: twelve to an album, three albums to an artist."""
    album = n // 12
    return {
        "id": n, "album_id": f"al{album}", "title": f"Song {n}", "artist": f"Artist {album // 3}",
        "album": f"Album {album}", "no": n % 12 + 1, "disc": 1, "year": 1970 + album % 50,
        "genre": ("Rock", "Jazz", "Pop")[album % 3], "country": "SE", "duration": 180.5, "size": 5_000_000,
        "etag": f'"{n}"', "url": f"/music/{n}.flac",
    } | fields  # fmt: skip


class Model:
    """What the server holds: every change gets the next sequence number; `oldest` is the oldest tombstone kept."""

    def __init__(self, library: str = "lib") -> None:
        self.library, self.seq, self.oldest = library, 0, 0
        self.tracks: dict[Any, dict[str, Any]] = {}
        self.born: dict[Any, int] = {}
        self.dead: dict[Any, int] = {}
        self.handed: set[int] = set()  # places in a listing under way: those never expire

    def put(self, *tracks: dict[str, Any]) -> None:
        for item in tracks:
            self.seq += 1
            if item["id"] not in self.tracks:
                self.born[item["id"]] = self.seq
            self.tracks.pop(item["id"], None)
            self.tracks[item["id"]] = item | {"seq": self.seq}
            self.dead.pop(item["id"], None)

    def remove(self, *ids: Any) -> None:
        for item in ids:
            self.seq += 1
            del self.tracks[item]
            self.dead[item] = self.seq

    def page(self, since: int, limit: int) -> dict[str, Any] | None:
        """None for 410."""
        if since and since < self.oldest and since not in self.handed:
            return None
        changes = sorted(
            [(t["seq"], t["id"], t) for t in self.tracks.values() if t["seq"] > since]
            + [(s, i, None) for i, s in self.dead.items() if s > since],
            key=lambda c: c[0],
        )
        page, more = changes[:limit], len(changes) > limit
        answer: dict[str, Any] = {"library": self.library, "added": [], "updated": [], "deleted": [], "more": more}
        for _, i, t in page:
            if t is None:
                answer["deleted"].append(i)
            else:
                answer["added" if self.born[i] > since else "updated"].append(t)
        answer["seq"] = page[-1][0] if more else self.seq
        if more:
            self.handed.add(answer["seq"])
        return answer


class PageServer:
    """`async with PageServer(model) as server`; `answer` may be replaced to misbehave."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.requests: list[int] = []
        self.answer: Callable[[int, int], tuple[int, bytes]] = self.honest
        self.gate = asyncio.Event()  # cleared: requests wait
        self.gate.set()
        self.asked = asyncio.Condition()
        self._tasks: set[asyncio.Task[None]] = set()

    def honest(self, since: int, limit: int) -> tuple[int, bytes]:
        page = self.model.page(since, limit)
        return (200, json.dumps(page).encode()) if page is not None else (410, b"{}")

    async def __aenter__(self) -> PageServer:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def wait_requests(self, count: int) -> None:
        async with self.asked:
            await self.asked.wait_for(lambda: len(self.requests) >= count)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            while request := await reader.readuntil(b"\r\n\r\n"):
                url = urlsplit(request.split(b" ", 2)[1].decode())
                if url.path == "/api/v1/stats":
                    stats = {"library": self.model.library, "tracks": len(self.model.tracks), "seq": self.model.seq}
                    status, body = 200, json.dumps(stats).encode()
                else:
                    query = parse_qs(url.query)
                    since, limit = int(query["since"][0]), int(query["limit"][0])
                    async with self.asked:
                        self.requests.append(since)
                        self.asked.notify_all()
                    await self.gate.wait()
                    status, body = self.answer(since, limit)
                writer.write(b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n" % (status, len(body)) + body)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            writer.close()


class HttpCloud:
    """The client's side, one connection at a time."""

    def __init__(self, port: int) -> None:
        self.port = port
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def library_page(self, since: int, limit: int) -> bytes:
        status, body = await self._get(f"/api/v1/library?since={since}&limit={limit}")
        if status == 410:
            raise SequenceExpired("the server no longer knows that sequence number")
        if status == 404:
            raise Gone("the server has no delta library", status=404)
        if status != 200:
            raise ServerError(f"the server answered {status}", status=status)
        return body

    async def stats(self) -> Stats:
        return msgspec.json.decode((await self._get("/api/v1/stats"))[1], type=Stats)

    older_library = "older-test"

    async def older_albums(self, offset: int, limit: int) -> bytes:
        raise Gone("the server has no album list either", status=404)

    async def older_tracks(self, album_id: object) -> bytes:
        raise Gone("the server has no albums", status=404)

    def close(self) -> None:
        for _, writer in self._idle:
            writer.close()

    async def _get(self, path: str) -> tuple[int, bytes]:
        try:
            pair = (
                self._idle.pop() if self._idle else await asyncio.open_connection("127.0.0.1", self.port, limit=1 << 18)
            )
            reader, writer = pair
            try:
                writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
                head = await reader.readuntil(b"\r\n\r\n")
                body = await reader.readexactly(int(head.lower().partition(b"content-length:")[2].split()[0]))
            except BaseException:
                writer.close()
                raise
        except (OSError, EOFError) as error:
            raise Offline(f"the server cannot be reached: {error}") from error
        self._idle.append(pair)
        return int(head.split(b" ", 2)[1]), body
