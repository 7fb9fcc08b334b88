"""The texts of `--help`."""

from __future__ import annotations

from appliance.cli.parse import COMMANDS

_SUMMARY = {
    "status": "what plays, from where, and what is wrong; --watch keeps telling",
    "play": "play WHAT instead of the queue; alone: resume",
    "pause": "pause",
    "toggle": "pause or resume",
    "stop": "stop",
    "next": "the next track",
    "prev": "the previous track",
    "seek": "go to SECONDS or M:SS of the track; with + or - from here",
    "volume": "show the volume; set it (0-100); with + or - change it",
    "queue": "show the queue",
    "queue add": "append",
    "queue next": "insert after the current track",
    "queue remove": "remove position N",
    "queue move": "move position A to position B",
    "queue clear": "empty the queue",
    "queue shuffle": "play in random order, or not",
    "queue repeat": "start over at the end, with one track or all",
    "search": "search the library",
    "browse": "the categories, what is in one, or the music of one value",
    "sync": "bring the library up to date now; --full reads all of it",
    "cache": "what is kept on the box",
    "cache pin": "never evict it",
    "cache unpin": "evict it like any other",
    "cache verify": "read every file again and compare it with its hash",
    "cache clear": "remove all that is neither pinned nor playing",
    "fetch": "download to the cache now",
    "commute": "what would be fetched for the way; --why: the reasons; TIME: HH:MM or ISO 8601",
    "jobs": "background work",
    "jobs cancel": "cancel a job",
    "jobs retry": "try a failed job again",
    "drive": "the USB drives that are plugged in",
    "drive adopt": "allow the box to write to this drive, and fill it",
    "drive forget": "take that back; the music on it stays",
    "drive fill": "copy what you will want to hear on the way",
    "drive import": "send the music on it to the server, as far as that lacks it",
    "drive queue": "the files of its last import and what became of each",
    "drive eject": "make it safe to pull out",
    "export": "copy music to a folder or an adopted drive; --reaper: with a project",
    "panel": "the front panel in this terminal; --plain: its text alone",
    "login": "sign in at the music server: shows a code to approve there",
    "logout": "forget the sign-in",
    "run": "the player itself, in the foreground",
    "serve": "the embedded music server, in the foreground",
    "serve approve": "let in the box that shows CODE (on the server, as its user)",
    "serve deny": "turn it away",
    "serve devices": "the boxes that are signed in",
    "serve revoke": "sign one of them out",
    "config check": "check the settings file",
    "config show": "the settings in force, defaults included",
}
_WHAT = """\
WHAT is track:ID, album:ID, artist:NAME, genre:NAME, playlist:NAME, favourites, commute, or words to search for;
no quotes are needed around several words."""
_EXPORT = """\
What is going to happen is told first and asked for; --yes does not ask. WHAT may also be `queue`. A folder is written
as you, and nothing in it that is not of an earlier export is touched."""
_NUMBERS = """\
Positions are the numbers that `chadbox queue` prints, from 0, the same as `index` in JSON."""
_DRIVE = "NAME is the label or the UUID that `chadbox drive` prints."
_OPTIONS = """\
Options of every command:
  --config FILE      settings (also CHADBOX_CONFIG; default /etc/chadbox/chadbox.toml)
  --socket PATH      control socket of the player (also CHADBOX_SOCKET; default from the settings)
  --timeout SECONDS  give up when the player is silent for so long (default 10)
  --json             one JSON document instead of text (all but run and serve)
  --help, --version"""
_CODES = "Exit codes: 0 done, 1 failed, 2 wrong usage, 3 the player is not running."


def help_text(name: str) -> str:
    """The help of one command, of a group such as `config`, or, for an empty name, of all."""
    if not name:
        return "\n\n".join(
            [
                "usage: chadbox [--config FILE] [--socket PATH] COMMAND",
                _lines(list(COMMANDS)),
                _WHAT,
                _NUMBERS,
                _OPTIONS,
                _CODES,
            ]
        )
    names = [n for n in COMMANDS if n == name or n.startswith(name + " ")]
    notes = []
    if any("WHAT" in COMMANDS[n].usage for n in names):
        notes.append(_WHAT)
    if name.startswith("drive"):
        notes.append(_DRIVE)
    if name == "export":
        notes.append(_EXPORT)
    if name.startswith("queue"):
        notes.append(_NUMBERS)
    return "\n\n".join([_lines(names), *notes, _OPTIONS])


def _lines(names: list[str]) -> str:
    calls = {name: f"{name} {COMMANDS[name].usage}".rstrip() for name in names}
    wide = min(36, max(map(len, calls.values())))
    lines = []
    for name, call in calls.items():
        if len(call) > wide:
            lines += ["  " + call, " " * (wide + 4) + _SUMMARY[name]]
        else:
            lines.append(f"  {call:<{wide}}  {_SUMMARY[name]}")
    return "\n".join(lines)
