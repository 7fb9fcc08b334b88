"""From a command line to an exit code: finds the command, and turns every failure into one line."""

from __future__ import annotations

import os
import sys

from appliance.cli.output import complain
from appliance.cli.parse import COMMANDS, Line, parse
from appliance.errors import ChadboxError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from appliance.control.client import Client

DEFAULT_CONFIG = "/etc/chadbox/chadbox.toml"
DEFAULT_SOCKET = "/run/chadbox/control.sock"
INTERRUPTED = 130
PIPE_CLOSED = 141


class Call:
    """One invocation: its command line and the way to the player."""

    def __init__(self, line: Line) -> None:
        self.line = line
        self.json = line.flag("json")

    @property
    def socket_override(self) -> str | None:
        """The socket named by `--socket` or CHADBOX_SOCKET; it wins over the settings file."""
        return self.line.value("socket") or os.environ.get("CHADBOX_SOCKET") or None

    def client(self) -> Client:
        from appliance.control.client import TIMEOUT, Client

        path = self.socket_override or configured_socket(self.line.value("config"))
        wish = self.line.value("timeout")
        return Client(path, TIMEOUT if wish is None else _timeout(wish))

    def ask(self, cmd: str, **args: Any) -> Any:
        """The player's answer, checked to be a document where it must be one."""
        return document(self.client().call(cmd, args))


def document(answer: Any) -> dict[str, Any]:
    """`answer`, which has to be a JSON object. Raises ChadboxError."""
    if not isinstance(answer, dict):
        raise ChadboxError("the player's answer makes no sense; are it and this command of one version?")
    return answer


def run(argv: list[str] | None = None) -> int:
    """Run the command line; nothing but KeyboardInterrupt before the first line is ever raised."""
    try:
        for stream in (sys.stdout, sys.stderr):
            if hasattr(stream, "reconfigure"):
                stream.reconfigure(errors="replace")  # a title that the terminal's encoding lacks is not an error
        code = _dispatch(sys.argv[1:] if argv is None else argv)
        if sys.stdout is not None:
            sys.stdout.flush()
        return code
    except ChadboxError as error:
        complain(error)
        code = error.exit_code
    except KeyboardInterrupt:
        code = INTERRUPTED
    except BrokenPipeError:
        code = PIPE_CLOSED
    except OSError as error:
        complain(f"{error.filename or 'output'}: {error.strerror or error}")
        code = 1
    except Exception as error:
        if os.environ.get("CHADBOX_DEBUG"):
            raise
        complain(f"internal error: {type(error).__name__}: {error}; with CHADBOX_DEBUG=1 it tells where")
        code = 1
    _settle_output()
    return code


def _dispatch(argv: list[str]) -> int:
    line = parse(argv)
    if line.flag("version"):
        from appliance import __version__

        print(f"chadbox {__version__}")
        return 0
    if line.flag("help"):
        from appliance.cli.help import help_text

        print(help_text(line.name))
        return 0
    from importlib import import_module

    module, _, function = COMMANDS[line.name].target.partition(":")
    command: Callable[[Call], int] = getattr(import_module(f"appliance.cli.{module}"), function)
    return command(Call(line))


def _settle_output() -> None:
    """Get rid of what cannot be written any more, or the interpreter would complain about it while it exits."""
    try:
        sys.stdout.flush()
    except (OSError, ValueError, AttributeError):
        try:  # noqa: SIM105 - contextlib is not loaded on this path
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        except OSError:
            pass


def _timeout(wish: str) -> float:
    try:
        seconds = float(wish)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= 86_400:
        raise UsageError(f'--timeout: "{wish}" is not a number of seconds')
    return seconds


def configured_socket(config: str | None) -> str:
    """The socket of the settings file in force; the default where there is no file.

    The file is not checked here as the player does it: msgspec alone would double the time of `status`.
    Raises SettingsError when a file that was named cannot be read, or it is not TOML.
    """
    named = config or os.environ.get("CHADBOX_CONFIG")
    path = named or DEFAULT_CONFIG
    try:
        with open(path, "rb") as file:
            text = file.read().decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        if named is None and isinstance(error, (FileNotFoundError, PermissionError)):
            return DEFAULT_SOCKET
        from appliance.errors import SettingsError

        raise SettingsError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if "socket" not in text:
        return DEFAULT_SOCKET
    import tomllib

    try:
        control = tomllib.loads(text).get("control", {})
    except tomllib.TOMLDecodeError as error:
        from appliance.errors import SettingsError

        raise SettingsError(f"{path}: not valid TOML: {error}") from None
    socket = control.get("socket") if isinstance(control, dict) else None
    return socket if isinstance(socket, str) and socket else DEFAULT_SOCKET
