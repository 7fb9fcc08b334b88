"""What httpcore reads its connections with: anyio, in larger pieces.

httpcore asks for 64 KiB at a time. Each piece costs a walk through five layers, so on a fast line this walk, and not
the line, is what limits the rate: of three connections at once 180 MB/s with small pieces, on one core.
"""

from __future__ import annotations

import importlib.util
import ssl
import sys
from collections.abc import Iterable
from typing import Any

import httpcore

PIECE = 256 << 10  # bytes: as much as asyncio reads from a socket at once

if importlib.util.find_spec("sniffio") is None:
    # httpcore looks for it at every lock and every event; looking for a module that is not there takes 60 us.
    sys.modules.setdefault("sniffio", None)  # type: ignore[arg-type]


class Network(httpcore.AnyIOBackend):
    """Connections over TCP."""

    async def connect_tcp(
        self, host: str, port: int, timeout: float | None = None, local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:  # fmt: skip
        return Connection(await super().connect_tcp(host, port, timeout, local_address, socket_options))


class Connection(httpcore.AsyncNetworkStream):
    """One of them, whose `read` takes what it is told as the least that is worth a call."""

    def __init__(self, stream: httpcore.AsyncNetworkStream) -> None:
        self._stream = stream

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return await self._stream.read(max(max_bytes, PIECE), timeout)

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        await self._stream.write(buffer, timeout)

    async def aclose(self) -> None:
        await self._stream.aclose()

    async def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.AsyncNetworkStream:
        return Connection(await self._stream.start_tls(ssl_context, server_hostname, timeout))

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)
