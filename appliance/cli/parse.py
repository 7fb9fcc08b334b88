"""The command line: which commands there are and how their words and options are read.

Read by hand rather than with argparse: that costs 20 ms of a command meant to take 100, and takes `seek -10` for an
option.
"""

from __future__ import annotations

from appliance.errors import UsageError

ANY = 10_000  # as many words as one likes

FLAG, VALUE, MANY = "flag", "value", "many"
_JSON = {"json": FLAG}
_OWNER = {"state": VALUE, "json": FLAG}
_GLOBAL = {"config": VALUE, "socket": VALUE, "timeout": VALUE, "help": FLAG, "version": FLAG}


class Command:
    """One command: `target` is `module:function` in this package, `usage` what follows the command's name."""

    __slots__ = ("least", "most", "options", "target", "usage")

    def __init__(self, target: str, usage: str, least: int, most: int, options: dict[str, str] | None = None) -> None:
        self.target = target
        self.usage = usage
        self.least = least
        self.most = most
        self.options = _JSON if options is None else options


COMMANDS: dict[str, Command] = {
    "status": Command("status:status", "[--json] [--watch]", 0, 0, {"json": FLAG, "watch": FLAG}),
    "play": Command("transport:play", "[WHAT]", 0, ANY),
    "pause": Command("transport:simple", "", 0, 0),
    "toggle": Command("transport:simple", "", 0, 0),
    "stop": Command("transport:simple", "", 0, 0),
    "next": Command("transport:simple", "", 0, 0),
    "prev": Command("transport:simple", "", 0, 0),
    "seek": Command("transport:seek", "[+-]SECONDS", 1, 1),
    "volume": Command("transport:volume", "[[+-]N]", 0, 1),
    "queue": Command("queue:show", "[--json]", 0, 0),
    "queue add": Command("queue:add", "WHAT", 1, ANY),
    "queue next": Command("queue:add_next", "WHAT", 1, ANY),
    "queue remove": Command("queue:remove", "N", 1, 1),
    "queue move": Command("queue:move", "A B", 2, 2),
    "queue clear": Command("queue:clear", "", 0, 0),
    "queue shuffle": Command("queue:shuffle", "on|off", 1, 1),
    "queue repeat": Command("queue:repeat", "off|one|all", 1, 1),
    "search": Command("library:search", "WORDS [--limit N] [--json]", 1, ANY, {"limit": VALUE, "json": FLAG}),
    "browse": Command(
        "library:browse",
        "[CATEGORY [VALUE]] [--offset N] [--limit N] [--filter TEXT] [--json]",
        0,
        ANY,
        {"offset": VALUE, "limit": VALUE, "filter": VALUE, "json": FLAG},
    ),
    "sync": Command("library:sync", "[--full] [--json]", 0, 0, {"full": FLAG, "json": FLAG}),
    "cache": Command("cache:show", "[--json]", 0, 0),
    "cache pin": Command("cache:pin", "WHAT", 1, ANY),
    "cache unpin": Command("cache:unpin", "WHAT", 1, ANY),
    "cache verify": Command("cache:verify", "", 0, 0),
    "cache clear": Command("cache:clear", "", 0, 0),
    "fetch": Command("cache:fetch", "WHAT", 1, ANY),
    "commute": Command("commute:show", "[--why] [--at TIME] [--json]", 0, 0, {"why": FLAG, "at": VALUE, "json": FLAG}),
    "jobs": Command("jobs:show", "[--json]", 0, 0),
    "jobs cancel": Command("jobs:cancel", "ID", 1, 1),
    "jobs retry": Command("jobs:retry", "ID", 1, 1),
    "drive": Command("drive:show", "[--json]", 0, 0),
    "drive adopt": Command("drive:adopt", "NAME", 1, ANY),
    "drive forget": Command("drive:forget", "NAME", 1, ANY),
    "drive fill": Command("drive:fill", "NAME", 1, ANY),
    "drive import": Command("drive:import_", "NAME [--json]", 1, ANY),
    "drive queue": Command("drive:queue", "NAME [--json]", 1, ANY),
    "drive eject": Command("drive:eject", "NAME", 1, ANY),
    "export": Command(
        "export:export",
        "WHAT --to DIR|drive:NAME [--yes] [--reaper] [--json]",
        1,
        ANY,
        {"to": VALUE, "yes": FLAG, "reaper": FLAG, "json": FLAG},
    ),
    "panel": Command("panel:panel", "[--plain] [--braille]", 0, 0, {"plain": FLAG, "braille": FLAG}),
    "login": Command("signing:login", "", 0, 0),
    "logout": Command("signing:logout", "", 0, 0),
    "run": Command("service:run", "", 0, 0, {}),
    "serve": Command(
        "service:serve",
        "--music DIR [--music DIR2] --state DIR [--listen HOST:PORT] [--token-file FILE] [--token-life SECONDS]",
        0,
        0,
        {
            "music": MANY,
            **dict.fromkeys(("state", "listen", "token-file", "token-life", "code-life", "poll-interval"), VALUE),
        },
    ),
    "serve approve": Command("signing:approve", "CODE [--state DIR] [--json]", 1, 3, _OWNER),
    "serve deny": Command("signing:deny", "CODE [--state DIR] [--json]", 1, 3, _OWNER),
    "serve devices": Command("signing:devices", "[--state DIR] [--json]", 0, 0, _OWNER),
    "serve revoke": Command("signing:revoke", "ID [--state DIR] [--json]", 1, 1, _OWNER),
    "config check": Command("settings:check", "", 0, 0),
    "config show": Command("settings:show", "[--json]", 0, 0),
}


