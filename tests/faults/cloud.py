"""A music server in a thread of its own whose library, tokens, URLs and answers a test sets."""

from __future__ import annotations

import asyncio
import json
import random
import subprocess
import sys
import threading
from collections.abc import Coroutine, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

from appliance.demo.faults import spoil
from appliance.demo.faultserver import Answer, FaultServer, Seen, part
from appliance.demo.processes import die_with_parent
from tests.support import tones
from tests.support.box import Box

REPOSITORY = Path(__file__).parents[2]
KINDS = {"flac": "audio/flac", "mp3": "audio/mpeg", "m4a": "audio/mp4"}


class Strike:
    """Fault `name` for answers that bring byte `byte` of a file, so many times."""

    def __init__(self, name: str, byte: int = 0, times: int = 1) -> None:
        self.name, self.byte, self.left = name, byte, times
        self.dice = random.Random(f"{name}{byte}")

    def hits(self, seen: Seen) -> bool:
        first, last = seen.range or (0, 1 << 62)
        return self.left > 0 and first <= self.byte <= last


class Cloud(FaultServer):
    """The API of a chadbox server on `tracks`; used as `with Cloud(root) as cloud:`, from any thread."""

    def __init__(self, root: Path, *, pace: float = 1.0, token: str | None = "first") -> None:  # noqa: S107  (it is right here only)
        super().__init__()
        self.token_file = root / "cloud-token"
        self.pace = pace
        self.tracks: list[dict[str, Any]] = []
        self.strikes: dict[str, list[Strike]] = {}  # by path
        self.valid: set[str] = set()  # tokens that are accepted
        self.signature: int | None = None  # the one that URLs carry now; None: they do not expire
        self.good_signatures: set[int] = set()
        self.refused: list[Seen] = []
        if token:
            self.give_token(token)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="cloud", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self.call(self.listen())
        return self

    def __exit__(self, *_: object) -> None:
        self.call(self.away())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()

    def call(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Run `work` on the server's loop."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    def give_token(self, token: str, *, only: bool = True) -> None:
        """From now on `token` is right, and the box can find it."""
        self.valid = {token} if only else self.valid | {token}
        new = self.token_file.with_suffix(".new")
        new.write_text(token + "\n")
        new.rename(self.token_file)

    def add(self, album: str, name: str, data: bytes, extension: str, **fields: Any) -> dict[str, Any]:
        """One more track; `fields` are those of the API."""
        path = f"/music/{album}/{name}.{extension}"
        self.files[path], self.etags[path] = data, f'"{len(self.files)}-{len(data)}"'
        track = {
            "id": f"{album}-{name}", "album_id": album, "title": name, "artist": "Faults", "album": album,
            "album_artist": "Faults", "no": len(self.tracks) + 1, "size": len(data), "etag": self.etags[path],
            "mime": KINDS[extension], "path": path, **fields,
        }  # fmt: skip
        self.tracks.append(track)
        return track

    def strike(self, track: Mapping[str, Any], name: str, byte: int = 0, times: int = 1) -> None:
        self.strikes.setdefault(track["path"], []).append(Strike(name, byte, times))

    async def answer(self, seen: Seen) -> Answer:
        if self.valid and seen.headers.get("authorization", "").removeprefix("Bearer ") not in self.valid:
            self.refused.append(seen)
            return Answer(401, b"{}", {"WWW-Authenticate": "Bearer", "Content-Type": "application/json"})
        if seen.path.startswith("/api/"):
            return self._api(seen)
        data = self.files.get(seen.path)
        if data is None:
            return Answer(404, b"{}", {"Content-Type": "application/json"})
        query = parse_qs(urlsplit(seen.target).query)
        if self.signature is not None and int(query.get("sig", ["-1"])[0]) not in self.good_signatures:
            return Answer(410, b"{}", {"Content-Type": "application/json"})
        answer = part(data, self.etags[seen.path], seen)
        for strike in self.strikes.get(seen.path, ()):
            if strike.hits(seen):
                strike.left -= 1
                return spoil(strike.name, seen, answer, strike.dice, self.pace)
        return answer

    def _api(self, seen: Seen) -> Answer:
        route, query = seen.path.removeprefix("/api/v1/"), parse_qs(urlsplit(seen.target).query)
        if route == "library":
            since, limit = int(query["since"][0]), int(query["limit"][0])
            page = self.tracks[since : since + limit]
            end = since + len(page)
            more = end < len(self.tracks)
            told: Any = {"library": "faults", "added": self._told(page), "seq": end, "more": more}
        elif route == "stats":
            told = {"library": "faults", "tracks": len(self.tracks), "seq": len(self.tracks)}
        elif route.startswith("album/"):
            album = route.split("/")[1]
            told = {"album": {"id": album}, "tracks": self._told([t for t in self.tracks if t["album_id"] == album])}
        elif route == "plays":
            told = {}
        else:
            return Answer(404, b"{}", {"Content-Type": "application/json"})
        return Answer(200, json.dumps(told).encode(), {"Content-Type": "application/json"})

    def _told(self, tracks: list[dict[str, Any]]) -> list[dict[str, Any]]:
        sign = "" if self.signature is None else f"?sig={self.signature}"
        return [{k: v for k, v in t.items() if k != "path"} | {"url": t["path"] + sign} for t in tracks]


class FaultBox(Box):
    """A player of `cloud` whose waiting times are `pace` times as long as in life."""

    def __init__(self, root: Path, cloud: Cloud, *, pace: float = 1.0, **options: Any) -> None:
        super().__init__(root, url=cloud.url, server=False, player=False, **options)
        self.pace, self.token_file = pace, cloud.token_file

    def _popen(self, name: str, *arguments: str, stdout: int | None = None) -> subprocess.Popen[bytes]:
        self.root.mkdir(parents=True, exist_ok=True)
        with (self.root / f"{name}.log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "tests.faults.player", str(self.pace), str(self.config)],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=REPOSITORY,
                start_new_session=True, preexec_fn=die_with_parent,
            )  # fmt: skip


def material(root: Path, form: str, seconds: float, *, tracks: int = 2, seed: int = 1) -> tones.Album:
    """Noise, which no codec makes small, so that a few seconds fill several blocks."""
    import numpy as np

    chosen = tones.FORMATS[form]
    if form == "mp3":
        chosen = tones.Format("mp3", "mp3", ("-c:a", "libmp3lame", "-b:a", "320k"), False)
    frames = int(seconds * tracks * chosen.rate) | 1
    pcm = (np.random.default_rng(seed).standard_normal((frames, 2)) * 6000).clip(-32767, 32767).astype(np.int16)
    cuts = tones.edges(frames, tracks)
    root.mkdir(parents=True, exist_ok=True)
    paths = [
        tones.encode(pcm[a:b], root / f"{form}{n}.{chosen.extension}", chosen)
        for n, (a, b) in enumerate(pairwise(cuts))
    ]
    return tones.Album(chosen, tuple(paths), cuts, pcm)
