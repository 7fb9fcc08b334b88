"""The real embedded server in a thread, and clients of it on the test's own loop."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from appliance.cloud.auth import TokenSource
from appliance.cloud.client import CloudClient
from appliance.server.app import create_app
from appliance.server.signed_in import Lives
from tests.server.conftest import TOKEN, Live

Serve = Callable[..., Live]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Starts a server without music; `lives` are those of its codes and tokens."""
    running: list[Live] = []

    def begin(**lives: float) -> Live:
        (tmp_path / "music").mkdir(exist_ok=True)
        wanted = Lives(**{"interval": 0.01} | lives)
        app = create_app([tmp_path / "music"], tmp_path / "server", TOKEN, background=False, lives=wanted)
        running.append(Live(app))
        return running[-1]

    yield begin
    for live in running:
        live.stop()


def client(url: str, state: Path, token_file: Path | None = None) -> CloudClient:
    return CloudClient(url, TokenSource(str(token_file) if token_file else None, state))


async def sign_in(server: Live, cloud: CloudClient) -> None:
    """As `Login` does, without the waiting."""
    sign_ins = server.app.sign_ins
    code = sign_ins.begin("test", "")
    sign_ins.decide(code.user, approve=True)
    given = sign_ins.claim(code.device)
    await cloud.tokens.adopt(given.access, given.refresh, given.expires_in)
