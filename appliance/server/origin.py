"""The server's address as the client wrote it."""

from __future__ import annotations

import re

from starlette.requests import Request


def origin(request: Request) -> str:
    """Scheme and host of the request; empty when the Host header is not a plain one."""
    host = request.headers.get("host", "")
    plain = re.fullmatch(r"[A-Za-z0-9.-]{1,253}(:\d{1,5})?|\[[0-9A-Fa-f:.]{2,45}\](:\d{1,5})?", host)
    return f"{request.url.scheme}://{host}" if plain and request.url.scheme in ("http", "https") else ""
