"""P2, P3, P4, P5: a playlist becomes one file, each byte of it fetched once, whatever the line and the servers do."""

from __future__ import annotations

import asyncio
import gzip
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from appliance.cloud.models import Track
from appliance.demo.faults import spoil
from appliance.demo.faultserver import Answer, FaultServer, Seen
from appliance.errors import ChadboxError
from appliance.stream import Role
from tests.faults.lab import ALL, PACE, Lab, noise, until

LIST = "/hls/a.m3u8"


def song(url: str = LIST, **known: object) -> Track:
    return Track(id="1", album_id="a", url=url, duration=60.0, **known)  # type: ignore[arg-type]


def listing(names: list[str], *more: str, end: bool = True) -> bytes:
    rows = [f"#EXTINF:4.0,\n{name}" for name in names]
    lines = ["#EXTM3U", "#EXT-X-TARGETDURATION:4", *more, *rows, *(["#EXT-X-ENDLIST"] if end else [])]
    return ("\n".join(lines) + "\n").encode()


def parts(count: int = 12, size: int = 90_000) -> dict[str, bytes]:
    return {f"/hls/s{n}.ts": b"G" + noise(size + 999 * n, n) for n in range(count)}


def site(count: int = 12) -> tuple[dict[str, bytes], bytes]:
    """Files of a server and the file that the box should make of them."""
    segments = parts(count)
    return {LIST: listing([f"s{n}.ts" for n in range(count)]), **segments}, b"".join(segments.values())


async def api(seen: Seen, url: str = LIST) -> Answer | None:
    if seen.path == "/api/v1/stats":
        return Answer(200, b'{"tracks": 1}', {"Content-Type": "application/json"})
    if seen.path.startswith("/api/v1/album/"):
        body = f'{{"tracks": [{{"id": "1", "url": "{url}"}}]}}'.encode()
        return Answer(200, body, {"Content-Type": "application/json"})
    return None


@pytest.mark.parametrize("heads", [True, False])
async def test_the_segments_are_one_file_and_come_once(heads: bool, tmp_path: Path) -> None:
    files, whole = site()
    async with FaultServer(files) as server, Lab(tmp_path, server.url) as lab:

        async def no_heads(seen: Seen, answer: Answer) -> Answer | None:
            return Answer(405, b"") if seen.method == "HEAD" and not heads else None

        server.hook = no_heads
        entry = await lab.fetch(song(size=3, sha256="0" * 64))  # what the library may say of the playlist
        assert entry.path.read_bytes() == whole
        assert entry.size == len(whole)
        counters = lab.cache.counters
        assert counters.network_bytes == len(whole)
        assert counters.refetched_bytes == counters.stream_errors == 0
        before = len(server.seen)
        again = await lab.cache.acquire("lib", song(size=3, sha256="0" * 64))
        assert again.complete
        assert len(server.seen) == before
        lab.cache.release(again)


@pytest.mark.parametrize(
    ("kind", "body"),
    [("application/vnd.apple.mpegurl", None), ("audio/mpegurl; charset=utf-8", None), ("text/plain", None)],
)
async def test_a_playlist_is_known_by_type_or_by_its_beginning(kind: str, body: None, tmp_path: Path) -> None:
    files, whole = site(3)
    files["/music/song"] = files[LIST].replace(b"\ns", b"\n/hls/s")
    async with FaultServer(files) as server, Lab(tmp_path, server.url) as lab:

        async def typed(seen: Seen, answer: Answer) -> Answer | None:
            if seen.path == "/music/song":
                answer.headers["Content-Type"] = kind
            return None

        server.hook = typed
        entry = await lab.fetch(song("/music/song"))
        assert entry.path.read_bytes() == whole
        assert lab.cache.counters.network_bytes == len(whole)


async def test_a_seek_into_a_hole_is_served_before_the_rest(tmp_path: Path) -> None:
    files, whole = site(40)
    async with FaultServer(files, delay=0.02) as server, Lab(tmp_path, server.url) as lab:
        entry, demand = await lab.want(song())
        await until(lambda: entry.size is not None)
        dice = random.Random(2)
        for _ in range(10):
            place = dice.randrange(len(whole))
            lab.fetcher.read_at(entry, place, waiting=True)
            await until(lambda place=place: entry.have.covers(place, place + 1))
        assert not entry.complete
        lab.fetcher.read_at(entry, len(whole), waiting=False)
        await asyncio.wait_for(asyncio.shield(demand.finished), 20)
        assert entry.path.read_bytes() == whole
        assert lab.cache.counters.network_bytes == len(whole)
        assert lab.cache.counters.refetched_bytes == 0
        lab.cache.release(entry)


