"""What is spoken on the control socket: one JSON document a line, in both directions.

    -> {"cmd": "seek", "args": {"seconds": 10.0, "relative": true}}
    <- {"progress": DOC}     zero or more, only for the commands marked * below; R9: percent is 0-100
    <- {"event": DOC}        `watch`: a Status document, `panel`: a frame, for every change until the client goes
    <- {"alive": true}       every ALIVE_SECONDS while nothing else was said: the command still runs; to be ignored
    <- {"ok": RESULT}  or  {"error": {"code": word, "message": one line, "exit": code for the shell}}

A connection carries one request after the other; closing it cancels the one that runs (closing only the writing half
does not, so `echo '{"cmd": "status"}' | socat - UNIX:PATH` gets its answer). A line is at most MAX_REQUEST bytes.
`progress` and `event` lines may be left out for a client that reads slower than they come; the last one never is.

A Track has besides what CONTRACT says `"where"`: words of network, cache, drive; none while the drive that it is on is
away. Tracks of a drive alone have ids that begin with `drive:`; `library` in Status counts the server's tracks alone.

    command        args (? = may be missing)                    result
    status         -                                            Status of CONTRACT
    watch          -                                            never; events
    play           what?: str                                   Status; without `what` it resumes
    pause, toggle, stop, next, prev   -                         Status
    seek           seconds: float, relative?: bool = false      Status
    volume         value?: int, relative?: bool = false         {"volume": 0-100}
    queue          -                                            {"items": [{"track": Track, "current": bool}],
                                                                 "index": n or null, "length", "shuffle", "repeat"}
    queue_add      what: str, next?: bool = false               {"added": n, "length": n}
    queue_remove   index: int, from 0                           {"length": n} or a queue document
    queue_move     from: int, to: int, from 0                   same
    queue_clear    -                                            same
    queue_shuffle  on: bool                                     same
    queue_repeat   mode: off | one | all                        same
    search         words: str, limit?: int = 20                 {"tracks": [Track], "albums": [...], "artists": [...]}
    browse         category?: str, value?: str, offset?: int = 0, limit?: int = 100, filter?: str
                                                                {"categories": [str]} | {"items": [...], "total": n}
                                                                | {"tracks": [Track]} and/or {"albums": [...]}
    sync *         full?: bool = false                          {"added", "updated", "deleted", "seq", "full"}
                                                                progress {"done": n, "total": n}
    cache          -                                            {"bytes", "limit", "tracks", "files": [{"id", "title",
                                                                 "bytes", "size", "complete", "pinned"}]}
    cache_pin, cache_unpin   what: str                          {"tracks": n}
    cache_verify * -                                            {"checked": n, "bad": [{"id", "title", "reason"}]}
                                                                progress {"percent": 0-100}
    cache_clear    -                                            {"removed": n, "bytes": n}
    fetch *        what: str                                    {"tracks": n, "bytes": n, "failed": [{"id", "title",
                                                                 "reason"}]}; progress {"percent", "bytes", "total"}
    jobs           -                                            [{"id", "kind", "state", "progress", "attempt",
                                                                 "error"}]
    job_cancel, job_retry   id: int                             the job, or {}
    drive          -                                            [{"name", "uuid", "state", "adopted", "progress",
                                                                 "kind", "message", "files", "bytes", "missing",
                                                                 "path"}]
    drive_adopt, drive_forget, drive_eject   name: str          the drive
    drive_fill *   name: str                                    {"copied", "kept", "removed", "bytes", "missing":
                                                                 [{"id", "title", "reason"}], "full", "offline"};
                                                                progress {"percent": 0-100}
    export_check   what: str, drive?: str                       with `drive` {"name", "tracks", "kept", "copy", "bytes",
                                                                 "download", "download_bytes", "free", "seconds",
                                                                 "missing": [...]}; else {"name", "library", "tracks":
                                                                 [Track], "have": {id: bytes}, "missing": [...]}
    export_drive * what: str, drive: str, reaper?: bool = false {"copied", "kept", "bytes", "missing", ...}; progress
                                                                 {"percent", "download", "copy": 0-100, "downloaded",
                                                                 "to_download", "copied", "to_copy": bytes}
    export_folder  what: str, to: str                           {"job"} after `export_ended`; the event {"job": id}
                                                                 says that the client may begin to copy
    export_lend *  track: str, network?: bool = true            never; the event {"path", "size", "sha256", "etag"}
                                                                 names a whole file, there until the client goes;
                                                                 progress {"downloaded": bytes}
    export_damaged track: str                                   {}; the file that was lent is not what it should be
    export_moved   job: int, percent: int                       {}
    export_ended   job: int, copied?, kept?, bytes?: int, missing?: [{"id", "title", "reason"}], error?: str    {}
    drive_import * name: str                                    {"uploaded", "known", "failed": [{"path", "reason"}],
                                                                 "bytes"}; progress {"percent": 0-100, "file"?: {"path",
                                                                 "state", "percent", "reason"}}
    drive_queue    name: str                                    [{"path", "state": queued | uploading | done |
                                                                 duplicate | failed, "percent", "size", "reason"}]
    commute        at?: str, ISO 8601 or HH:MM                  {"at", "next": ISO 8601 or null, "tracks": [{"id",
                                                                 "title", "artist", "album", "score": 0-1, "reasons":
                                                                 [str], "duration", "size", "cached"}]}, in play order
    panel          -                                            never; events {"width", "height", "level": on | dim |
                                                                 off, "pages": base64, "words": [str]}
    panel_key      action: str, detents?: int = 0, steps?: int = 0, count?: int = 0        {}
    login *        -                                            {"signed_in": true} once the code was approved;
                                                                progress {"code", "url", "expires_in": seconds}
    logout         -                                            {"signed_out": bool}

The arguments are checked against ARGS before a handler sees them: it gets the defaults filled in, and an argument that
may be missing and is missing is not in the dictionary.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from appliance.errors import ChadboxError, UsageError
from appliance.panel.state import Action

MAX_REQUEST = 64 * 1024  # bytes of one request line, newline included
ALIVE_SECONDS = 2.0

Index = Annotated[int, Meta(ge=0)]
Seconds = Annotated[float, Meta(ge=-1e7, le=1e7)]
Text = Annotated[str, Meta(min_length=1, max_length=10_000)]


class Nothing(Struct):
    """No arguments."""


class Play(Struct):
    what: Text | None = None


class Seek(Struct):
    seconds: Seconds
    relative: bool = False


class Volume(Struct):
    value: Annotated[int, Meta(ge=-100, le=100)] | None = None
    relative: bool = False


class QueueAdd(Struct):
    what: Text
    next: bool = False


class QueueRemove(Struct):
    index: Index


class QueueMove(Struct, rename={"from_": "from"}):
    from_: Index
    to: Index


class QueueShuffle(Struct):
    on: bool


class QueueRepeat(Struct):
    mode: Literal["off", "one", "all"]


class Search(Struct):
    words: Text
    limit: Annotated[int, Meta(ge=1, le=10_000)] = 20


class Browse(Struct):
    category: Text | None = None
    value: Text | None = None
    offset: Index = 0
    limit: Annotated[int, Meta(ge=1, le=10_000)] = 100
    filter: Text | None = None


class Sync(Struct):
    full: bool = False


class What(Struct):
    what: Text


class DriveName(Struct):
    name: Annotated[str, Meta(min_length=1, max_length=200)]


class ExportCheck(Struct):
    what: Text
    drive: Annotated[str, Meta(min_length=1, max_length=200)] | None = None


class ExportDrive(Struct):
    what: Text
    drive: Annotated[str, Meta(min_length=1, max_length=200)]
    reaper: bool = False


class ExportFolder(Struct):
    what: Text
    to: Text


class ExportLend(Struct):
    track: Text
    network: bool = True


class ExportDamaged(Struct):
    track: Text


class ExportMoved(Struct):
    job: int
    percent: Annotated[int, Meta(ge=0, le=100)]


class MissingTrack(Struct):
    id: int | str
    title: str
    reason: str


class ExportEnded(Struct):
    job: int
    copied: Index = 0
    kept: Index = 0
    bytes: Index = 0
    missing: list[MissingTrack] = []
    error: str | None = None


class CommuteAt(Struct):
    at: Annotated[str, Meta(min_length=1, max_length=100)] | None = None


class JobId(Struct):
    id: int


class PanelKey(Struct):
    action: Action
    detents: Annotated[int, Meta(ge=-100, le=100)] = 0
    steps: Annotated[int, Meta(ge=-1000, le=1000)] = 0
    count: Annotated[int, Meta(ge=0, le=100_000)] = 0


ARGS: Mapping[str, type[Struct]] = {
    **dict.fromkeys(("status", "watch", "panel", "pause", "toggle", "stop", "next", "prev"), Nothing),
    **dict.fromkeys(("queue", "queue_clear", "cache", "cache_verify", "cache_clear", "jobs"), Nothing),
    **dict.fromkeys(("login", "logout"), Nothing),
    **dict.fromkeys(("cache_pin", "cache_unpin", "fetch"), What),
    **dict.fromkeys(("job_cancel", "job_retry"), JobId),
    "commute": CommuteAt,
    "drive": Nothing,
    **dict.fromkeys(("drive_adopt", "drive_forget", "drive_fill", "drive_eject"), DriveName),
    "export_check": ExportCheck,
    "export_drive": ExportDrive,
    "export_folder": ExportFolder,
    "export_lend": ExportLend,
    "export_damaged": ExportDamaged,
    "export_moved": ExportMoved,
    "export_ended": ExportEnded,
    **dict.fromkeys(
        ("drive_adopt", "drive_forget", "drive_fill", "drive_eject", "drive_import", "drive_queue"), DriveName
    ),
    "panel_key": PanelKey,
    "play": Play,
    "seek": Seek,
    "volume": Volume,
    "queue_add": QueueAdd,
    "queue_remove": QueueRemove,
    "queue_move": QueueMove,
    "queue_shuffle": QueueShuffle,
    "queue_repeat": QueueRepeat,
    "search": Search,
    "browse": Browse,
    "sync": Sync,
}


class Request:
    """One command as its handler sees it. `progress` and `event` return at once and may be called on the loop only."""

    __slots__ = ("_post", "args", "cmd")

    def __init__(self, cmd: str, args: dict[str, Any], post: Callable[[str, Any], None]) -> None:
        self.cmd = cmd
        self.args = args
        self._post = post

    def progress(self, doc: dict[str, Any]) -> None:
        """Tell the client how far it is; a slow client sees the newest only. Raises TypeError when not JSON."""
        self._post("progress", doc)

    def event(self, doc: Any) -> None:
        """Tell a watching client what is new; a slow client loses the oldest. Raises TypeError when not JSON."""
        self._post("event", doc)


Handler = Callable[[Request], Awaitable[Any]]
"""Answers a request with anything that msgspec can encode. A ChadboxError becomes an error line, any other exception is
logged and becomes `internal`. It is cancelled when its client goes."""


class BadRequest(UsageError):
    """The line is not a request."""

    code = "bad_request"


class _Line(Struct):
    cmd: str
    args: dict[str, Any] = {}


def parse(line: bytes) -> tuple[str, dict[str, Any]]:
    """The command and its checked arguments. Raises BadRequest, or UsageError for arguments that do not fit it."""
    try:
        request = msgspec.json.decode(line, type=_Line)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise BadRequest(f'not a request like {{"cmd": "status", "args": {{}}}}: {error}') from None
    kind = ARGS.get(request.cmd)
    if kind is None:
        return request.cmd, request.args
    try:
        checked = msgspec.to_builtins(msgspec.convert(request.args, kind))
    except msgspec.ValidationError as error:
        what, _, where = str(error).partition(" - at `$")
        key = where.strip(".`")
        raise UsageError(f"{request.cmd}: {key + ': ' if key else ''}{what[:1].lower()}{what[1:]}") from None
    return request.cmd, {k: v for k, v in checked.items() if v is not None}


def encode(kind: str, doc: Any) -> bytes:
    """One line. Raises TypeError when `doc` holds something that JSON has not."""
    try:
        return msgspec.json.encode({kind: doc}) + b"\n"
    except UnicodeEncodeError:
        # a file name that is not UTF-8 carries lone surrogates: the standard library escapes them
        return json.dumps({kind: msgspec.to_builtins(doc)}).encode("ascii") + b"\n"


def encode_error(error: ChadboxError) -> bytes:
    return encode("error", {"code": error.code, "message": one_line(error), "exit": error.exit_code})


def one_line(error: object) -> str:
    """The text of an error without line breaks and of sane length."""
    return " ".join(str(error).split())[:1000] or type(error).__name__
