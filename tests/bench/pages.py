"""A page server with a synthetic library in a process of its own: `python -m tests.bench.pages TRACKS [FILE]`.

Twelve tracks an album, ten albums an artist; words follow a power law, one album in ten has diacritics and one in
twenty is Japanese. Every album is made from its number alone, so nothing is kept in memory. It prints its port. With
FILE, a FLAC file, every track can be fetched and is that file.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

ROOT = Path(__file__).resolve().parents[2]
ALBUM, ARTIST = 12, 120
_words = random.Random(7)
WORDS = [
    "".join(_words.choice("bcdfghklmnprstvw") + _words.choice("aeiou") for _ in range(_words.randint(1, 4)))
    for _ in range(30_000)
]
_COMMON = ("the", "of", "love", "in", "you", "a", "live", "me", "night", "remastered")
_KANA = "あいうえおかきくけこさしすせそたちつてとなにぬねの東京音楽夜空花火海風月星"
_MARKS = str.maketrans("aeiou", "åéïöü")


def _word(rng: random.Random) -> str:
    return rng.choice(_COMMON) if rng.random() < 0.15 else WORDS[int(rng.random() ** 3 * len(WORDS))]


def _name(rng: random.Random, words: int, style: int) -> str:
    if style == 19:
        return "".join(rng.choice(_KANA) for _ in range(words * 3))
    name = " ".join([_word(rng) for _ in range(words)]).title()
    return name.translate(_MARKS) if style % 10 == 9 else name


@lru_cache(64)
def artist(number: int) -> str:
    rng = random.Random(number * 2 + 1)
    return _name(rng, rng.randint(1, 3), number % 20)


def album(number: int) -> list[dict[str, Any]]:
    """The tracks of one album."""
    rng = random.Random(number * 2)
    name, by, year = _name(rng, rng.randint(1, 4), number % 20), artist(number // (ARTIST // ALBUM)), 1950 + number % 75
    genre, label, kind = (
        f"Genre {int(rng.random() ** 2 * 300)}",
        f"Label {number % 2000}",
        ("album", "ep", "live")[number % 3],
    )
    return [
        {
            "id": number * ALBUM + n, "album_id": number, "title": _name(rng, rng.randint(1, 4), number % 20),
            "artist": by, "album": name, "disc": 1, "no": n + 1, "year": year, "genre": genre, "publisher": label,
            "country": f"C{number % 60}", "type": kind, "status": "official", "duration": 180.25 + n,
            "samples": 7_938_000, "sample_rate": 44100, "size": 25_000_000 + n, "mime": "audio/flac",
            "etag": f'"{number:x}-{n}"', "sha256": f"{number * ALBUM + n:064x}", "lufs": -11.5, "true_peak": -0.3,
            "seq": number * ALBUM + n + 1, "url": f"/music/{number}/{n + 1:02d}.flac",
        }
        for n in range(ALBUM)
    ]  # fmt: skip


def tracks(start: int, stop: int) -> Iterator[dict[str, Any]]:
    """Tracks with sequence numbers start+1 .. stop."""
    for number in range(start // ALBUM, (stop + ALBUM - 1) // ALBUM):
        for item in album(number):
            if start < item["seq"] <= stop:
                yield item


@contextmanager
def serving(count: int, sound: Path | None = None) -> Iterator[int]:
    """The port of a page server for `count` tracks, whose files all are `sound`."""
    command = [sys.executable, "-m", "tests.bench.pages", str(count), *([str(sound)] if sound else [])]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT) as process:
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline())
        finally:
            process.terminate()


def _playable(item: dict[str, Any], size: int) -> dict[str, Any]:
    """The track without what its file does not keep: length, hash, loudness."""
    return {k: v for k, v in item.items() if k not in ("samples", "sha256", "lufs", "true_peak")} | {"size": size}


def _file(sound: bytes, path: str, head: bytes) -> bytes:
    """The whole answer to a request for a file."""
    etag = '"' + "-".join(f"{int(n) - k:x}" for k, n in enumerate(re.findall(r"\d+", path)[:2])) + '"'
    match = re.search(rb"\r\nrange: *bytes=(\d+)-(\d*)", head, re.IGNORECASE)
    start, stop = 0, len(sound)
    if match:
        start, stop = int(match[1]), min(int(match[2]) + 1 if match[2] else stop, stop)
    lines = [
        "HTTP/1.1 206 Partial Content" if match else "HTTP/1.1 200 OK", "Content-Type: audio/flac",
        f"Content-Length: {stop - start}", f"ETag: {etag}", "Accept-Ranges: bytes",
        *([f"Content-Range: bytes {start}-{stop - 1}/{len(sound)}"] if match else []), "", "",
    ]  # fmt: skip
    return "\r\n".join(lines).encode() + sound[start:stop]


async def _serve(count: int, sound: bytes) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while request := await reader.readuntil(b"\r\n\r\n"):
                url = urlsplit(request.split(b" ", 2)[1].decode())
                if url.path.startswith("/music/"):
                    writer.write(_file(sound, url.path, request))
                    await writer.drain()
                    continue
                if url.path == "/api/v1/stats":
                    found: dict[str, Any] = {"library": "bench", "tracks": count, "seq": count}
                else:
                    query = parse_qs(url.query)
                    since = int(query["since"][0])
                    until = min(since + int(query["limit"][0]), count)
                    page: Iterator[dict[str, Any]] = tracks(since, until)
                    if sound:
                        page = (_playable(item, len(sound)) for item in page)
                    found = {"library": "bench", "added": list(page), "updated": [], "deleted": []}
                    found |= {"seq": until, "more": until < count}
                body = json.dumps(found, ensure_ascii=False).encode()
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1]), Path(sys.argv[2]).read_bytes() if sys.argv[2:] else b""))
