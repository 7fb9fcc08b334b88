"""The commands `login` and `logout` of the control socket."""

from __future__ import annotations

from typing import Any

import msgspec

from appliance.cloud.sign_in import Login
from appliance.control.protocol import Handler, Request


class Signing:
    """Handlers; see control/protocol.py."""

    def __init__(self, login: Login) -> None:
        self._login = login

    def table(self) -> dict[str, Handler]:
        return {"login": self._sign_in, "logout": self._sign_out}

    async def _sign_in(self, request: Request) -> Any:
        """Runs until the code was approved; a client that goes away (Ctrl-C) cancels it."""
        await self._login.run(lambda offer: request.progress(msgspec.to_builtins(offer)))
        return {"signed_in": True}

    async def _sign_out(self, request: Request) -> Any:
        return {"signed_out": await self._login.logout()}
