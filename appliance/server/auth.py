"""Who may ask: the token of the server, signed-in devices, and links that let anyone hear one track for a while."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import re
import secrets
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from appliance.errors import SettingsError
from appliance.server.errors import ApiError
from appliance.server.signed_in import SignIns

MAX_TTL = 30 * 86_400
RECHECK = 5.0  # seconds after which a revoked device is out
MAX_KNOWN = 1000
_SHARE = re.compile(rb"/share/(\d{1,18})/(\d{1,12})/([A-Za-z0-9_-]{43})(?:\.[a-z0-9]{1,5})?\Z")


def load_token(path: Path) -> str:
    """The token in `path`, which is made, readable to its owner alone, when it is missing. Raises SettingsError."""
    try:
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        except FileExistsError:
            text = path.read_text("utf-8").strip()
        else:
            text = secrets.token_urlsafe(32)
            with os.fdopen(descriptor, "w") as file:
                file.write(text + "\n")
                file.flush()
                os.fsync(file.fileno())
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or error
        raise SettingsError(f"{path}: the token file cannot be used: {why}; name another with --token-file") from None
    if not re.fullmatch(r"[\x21-\x7e]{1,4096}", text):
        raise SettingsError(
            f"{path}: must hold one line with the token, without spaces; remove the file to have one made"
        )
    return text


class Bearer:
    """Lets in who carries the server's own token, or the access token of a device that was signed in.

    Compares in constant time and keeps digests, so that no token can show up in a traceback of this object.
    """

    def __init__(self, token: str, sign_ins: SignIns) -> None:
        self._digest = hashlib.sha256(token.encode()).digest()
        self._sign_ins = sign_ins
        self._known: dict[bytes, float] = {}  # digests that were looked up, and until when that holds (monotonic)

    async def check(self, scope: Any, run: Callable[[Callable[[], float | None]], Awaitable[float | None]]) -> None:
        """Raises ApiError 401 unless the request carries a good token in exactly one Authorization header.

        `run` takes the look into the database to a thread.
        """
        values = [value for name, value in scope["headers"] if name.lower() == b"authorization"]
        given = values[0] if len(values) == 1 else b""
        kind, _, token = given.partition(b" ")
        digest = hashlib.sha256(token.strip()).digest()
        matches = hmac.compare_digest(digest, self._digest)
        if kind.lower() == b"bearer" and (matches or await self._signed_in(digest, run)):
            return
        raise ApiError(
            401, "unauthorized", "send a token of this server as Authorization: Bearer", {"www-authenticate": "Bearer"}
        )

    async def _signed_in(
        self, digest: bytes, run: Callable[[Callable[[], float | None]], Awaitable[float | None]]
    ) -> bool:
        now = time.monotonic()
        if self._known.get(digest, 0.0) > now:
            return True
        if len(self._known) > MAX_KNOWN:
            self._known.clear()
        until = await run(lambda: self._sign_ins.good_until(digest))
        if until is None:
            self._known.pop(digest, None)
            return False
        self._known[digest] = now + min(RECHECK, until - time.time())
        return True


class Shares:
    """Links `/share/TRACK/EXPIRES/SIGNATURE.ext`; the signature is an HMAC over both numbers."""

    def __init__(self, key: str) -> None:
        self._key = bytes.fromhex(key)

    def path(self, track_id: int, ttl: int, suffix: str) -> tuple[str, int]:
        """(URL path, Unix time when it ends)."""
        expires = int(time.time()) + ttl
        return f"/share/{track_id}/{expires}/{self._sign(track_id, expires)}{suffix}", expires

    def check(self, raw_path: bytes) -> int:
        """The track that a link is good for. Raises ApiError 403 or 410."""
        match = _SHARE.match(raw_path)
        if match is None:
            raise ApiError(403, "bad_link", "this link is not one that this server made")
        track_id, expires = int(match[1]), int(match[2])
        if not hmac.compare_digest(self._sign(track_id, expires).encode(), match[3]):
            raise ApiError(403, "bad_link", "this link is not one that this server made")
        if time.time() >= expires:
            raise ApiError(410, "link_expired", "this link has ended; ask for a new one")
        return track_id

    def _sign(self, track_id: int, expires: int) -> str:
        digest = hmac.new(self._key, f"share {track_id} {expires}".encode(), hashlib.sha256).digest()
        return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
