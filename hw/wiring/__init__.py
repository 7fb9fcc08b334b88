"""Which part is on which pin: presets as TOML files beside this one, or a table in the settings (F6).

    [panel]
    wiring = "hifiberry-dacplus"          # a preset; "none" runs without a panel

    [panel.wiring]                        # or a table: a preset with changes
    base = "hifiberry-dacplus"
    encoder.reverse = true
    buttons = { play = 12, menu = 17 }    # tables are merged key by key; `buttons.next = -1` removes one
    actions = { "menu.long" = "shut_down" }

`diagrams/` holds a drawing, a plain-text diagram and a parts list of each preset, made by `python -m hw.wiring.draw`.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from importlib import resources
from typing import Any

import msgspec

from hw.errors import WiringError
from hw.wiring.model import Action, Dac, Display, Encoder, Wiring, check

__all__ = ["Action", "Dac", "Display", "Encoder", "Wiring", "check", "load", "preset", "presets"]


def presets() -> list[str]:
    """Names of the presets, in alphabetical order."""
    files = resources.files(__package__).iterdir()
    return sorted(file.name.removesuffix(".toml") for file in files if file.name.endswith(".toml"))


def load(wiring: str | Mapping[str, Any]) -> Wiring | None:
    """The wiring that the setting `panel.wiring` asks for; None for "none".

    Raises WiringError in one line: no such preset, unknown key, wrong type, a pin out of range, used twice or
    belonging to someone else, an action that does not exist.
    """
    if wiring == "none":
        return None
    if isinstance(wiring, str):
        return preset(wiring)
    table = dict(wiring)
    base = table.pop("base", "default")
    if not isinstance(base, str):
        raise WiringError(f"panel.wiring: base: expected the name of a preset: {', '.join(presets())}")
    merged = _merge(_read(base), table)
    own = table.get("actions")
    _drop_orphans(merged, own if isinstance(own, Mapping) else {})
    return _build(merged, "panel.wiring")


def preset(name: str) -> Wiring:
    """The preset `name`. Raises WiringError when there is none."""
    return _build(_read(name), f"wiring {name}")


def _read(name: str) -> dict[str, Any]:
    if name not in presets():
        raise WiringError(f'panel.wiring: no preset "{name}"; there are {", ".join(presets())}, and "none"')
    return tomllib.loads(resources.files(__package__).joinpath(f"{name}.toml").read_text("utf-8"))


def _build(table: Mapping[str, Any], name: str) -> Wiring:
    try:
        wiring = msgspec.convert(table, Wiring)
    except msgspec.ValidationError as error:
        what, _, where = str(error).partition(" - at `$")
        place = where.rstrip("`").lstrip(".").replace("[...]", "")
        what = what.replace("Object contains unknown field", "there is no key")
        raise WiringError(f"{name}: {place + ': ' if place else ''}{what[0].lower()}{what[1:]}") from None
    check(wiring, name)
    return wiring


def _merge(base: Mapping[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    """`change` over `base`, tables key by key; -1 or "" removes a pin or an action, `false` a whole part."""
    out = dict(base)
    for key, value in change.items():
        if isinstance(value, Mapping) and isinstance(out.get(key), Mapping):
            out[key] = _merge(out[key], value)
        elif (value is False and key in ("encoder", "display", "dac")) or value == -1 or (value == "" and key in out):
            out.pop(key, None)
        else:
            out[key] = value
    return out


def _drop_orphans(table: dict[str, Any], own: Mapping[str, Any]) -> None:
    """Take out the preset's actions of buttons that are gone; those the user wrote (`own`) stay, to be reported."""
    encoder = table.get("encoder") or {}
    there = {*table.get("buttons", {}), *(("turn",) if encoder else ()), *(("push",) if "push" in encoder else ())}
    table["actions"] = {
        gesture: action
        for gesture, action in table.get("actions", {}).items()
        if gesture in own or {part.partition(".")[0] for part in gesture.split("+")} <= there
    }
