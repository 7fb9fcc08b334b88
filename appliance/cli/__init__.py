"""The `chadbox` command: a thin client of the control socket; every command loads only what it needs."""

from __future__ import annotations


def main(argv: list[str] | None = None) -> int:
    """Run one command line (default: the process's) and return its exit code; nothing is raised."""
    try:
        from appliance.cli.entry import run

        return run(argv)
    except KeyboardInterrupt:
        return 130
