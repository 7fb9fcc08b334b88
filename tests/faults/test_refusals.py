"""Tokens and URLs that expire, versions that change, names and certificates that fail: one answer to each (P3, P4)."""

from __future__ import annotations

import asyncio
import datetime
import hashlib
import socket
import ssl
import subprocess
import time
from collections import Counter
from pathlib import Path

import pytest

from appliance.cloud.auth import TokenSource
from appliance.cloud.client import CloudClient
from appliance.cloud.timing import Timing
from appliance.demo.faultserver import Answer, FaultServer, Seen, part
from appliance.errors import ClockUnset, Gone, Offline, ServerError, StorageError, TokenRejected, Untrusted
from appliance.health import word_of
from appliance.stream import Role
from appliance.threads import Unjoined
from tests.faults.lab import MIB, PACE, Lab, covers, noise, once, song, until

SONG, OTHER = noise(2 * MIB + 777), noise(2 * MIB + 777, seed=2)


# The token -----------------------------------------------------------------------------------------------------------


class Renewing(TokenSource):
    """Counts how often it is asked for another token; gives `new` then, or refuses."""

    def __init__(self, new: str | None) -> None:
        super().__init__(None)
        self._token, self._read = "old", True
        self.new, self.asked = new, 0

    async def _refresh(self) -> bool:
        self.asked += 1
        await asyncio.sleep(0.05)
        if self.new:
            self._token = self.new
            self.on_refreshed()
        return bool(self.new)


async def test_one_refresh_for_all_who_wait() -> None:
    async with FaultServer({"/music/x.flac": SONG}, token="new") as server:
        client = CloudClient(server.url, Renewing("new"))
        renewed: list[int] = []
        client.tokens.on_refreshed = lambda: renewed.append(1)
        late = iter(range(20))

        async def refuse_late(seen: Seen, answer: Answer) -> Answer | None:
            """Some learn that the old token is refused after the others have renewed it."""
            if answer.status == 401:
                await asyncio.sleep(next(late) / 100)
            return None

        server.hook = refuse_late

        async def ask(n: int) -> bytes:
            async with client.open("/music/x.flac", n, n + 10) as body:
                return await body.response.body(100)

        answers = await asyncio.gather(*(ask(n) for n in range(20)))
        assert answers == [SONG[n : n + 10] for n in range(20)]
        assert client.tokens.asked == len(renewed) == 1  # type: ignore[attr-defined]
        await client.close()


async def test_a_refused_refresh_is_one_refusal_for_all() -> None:
    async with FaultServer({"/music/x.flac": SONG}, token="new") as server:
        client = CloudClient(server.url, Renewing(None))

        async def ask() -> None:
            async with client.open("/music/x.flac", 0, 10):
                pass

        outcomes = await asyncio.gather(*(ask() for _ in range(6)), return_exceptions=True)
        assert {type(o) for o in outcomes} == {TokenRejected}
        assert client.tokens.asked == 1  # type: ignore[attr-defined]
        assert "old" not in str(outcomes[0])
        await client.close()


async def test_a_rejected_token_skips_nothing_and_goes_on_when_it_is_right(tmp_path: Path) -> None:
    async with (
        FaultServer({"/music/song.flac": SONG}, token="right") as server,
        Lab(tmp_path, server.url, token="wrong") as lab,
    ):
        entry, demand = await lab.want(song("song", SONG))
        await until(lambda: "token-rejected" in lab.health)
        await until(lambda: demand.attempts.failures > 6)
        assert not lab.passed_over
        lab.token_file.write_text("right")
        await asyncio.wait_for(asyncio.shield(demand.finished), 20)
        assert entry.path.read_bytes() == SONG
        assert lab.health.words == ["ok"]
        assert lab.cache.counters.token_refreshes == 1
        lab.cache.release(entry)


