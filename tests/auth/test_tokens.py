"""The box's side of its tokens: renewed once for all, ahead of their end, kept on disk, shown to nobody (P3, A3)."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import stat
import time
import traceback
from pathlib import Path
from typing import Any

import pytest

from appliance.cloud import auth
from appliance.cloud.auth import TokenSource
from appliance.cloud.stored import NAME, Tokens, TokenStore
from appliance.errors import ChadboxError, Gone, Offline, ServerError, SettingsError, StorageError, TokenRejected
from tests.server.conftest import TOKEN

from .conftest import Serve, client, sign_in
from .scripted import Asked, Reply, Scripted


class Renewing:
    """A server's two sides: `/api/v1/stats` wants the newest token, `/api/v1/token` gives the next one."""

    def __init__(self) -> None:
        self.generation = 0
        self.renewals = 0
        self.life: float | None = 3600.0

    def __call__(self, asked: Asked) -> Reply:
        if asked.path == "/api/v1/token":
            self.renewals += 1
            self.generation += 1
            answer = {"access_token": f"a{self.generation}", "refresh_token": f"r{self.generation}"}
            return 200, answer | ({"expires_in": self.life} if self.life else {})
        good = asked.headers.get("authorization") == f"Bearer a{self.generation}"
        return (200, {"tracks": 1}) if good else (401, {"error": {"code": "unauthorized", "message": "no"}})


async def test_20_requests_make_one_renewal(serve: Serve, tmp_path: Path) -> None:
    server = serve(access=1.5)
    cloud = client(f"http://127.0.0.1:{server.port}", tmp_path)
    refreshed: list[int] = []
    cloud.tokens.on_refreshed = lambda: refreshed.append(1)
    await sign_in(server, cloud)
    cloud.tokens._ends = None  # the server did not say how long: the 401 has to tell
    await cloud.stats()
    await asyncio.sleep(1.5)
    await asyncio.gather(*(cloud.stats() for _ in range(20)))
    assert len(refreshed) == 1
    (device,) = server.app.database.reader.execute("SELECT generation, confirmed FROM sign_in").fetchall()
    assert device == (2, 2)
    await cloud.close()


async def test_a_token_is_renewed_before_it_ends(tmp_path: Path) -> None:
    renewing = Renewing()
    async with Scripted(renewing) as server:
        cloud = client(server.url, tmp_path)
        await cloud.tokens.adopt("a0", "r0", 1.0)
        await cloud.stats()
        assert renewing.renewals == 0
        await asyncio.sleep(0.85)  # in the last fifth of its life: in the background, nobody waits
        await cloud.stats()
        await asyncio.gather(*(asyncio.create_task(cloud.tokens.close()) for _ in range(2)))
        await cloud.stats()
        assert renewing.renewals == 1
        assert not [a for a in server.asked if a.path.endswith("stats") and a.headers["authorization"] == "Bearer r0"]
        renewing.life = 0.05
        await cloud.tokens.adopt("a1", "r1", 0.05)
        await asyncio.sleep(0.06)
        before = len(server.asked)
        await cloud.stats()  # it has ended: this request waits for the new one and is never refused
        assert [a.path for a in server.asked[before:]] == ["/api/v1/token", "/api/v1/stats"]
        await cloud.close()


async def test_a_refused_renewal_is_told_once_and_the_file_is_next(tmp_path: Path) -> None:
    def answer(asked: Asked) -> Reply:
        if asked.path == "/api/v1/token":
            return 400, {"error": "invalid_grant", "error_description": f"no such token {asked.body!r}"}
        return (200, {}) if asked.headers.get("authorization") == "Bearer of-the-file" else (401, {})

    async with Scripted(answer) as server:
        cloud = client(server.url, tmp_path)
        await cloud.tokens.adopt("old", "secret-refresh", None)
        for _ in range(3):
            with pytest.raises(TokenRejected, match="chadbox login") as caught:
                await cloud.stats()
            assert "secret-refresh" not in str(caught.value)
        assert sum(a.path == "/api/v1/token" for a in server.asked) == 1
        await cloud.close()
        (tmp_path / "file").write_text("of-the-file\n")
        cloud = client(server.url, tmp_path, tmp_path / "file")
        await cloud.stats()
        assert [a.headers.get("authorization") for a in server.asked[-3:]] == ["Bearer old", None, "Bearer of-the-file"]
        await cloud.stats()
        assert sum(a.path == "/api/v1/token" for a in server.asked) == 2
        await cloud.close()


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        ((503, b"busy", {"Retry-After": "7"}), ServerError),
        ((429, {}), ServerError),
        ((404, b"<html>"), TokenRejected),
        ((400, {"error": "temporarily_unavailable"}), TokenRejected),
        ((200, b"<html>Please log in to the hotel</html>"), ServerError),
        ((200, {"access_token": "two words", "refresh_token": "r"}), ServerError),
        ((200, {"access_token": "x\r\nSet: y"}), ServerError),
        ((200, {"access_token": 5}), ServerError),
        ((200, [1]), ServerError),
        ((200, b"[" * 100_000), ServerError),
        ((400, {"error": "secret-refresh"}), ServerError),
        ((307, b"", {"Location": "http://localhost:1/steal"}), ServerError),
    ],
)
async def test_trouble_with_the_renewal_passes(tmp_path: Path, reply: Any, error: type[Exception]) -> None:
    """What is not a clear no leaves the sign-in alone: the next request asks again, and then it works."""
    renewing, trouble = Renewing(), True

    def answer(asked: Asked) -> Reply:
        return reply if trouble and asked.path == "/api/v1/token" else renewing(asked)

    async with Scripted(answer) as server:
        cloud = client(server.url, tmp_path)
        await cloud.tokens.adopt("old", "secret-refresh", None)
        with pytest.raises(error) as caught:
            await cloud.stats()
        text = "".join(traceback.format_exception(caught.value))
        assert "secret-refresh" not in text
        assert "\n" not in str(caught.value)
        if isinstance(caught.value, ServerError) and reply[0] in (429, 503):
            assert caught.value.status == 503 or caught.value.status == 500
        trouble = False
        await cloud.stats()
        assert TokenStore(tmp_path).load(cloud.http.base_url).access == "a1"  # type: ignore[union-attr]
        await cloud.close()