@pytest.mark.parametrize("heads", [True, False])
async def test_a_restart_goes_on_at_the_first_missing_segment(heads: bool, tmp_path: Path) -> None:
    files, whole = site(30)
    async with FaultServer(files, delay=0.02) as server:

        async def no_heads(seen: Seen, answer: Answer) -> Answer | None:
            return Answer(405, b"") if seen.method == "HEAD" and not heads else None

        server.hook = no_heads
        async with Lab(tmp_path, server.url) as lab:
            entry, _ = await lab.want(song())
            await until(lambda: entry.have.total() > len(whole) // 3)
        had = entry.have.total()
        assert not entry.complete
        before = {s.path for s in server.seen if s.method == "GET"}
        server.seen.clear()
        async with Lab(tmp_path, server.url) as lab:
            entry = await lab.fetch(song())
            assert entry.path.read_bytes() == whole
            assert lab.cache.counters.network_bytes == len(whole)
            assert lab.cache.counters.refetched_bytes == 0
        assert had
        again = {s.path for s in server.seen if s.method == "GET"} & before
        assert len(again - {LIST}) <= 1, again


async def test_another_playlist_after_a_restart_is_another_file(tmp_path: Path) -> None:
    files, whole = site(20)
    async with FaultServer(files, delay=0.02) as server:
        async with Lab(tmp_path, server.url) as lab:
            entry, _ = await lab.want(song())
            await until(lambda: entry.have.total() > len(whole) // 3)
        server.files[LIST] = listing(["s3.ts", "s1.ts"])
        async with Lab(tmp_path, server.url) as lab:
            with pytest.raises(ChadboxError):
                await lab.fetch(song())
            assert len(lab.replaced) == 1
            entry = await lab.fetch(song())
            assert entry.path.read_bytes() == files["/hls/s3.ts"] + files["/hls/s1.ts"]


@pytest.mark.parametrize("name", ALL)
async def test_a_fault_of_a_segment_or_a_playlist_costs_nothing(name: str, tmp_path: Path) -> None:
    files, whole = site(5)
    for victim in (LIST, "/hls/s0.ts", "/hls/s2.ts", "/hls/s4.ts"):
        root = tmp_path / victim.rpartition("/")[2]
        root.mkdir()
        async with FaultServer(files) as server, Lab(root, server.url) as lab:
            struck = 0

            async def strike(seen: Seen, answer: Answer, victim: str = victim) -> Answer | None:
                nonlocal struck
                if seen.path != victim or seen.method != "GET" or struck:
                    return await api(seen)
                struck = 1
                return spoil(name, seen, answer, random.Random(1), PACE)

            server.hook = strike
            entry = await lab.fetch(song())
            assert struck == 1
            assert entry.path.read_bytes() == whole, victim
            assert not lab.passed_over
            assert lab.cache.counters.refetched_bytes == 0


@pytest.mark.parametrize("status", [403, 410])
async def test_expired_segments_are_asked_for_by_a_new_playlist(status: int, tmp_path: Path) -> None:
    """P4: the playlist is loaded anew, and the fetch goes on where it was."""
    files, whole = site(10)
    async with FaultServer(files) as server, Lab(tmp_path, server.url) as lab:
        good = 0

        async def signed(seen: Seen, answer: Answer) -> Answer | None:
            nonlocal good
            if seen.path == LIST:
                answer.body = answer.body.replace(b".ts", b".ts?sig=%d" % good)
            elif seen.path.startswith("/hls/") and not seen.target.endswith(f"?sig={good}"):
                return Answer(status, b"")
            elif seen.path == "/hls/s5.ts" and seen.method == "GET" and not good:
                good = 1
                return Answer(status, b"")
            return await api(seen)

        server.hook = signed
        entry = await lab.fetch(song())
        assert entry.path.read_bytes() == whole
        assert lab.cache.counters.network_bytes == len(whole)
        assert lab.cache.counters.url_refreshes == 1
        assert good == 1
        assert not [s for s in server.seen if s.path.startswith("/api/")]


async def test_a_compressed_playlist_is_read(tmp_path: Path) -> None:
    files, whole = site(3)
    files[LIST] = gzip.compress(files[LIST])
    async with FaultServer(files) as server, Lab(tmp_path, server.url) as lab:

        async def zipped(seen: Seen, answer: Answer) -> Answer | None:
            if seen.path == LIST:
                answer.headers["Content-Encoding"] = "gzip"
            return None

        server.hook = zipped
        assert (await lab.fetch(song())).path.read_bytes() == whole


async def test_heads_that_lie_cost_one_new_beginning(tmp_path: Path) -> None:
    files, whole = site(6)
    async with FaultServer(files) as server, Lab(tmp_path, server.url) as lab:

        async def lie(seen: Seen, answer: Answer) -> Answer | None:
            if seen.method == "HEAD":
                return Answer(200, answer.body[:-5], answer.headers)
            return await api(seen)

        server.hook = lie
        with pytest.raises(ChadboxError):
            await lab.fetch(song())
        entry = await lab.fetch(song())
        assert entry.path.read_bytes() == whole


async def test_the_token_goes_to_the_server_alone(tmp_path: Path) -> None:
    """P3: segments on another host, and those behind a redirect, are asked for without it."""
    segments = parts(4)
    async with FaultServer(segments) as other, FaultServer({}, token="right") as server:
        server.files[LIST] = listing([f"{other.url}/hls/s0.ts", "s1.ts", f"{other.url}/hls/s2.ts", "s3.ts"])
        server.files["/hls/s3.ts"] = segments["/hls/s3.ts"]
        async with Lab(tmp_path, server.url, token="right") as lab:

            async def away(seen: Seen, answer: Answer) -> Answer | None:
                moved = seen.path == "/hls/s1.ts"
                return Answer(302, b"", {"Location": other.url + seen.path}) if moved else None

            server.hook = away
            entry = await lab.fetch(song())
            assert entry.path.read_bytes() == b"".join(segments.values())
        assert other.seen
        assert not [s for s in other.seen if "authorization" in s.headers]
        assert all("authorization" in s.headers for s in server.seen)


HOSTILE: dict[str, tuple[Callable[[], bytes], str]] = {
    "encrypted": (lambda: listing(["s0.ts"], '#EXT-X-KEY:METHOD=AES-128,URI="k"'), "encrypted (AES-128)"),
    "file": (lambda: listing(["file:///etc/passwd"]), "not http or https: file"),
    "data": (lambda: listing(["data:text/plain,hello"]), "not http or https: data"),
    "long": (lambda: listing(["s0.ts"] * 1_000_000), "larger than"),
    "many": (lambda: listing(["s"] * 100_000), "more than 10000 segments"),
    "negative": (lambda: listing(["s0.ts"], "#EXT-X-BYTERANGE:-5@-3"), "byte range"),
    "huge": (lambda: listing(["s0.ts"], f"#EXT-X-BYTERANGE:{10**17}@{10**17}"), "byte range"),
    "number": (lambda: listing(["s0.ts"], f"#EXT-X-MEDIA-SEQUENCE:{'9' * 5000}"), "a number that is none"),
    "nul": (lambda: listing(["s0\0.ts"]), "control characters"),
    "itself": (lambda: b"#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\na.m3u8\n", "from playlist to playlist"),
    "deep": (lambda: b"#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\na.m3u8?d=DEPTH\n", "from playlist to playlist"),
    "empty": (lambda: b"#EXTM3U\n#EXT-X-ENDLIST\n", "no segments"),
    "bomb": (lambda: gzip.compress(b"#EXTM3U\n" + b"\n" * (64 << 20)), "too large"),
    "page": (lambda: b"<html>hello</html>", "playlist is none"),
}


@pytest.mark.parametrize("name", HOSTILE)
async def test_a_playlist_of_no_use_is_named_in_one_line(name: str, tmp_path: Path) -> None:
    make, words = HOSTILE[name]
    body = make()
    async with FaultServer({LIST: body, **parts(1)}) as server, Lab(tmp_path, server.url) as lab:
        depth = 0

        async def deeper(seen: Seen, answer: Answer) -> Answer | None:
            nonlocal depth
            depth += 1
            if seen.path == LIST:
                answer.body = answer.body.replace(b"DEPTH", str(depth).encode())
            return await api(seen)

        server.hook = deeper
        with pytest.raises(ChadboxError) as raised:
            await lab.fetch(song(), Role.JOB, 30)
        assert words in str(raised.value)
        assert "\n" not in str(raised.value)
        assert lab.cache.counters.network_bytes == 0
        assert sum(s.path == LIST for s in server.seen) <= 10


async def test_a_live_stream_is_followed_in_memory_and_not_kept(tmp_path: Path) -> None:
    segments = parts(30, 40_000)
    async with FaultServer(segments) as server, Lab(tmp_path, server.url) as lab:
        newest = 6

        async def live(seen: Seen, answer: Answer) -> Answer | None:
            if seen.path != LIST:
                return None
            first = max(0, newest - 6)
            names = [f"s{n}.ts" for n in range(first, newest)]
            body = listing(names, f"#EXT-X-MEDIA-SEQUENCE:{first}", end=newest == 30)
            return Answer(200, body.replace(b"DURATION:4", b"DURATION:0.5").replace(b"4.0", b"0.5"))

        server.hook = live
        entry, demand = await lab.want(song())
        await until(lambda: lab.replaced)
        lab.fetcher.withdraw(demand)
        lab.cache.release(entry)
        entry, demand = await lab.want(song())
        assert entry.volatile
        while True:
            there = sum(len(segments[f"/hls/s{n}.ts"]) for n in range(3, newest))
            await until(lambda there=there: entry.have.total() == there)  # it begins three segments before the end
            lab.fetcher.read_at(entry, there, waiting=True)
            if newest == 30:
                break
            newest += 3
        await until(lambda: entry.size is not None)
        await asyncio.wait_for(asyncio.shield(demand.finished), 10)
        assert entry.path.read_bytes() == b"".join(segments[f"/hls/s{n}.ts"] for n in range(3, 30))
        assert list((tmp_path / "cache").iterdir()) == []
        lab.cache.release(entry)
