"""Options of the whole suite."""

from __future__ import annotations

import signal

import pytest

# A suite that was started in the background ignores Ctrl-C, and so would every command that its tests interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--full", action="store_true", help="the whole fault matrix and the long sessions (half an hour)")
