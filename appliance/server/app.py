"""The server as one ASGI application: authorisation first, then files, share links or the API."""

from __future__ import annotations

import asyncio
import logging
import os
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from starlette.exceptions import HTTPException
from starlette.routing import Router

from appliance.server.api import Api
from appliance.server.auth import Bearer, Shares
from appliance.server.browse import Browser
from appliance.server.catalog import Catalog
from appliance.server.db import DATABASE, Database
from appliance.server.errors import ApiError, error_response
from appliance.server.files import FileServer, Message, Receive, Send
from appliance.server.hashing import Hasher
from appliance.server.intake import drain
from appliance.server.oauth import OPEN, OAuth
from appliance.server.paths import printable
from appliance.server.scan import Scanner
from appliance.server.signed_in import Lives, SignIns
from appliance.server.upload import Uploads

log = logging.getLogger(__name__)
MAX_UPLOAD = 2 << 30


class App:
    """Call `start` before the first request and `close` after the last; the ASGI lifespan does both."""

    def __init__(
        self, music: Sequence[Path], state: Path, token: str, *, max_upload: int, background: bool, lives: Lives
    ) -> None:
        self.database = Database(state / DATABASE)
        self.catalog = Catalog(self.database)
        roots = self.catalog.roots(_apart(music))
        self.browser = Browser(self.catalog)
        self.files = FileServer(roots)
        self.scanner = Scanner(self.catalog, roots)
        self.hasher = Hasher(self.scanner, busy=lambda: self.files.active > 0)
        self.shares = Shares(self.database.meta("share_key"))
        self.uploads = Uploads(self.catalog, self.browser, self.hasher, roots, max_upload) if roots else None
        self.api = Api(self.catalog, self.browser, self.scanner, self.uploads, self.shares)
        self.sign_ins = SignIns(self.database, lives)
        self._bearer = Bearer(token, self.sign_ins)
        routes = [*self.api.routes(), *OAuth(self.sign_ins, self.api.run).routes()]
        self._router = Router(routes, redirect_slashes=False)
        self._background = background

    def start(self) -> None:
        self.scanner.start()
        if self._background:
            self.hasher.start()

    def interrupt(self) -> None:
        """End every stream at its next chunk: the server is about to stop."""
        self.files.stopping = True

    def close(self) -> None:
        self.files.close()
        if self.uploads is not None:
            self.uploads.close()
        self.scanner.stop()
        self.hasher.stop()
        self.api.close()
        self.database.close()

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
            return
        if scope["type"] != "http":
            return
        started = over = False

        async def body() -> Message:
            nonlocal over
            message = await receive()
            over = message["type"] != "http.request" or not message.get("more_body")
            return message

        async def watched(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self._dispatch(scope, body, watched)
            return
        except asyncio.CancelledError:
            if self.files.stopping:  # a client that reads nothing was waited for long enough
                return
            raise
        except ApiError as raised:
            error = raised
        except HTTPException as raised:
            error = ApiError(raised.status_code, _word(raised.status_code), raised.detail, raised.headers)
        except sqlite3.Error as raised:
            log.error("the database failed: %s", raised)
            error = ApiError(507, "storage", "the server's database cannot be used; check free space and the disk")
        except Exception:
            if started:
                raise
            log.exception("a request failed")
            error = ApiError(500, "internal", "the server made a mistake; its log says which")
        if not started:
            if not over:
                await drain(scope, receive)
            await error_response(error)(scope, receive, send)

    async def _dispatch(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        raw_path: bytes = scope.get("raw_path") or scope["path"].encode()
        if raw_path.startswith(b"/share/"):
            raw_path = await self._shared(scope, raw_path)
        elif raw_path not in OPEN:
            await self._bearer.check(scope, self.api.run)
        if raw_path.startswith(b"/music/"):
            await self.files.serve(scope, receive, send, raw_path)
        else:
            scope["app"] = self  # so that Starlette raises for unknown routes, and the answer is ours
            await self._router(scope, receive, send)

    async def _shared(self, scope: dict[str, Any], raw_path: bytes) -> bytes:
        track_id = self.shares.check(raw_path)
        if scope["method"] not in ("GET", "HEAD"):
            raise ApiError(405, "method_not_allowed", "a link can only be read", {"allow": "GET, HEAD"})
        track = await self.api.run(lambda: self.browser.track(track_id))
        return track.url.encode()

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                self.start()
                await send({"type": "lifespan.startup.complete"})
            elif message["type"] == "lifespan.shutdown":
                self.close()
                await send({"type": "lifespan.shutdown.complete"})
                return


def create_app(
    music: Sequence[Path], state: Path, token: str, *, max_upload: int = MAX_UPLOAD, background: bool = True,
    lives: Lives | None = None,
) -> App:  # fmt: skip
    """The application over the folders `music` with its database in the folder `state`.

    `max_upload` is in bytes; without `background` files are not hashed; `lives` are those of codes and tokens. Wrap it
    as any ASGI application (lifespan events must reach it). Raises StorageError when the database cannot be opened.
    """
    return App(music, state, token, max_upload=max_upload, background=background, lives=lives or Lives())


def _apart(music: Sequence[Path]) -> list[bytes]:
    """Absolute folders without those that lie in another one: a file belongs to one folder."""
    kept: list[bytes] = []
    resolved: list[Path] = []
    for folder in music:
        real = folder.resolve()
        absolute = os.fsencode(os.path.abspath(folder))
        if not folder.is_dir():
            log.warning("%s: is not there now; its music comes when it is, after a rescan", printable(absolute))
        if any(real.is_relative_to(other) or other.is_relative_to(real) for other in resolved):
            log.warning("%s: left out: it lies in another music folder, or around it", printable(absolute))
            continue
        kept.append(absolute)
        resolved.append(real)
    return kept


def _word(status: int) -> str:
    return {404: "not_found", 405: "method_not_allowed"}.get(status, "bad_request")


__all__ = ["App", "create_app"]
