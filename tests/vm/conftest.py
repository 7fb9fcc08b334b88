"""One box for all tests, which run in the order of their files' names; `./dev vm test` sets CHADBOX_VM, without it
they are left out.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.vm.build import build
from tests.vm.guest import Guest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.parent.name == "vm" and item.get_closest_marker("vm"):
            if not item.get_closest_marker("timeout"):
                item.add_marker(pytest.mark.timeout(600))
            if not os.environ.get("CHADBOX_VM"):
                item.add_marker(pytest.mark.skip(reason="needs the virtual box: ./dev vm test"))


@pytest.fixture(scope="session")
def guest() -> Iterator[Guest]:
    """A box that has booted and whose player takes commands."""
    with Guest(build()) as guest:
        guest.until("systemctl is-active -q chadbox && systemctl is-active -q chadbox-server", 240)
        yield guest


@pytest.fixture(autouse=True)
def journal(guest: Guest) -> Iterator[None]:
    """What the services said meanwhile, for a test that fails."""
    start = guest.run("date +@%s").strip()
    yield
    print(
        guest.run(
            f"journalctl -q --no-pager -o short-precise -u chadbox -u chadbox-server --since {start} | tail -n 40"
        )
    )