async def test_a_401_of_another_host_does_not_cost_the_token(tmp_path: Path) -> None:
    async with (
        FaultServer({"/x.flac": SONG}, token="cdn's own") as cdn,
        FaultServer({"/music/song.flac": SONG}, token="right") as server,
    ):
        expired = [True, True]

        async def redirect(seen: Seen, answer: Answer) -> Answer | None:
            if seen.path.startswith("/api/"):
                return Answer(200, b'{"tracks": [{"id": "song", "url": "/music/song.flac?fresh"}]}')
            return Answer(302, b"", {"Location": f"{cdn.url}/x.flac"}) if expired and expired.pop() else None

        server.hook = redirect
        async with Lab(tmp_path, server.url, token="right") as lab:
            entry = await lab.fetch(song("song", SONG))
            assert entry.path.read_bytes() == SONG
            assert lab.cache.counters.url_refreshes >= 1
            assert lab.cache.counters.token_refreshes == 0
            assert cdn.seen
            assert not any("authorization" in s.headers for s in cdn.seen)


# URLs ----------------------------------------------------------------------------------------------------------------


async def test_requests_that_expire_together_resolve_once(tmp_path: Path) -> None:
    """Several requests of one track are refused at once; that is one expiry, not a track that is gone."""
    async with FaultServer({"/music/song.flac": SONG}) as server:
        life = {"sig": 0}
        asked: Counter[str] = Counter()

        async def expire(seen: Seen, answer: Answer) -> Answer | None:
            asked[seen.path] += 1
            if seen.path.startswith("/api/"):
                await asyncio.sleep(0.05)
                tracks = f'{{"tracks": [{{"id": "song", "url": "/music/song.flac?sig={life["sig"]}"}}]}}'
                return Answer(200, tracks.encode())
            await asyncio.sleep(0.02)
            return None if seen.target.endswith(f"sig={life['sig']}") else Answer(410, b"")

        server.hook = expire
        async with Lab(tmp_path, server.url) as lab:
            track = song("song", SONG)
            entry, demand = await lab.want(track)
            for round_ in range(1, 6):
                life["sig"] = round_
                before = entry.have.total()
                for at in (MIB, MIB // 2, MIB + MIB // 2):
                    lab.fetcher.read_at(entry, at, waiting=True)
                await until(lambda before=before: entry.have.total() > before or demand.finished.done())
            await asyncio.wait_for(asyncio.shield(demand.finished), 20)
            assert entry.path.read_bytes() == SONG
            assert not lab.passed_over
            assert asked["/api/v1/album/a/tracks"] <= 5
            lab.cache.release(entry)


async def test_an_outage_longer_than_a_url_lives(tmp_path: Path) -> None:
    """A fresh URL that expires before the network is back is asked for anew, not taken for a track that is gone."""
    async with FaultServer({"/music/song.flac": SONG}) as server:
        steps = iter(["410", "away", "410"])

        async def day(seen: Seen, answer: Answer) -> Answer | None:
            if seen.path.startswith("/api/"):
                return Answer(200, b'{"tracks": [{"id": "song", "url": "/music/song.flac"}]}')
            step = next(steps, "")
            if step == "away":
                task = asyncio.create_task(absence())
                task.add_done_callback(lambda t: None)
                return Answer(head=False, reset=True)
            return Answer(410, b"") if step == "410" else None

        async def absence() -> None:
            await server.away()
            await asyncio.sleep(0.5)
            await server.listen()

        server.hook = day
        fast = Timing().scaled(PACE)
        async with Lab(tmp_path, server.url, timing=Timing(**{**_fields(fast), "fresh": 0.2})) as lab:
            entry = await lab.fetch(song("song", SONG))
            assert entry.path.read_bytes() == SONG
            assert not lab.passed_over
            assert lab.cache.counters.url_refreshes == 2


def _fields(timing: Timing) -> dict[str, object]:
    from msgspec.structs import asdict

    return asdict(timing)


@pytest.mark.parametrize("status", [404, 410])
async def test_what_the_server_says_is_gone_is_passed_over_after_one_fresh_url(status: int, tmp_path: Path) -> None:
    async with FaultServer({"/music/song.flac": SONG}) as server, Lab(tmp_path, server.url) as lab:
        server.hook = once(server, str(status), covers(0), times=99)
        with pytest.raises(Exception, match=str(status)):
            await lab.fetch(song("song", SONG))
        assert len(lab.passed_over) == 1
        assert sum(s.path.startswith("/music/") for s in server.seen) == 2


async def test_an_album_that_is_gone_is_not_an_expired_sequence(tmp_path: Path) -> None:
    async with FaultServer({}) as server, Lab(tmp_path, server.url) as lab:

        async def gone(seen: Seen, answer: Answer) -> Answer | None:
            return Answer(410, b"")

        server.hook = gone
        with pytest.raises(Gone):
            await lab.cloud.album_tracks("a")


# Nonsense and absence ------------------------------------------------------------------------------------------------


async def test_nonsense_of_one_track_is_passed_over_but_not_that_of_a_whole_server(tmp_path: Path) -> None:
    """Behind a hotel's sign-in page every track is nonsense; none may be skipped for that."""
    async with FaultServer({"/music/song.flac": SONG}) as server, Lab(tmp_path, server.url) as lab:
        portal = True

        async def sign_in(seen: Seen, answer: Answer) -> Answer | None:
            if seen.path == "/api/v1/stats" and not portal:
                return Answer(200, b'{"tracks": 1}')
            return Answer(200, b"<html>", {"Content-Type": "text/html"})

        server.hook = sign_in
        entry, demand = await lab.want(song("song", SONG))
        await until(lambda: demand.attempts.failures > 7)
        assert not lab.passed_over
        assert "server-error" in lab.health
        portal = False
        await until(lambda: lab.passed_over)
        lab.cache.release(entry)


async def test_refused_for_long_then_back(tmp_path: Path) -> None:
    async with FaultServer({"/music/song.flac": SONG}) as server, Lab(tmp_path, server.url) as lab:
        await server.away()
        entry, demand = await lab.want(song("song", SONG))
        await until(lambda: demand.attempts.failures > 8)
        assert not lab.passed_over
        assert lab.health.words == ["offline"]
        await server.listen()
        await asyncio.wait_for(asyncio.shield(demand.finished), 20)
        assert lab.health.words == ["ok"]
        lab.cache.release(entry)


async def test_an_answer_without_a_length_ends_twice_before_it_is_believed(tmp_path: Path) -> None:
    """HTTP/1.0 style: the connection ends where the file does, or where the line broke."""
    cuts = [MIB, None, None]

    async def old(seen: Seen, answer: Answer) -> Answer | None:
        if not seen.path.startswith("/music/"):
            return None
        cut = cuts.pop(0) if cuts else None
        return Answer(raw=b"HTTP/1.0 200 OK\r\nContent-Type: audio/flac\r\n\r\n" + SONG[:cut])

    async with FaultServer({"/music/song.flac": SONG}) as server, Lab(tmp_path, server.url) as lab:
        server.hook = old
        entry = await lab.fetch(song("song"))
        assert entry.path.read_bytes() == SONG
        assert entry.size == len(SONG)


# Versions ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["etag", "size", "date", "weak", "untagged"])
async def test_a_file_that_changes_in_mid_track_is_begun_anew(kind: str, tmp_path: Path) -> None:
    new = OTHER if kind != "size" else OTHER[:-5]
    async with FaultServer({"/music/song.flac": SONG}) as server, Lab(tmp_path, server.url) as lab:
        changed = [False]

        async def change(seen: Seen, answer: Answer) -> Answer | None:
            if (seen.range or (0, 0))[0] >= MIB or changed[0]:
                changed[0] = True
                answer = part(new, '"new"' if kind == "etag" else answer.headers["ETag"], seen)
            if kind in ("date", "size"):
                answer.headers["ETag"] = ""
            if kind == "untagged" and changed[0]:
                answer.headers["ETag"] = answer.headers["Last-Modified"] = ""
            if kind == "weak":
                answer.headers["ETag"] = f'W/"{changed[0]}"'
                answer.headers["Last-Modified"] = ""
            if kind == "date" and changed[0]:
                answer.headers["Last-Modified"] = "Fri, 02 Jan 2026 00:00:00 GMT"
            return answer

        server.hook = change
        with pytest.raises(StorageError, match="replaced"):
            await lab.fetch(song("song", SONG))
        assert len(lab.replaced) == 1
        old = lab.replaced[0]
        entry = await lab.fetch(song("song", new))
        assert entry is not old
        assert entry.path.read_bytes() == new
        assert not old.path.exists()


async def test_wrong_bytes_are_seen_by_their_hash(tmp_path: Path) -> None:
    async with FaultServer({"/music/song.flac": SONG}) as server, Lab(tmp_path, server.url) as lab:
        lies = [True]

        async def lie(seen: Seen, answer: Answer) -> Answer | None:
            if seen.range and seen.range[0] >= MIB and lies:
                lies.pop()
                answer.body = bytes(len(answer.body))
            return answer

        server.hook = lie
        digest = hashlib.sha256(SONG).hexdigest()
        first = await lab.fetch(song("song", SONG, sha256=digest))
        await until(lambda: first.superseded)
        second = await lab.fetch(song("song", SONG, sha256=digest))
        assert second.path.read_bytes() == SONG


async def test_a_proxy_with_tags_of_its_own_is_asked_once_for_good(tmp_path: Path) -> None:
    """nginx in front of the API gives files other ETags than the library tells; what is here must still be found."""
    async with FaultServer({"/music/a.flac": SONG, "/music/b.flac": OTHER}) as server:
        tracks = [song(name, SONG, etag=f'"library-{name}"') for name in "ab"]
        async with Lab(tmp_path, server.url) as lab:
            for track in tracks:
                await lab.fetch(track)
            assert lab.cache.counters.network_bytes == len(SONG) + len(OTHER)
            assert lab.cache.counters.stream_errors == 1, "it was doubted once, not for every file"
        came = server.sent.total()
        async with Lab(tmp_path, server.url) as lab:
            for track in tracks:
                entry, _ = await lab.want(track)
                assert entry.complete
                lab.cache.release(entry)
            assert server.sent.total() == came


async def test_a_library_that_is_behind_finds_its_file_when_it_has_caught_up(tmp_path: Path) -> None:
    async with FaultServer({"/music/a.flac": SONG}) as server:
        async with Lab(tmp_path, server.url) as lab:
            await lab.fetch(song("a", SONG, etag='"stale"'))
        async with Lab(tmp_path, server.url) as lab:
            caught_up = song("a", SONG, etag=server.etags["/music/a.flac"])
            entry, _ = await lab.want(caught_up)
            assert entry.complete
            lab.cache.release(entry)


# Names and certificates ----------------------------------------------------------------------------------------------


async def test_a_name_that_nobody_knows() -> None:
    client = CloudClient("http://no-such-host.invalid", TokenSource(None), Timing().scaled(0.2))
    with pytest.raises(Offline, match=r"no-such-host\.invalid"):
        await client.stats()
    await client.close()


def test_a_resolver_that_hangs_does_not_hold_up_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """getaddrinfo cannot be cancelled; asyncio's own executor would wait for it at the end."""
    monkeypatch.setattr(socket, "getaddrinfo", lambda *a, **k: time.sleep(8))

    async def main() -> None:
        asyncio.get_running_loop().set_default_executor(Unjoined())
        client = CloudClient("http://slow.example", TokenSource(None), Timing().scaled(0.05))
        with pytest.raises(Offline, match="does not answer"):
            await client.stats()
        await client.close()

    began = time.monotonic()
    asyncio.run(main())
    assert time.monotonic() - began < 2


class Authority:
    """A certificate authority of the test's own, made with openssl."""

    def __init__(self, root: Path) -> None:
        self.root, self.certificate = root, root / "ca.pem"
        self._run("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "ca.key", "-out", "ca.pem",
                  "-subj", "/CN=Test authority", "-days", "30")  # fmt: skip

    def server(self, start: datetime.datetime, end: datetime.datetime, name: str = "127.0.0.1") -> ssl.SSLContext:
        """A server's context with a certificate for `name`, valid from `start` to `end`."""
        (self.root / "ext").write_text(f"subjectAltName=IP:{name}\n")
        (self.root / "index.txt").write_text("")
        (self.root / "ca.cnf").write_text(
            "[ca]\ndefault_ca=c\n[c]\ndatabase=index.txt\nnew_certs_dir=.\ndefault_md=sha256\npolicy=p\nrand_serial=yes\n"
            "[p]\ncommonName=supplied\n"
        )
        self._run("req", "-newkey", "rsa:2048", "-nodes", "-keyout", "s.key", "-out", "s.csr", "-subj", "/CN=server")
        when = [f"{t:%Y%m%d%H%M%SZ}" for t in (start, end)]
        self._run("ca", "-batch", "-notext", "-config", "ca.cnf", "-cert", "ca.pem", "-keyfile", "ca.key",
                  "-in", "s.csr", "-out", "s.pem", "-extfile", "ext", "-startdate", when[0],
                  "-enddate", when[1])  # fmt: skip
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.root / "s.pem", self.root / "s.key")
        return context

    def _run(self, *arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=self.root, check=True, capture_output=True)