async def test_the_server_is_away_when_the_token_ends(tmp_path: Path) -> None:
    async with Scripted(Renewing()) as server:
        cloud = client(server.url, tmp_path)
        await cloud.tokens.adopt("a0", "r0", 0.01)
    await asyncio.sleep(0.02)
    with pytest.raises(Offline):
        await cloud.stats()
    assert cloud.tokens.signed_in
    await cloud.close()


async def test_whoever_waits_may_go(tmp_path: Path) -> None:
    """The request that began a renewal is cancelled (a skipped track); the others get their token all the same."""
    renewing, arrived, go_on = Renewing(), asyncio.Event(), asyncio.Event()
    async with Scripted(renewing) as server:
        cloud = client(server.url, tmp_path)
        await cloud.tokens.adopt("old", "r0", None)
        ask = auth.oauth.ask

        async def slow(*args: Any) -> Any:
            arrived.set()
            await go_on.wait()
            return await ask(*args)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(auth.oauth, "ask", slow)
            first = asyncio.create_task(cloud.stats())
            await arrived.wait()
            second = asyncio.create_task(cloud.stats())
            await asyncio.sleep(0.05)
            first.cancel()
            go_on.set()
            assert (await second).tracks == 1
        assert renewing.renewals == 1
        await cloud.close()


async def test_another_host_s_401_is_no_word_on_our_token(tmp_path: Path) -> None:
    renewing = Renewing()
    async with Scripted(renewing) as server, Scripted(lambda asked: (401, {})) as other:
        cloud = client(server.url, tmp_path)
        await cloud.tokens.adopt("a0", "r0", None)
        with pytest.raises(Gone):  # so that the track's URL is asked for anew
            async with cloud.open(other.url.replace("127.0.0.1", "localhost") + "/song.flac", 0, 10):
                pass
        assert "authorization" not in other.asked[0].headers
        assert renewing.renewals == 0
        await cloud.close()


async def test_signing_out_during_a_renewal(tmp_path: Path) -> None:
    renewing, arrived, go_on = Renewing(), asyncio.Event(), asyncio.Event()
    async with Scripted(renewing) as server:
        cloud = client(server.url, tmp_path)
        await cloud.tokens.adopt("old", "r0", None)
        ask = auth.oauth.ask

        async def slow(*args: Any) -> Any:
            answer = await ask(*args)
            arrived.set()
            await go_on.wait()
            return answer

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(auth.oauth, "ask", slow)
            request = asyncio.create_task(cloud.stats())
            await arrived.wait()
            assert await cloud.tokens.forget()
            go_on.set()
            with pytest.raises(TokenRejected):
                await request
        assert not (tmp_path / NAME).exists()
        assert cloud.tokens.header() is None
        assert not await cloud.tokens.forget()
        await cloud.close()


async def test_on_disk(tmp_path: Path) -> None:
    os.umask(0)
    state = tmp_path / "state"
    async with Scripted(Renewing()) as server:
        cloud = client(server.url, state)
        await cloud.tokens.adopt("a0", "r0", 100.0)
        file = state / NAME
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert [p.name for p in state.iterdir()] == [NAME]
        again = client(server.url, state)
        assert again.tokens.header() == b"Bearer a0"
        await again.tokens.ready()
        assert 95 < (again.tokens._ends or 0) - auth._now() < 100
        # another server never sees it
        assert client("http://127.0.0.1:9", state).tokens.header() is None
        # what a power cut leaves
        (state / f"{NAME}.new").write_text('{"url": "')
        await cloud.tokens.adopt("a1", "r1", None)
        assert client(server.url, state).tokens.header() == b"Bearer a1"
        for damaged in ("", '{"url": "', "\xff", json.dumps({"url": cloud.http.base_url, "access": "a b"})):
            file.write_text(damaged)
            assert client(server.url, state).tokens.header() is None
        file.write_text(json.dumps({"url": cloud.http.base_url, "access": "x"}))
        file.chmod(0o644)
        assert client(server.url, state).tokens.header() == b"Bearer x"
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        file.unlink()
        file.symlink_to(tmp_path / "elsewhere")
        (tmp_path / "elsewhere").write_text(json.dumps({"url": cloud.http.base_url, "access": "x"}))
        assert client(server.url, state).tokens.header() is None
        await cloud.close()


