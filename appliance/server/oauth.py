"""The routes of signing in: device/code, device/token, token, and the page that says how a code is approved.

They are open to anybody, so each is limited. Errors have the shape of RFC 6749, 5.2, which clients of RFC 8628 expect:
`{"error": "authorization_pending", "error_description": "..."}`.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Any, Protocol, TypeVar
from urllib.parse import parse_qsl

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from appliance.server.errors import ApiError, bad_request
from appliance.server.origin import origin
from appliance.server.signed_in import Given, Refused, SignIns

T = TypeVar("T")
OPEN = frozenset((b"/api/v1/device/code", b"/api/v1/device/token", b"/api/v1/token", b"/device"))
DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"
MAX_FORM = 16 << 10  # bytes
CODES, FAILURES, WINDOW = 20, 30, 600.0  # codes begun, and tokens that were no good, in so many seconds an address
EARLY = 0.7  # of the interval: whoever asks again sooner is told to slow down
_NO_STORE = {"cache-control": "no-store"}
_PAGE = b"""<!doctype html><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>chadbox: sign in</title><h1>Sign in a box</h1>
<p>On the machine that runs this music server, as its user, type</p>
<pre>chadbox serve approve CODE</pre><p>with the code that the box shows.</p>
"""


class Limit:
    """At most `most` events in `seconds` for one address, in memory."""

    def __init__(self, most: int, seconds: float) -> None:
        self._most, self._seconds = most, seconds
        self._seen: dict[str, list[float]] = {}

    def full(self, key: str) -> bool:
        return len(self._recent(key)) >= self._most

    def add(self, key: str) -> None:
        if len(self._seen) > 10_000:  # somebody has very many addresses; forget rather than grow
            self._seen.clear()
        self._seen[key] = [*self._recent(key), time.monotonic()]

    def _recent(self, key: str) -> list[float]:
        return [at for at in self._seen.get(key, ()) if time.monotonic() - at < self._seconds]


class Run(Protocol):
    """Does what blocks on a thread."""

    def __call__(self, fn: Callable[[], T]) -> Awaitable[T]: ...


class OAuth:
    """Handlers; see `routes`."""

    def __init__(self, sign_ins: SignIns, run: Run) -> None:
        self._sign_ins, self._run = sign_ins, run
        self._codes, self._failures = Limit(CODES, WINDOW), Limit(FAILURES, WINDOW)
        self._asked: dict[str, float] = {}  # when a device may ask again; lost at a restart, which hurts nobody

    def routes(self) -> list[Route]:
        return [
            Route("/api/v1/device/code", self.code, methods=["POST"]),
            Route("/api/v1/device/token", self.token, methods=["POST"]),
            Route("/api/v1/token", self.token, methods=["POST"]),
            Route("/device", self.page, methods=["GET"]),
        ]

    async def page(self, request: Request) -> Response:
        return Response(_PAGE, media_type="text/html", headers={"content-security-policy": "default-src 'none'"})

    async def code(self, request: Request) -> Response:
        form, address = await _form(request), _address(request)
        if self._codes.full(address):
            raise _too_many()
        self._codes.add(address)
        name = form.get("device_name") or form.get("client_id") or "a device"
        try:
            code = await self._run(lambda: self._sign_ins.begin(name, address))
        except Refused as error:
            raise _too_many() from error
        lives = self._sign_ins.lives
        doc = {
            "device_code": code.device, "user_code": code.user, "verification_uri": origin(request) + "/device",
            "expires_in": lives.code, "interval": lives.interval,
        }  # fmt: skip
        return _answer(doc)

    async def token(self, request: Request) -> Response:
        form, address = await _form(request), _address(request)
        if self._failures.full(address):
            raise _too_many()
        try:
            given = await self._give(form)
        except Refused as error:
            if error.code == "invalid_grant":
                self._failures.add(address)
            return _answer({"error": error.code, "error_description": error.text}, 400)
        return _answer(
            {
                "access_token": given.access, "token_type": "Bearer", "expires_in": given.expires_in,
                "refresh_token": given.refresh,
            }
        )  # fmt: skip

    async def _give(self, form: dict[str, str]) -> Given:
        kind = form.get("grant_type")
        if kind == DEVICE_GRANT:
            device = _needed(form, "device_code")
            self._pace(device)
            return await self._run(lambda: self._sign_ins.claim(device))
        if kind == "refresh_token":
            token = _needed(form, "refresh_token")
            return await self._run(lambda: self._sign_ins.refresh(token))
        raise Refused("unsupported_grant_type", "grant_type is neither refresh_token nor that of RFC 8628")

    def _pace(self, device: str) -> None:
        now, interval = time.monotonic(), self._sign_ins.lives.interval
        if len(self._asked) > 1000:
            self._asked = {k: at for k, at in self._asked.items() if at > now}
        early = self._asked.get(device, 0.0) > now
        self._asked[device] = now + EARLY * interval
        if early:
            raise Refused("slow_down", f"ask every {interval:g} seconds")


async def _form(request: Request) -> dict[str, str]:
    """A form or a JSON object of texts. Raises ApiError."""
    data = bytearray()
    async for chunk in request.stream():
        data += chunk
        if len(data) > MAX_FORM:
            raise ApiError(413, "too_large", f"at most {MAX_FORM} bytes are taken")
    try:
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() == "application/json":
            return msgspec.json.decode(data, type=dict[str, str])
        return dict(parse_qsl(data.decode("utf-8"), max_num_fields=20))
    except (msgspec.MsgspecError, ValueError, RecursionError):
        raise bad_request("the body is neither a form nor a JSON object of texts") from None


def _needed(form: dict[str, str], name: str) -> str:
    value = form.get(name, "")
    if not 0 < len(value) <= 4096:
        raise Refused("invalid_request", f"{name} is missing")
    return value


def _address(request: Request) -> str:
    return request.client.host if request.client else ""


def _too_many() -> ApiError:
    return ApiError(429, "too_many", "too many sign-ins; wait some minutes", {"retry-after": "60"})


def _answer(doc: dict[str, Any], status: int = 200) -> Response:
    return Response(msgspec.json.encode(doc), status, _NO_STORE, "application/json")
