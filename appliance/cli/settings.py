"""`config check` and `config show`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib import import_module
from typing import Any

import msgspec

from appliance import config
from appliance.cli.entry import Call
from appliance.cli.output import say, show_json
from appliance.config import Control, Settings
from appliance.errors import ChadboxError, SettingsError

_SECRET = re.compile(r"(?:^|_)(?:token|password|passwd|secret|key|credential)$", re.IGNORECASE)
_BARE = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)


def check(call: Call) -> int:
    path = config.find(call.line.value("config"))
    settings = config.load(path)
    try:
        import_module("appliance.app.hardware").wiring_of(settings)  # loaded here alone: it knows every part
    except ChadboxError as error:
        raise SettingsError(f"{path}: [panel] wiring: {error}") from None
    if call.json:
        show_json({"file": str(path), "ok": True})
    else:
        say(f"{path}: ok")
    return 0


def show(call: Call) -> int:
    """What is in force: the file, its defaults, and the socket that was named on the command line."""
    values = masked(msgspec.to_builtins(load(call)))
    if call.json:
        show_json(values)
    else:
        print("\n".join(toml(values)))
    return 0


def load(call: Call) -> Settings:
    """The settings of this command line. Raises SettingsError."""
    settings = config.load(config.find(call.line.value("config")))
    if call.socket_override:
        settings = msgspec.structs.replace(settings, control=Control(socket=call.socket_override))
    return settings


def masked(values: dict[str, Any]) -> dict[str, Any]:
    """A copy in which whatever is named like a secret is stars; a file's name is none."""
    return {
        key: masked(value) if isinstance(value, dict) else "***" if _SECRET.search(key) and value else value
        for key, value in values.items()
    }


def toml(values: dict[str, Any], table: tuple[str, ...] = ()) -> Iterator[str]:
    """Lines of TOML. A value that is not set, which TOML cannot say, becomes a comment."""
    plain = {key: value for key, value in values.items() if not isinstance(value, dict)}
    if table and (plain or not values):
        yield f"[{'.'.join(map(_key, table))}]"
    for key, value in plain.items():
        yield f"# {_key(key)} is not set" if value is None else f"{_key(key)} = {_value(value)}"
    for key, value in values.items():
        if isinstance(value, dict):
            if plain or table or key != next(iter(values)):
                yield ""
            yield from toml(value, (*table, key))


def _key(key: str) -> str:
    return key if _BARE.fullmatch(key) else _value(key)


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_value, value))}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_key(k)} = {_value(v)}" for k, v in value.items()) + "}"
    if isinstance(value, str):
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        return '"' + "".join(c if c.isprintable() else f"\\U{ord(c):08x}" for c in escaped) + '"'
    raise SettingsError(f"a value of type {type(value).__name__} cannot be shown as TOML; use --json")