class Line:
    """A parsed command line: the command's name, its words and its options."""

    def __init__(self) -> None:
        self.name = ""
        self.words: list[str] = []
        self.values: dict[str, list[str]] = {}

    def flag(self, name: str) -> bool:
        return name in self.values

    def value(self, name: str) -> str | None:
        """The last value given for option `name`."""
        return self.values[name][-1] if name in self.values else None

    @property
    def text(self) -> str:
        """All words as one text: WHAT and WORDS need no quotes."""
        return " ".join(self.words)

    def integer(self, name: str, least: int, most: int = 1_000_000_000) -> int | None:
        """Option `name` as a whole number, None when not given. Raises UsageError."""
        value = self.value(name)
        return None if value is None else whole(value, f"--{name}", least, most)

    def wrong(self, why: str) -> UsageError:
        usage = COMMANDS[self.name].usage
        return UsageError(f"{self.name}: {why}; usage: chadbox {self.name}{' ' + usage if usage else ''}")


def parse(argv: list[str]) -> Line:
    """Read the words after `chadbox`. Raises UsageError; with `--help` and `--version` a command may be missing."""
    line = Line()
    command: Command | None = None
    rest = list(argv)
    literal = False
    while rest:
        token = rest.pop(0)
        if not literal and token == "--":  # noqa: S105 - the end of the options, no secret
            literal = True
        elif literal or not _is_option(token):
            if command is None:
                line.name = _command(token, rest)
                command = COMMANDS.get(line.name)
                if command is None and not {"--help", "-h"} & set(rest):
                    raise UsageError(f"{token}: which one of {_under(token)}? see `chadbox --help`")
            else:
                line.words.append(token)
        else:
            _option(token, rest, line, command)
    if line.flag("help") or line.flag("version"):
        return line
    if command is None:
        raise UsageError("which command? see `chadbox --help`")
    if not command.least <= len(line.words) <= command.most:
        raise line.wrong("something is missing" if len(line.words) < command.least else "too many words")
    if not all(word.strip() for word in line.words):
        raise line.wrong("a word is empty")
    return line


def _is_option(token: str) -> bool:
    """`-x` and `--x` are options; `-10`, `-1:30`, `-.5` and a lone `-` are words."""
    return token.startswith("-") and len(token) > 1 and not (token[1].isdigit() or token[1:2] == ".")


def _command(token: str, rest: list[str]) -> str:
    under = _under(token)
    if under and rest and not rest[0].startswith("-"):
        name = f"{token} {rest.pop(0)}"
        if name not in COMMANDS:
            raise UsageError(f'"{name}" is no command; {token} knows {under}')
        return name
    if token in COMMANDS or under:
        return token
    from difflib import get_close_matches

    near = get_close_matches(token, COMMANDS, 1)
    hint = f"did you mean {near[0]}?" if near else "see `chadbox --help`"
    raise UsageError(f'"{token}" is no command; {hint}')


def _under(token: str) -> str:
    return ", ".join(name.partition(" ")[2] for name in COMMANDS if name.startswith(token + " "))


def _option(token: str, rest: list[str], line: Line, command: Command | None) -> None:
    name, equals, value = token.removeprefix("--").partition("=")
    if token == "-h":  # noqa: S105
        name = "help"
    elif not token.startswith("--"):
        name = ""
    own = command.options if command else {}
    kind = own.get(name) or _GLOBAL.get(name)
    if kind is None:
        place = f"{line.name}: " if line.name else ""
        raise UsageError(f'{place}unknown option "{token}"; write -- before words that begin with a dash')
    if kind == FLAG:
        if equals:
            raise UsageError(f"--{name} takes no value")
        value = ""
    elif not equals:
        if not rest or rest[0].startswith("--"):
            raise UsageError(f"--{name} needs a value")
        value = rest.pop(0)
    if kind != FLAG and not value:
        raise UsageError(f"--{name} needs a value")
    line.values.setdefault(name, []).append(value)


def whole(text: str, name: str, least: int, most: int = 1_000_000_000) -> int:
    """A whole number from `least` to `most`. Raises UsageError."""
    digits = text[1:] if text[:1] in "+-" else text
    if not (digits.isascii() and digits.isdigit() and len(digits) < 16):
        raise UsageError(f'{name}: "{text}" is not a whole number')
    value = int(text)
    if not least <= value <= most:
        raise UsageError(f"{name}: {text} is not from {least} to {most}")
    return value
