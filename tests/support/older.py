"""A faithful fake of today's server: the older API, and files as Woo and Lack serve them.

    with OlderServer(folder) as server: ...

Files are answered with 200 to any Range, with Last-Modified and without ETag. The album list heeds offset and limit;
answers are bare arrays unless `objects`. Albums have no counts, tracks have neither size nor hash nor album id.
"""

from __future__ import annotations

import json
import threading
from email.utils import formatdate
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, quote, unquote, urlsplit

from tests.support.webthread import Ask, Reply, WebThread


class OlderServer:
    """`albums`: id -> (what the list says, tracks); change it under `lock`. `faults`: path -> replies to give first."""

    def __init__(self, root: Path | None = None, *, token: str | None = None, objects: bool = False) -> None:
        self.root, self.token, self.objects = root, token, objects
        self.lock = threading.Lock()
        self.albums: dict[Any, tuple[dict[str, Any], list[dict[str, Any]]]] = {}
        self.faults: dict[str, list[Reply]] = {}
        self.pages = True  # heeds offset and limit
        self.most = 10_000  # most lines of a page, whatever the limit
        self.slow = 0.0  # seconds an answer takes
        self.rate: float | None = None  # bytes a second of a file
        self.web = WebThread(self._answer)

    def __enter__(self) -> Self:
        self.web.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.web.__exit__(kind, error, _)

    @property
    def url(self) -> str:
        return self.web.url

    def add_folder(self, folder: Path, album_id: Any, **fields: Any) -> None:
        """An album of the files in `folder` (below `root`), in the order of their names."""
        assert self.root is not None
        tracks = []
        for no, path in enumerate(sorted(folder.iterdir()), start=1):
            url = "/music/" + quote(str(path.relative_to(self.root)))
            tracks.append({"no": no, "artist": folder.parent.name, "title": path.stem, "url": url})
        with self.lock:
            row = {"id": album_id, "artist": folder.parent.name, "album": folder.name, "year": 2001} | fields
            self.albums[album_id] = (row, tracks)

    def _answer(self, ask: Ask) -> Reply:
        path = urlsplit(ask.path).path
        with self.lock:
            if self.faults.get(path):
                return self.faults[path].pop(0)
            if path.startswith("/music/"):
                return self._file(path)
            if self.token and ask.headers.get("authorization") != f"Bearer {self.token}":
                return Reply(401, b"")
            return self._api(ask, path)

    def _api(self, ask: Ask, path: str) -> Reply:
        if path == "/api/cat/album":
            rows = [row for row, _ in self.albums.values()]
            query = parse_qs(urlsplit(ask.path).query)
            if self.pages:
                offset, limit = int(query["offset"][0]), min(int(query["limit"][0]), self.most)
                rows = rows[offset : offset + limit]
            return self._json({"items": rows, "total": len(self.albums)} if self.objects else rows)
        if path.startswith("/api/album/") and path.endswith("/tracks"):
            wanted = unquote(path.split("/")[3])
            for album_id, (row, tracks) in self.albums.items():
                if str(album_id) == wanted:
                    return self._json({"album": row, "tracks": tracks} if self.objects else tracks)
        return Reply(404, b"Not Found", {"Content-Type": "text/plain"}, wait=self.slow)

    def _json(self, document: Any) -> Reply:
        return Reply(200, json.dumps(document).encode(), {"Content-Type": "application/json"}, wait=self.slow)

    def _file(self, path: str) -> Reply:
        file = self.root / unquote(path).removeprefix("/music/") if self.root else None
        if file is None or not file.is_file():
            return Reply(404, b"Not Found", {"Content-Type": "text/plain"})
        date = formatdate(file.stat().st_mtime, usegmt=True)
        kind = {"flac": "audio/flac", "mp3": "audio/mpeg", "m4a": "audio/mp4"}.get(file.suffix[1:], "text/plain")
        return Reply(200, file.read_bytes(), {"Content-Type": kind, "Last-Modified": date}, rate=self.rate)
