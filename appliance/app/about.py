"""What a person at the panel needs to reach the box from elsewhere: its name, address, server and version (F5)."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

from appliance import __version__

OUTSIDE = (("192.0.2.1", socket.AF_INET), ("2001:db8::1", socket.AF_INET6))  # documentation addresses: nothing is sent


def about(server: str) -> Callable[[], Awaitable[list[tuple[str, str]]]]:
    """Reads it anew each time: addresses change."""
    host = urlsplit(server).netloc.rpartition("@")[2]

    async def read() -> list[tuple[str, str]]:
        address = await asyncio.to_thread(_address)
        return [
            ("Name", socket.gethostname()),
            ("Address", address or "no network"),
            ("Server", host or "none"),
            ("Version", __version__),
        ]

    return read


def _address() -> str:
    """The address that the box has towards the outside; empty without a network."""
    for target, family in OUTSIDE:
        try:
            with socket.socket(family, socket.SOCK_DGRAM) as probe:
                probe.connect((target, 9))
                return str(probe.getsockname()[0])
        except OSError:
            continue
    return ""
