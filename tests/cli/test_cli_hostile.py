"""Nothing that a tag, a server or a socket says may steer the terminal or bring out a traceback (R6)."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import select
import signal
import socket
import subprocess
import termios
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import STATUS, TRACK, Player, Run

from appliance.control.protocol import Request
from appliance.errors import ChadboxError

Start = Callable[..., "subprocess.Popen[bytes]"]

EVIL = "\x1b]0;owned\x07\x1b[2J\x9b31mred\u202egnp.\u2066x\r\nnew\x00line\x7f\u200f\U000e0041\udc80"
STEERING = [*map(chr, [*range(10), *range(11, 32), *range(127, 160)]), "\u202e", "\u2066", "\u200f", "\U000e0041"]


def evil_track(**more: Any) -> dict[str, Any]:
    return {"id": EVIL, "title": EVIL, "artist": EVIL, "album": EVIL, "duration": 1.0} | more


@pytest.mark.parametrize(
    "line",
    ["status", "play x", "queue", "search x", "browse", "browse artist", "browse y z", "jobs", "cache", "fetch x"],
)
def test_no_escape_gets_through(player: Player, chadbox: Run, line: str) -> None:
    items = [{"name": EVIL, "id": EVIL, "artist": EVIL, "tracks": EVIL, "year": EVIL}]
    bad = [{"id": EVIL, "title": EVIL, "reason": EVIL}]
    status = STATUS | {
        "state": EVIL,
        "track": evil_track(),
        "health": [EVIL],
        "source": EVIL,
        "audio": {"output": EVIL},
    }
    player.answers = {
        "status": status | {"drives": [{"name": EVIL, "state": EVIL}], "queue": {"repeat": EVIL}},
        "play": status,
        "queue": {"items": [{"track": evil_track()}], "length": 1, "repeat": EVIL, "shuffle": EVIL},
        "search": {"tracks": [evil_track()], "albums": items, "artists": items},
        "browse": {"categories": [EVIL]}
        if line == "browse"
        else {"items": items}
        if "y" not in line
        else {"albums": items},
        "jobs": [{"id": EVIL, "kind": EVIL, "state": EVIL, "error": EVIL}],
        "cache": {"files": bad, "tracks": EVIL, "bytes": EVIL},
        "fetch": {"tracks": 0, "failed": bad},
    }
    done = chadbox(*line.split())
    text = done.stdout + done.stderr
    assert "red" in text
    assert [c for c in STEERING if c in text] == []
    assert "owned" not in text  # the whole sequence goes, not its first byte alone
    printed = chadbox(*line.split(), "--json").stdout
    assert [c for c in STEERING if c in printed] == []
    assert printed.isascii()
    json.loads(printed)


def test_no_escape_in_an_error(player: Player, chadbox: Run) -> None:
    player.answers["play"] = ChadboxError(f"no album {EVIL}")
    done = chadbox("play", "x")
    assert done.returncode == 1
    assert [c for c in STEERING if c in done.stderr] == []
    done = chadbox(EVIL.replace("\x00", "").replace("\udc80", ""))
    assert done.returncode == 2
    assert [c for c in STEERING if c in done.stderr] == []


@pytest.mark.parametrize(
    "answer", [None, 5, "x", [], {}, [5], {"items": 5}, {"tracks": [5], "albums": {}}, {"track": 5}]
)
@pytest.mark.parametrize(
    "line", ["status", "queue", "search x", "browse", "jobs", "cache", "sync", "fetch x", "volume"]
)
def test_an_answer_of_any_shape_is_survived(answer: Any, line: str, capsys: Any, monkeypatch: Any) -> None:
    """In this process, for there are many: what the client returned is what matters."""
    from appliance.cli import main
    from appliance.control.client import Client

    monkeypatch.setattr(Client, "call", lambda *_args: answer)
    assert main(line.split()) in (0, 1)
    assert "internal error" not in capsys.readouterr().err


@pytest.mark.parametrize("key", list(STATUS))
@pytest.mark.parametrize("value", [None, -1, 1e300, "x", [None], {"x": None}, True])
def test_a_status_with_one_strange_value_is_survived(key: str, value: Any) -> None:
    from appliance.cli.status import describe, summary

    doc = STATUS | {key: value}
    assert describe(doc)
    assert summary(doc)


def test_a_megabyte_of_garbage(chadbox: Run, tmp_path: Path) -> None:
    def garbage() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(4096)
            connection.sendall(b"\x1b[31m\xff" * (1 << 18))

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "g"))
        listener.listen()
        thread = threading.Thread(target=garbage)
        thread.start()
        done = chadbox("--socket", str(tmp_path / "g"), "status")
        thread.join(5)
    assert done.returncode == 1
    assert "does not speak as the player does" in done.stderr


def test_a_socket_that_never_answers(chadbox: Run, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "mute"))
        listener.listen()
        begun = time.monotonic()
        done = chadbox("--timeout", "0.3", "--socket", str(tmp_path / "mute"), "sync")
    assert done.returncode == 1
    assert "does not answer (waited 0.3 s)" in done.stderr
    assert time.monotonic() - begun < 3


def test_a_command_that_takes_longer_than_the_time_out(player: Player, chadbox: Run, monkeypatch: Any) -> None:
    monkeypatch.setattr("appliance.control.connection.ALIVE_SECONDS", 0.1)

    async def slow(request: Request) -> Any:
        await asyncio.sleep(2)
        return {"added": 0}

    player.answers["sync"] = slow
    assert chadbox("--timeout", "1", "sync").returncode == 0


def test_the_player_dies_in_the_middle(player: Player, start: Start) -> None:
    begun = threading.Event()

    async def hang(request: Request) -> Any:
        begun.set()
        await asyncio.Event().wait()

    player.answers["sync"] = hang
    process = start("sync")
    assert begun.wait(10)
    player.run(player.server.close())
    out, err = process.communicate(timeout=5)
    assert (process.returncode, out, err) == (3, b"", b"chadbox: the player stopped before it answered\n")


@pytest.mark.parametrize("line", ["sync", "status --watch", "status --watch --json"])
def test_ctrl_c_is_quiet_and_cancels_the_handler(player: Player, start: Start, line: str) -> None:
    begun, ended = threading.Event(), threading.Event()

    async def hang(request: Request) -> Any:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    player.answers = {"sync": hang, "watch": hang}
    process = start(*line.split())
    assert begun.wait(10)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=5)
    assert (process.returncode, out, err) == (130, b"", b"")
    assert ended.wait(2)


def test_a_closed_pipe_is_quiet(player: Player, start: Start) -> None:
    items = [{"track": TRACK, "current": False}] * 5000
    player.answers["queue"] = {"items": items, "index": 0, "length": 5000, "shuffle": False, "repeat": "off"}
    for line in ("queue", "queue --json", "--help"):
        read, write = os.pipe()
        os.close(read)
        process = start(*line.split(), stdout=write)
        os.close(write)
        _, err = process.communicate(timeout=10)
        assert (process.returncode, err) == (141, b"")


def test_output_that_cannot_be_written(player: Player, chadbox: Run) -> None:
    with open("/dev/full", "wb") as full:
        done = chadbox("status", stdout=full, stderr=subprocess.PIPE, capture_output=False)
    assert done.returncode == 1
    assert "No space left" in done.stderr


def test_a_terminal_without_unicode(player: Player, chadbox: Run) -> None:
    player.answers["status"] = STATUS | {"track": TRACK | {"title": "青い緑"}}
    done = chadbox("status", env={"PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii"})
    assert done.returncode == 0
    assert "??? - Miles Davis" in done.stdout


class Terminal:
    """The command in a terminal of 40 columns; `until(text)` waits for what it draws."""

    def __init__(self, start: Start, *args: str) -> None:
        self.handle, inner = pty.openpty()
        termios.tcsetwinsize(inner, (24, 40))
        self.process = start(*args, stdin=inner, stdout=inner, stderr=inner)
        os.close(inner)
        self.drawn = ""

    def until(self, text: str | None) -> str:
        """What was drawn up to and with `text`; up to the end for None."""
        deadline = time.monotonic() + 10
        while text is None or text not in self.drawn:
            assert select.select([self.handle], [], [], max(0, deadline - time.monotonic()))[0], self.drawn
            try:
                data = os.read(self.handle, 65536)
            except OSError:  # the other end is closed
                data = b""
            if not data:
                assert text is None, self.drawn
                break
            self.drawn += data.decode("utf-8", "replace")
        return self.drawn

    def close(self) -> None:
        os.close(self.handle)


def test_wide_titles_are_cut_to_the_terminal(player: Player, start: Start) -> None:
    items = [{"track": TRACK | {"title": "青い緑" * 30, "artist": EVIL}, "current": True}]
    player.answers["queue"] = {"items": items, "index": 0, "length": 1, "shuffle": False, "repeat": "off"}
    terminal = Terminal(start, "queue")
    text = terminal.until(None)
    terminal.close()
    from appliance.cli.text import width

    assert "…" in text
    assert "5:37" in text  # long columns give way to short ones
    assert [line for line in text.splitlines() if width(line) > 40] == []
    assert [c for c in STEERING if c in text.replace("\r", "")] == []


def test_watch_on_a_terminal_keeps_one_line_fresh(player: Player, start: Start) -> None:
    go = asyncio.Event()

    async def watch(request: Request) -> Any:
        request.event(STATUS | {"track": TRACK | {"title": EVIL, "artist": "A"}})
        await go.wait()
        request.event(STATUS | {"state": "paused", "track": TRACK | {"title": "B", "artist": "A"}})
        await asyncio.Event().wait()

    player.answers["watch"] = watch
    terminal = Terminal(start, "status", "--watch")
    terminal.until("1:01 /")
    terminal.until("1:02 /")  # the clock runs between two events
    player.loop.call_soon_threadsafe(go.set)
    text = terminal.until("paused  B - A")
    assert "\n" not in text
    assert [c for c in STEERING if c in text.replace("\r", "").replace("\x1b[K", "")] == []
    terminal.process.send_signal(signal.SIGINT)
    text = terminal.until(None)
    assert terminal.process.wait(5) == 130
    assert "Traceback" not in text
    terminal.close()


def test_watch_for_programs_is_a_document_a_line(player: Player, start: Start) -> None:
    go = asyncio.Event()

    async def watch(request: Request) -> Any:
        request.event({"n": 1})
        await go.wait()
        request.event({"n": 2})
        await asyncio.Event().wait()

    player.answers["watch"] = watch
    process = start("status", "--watch", "--json")
    assert process.stdout is not None
    assert json.loads(process.stdout.readline()) == {"n": 1}
    player.loop.call_soon_threadsafe(go.set)
    assert json.loads(process.stdout.readline()) == {"n": 2}
    player.run(player.server.close())
    assert process.wait(5) == 3


def test_a_progress_bar_on_a_terminal(player: Player, start: Start) -> None:
    go = asyncio.Event()

    async def fetch(request: Request) -> Any:
        request.progress({"percent": 41, "bytes": 41 << 20, "total": 100 << 20})
        await go.wait()
        return {"tracks": 1, "bytes": 100 << 20, "failed": []}

    player.answers["fetch"] = fetch
    terminal = Terminal(start, "fetch", "x")
    text = terminal.until("41%  41.0 MiB of")
    assert "fetch [##" in text
    player.loop.call_soon_threadsafe(go.set)
    text = terminal.until(None)
    assert text.rstrip().endswith("\x1b[K1 track in the cache, 100.0 MiB fetched")
    terminal.close()
