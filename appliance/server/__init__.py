"""The embedded music server: folders of music with the v1 API, its own database, nothing of the player's.

Importing this is cheap; what it needs (Starlette, uvicorn) is imported when it is used.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from appliance.server.app import App
    from appliance.server.signed_in import Lives

__all__ = ["create_app", "serve"]


def serve(
    music: Sequence[Path],
    state: Path,
    listen: str = "127.0.0.1:5000",
    token_file: Path | None = None,
    token_life: float | None = None,
    code_life: float | None = None,
    poll_interval: float | None = None,
) -> int:
    """Serve the folders `music` until SIGINT or SIGTERM; 0.

    Keeps everything it knows in the folder `state`; `token_file` (default `state`/token) is made, 0600, when missing.
    `token_life` (an hour), `code_life` (15 min) and `poll_interval` (5 s) are seconds, for devices that sign in.
    Prints one line, `listening on http://HOST:PORT`, when ready; port 0 is a free one. For the main thread. Raises
    SettingsError or StorageError, in one line, when it cannot start.
    """
    from appliance.server import run

    return run.serve(music, state, listen, token_file, token_life, code_life, poll_interval)


def create_app(
    music: Sequence[Path],
    state: Path,
    token: str,
    *,
    max_upload: int = 2 << 30,
    background: bool = True,
    lives: Lives | None = None,
) -> App:
    """The server as an ASGI application, to be wrapped or run elsewhere; see `appliance.server.app.create_app`."""
    from appliance.server import app

    return app.create_app(music, state, token, max_upload=max_upload, background=background, lives=lives)
