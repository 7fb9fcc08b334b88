"""The command `commute`; see control/protocol.py for its arguments and result."""

from __future__ import annotations

import datetime
import time
from typing import Any

from appliance.commute import Commute
from appliance.commute.commute import parse_time
from appliance.control.protocol import Handler, Request


class CommuteCommands:
    """The table of handlers."""

    def __init__(self, commute: Commute) -> None:
        self._commute = commute

    def table(self) -> dict[str, Handler]:
        return {"commute": self._show}

    async def _show(self, request: Request) -> Any:
        text = request.args.get("at")
        at = None if text is None else parse_time(text, time.time())
        expected = await self._commute.next_time()
        choices = await self._commute.choices(at)
        return {"at": _iso(at), "next": _iso(expected), "tracks": choices}


def _iso(at: float | None) -> str | None:
    return None if at is None else datetime.datetime.fromtimestamp(at).astimezone().isoformat(timespec="seconds")
