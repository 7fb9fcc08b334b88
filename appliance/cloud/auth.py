"""The token: from a sign-in, a file or a systemd credential; renewed when it ends; kept out of all that can be printed.

Where it comes from, the first that there is:

1. the sign-in of `chadbox login`, kept in the state directory, as long as the server renews it;
2. the file named by `server.token_file`;
3. `$CREDENTIALS_DIRECTORY/token` (systemd).

Without any the server is asked without a token: some file routes are open.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from appliance.cloud import oauth
from appliance.cloud.stored import Tokens, TokenStore, is_token
from appliance.errors import SettingsError, StorageError, TokenRejected

if TYPE_CHECKING:
    from appliance.cloud.http import Http

log = logging.getLogger(__name__)
MAX_TOKEN = 8192  # bytes; a longer file is not a token
AHEAD = 120.0  # seconds before its end that a token is renewed, or a fifth of its life where that is less
PAUSE = 30.0  # seconds without a try at renewing ahead after one that failed
CLOSING = 1.0  # seconds for a renewal under way when the player ends


class TokenSource:
    """Gives the value of the `Authorization` header and gets a new one when the server refuses it (P3, P4).

    `on_refreshed` is called after each renewal. `repr` never shows a token.
    """

    def __init__(self, token_file: str | None, state: Path | None = None) -> None:
        """`state` is the folder in which the sign-in is kept; None: there is none."""
        credentials = os.environ.get("CREDENTIALS_DIRECTORY")
        fallback = Path(credentials) / "token" if credentials else None
        self._path = Path(token_file) if token_file else fallback
        self._store = TokenStore(state) if state is not None else None
        self._http: Http | None = None
        self._token: str | None = None  # of the file
        self._tokens: Tokens | None = None  # of the sign-in
        self._ends: float | None = None  # of its access token, by `_now`
        self._refused = False  # the server does not renew the sign-in any more
        self._unsaved = False
        self._read = self._loaded = False
        self._quiet_until = 0.0
        self._refreshing: asyncio.Task[bool] | None = None
        self._disk = asyncio.Lock()  # held by whoever changes the stored sign-in
        self.on_refreshed: Callable[[], None] = lambda: None

    def attach(self, http: Http) -> None:
        """The way to the server that this token is for."""
        self._http = http

    # Using it ---------------------------------------------------------------------------------------------------------

    def header(self) -> bytes | None:
        """The value of `Authorization`, or None. Raises SettingsError when the file is there but unusable."""
        if not self._loaded:
            self._load()
        if self._tokens is not None and not (self._refused and self._file_token()):
            return f"Bearer {self._tokens.access}".encode("ascii")
        token = self._file_token()
        return f"Bearer {token}".encode("ascii") if token else None

    async def ready(self) -> None:
        """To be called before a request: renews a token that is about to end, and waits for that if it has ended.

        Raises nothing: if it cannot be renewed now, the server will say what it thinks of the old one.
        """
        if not self._loaded:
            await asyncio.to_thread(self._load)
        tokens, now = self._tokens, _now()
        if tokens is None or self._refused or tokens.refresh is None:
            return
        if self._unsaved and now >= self._quiet_until:
            self._quiet_until = now + PAUSE
            async with self._disk:
                if tokens is self._tokens:
                    await self._save(tokens)
        if self._ends is None or now < self._ends - self._margin or now < self._quiet_until:
            return
        self._quiet_until = now + PAUSE
        task = self._begin_refresh()
        if now >= self._ends:
            await asyncio.wait([task])

    async def refresh(self, used: bytes | None) -> bool:
        """The server refused the header `used`: whether there is another one now. One renewal serves all who wait.

        Raises Offline or ServerError when the server cannot be asked now, TokenRejected when it cannot renew at all.
        """
        if self.header() != used:
            return True
        return await asyncio.shield(self._begin_refresh())

    # Signing in and out -----------------------------------------------------------------------------------------------

    async def adopt(self, access: str, refresh: str | None, life: float | None) -> None:
        """Keep the tokens of a new sign-in and use them from now on; `life` in seconds. Raises StorageError."""
        if self._store is None or self._http is None:
            raise StorageError("there is no state directory to keep the sign-in in")
        tokens = _tokens(self._http.base_url, access, refresh, life)
        async with self._disk:
            await asyncio.to_thread(self._store.save, tokens)
            self._use(tokens, life)

    async def forget(self) -> bool:
        """Sign out: whether there was a sign-in. Raises StorageError."""
        async with self._disk:  # a renewal under way finds that its sign-in is gone
            there = self._tokens is not None
            self._tokens, self._ends, self._refused, self._unsaved = None, None, False, False
            self._loaded = True
            removed = await asyncio.to_thread(self._store.remove) if self._store else False
        return there or removed

    @property
    def signed_in(self) -> bool:
        return self._tokens is not None and not self._refused

    @property
    def where(self) -> str:
        """What a person should do about a token that is refused: for messages."""
        if self._tokens is not None or self._path is None:
            return "sign in with `chadbox login`"
        return f"check {self._path} or sign in with `chadbox login`"

    async def close(self) -> None:
        """A renewal that the server has answered should be kept."""
        if self._refreshing is not None:
            await asyncio.wait([self._refreshing], timeout=CLOSING)

    # Inside -----------------------------------------------------------------------------------------------------------

    def _begin_refresh(self) -> asyncio.Task[bool]:
        """The renewal that is under way, or a new one. It is nobody's own: whoever waits may go, it goes on."""
        if self._refreshing is None:
            task = self._refreshing = asyncio.create_task(self._refresh())

            def ended(done: asyncio.Task[bool]) -> None:
                self._refreshing = None
                if not done.cancelled() and (error := done.exception()) is not None:
                    log.info("the token was not renewed: %s", error)

            task.add_done_callback(ended)
        return self._refreshing

    async def _refresh(self) -> bool:
        tokens = self._tokens
        if tokens is None or self._refused:
            changed = await asyncio.to_thread(self._reread)
        else:
            changed = await self._renew(tokens)
        if changed:
            self.on_refreshed()
        return changed

    async def _renew(self, tokens: Tokens) -> bool:
        """Ask for new tokens, write them down, and only then use them.

        In this order a crash at any point leaves a refresh token on disk that the server still takes: it holds on to
        the one before until it sees one of the new ones.
        """
        if self._http is None or tokens.refresh is None:
            return self._give_up()
        form = {"grant_type": "refresh_token", "refresh_token": tokens.refresh, "client_id": "chadbox"}
        try:
            answer = await oauth.ask(self._http, "/api/v1/token", form)
        except oauth.Denied as error:
            if error.word in ("", "temporarily_unavailable", "server_error", "slow_down"):
                raise TokenRejected(f"{error}; the sign-in cannot be renewed now") from None
            return self._give_up() if tokens is self._tokens else True
        access, refresh, life = oauth.tokens_of(answer, self._http)
        fresh = _tokens(tokens.url, access, refresh or tokens.refresh, life)
        async with self._disk:
            if tokens is self._tokens:  # else there was a new sign-in, or a sign-out
                await self._save(fresh)
                self._use(fresh, life)
        return True

    def _give_up(self) -> bool:
        """The sign-in is over; whether there is another token to go on with."""
        self._refused = True
        log.warning("the server does not renew the sign-in; run `chadbox login`")
        return self._file_token() is not None

    async def _save(self, tokens: Tokens) -> None:
        """On a full disk the music goes on with what is in memory, and writing it is tried again later."""
        try:
            if self._store is not None:
                await asyncio.to_thread(self._store.save, tokens)
            self._unsaved = False
        except StorageError as error:
            self._unsaved = True
            log.error("%s; without it the box has to be signed in again after a restart", error)

    def _use(self, tokens: Tokens, life: float | None) -> None:
        self._tokens, self._loaded, self._refused = tokens, True, False
        self._quiet_until = _now() + PAUSE if self._unsaved else 0.0
        self._ends = _now() + life if life is not None else None

    @property
    def _margin(self) -> float:
        tokens = self._tokens
        life = tokens.expires_at - tokens.received_at if tokens and tokens.expires_at is not None else AHEAD
        return min(AHEAD, life / 5)

    def _load(self) -> None:
        """The sign-in from disk. A clock that was set since it was written costs one renewal, or one 401, at most."""
        self._loaded = True
        if self._store is None or self._http is None:
            return
        try:
            self._tokens = self._store.load(self._http.base_url)
        except StorageError as error:
            log.error("%s", error)
            return
        if self._tokens is not None and self._tokens.expires_at is not None:
            self._ends = _now() + self._tokens.expires_at - time.time()

    def _file_token(self) -> str | None:
        if not self._read:
            self._token = self._load_file()
            self._read = True
        return self._token

    def _reread(self) -> bool:
        """Look at the file again; true when it holds another token than before."""
        before, self._read = self._token, False
        try:
            return self._file_token() not in (before, None)
        except SettingsError:
            return False

    def _load_file(self) -> str | None:
        if self._path is None:
            return None
        try:
            with self._path.open("rb") as file:
                raw = file.read(MAX_TOKEN + 1)
        except OSError as error:
            raise SettingsError(f"{self._path}: the token cannot be read: {error.strerror}") from None
        token = raw.decode("latin-1").strip()
        if not is_token(token, MAX_TOKEN):
            raise SettingsError(f"{self._path}: is not a token; it must hold one line of printable characters")
        return token

    def __repr__(self) -> str:
        return f"TokenSource({'signed in' if self.signed_in else self._path})"


def _tokens(url: str, access: str, refresh: str | None, life: float | None) -> Tokens:
    now = time.time()
    return Tokens(url, access, refresh, now, now + life if life is not None else None)


def _now() -> float:
    """Seconds that no setting of the clock changes and that run on while the machine sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)
