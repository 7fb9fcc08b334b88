"""`run` and `serve`: the two commands that stay."""

from __future__ import annotations

from importlib import import_module  # by name: what these two need is installed only where they are used
from pathlib import Path
from typing import Any

from appliance.cli.entry import Call
from appliance.cli.parse import Line
from appliance.errors import ChadboxError

LISTEN = "127.0.0.1:5000"


def run(call: Call) -> int:
    """The player in the foreground."""
    import gc

    from appliance.engine.launch import launch_early

    launch_early()  # it loads libmpv while this process loads the rest
    gc.disable()  # until everything is there: the collector would look at all of it again and again
    from appliance.cli.settings import load

    settings = load(call)
    return int(_load("appliance.app", "player", "").run(settings))


def serve(call: Call) -> int:
    """The embedded server in the foreground."""
    line = call.line
    music = [Path(folder) for folder in line.values.get("music", [])]
    state = line.value("state")
    if not music:
        raise line.wrong("--music is missing")
    if state is None:
        raise line.wrong("--state is missing")
    token_file = line.value("token-file")
    wanted = {name: _seconds(line, name) for name in ("token-life", "code-life", "poll-interval")}
    lives = {name.replace("-", "_"): seconds for name, seconds in wanted.items() if seconds is not None}
    server = _load("appliance.server", "server", "server")
    listen, token = line.value("listen") or LISTEN, Path(token_file) if token_file else None
    try:
        return int(server.serve(music, Path(state), listen, token, **lives))
    except ModuleNotFoundError as error:
        raise _missing(error, "server", "server") from None


def _seconds(line: Line, name: str) -> float | None:
    text = line.value(name)
    try:
        if text is None or 0 < float(text) <= 10 * 365 * 86_400:
            return None if text is None else float(text)
    except ValueError:
        pass
    raise line.wrong(f'--{name}: "{text}" is not a number of seconds')


def _load(module: str, what: str, extra: str) -> Any:
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        raise _missing(error, what, extra) from None


def _missing(error: ModuleNotFoundError, what: str, extra: str) -> ChadboxError:
    package = f"chadbox[{extra}]" if extra else "chadbox"
    return ChadboxError(f"the {what} needs {error.name}, which is not installed; pip install '{package}'")