NOW = datetime.datetime.now(datetime.UTC)
DAY = datetime.timedelta(days=1)


@pytest.mark.parametrize(
    ("start", "end", "name", "trusted", "error", "word", "text"),
    [
        (NOW - DAY, NOW + DAY, "127.0.0.1", True, None, "ok", ""),
        (NOW + DAY, NOW + 9 * DAY, "127.0.0.1", True, ClockUnset, "clock-unset", "not valid yet"),
        (NOW - 9 * DAY, NOW - DAY, "127.0.0.1", True, Untrusted, "server-error", "expired"),
        (NOW - DAY, NOW + DAY, "127.0.0.2", True, Untrusted, "server-error", "mismatch"),
        (NOW - DAY, NOW + DAY, "127.0.0.1", False, Untrusted, "server-error", "not to be trusted"),
    ],
    ids=["good", "clock not set", "expired", "other name", "unknown authority"],
)
async def test_certificates(
    start: datetime.datetime, end: datetime.datetime, name: str, trusted: bool, error: type[Offline] | None,
    word: str, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    authority = Authority(tmp_path)
    if trusted:
        monkeypatch.setenv("SSL_CERT_FILE", str(authority.certificate))
    server = FaultServer({"/music/song.flac": SONG})
    server.tls = authority.server(start, end, name)
    async with server, Lab(tmp_path, server.url, token="right") as lab:
        if error is None:
            entry = await lab.fetch(song("song", SONG))
            assert entry.path.read_bytes() == SONG
            return
        with pytest.raises(error, match=text) as caught:
            await lab.cloud.stats()
        assert "\n" not in str(caught.value)
        assert word_of(caught.value) == word
        assert not server.seen, "the token was sent over a line that proves nothing"
        entry, demand = await lab.want(song("song", SONG))
        await until(lambda: demand.attempts.failures >= 6)
        assert lab.health.words == [word]
        assert not lab.passed_over
        lab.cache.release(entry)


async def test_a_server_without_tls_where_https_was_meant() -> None:
    async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(plain, "127.0.0.1", 0)
    client = CloudClient(f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}", TokenSource(None))
    with pytest.raises(Untrusted, match="securely"):
        await client.stats()
    await client.close()
    server.close()


# Odds and ends -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wish", "seconds"),
    [("7", 7.0), ("Thu, 01 Jan 2026 00:00:09 GMT", 9.0), ("Wed, 31 Dec 2025 00:00:00 GMT", 0.0), ("soon", None),
     ("²", None), ("", None), ("9" * 400, None), ("Thu, 99 Jan 2026", None)],
)  # fmt: skip
async def test_retry_after(wish: str, seconds: float | None, tmp_path: Path) -> None:
    """A date counts from the server's own clock: ours may not be set."""
    headers = {"Retry-After": wish, "Date": "Thu, 01 Jan 2026 00:00:00 GMT"}

    async def busy(seen: Seen, answer: Answer) -> Answer | None:
        return Answer(503, b"", headers)

    async with FaultServer({}) as server:
        server.hook = busy
        client = CloudClient(server.url, TokenSource(None))
        with pytest.raises(ServerError) as caught:
            await client.stats()
        assert caught.value.retry_after == seconds
        await client.close()


async def test_a_job_gives_up_where_playing_waits(tmp_path: Path) -> None:
    async with FaultServer({"/music/song.flac": SONG}) as server, Lab(tmp_path, server.url) as lab:
        server.hook = once(server, "503", covers(0), times=0)
        await server.away()
        with pytest.raises(Exception, match="cannot be reached"):
            await lab.fetch(song("song", SONG), Role.JOB)