@pytest.mark.parametrize(("received", "expires", "renewed"), [(+3600, +7200, 0), (-7200, -3600, 1), (-10, +3600, 0)])
async def test_the_clock_was_set_while_the_box_was_off(
    tmp_path: Path, received: float, expires: float, renewed: int
) -> None:
    """A time in the future is from a clock that was wrong, and so are we now: ask the server, not the clock. A token
    that seems to have ended costs one renewal at most."""
    renewing, now = Renewing(), time.time()
    renewing.generation = 1
    async with Scripted(renewing) as server:
        TokenStore(tmp_path).save(Tokens(server.url + "/", "a1", "r1", now + received, now + expires))
        cloud = client(server.url, tmp_path)
        assert (await cloud.stats()).tracks == 1
        assert renewing.renewals == renewed
        await cloud.close()


async def test_setting_the_clock_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    renewing = Renewing()
    async with Scripted(renewing) as server:
        cloud = client(server.url, tmp_path)
        await cloud.tokens.adopt("a0", "r0", 100.0)
        monkeypatch.setattr(auth.time, "time", lambda: 1e10)
        await cloud.stats()
        assert renewing.renewals == 0
        await cloud.close()


async def test_a_full_disk_does_not_stop_the_music(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    renewing = Renewing()
    async with Scripted(renewing) as server:
        cloud = client(server.url, tmp_path)
        await cloud.tokens.adopt("old", "r0", None)
        with monkeypatch.context() as patch:
            patch.setattr(TokenStore, "save", lambda *_: (_ for _ in ()).throw(StorageError("full; free some space")))
            await cloud.stats()
            assert "free some space" in caplog.text
            with pytest.raises(StorageError):
                await cloud.tokens.adopt("b", "rb", None)
        assert client(server.url, tmp_path).tokens.header() == b"Bearer old"
        monkeypatch.setattr(auth, "PAUSE", 0.0)
        cloud.tokens._quiet_until = 0.0
        await cloud.stats()  # writes what could not be written
        assert client(server.url, tmp_path).tokens.header() == b"Bearer a1"
        await cloud.close()


async def test_where_a_token_comes_from(serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = serve()
    url = f"http://127.0.0.1:{server.port}"
    credentials, file = tmp_path / "credentials", tmp_path / "token"
    credentials.mkdir()
    (credentials / "token").write_text(TOKEN + "\n")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(credentials))
    cloud = client(url, tmp_path / "state")
    await cloud.stats()
    file.write_text("wrong")
    cloud = client(url, tmp_path / "state", file)
    with pytest.raises(TokenRejected, match=f"check {file}"):
        await cloud.stats()
    file.write_text(TOKEN)
    await cloud.stats()  # a new file is found by itself
    file.write_text("wrong again")
    await sign_in(server, cloud)
    await cloud.stats()
    assert await cloud.tokens.forget()
    cloud = client(url, tmp_path / "state", tmp_path / "missing")
    with pytest.raises(SettingsError, match="cannot be read"):
        await cloud.stats()
    await cloud.close()


async def test_nothing_shows_a_token(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    logging.getLogger("httpcore").setLevel(logging.WARNING)  # as the player does
    secrets = ("access-secret", "refresh-secret", "a1-secret")

    def answer(asked: Asked) -> Reply:
        if asked.path == "/api/v1/token":
            return 200, {"access_token": "a1-secret", "refresh_token": "refresh-secret", "extra": "refresh-secret"}
        return 401, {"error": {"code": "x", "message": asked.headers.get("authorization", "")}}

    async with Scripted(answer) as server:
        cloud = client(server.url, tmp_path)
        await cloud.tokens.adopt("access-secret", "refresh-secret", 1.0)
        with pytest.raises(ChadboxError) as caught:
            await cloud.stats()
        shown = [caplog.text, repr(cloud.tokens), str(cloud.tokens), repr(TokenStore(tmp_path).load(server.url + "/"))]
        shown += ["".join(traceback.format_exception(caught.value)), repr(vars(cloud.http))]
        shown += [a.path for a in server.asked]
        assert not [a for a in server.asked if a.path == "/api/v1/token" and "authorization" in a.headers]
        for secret in secrets:
            assert not [text for text in shown if secret in text]
        assert isinstance(cloud.tokens, TokenSource)
        await cloud.close()
