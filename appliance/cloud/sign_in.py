"""Signing in without a keyboard: a code for a person to approve, and the waiting for it (RFC 8628, A3).

   begin           approved
idle -----> waiting ------> signed in          waiting ends, too, by denial, expiry, a newer `run`, or cancellation
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable
from typing import Any

from msgspec import Struct

from appliance.cloud import oauth
from appliance.cloud.client import CloudClient
from appliance.cloud.http import host_of
from appliance.cloud.oauth import Denied
from appliance.errors import Offline, ServerError, SignInFailed
from appliance.events import Bus, SignIn

log = logging.getLogger(__name__)
GRANT = "urn:ietf:params:oauth:grant-type:device_code"
INTERVAL = 5.0  # seconds between two questions when the server does not say
SHORTEST, LONGEST = 0.2, 60.0  # seconds; no wish for another interval is followed
LIFE = 1800.0  # seconds that no code is believed to outlive
MORE = 5.0  # seconds that `slow_down` adds (RFC 8628, 3.5)


class Offer(Struct):
    """What to show: type `code` at `url`, within `expires_in` seconds. Both are one line of printable ASCII."""

    code: str
    url: str
    expires_in: float


class Login:
    """One for the box. `on_changed` is called when it was signed in or out."""

    def __init__(
        self, cloud: CloudClient, bus: Bus, name: str, *, sleep: Callable[[float], Awaitable[object]] = asyncio.sleep
    ) -> None:
        """`name` is how the server's owner will know this box."""
        self._cloud, self._bus, self._name, self._sleep = cloud, bus, name, sleep
        self._waiting: asyncio.Task[None] | None = None
        self.on_changed: Callable[[], None] = lambda: None

    async def run(self, tell: Callable[[Offer], None]) -> None:
        """Sign in: `tell` gets the code, and this returns when it was approved and the tokens are on disk.

        A newer call takes the place of an older one. Raises SignInFailed, Offline, ServerError, StorageError.
        """
        if self._waiting is not None:
            self._waiting.cancel()
        task = self._waiting = asyncio.create_task(self._run(tell))
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            caller = asyncio.current_task()
            if task.cancelled() and not (caller and caller.cancelling()):
                raise SignInFailed("another command ended this sign-in, or began a newer one") from None
            task.cancel()
            raise
        finally:
            if self._waiting is task:
                self._waiting = None

    async def logout(self) -> bool:
        """Forget the tokens; whether there were any. Raises StorageError."""
        if self._waiting is not None:
            self._waiting.cancel()
        removed = await self._cloud.tokens.forget()
        log.info("signed out")
        self.on_changed()
        return removed

    async def close(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            await asyncio.wait([self._waiting])

    async def _run(self, tell: Callable[[Offer], None]) -> None:
        loop, http = asyncio.get_running_loop(), self._cloud.http
        try:
            answer = await oauth.ask(http, "/api/v1/device/code", {"client_id": "chadbox", "device_name": self._name})
        except Denied as error:
            raise SignInFailed(f"{error}; put a token into a file and name it in [server] token_file") from None
        offer, device, interval = _offer(answer, self._cloud)
        ends = loop.time() + offer.expires_in
        tell(offer)
        self._bus.publish(SignIn(offer.code, offer.url, offer.expires_in))
        try:
            tokens = await self._poll(device, interval, ends)
            await self._cloud.tokens.adopt(*tokens)
        finally:
            if self._waiting in (None, asyncio.current_task()):  # else a newer code is on the display
                self._bus.publish(SignIn(""))
        log.info("signed in at %s", host_of(http.base_url))
        self.on_changed()

    async def _poll(self, device: str, interval: float, ends: float) -> tuple[str, str | None, float | None]:
        loop, http = asyncio.get_running_loop(), self._cloud.http
        form = {"grant_type": GRANT, "device_code": device, "client_id": "chadbox"}
        wait = interval
        while True:
            await self._sleep(min(wait, max(0.0, ends - loop.time())))
            if loop.time() >= ends:
                raise SignInFailed("the code has expired; run `chadbox login` again")
            try:
                return oauth.tokens_of(await oauth.ask(http, "/api/v1/device/token", form), http)
            except Denied as error:
                if error.word == "slow_down":
                    interval = min(interval + MORE, LONGEST)
                elif error.word != "authorization_pending":
                    raise SignInFailed(_why(error)) from None
                wait = interval
            except Offline:
                wait = min(wait * 2, LONGEST)  # as RFC 8628, 3.5 wants it
            except ServerError as error:
                if (error.status or 0) < 500:
                    raise
                wait = min(max(wait * 2, error.retry_after or 0.0), LONGEST)


def _why(error: Denied) -> str:
    if error.word == "access_denied":
        return "the owner of the server denied it"
    if error.word == "expired_token":
        return "the code has expired; run `chadbox login` again"
    return f"{error}; run `chadbox login` again"


def _offer(answer: dict[str, Any], cloud: CloudClient) -> tuple[Offer, str, float]:
    """The offer, the device code and the interval of an untrusted answer. Raises ServerError."""
    code, device, url = answer.get("user_code"), answer.get("device_code"), answer.get("verification_uri")
    if not (isinstance(code, str) and re.fullmatch(r"[!-~]([ -~]{0,30}[!-~])?", code)):
        raise ServerError(f"{host_of(cloud.http.base_url)} gave no code that can be shown", status=200)
    if not (isinstance(device, str) and 0 < len(device) <= 4096):
        raise ServerError(f"{host_of(cloud.http.base_url)} gave no device code", status=200)
    if not (isinstance(url, str) and re.fullmatch(r"https?://[!-~]{1,200}", url)):
        url = cloud.http.base_url
    life, interval = _seconds(answer.get("expires_in"), LIFE), _seconds(answer.get("interval"), INTERVAL)
    return Offer(code, url, min(life, LIFE)), device, min(max(interval, SHORTEST), LONGEST)


def _seconds(value: Any, default: float) -> float:
    good = isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value < 1e9
    return float(value) if good else default
