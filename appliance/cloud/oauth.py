"""Questions to the server's sign-in routes: a form in its body, never the token in a header, never to another host.

No text of such an answer reaches a message but an error's one word: a server may echo what it was sent.
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urlencode

import msgspec

from appliance.cloud.http import Http, host_of
from appliance.cloud.stored import is_token
from appliance.errors import ChadboxError, ServerError

MAX_ANSWER = 256 << 10  # bytes
LONGEST = 10 * 365 * 86_400.0  # seconds; no token is believed to live longer


class Denied(ChadboxError):
    """The server said no, and `word` why (RFC 6749, 5.2; RFC 8628, 3.5); "" when it has no such route."""

    def __init__(self, message: str, word: str) -> None:
        super().__init__(message)
        self.word = word


async def ask(http: Http, route: str, form: dict[str, str]) -> dict[str, Any]:
    """The server's answer to a form.

    Raises Denied, Offline, and ServerError for what makes no sense or may pass; its status is 5xx when it may.
    """
    url, host = http.url(route), host_of(http.base_url)
    headers = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"}
    content = urlencode(form).encode("ascii")
    async with http.exchange("POST", url, headers, content, private=True) as response:
        status, body = response.status, await response.body(MAX_ANSWER)
        wish = response.headers.get("retry-after", "")
    if status in (404, 405, 410, 501):
        raise Denied(f"{host} knows no sign-in by code", "")
    if status == 429 or status >= 500:
        after = min(float(wish), 600.0) if wish.isascii() and wish.isdigit() else None
        raise ServerError(f"{host} answered {status} to the sign-in", status=max(status, 500), retry_after=after)
    try:
        answer = msgspec.json.decode(body, type=dict[str, Any])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        answer = {}
    if 200 <= status < 300 and answer:
        return answer
    word = answer.get("error")
    if isinstance(word, dict):  # the shape of the other routes
        word = word.get("code")
    if isinstance(word, str) and re.fullmatch(r"[a-z_]{1,40}", word):
        raise Denied(f"{host} refused: {word}", word)
    if status == 401:  # an older server wants a token everywhere
        raise Denied(f"{host} knows no sign-in by code", "")
    raise ServerError(f"{host} answered {status} to the sign-in, and not as RFC 8628 says", status=status)


def tokens_of(answer: dict[str, Any], http: Http) -> tuple[str, str | None, float | None]:
    """(access token, refresh token, seconds that the access token lives) of an answer. Raises ServerError."""
    access, refresh, life = (answer.get(key) for key in ("access_token", "refresh_token", "expires_in"))
    good = isinstance(access, str) and is_token(access) and str(answer.get("token_type", "bearer")).lower() == "bearer"
    if not good or not (refresh is None or (isinstance(refresh, str) and is_token(refresh))):
        raise ServerError(f"{host_of(http.base_url)} gave something that is not a token", status=500)
    known = isinstance(life, (int, float)) and not isinstance(life, bool) and life > 0
    return str(access), refresh, min(float(life), LONGEST) if known and life is not None else None
