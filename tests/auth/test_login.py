"""The waiting for an approval: interval, slow_down, expiry, denial, hostile answers, the panel's event (A3, R6)."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest

from appliance.cloud.sign_in import Login, Offer
from appliance.errors import ChadboxError, Offline, ServerError, SignInFailed
from appliance.events import Bus, SignIn

from .conftest import Serve, client
from .scripted import Asked, Reply, Scripted

CODE = {"device_code": "d", "user_code": "BCDF-GHJK", "verification_uri": "http://h/device", "expires_in": 60}
TOKENS = {"access_token": "a", "refresh_token": "r", "token_type": "Bearer", "expires_in": 60}


def oauth(word: str) -> Reply:
    return 400, {"error": word, "error_description": "x"}


class Script:
    """The answer to device/code, then those to device/token, one after the other."""

    def __init__(self, code: Reply, *polls: Reply) -> None:
        self.code, self.polls = code, list(polls)

    def __call__(self, asked: Asked) -> Reply:
        return self.code if asked.path == "/api/v1/device/code" else self.polls.pop(0)


class Bed:
    """A Login whose sleeps take no time and are kept."""

    def __init__(self, url: str, state: Path) -> None:
        self.cloud, self.bus = client(url, state), Bus()
        self.slept: list[float] = []
        self.offers: list[Offer] = []
        self.events: list[SignIn] = []
        self.changes = 0
        self.offered = asyncio.Event()
        self.bus.subscribe(SignIn, self.events.append)
        self.login = Login(self.cloud, self.bus, "Kitchen", sleep=self._sleep)
        self.login.on_changed = self._changed

    def _changed(self) -> None:
        self.changes += 1

    async def _sleep(self, seconds: float) -> None:
        self.slept.append(round(seconds, 3))
        await asyncio.sleep(0)

    async def run(self) -> None:
        await self.login.run(self._offer)

    def _offer(self, offer: Offer) -> None:
        self.offers.append(offer)
        self.offered.set()


async def test_interval_slow_down_and_success(tmp_path: Path) -> None:
    script = Script(
        (200, CODE | {"interval": 3}), oauth("authorization_pending"), oauth("slow_down"),
        oauth("authorization_pending"), (503, {}), (200, TOKENS),
    )  # fmt: skip
    async with Scripted(script) as server:
        bed = Bed(server.url, tmp_path)
        await bed.run()
        assert bed.slept == [3, 3, 8, 8, 16]
        assert bed.offers == [Offer("BCDF-GHJK", "http://h/device", 60.0)]
        assert bed.events == [SignIn("BCDF-GHJK", "http://h/device", 60.0), SignIn("")]
        assert bed.changes == 1
        assert bed.cloud.tokens.header() == b"Bearer a"
        first, *polls = server.asked
        assert parse_qs(first.body.decode())["device_name"] == ["Kitchen"]
        assert all(parse_qs(p.body.decode())["device_code"] == ["d"] for p in polls)
        assert all("authorization" not in a.headers for a in server.asked)
        assert await bed.login.logout()
        assert (bed.changes, bed.cloud.tokens.header()) == (2, None)
        await bed.cloud.close()


@pytest.mark.parametrize(
    ("word", "text"),
    [
        ("access_denied", "denied"),
        ("expired_token", "expired"),
        ("invalid_grant", "invalid_grant; run `chadbox login`"),
    ],
)
async def test_no(tmp_path: Path, word: str, text: str) -> None:
    async with Scripted(Script((200, CODE), oauth("authorization_pending"), oauth(word))) as server:
        bed = Bed(server.url, tmp_path)
        with pytest.raises(SignInFailed, match=text):
            await bed.run()
        assert bed.events[-1] == SignIn("")
        assert (bed.changes, bed.cloud.tokens.header()) == (0, None)
        await bed.cloud.close()


async def test_a_code_that_nobody_approves_ends(tmp_path: Path) -> None:
    polls = [oauth("authorization_pending")] * 1000
    async with Scripted(Script((200, CODE | {"expires_in": 0.4, "interval": 0.01}), *polls)) as server:
        bed = Bed(server.url, tmp_path)
        bed.login._sleep = asyncio.sleep
        with pytest.raises(SignInFailed, match="expired"):
            await asyncio.wait_for(bed.run(), 5)
        assert bed.events[-1] == SignIn("")
        assert len(server.asked) <= 4, "no server may make a box ask without pause"
        await bed.cloud.close()


@pytest.mark.parametrize(
    ("reply", "error", "text"),
    [
        ((404, b"nothing"), SignInFailed, "token_file"),
        ((401, {"error": {"code": "unauthorized", "message": "x"}}), SignInFailed, "token_file"),
        ((401, b""), SignInFailed, "token_file"),
        ((500, b""), ServerError, "500"),
        ((200, b"<html>"), ServerError, "not as RFC 8628"),
        ((200, CODE | {"user_code": "\x1b[2J"}), ServerError, "no code"),
        ((200, CODE | {"user_code": "x" * 33}), ServerError, "no code"),
        ((200, CODE | {"user_code": 5}), ServerError, "no code"),
        ((200, CODE | {"device_code": None}), ServerError, "no device code"),
        ((307, b"", {"Location": "http://localhost:1/x"}), ServerError, "another host"),
    ],
)
async def test_servers_that_cannot_or_lie(tmp_path: Path, reply: Any, error: type[ChadboxError], text: str) -> None:
    async with Scripted(Script(reply)) as server:
        bed = Bed(server.url, tmp_path)
        with pytest.raises(error, match=text) as caught:
            await bed.run()
        assert str(caught.value).isprintable()
        assert bed.events == []
        await bed.cloud.close()


async def test_odd_numbers_and_addresses_are_bounded(tmp_path: Path) -> None:
    odd = CODE | {"interval": 1e308, "expires_in": "soon", "verification_uri": "javascript:alert(1)"}
    async with Scripted(Script((200, odd), (200, TOKENS))) as server:
        bed = Bed(server.url, tmp_path)
        await bed.run()
        assert bed.slept == [5.0]
        assert bed.offers == [Offer("BCDF-GHJK", server.url + "/", 1800.0)]
        await bed.cloud.close()


async def test_the_network_fails_while_waiting(tmp_path: Path) -> None:
    async with Scripted(Script((200, CODE | {"expires_in": 0.3}))) as server:
        bed = Bed(server.url, tmp_path)
        bed.login._sleep = lambda seconds: asyncio.sleep(min(seconds, 0.05))
        waiting = asyncio.create_task(bed.run())
        await bed.offered.wait()
    with pytest.raises(SignInFailed, match="expired"):
        await asyncio.wait_for(waiting, 5)
    with pytest.raises(Offline):
        await bed.run()
    await bed.cloud.close()


async def test_cancelled_replaced_and_closed(serve: Serve, tmp_path: Path) -> None:
    server = serve()
    bed = Bed(f"http://127.0.0.1:{server.port}", tmp_path)
    bed.login._sleep = asyncio.sleep

    async def begin() -> asyncio.Task[None]:
        bed.offered.clear()
        task = asyncio.create_task(bed.run())
        await bed.offered.wait()
        return task

    first = await begin()
    second = await begin()
    with pytest.raises(SignInFailed, match="newer"):
        await first
    assert [bool(e.code) for e in bed.events] == [True, True], "the newer code stays on the display"
    second.cancel()
    with pytest.raises(asyncio.CancelledError):
        await second
    await asyncio.sleep(0.05)
    assert bed.events[-1] == SignIn("")
    third = await begin()
    await asyncio.wait_for(bed.login.close(), 1)
    with pytest.raises(SignInFailed):
        await third
    fourth = await begin()
    server.app.sign_ins.decide(bed.offers[-1].code, approve=True)
    await fourth
    await bed.cloud.stats()
    await bed.cloud.close()
