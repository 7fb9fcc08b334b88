"""`./dev demo --faults`: a bad line between player and server; what the server says honestly is bent on the way."""

from __future__ import annotations

import asyncio
import http.client
from collections import Counter
from urllib.parse import urlsplit

from appliance.demo.faults import FAULTS, storm
from appliance.demo.faultserver import Answer, FaultServer, Hook, Seen

SHARE = 0.25  # of the answers that bring audio
_PATIENCE = 20.0  # seconds
_HOP = ("connection", "transfer-encoding", "content-length", "keep-alive", "date", "server")


class FaultProxy(FaultServer):
    """Asks the server at `target` (http) for the honest answers, and spoils by chance those that bring audio."""

    def __init__(self, target: str, seed: int) -> None:
        super().__init__()
        parts = urlsplit(target)
        self._host, self._port = parts.hostname or "127.0.0.1", parts.port or 80
        self.struck: Counter[str] = Counter()
        # what only costs time until it is given up would make a short demo a long one; the whole file is not at hand
        names = [name for name, fault in FAULTS.items() if not fault.pace and name != "whole"]
        self._storm: Hook = storm(seed, SHARE, names=names, told=lambda name: self.struck.update((name,)))
        self.hook = self._spoil

    async def answer(self, seen: Seen) -> Answer:
        return await asyncio.to_thread(self._ask, seen)

    async def _spoil(self, seen: Seen, answer: Answer) -> Answer | None:
        return await self._storm(seen, answer) if answer.status in (200, 206) else None

    def _ask(self, seen: Seen) -> Answer:
        connection = http.client.HTTPConnection(self._host, self._port, timeout=_PATIENCE)
        headers = {k: v for k, v in seen.headers.items() if k not in _HOP}
        try:
            connection.request(seen.method, seen.target, seen.body or None, headers)
            response = connection.getresponse()
            body = response.read()
        except (OSError, http.client.HTTPException):
            return Answer(502, b"")
        finally:
            connection.close()
        fields = {k: v for k, v in response.getheaders() if k.lower() not in _HOP}
        names = {"etag": "ETag", "content-range": "Content-Range", "content-type": "Content-Type"}
        return Answer(response.status, body, {names.get(k.lower(), k): v for k, v in fields.items()})
