"""search.py with a million tracks: minutes instead of seconds, so that it can be left out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tests.bench import search

NAMES = ("search_1000000", "browse_1000000")


def run() -> Iterator[dict[str, Any]]:
    yield from search.run(1_000_000)
