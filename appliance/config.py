"""Settings: one TOML file to typed, frozen objects.

Every key but `server.url` has a default. A misspelt key, a wrong type or a value out of range is a `SettingsError` that
names the file, the table and the key, because the person who reads it is editing that file over SSH.
"""

from __future__ import annotations

import os
import re
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta, Struct

from appliance.errors import SettingsError

DEFAULT_PATH = Path("/etc/chadbox/chadbox.toml")

_UNITS = {"": 1, "b": 1} | {
    p + s: base**n for n, p in enumerate("kmgt", start=1) for s, base in (("ib", 1024), ("b", 1000), ("", 1024))
}


class Server(Struct, frozen=True, forbid_unknown_fields=True):
    url: str = ""
    token_file: str | None = None


class Audio(Struct, frozen=True, forbid_unknown_fields=True):
    output: str = "alsa"
    rate: Literal["native"] | Annotated[int, Meta(ge=8_000, le=768_000)] = "native"
    loudness: Literal["auto", "album", "track", "off"] = "auto"
    target_lufs: Annotated[float, Meta(ge=-40, le=0)] = -18.0
    max_startup_volume: Annotated[int, Meta(ge=0, le=100)] = 40


class State(Struct, frozen=True, forbid_unknown_fields=True):
    dir: str = "/var/lib/chadbox"


class Cache(Struct, frozen=True, forbid_unknown_fields=True):
    dir: str = "/var/cache/chadbox"
    max_bytes: int | str = "8 GiB"
    min_free: int | str = "512 MiB"

    @property
    def limit(self) -> int:
        """Most bytes of audio to keep."""
        return parse_size(self.max_bytes)

    @property
    def floor(self) -> int:
        """Bytes of the file system that must stay free."""
        return parse_size(self.min_free)


class Drives(Struct, frozen=True, forbid_unknown_fields=True, rename={"import_": "import"}):
    """`fill`: adopted drives are filled when they are plugged in, not only when somebody asks. `folders` (absolute)
    stand in for drives, also where the machine has no udisks."""

    fill: bool = True
    import_: bool = False
    folders: tuple[str, ...] = ()


class Panel(Struct, frozen=True, forbid_unknown_fields=True):
    """Times in seconds without a key; 0 means never."""

    wiring: str | dict[str, Any] = "default"
    dim_after: Annotated[int, Meta(ge=0)] = 60
    blank_after: Annotated[int, Meta(ge=0)] = 600
    blank_playing_after: Annotated[int, Meta(ge=0)] = 3600


class Control(Struct, frozen=True, forbid_unknown_fields=True):
    socket: str = "/run/chadbox/control.sock"


class Settings(Struct, frozen=True, forbid_unknown_fields=True):
    server: Server = Server()
    audio: Audio = Audio()
    state: State = State()
    cache: Cache = Cache()
    drives: Drives = Drives()
    panel: Panel = Panel()
    control: Control = Control()

    @property
    def database(self) -> Path:
        return Path(self.state.dir) / "chadbox.db"


def parse_size(value: int | str) -> int:
    """Bytes of `1234`, `"8 GiB"`, `"500 MB"` or `"2G"` (KB, MB ... are powers of 1000; KiB, K ... of 1024).

    Raises ValueError when the text is not a size.
    """
    if isinstance(value, int):
        if value < 0:
            raise ValueError("a size cannot be negative")
        return value
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([a-zA-Z]*)\s*", value)
    unit = _UNITS.get(match[2].lower()) if match else None
    if match is None or unit is None:
        raise ValueError(f'"{value}" is not a size; write for example "8 GiB"')
    return int(float(match[1]) * unit)


def find(explicit: str | None) -> Path:
    """The settings file in force: the one named, else `CHADBOX_CONFIG`, else the system's."""
    return Path(explicit or os.environ.get("CHADBOX_CONFIG") or DEFAULT_PATH)


def load(path: Path) -> Settings:
    """Read and check `path`.

    Raises SettingsError, in one line, when it cannot be read or something in it is wrong.
    """
    try:
        text = path.read_text("utf-8")
    except FileNotFoundError:
        raise SettingsError(f"{path}: no such settings file; name one with --config or CHADBOX_CONFIG") from None
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from None
    return parse(text, str(path))


def parse(text: str, name: str) -> Settings:
    """Settings of TOML `text`; `name` stands in error messages for the file. Raises SettingsError."""
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{name}: not valid TOML: {error}") from None
    try:
        settings = msgspec.convert(raw, Settings)
    except msgspec.ValidationError as error:
        raise SettingsError(_explain(str(error), name, text)) from None
    _check(settings, name, text)
    return settings


def _check(settings: Settings, name: str, text: str) -> None:
    def fail(table: str, key: str, why: str) -> None:
        raise SettingsError(f"{name}{_line(text, table, key)}: [{table}] {key}: {why}")

    url = settings.server.url
    parts = urlsplit(url)
    if not url:
        fail(
            "server", "url", 'is missing; write the address of the music server, for example "http://192.168.1.5:5000"'
        )
    if parts.scheme not in ("http", "https") or not parts.hostname:
        fail("server", "url", f'"{url}" is not an http:// or https:// address')
    if parts.username or parts.password or parts.query:
        fail("server", "url", "must not carry a password or token; use token_file")
    for folder in settings.drives.folders:
        if not folder.startswith("/") or folder.rstrip("/") == "":
            fail("drives", "folders", f'"{folder}" is not the absolute path of a folder')
    for key in ("max_bytes", "min_free"):
        try:
            parse_size(getattr(settings.cache, key))
        except ValueError as error:
            fail("cache", key, str(error))
    kind, _, rest = settings.audio.output.partition(":")
    needs_rest = {"alsa": bool(rest), "null": False, "wav": True, "snapcast": True}.get(kind)
    if needs_rest is None or needs_rest != bool(rest):
        fail("audio", "output", f'"{settings.audio.output}" is none of alsa, alsa:CARD, null, wav:FILE, snapcast:FIFO')


def _explain(message: str, name: str, text: str) -> str:
    """msgspec's message, `Expected ... - at `$.a.b``, as `file, line n: [a] b: ...`."""
    what, _, where = message.partition(" - at `$")
    keys = where.rstrip("`").lstrip(".").split(".") if where else []
    unknown = re.search(r"unknown field `([^`]*)`", what)
    if unknown:
        table, key = ".".join(k for k in keys if k), unknown[1]
        why = "unknown key; see `chadbox config show` for the ones there are"
    else:
        table, key = (".".join(keys[:-1]), keys[-1]) if keys else ("", "")
        why = what[0].lower() + what[1:]
    place = f"[{table}] {key}" if table else key
    return f"{name}{_line(text, table, key)}: {place}: {why}"


def _line(text: str, table: str, key: str) -> str:
    """`, line n` of a key, found by reading headers; empty when it is written in a way this does not see."""
    current = ""
    for number, line in enumerate(text.splitlines(), start=1):
        header = re.match(r"\s*\[+\s*([^\]]+?)\s*\]+", line)
        if header:
            current = header[1]
            if not table and current == key:
                return f", line {number}"
        elif current == table and re.match(rf"""\s*["']?{re.escape(key)}["']?\s*[.=]""", line):
            return f", line {number}"
    return ""
