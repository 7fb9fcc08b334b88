"""The table of the fault matrix at the end of the report; `--full` runs all of it."""

from __future__ import annotations

import pytest

from tests.faults.table import TABLE


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for line in TABLE.lines():
        terminalreporter.write_line(line)
