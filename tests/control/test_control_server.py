"""The control socket against raw clients: what is spoken, who may connect, and what a bad client cannot do (A2, R6)."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from appliance.control import connection, protocol, server
from appliance.control.protocol import MAX_REQUEST, Handler, Request
from appliance.control.server import AlreadyRunning, ControlServer
from appliance.errors import ChadboxError, NotFound


async def echo(request: Request) -> Any:
    return {"cmd": request.cmd, "args": request.args}


@asynccontextmanager
async def serving(path: Path, handlers: Mapping[str, Handler]) -> AsyncIterator[ControlServer]:
    control = ControlServer(path, handlers)
    await control.start()
    try:
        yield control
    finally:
        async with asyncio.timeout(2):
            await control.close()


def looked_at(path: Path) -> os.stat_result:
    return os.stat(path, follow_symlinks=False)


class Raw:
    """A client that sends what it is told to."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def connect(cls, path: Path) -> Raw:
        return cls(*await asyncio.open_unix_connection(str(path), limit=1 << 26))

    def send(self, cmd: str, **args: Any) -> None:
        self.writer.write(json.dumps({"cmd": cmd, "args": args}).encode() + b"\n")

    async def line(self, *, alive: bool = False) -> Any:
        """The next line, None at the end."""
        while True:
            async with asyncio.timeout(5):
                raw = await self.reader.readline()
            doc = json.loads(raw) if raw else None
            if alive or doc is None or "alive" not in doc:
                return doc

    async def ask(self, cmd: str, **args: Any) -> Any:
        self.send(cmd, **args)
        return await self.line()

    def close(self) -> None:
        self.writer.transport.abort()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "er" / "control.sock"


async def test_one_connection_carries_several_requests(path: Path) -> None:
    async with serving(path, {"play": echo, "status": echo}):
        raw = await Raw.connect(path)
        assert await raw.ask("status") == {"ok": {"cmd": "status", "args": {}}}
        raw.send("play", what="album:1")
        raw.writer.write(b"\n" + b'{"cmd": "status"}\n')  # the next one sent ahead, an empty line between
        assert await raw.line() == {"ok": {"cmd": "play", "args": {"what": "album:1"}}}
        assert await raw.line() == {"ok": {"cmd": "status", "args": {}}}
        raw.close()


async def test_the_socket_is_for_one_group_and_goes_away(path: Path) -> None:
    async with serving(path, {}):
        mode = looked_at(path).st_mode
        assert stat.S_ISSOCK(mode)
        assert stat.S_IMODE(mode) == 0o660
    with pytest.raises(FileNotFoundError):
        looked_at(path)


async def test_the_socket_is_given_to_the_group(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import grp

    mine = grp.getgrgid(os.getgroups()[-1] if os.getgroups() else os.getgid())
    other = next((g for g in grp.getgrall() if g.gr_gid not in (os.getgid(), 0)), mine) if os.getuid() == 0 else mine
    monkeypatch.setattr(server, "GROUP", other.gr_name)
    async with serving(path, {}):
        assert looked_at(path).st_gid == other.gr_gid


@pytest.mark.parametrize(
    ("cmd", "args", "seen"),
    [
        ("play", {}, {}),
        ("seek", {"seconds": -10}, {"seconds": -10.0, "relative": False}),
        ("volume", {}, {"relative": False}),
        ("queue_move", {"from": 2, "to": 0}, {"from": 2, "to": 0}),
        ("search", {"words": "x"}, {"words": "x", "limit": 20}),
        ("browse", {"category": "artist"}, {"category": "artist", "offset": 0, "limit": 100}),
        ("status", {"of_a_later_version": 1}, {}),
    ],
)
async def test_arguments_reach_the_handler_complete(path: Path, cmd: str, args: dict[str, Any], seen: Any) -> None:
    async with serving(path, {cmd: echo}):
        raw = await Raw.connect(path)
        assert (await raw.ask(cmd, **args))["ok"]["args"] == seen
        raw.close()


@pytest.mark.parametrize(
    ("cmd", "args", "names"),
    [
        ("seek", {}, "seconds"),
        ("seek", {"seconds": "ten"}, "seconds"),
        ("seek", {"seconds": 1e300}, "seconds"),
        ("queue_remove", {"index": -1}, "index"),
        ("queue_repeat", {"mode": "twice"}, "mode"),
        ("queue_move", {"from": 1}, "to"),
        ("play", {"what": ""}, "what"),
    ],
)
async def test_bad_arguments_are_named(path: Path, cmd: str, args: dict[str, Any], names: str) -> None:
    async with serving(path, {cmd: echo}):
        raw = await Raw.connect(path)
        error = (await raw.ask(cmd, **args))["error"]
        assert (error["code"], error["exit"]) == ("usage", 2)
        assert names in error["message"]
        raw.close()


@pytest.mark.parametrize(
    "line",
    [
        b"hello\n",
        b"\xff\xfe\x00\n",
        b"[]\n",
        b'{"cmd": 5}\n',
        b'{"cmd": "status", "args": []}\n',
        b'{"args": {}}\n',
        b"[" * 60_000 + b"\n",
        b'{"cmd": "no_such"}\n',
        b'{"cmd": "\\u001b[31m' + b"x" * 5000 + b'"}\n',
    ],
)
async def test_a_bad_line_gets_an_error_and_the_connection_lives(path: Path, line: bytes) -> None:
    async with serving(path, {"status": echo}):
        raw = await Raw.connect(path)
        raw.writer.write(line)
        error = (await raw.line())["error"]
        assert error["code"] == "bad_request"
        assert len(error["message"]) < 1100
        assert "ok" in await raw.ask("status")
        raw.close()


async def test_a_megabyte_of_garbage_is_refused_and_others_are_served(path: Path) -> None:
    async with serving(path, {"status": echo}):
        raw = await Raw.connect(path)
        raw.writer.write(b"\x1b]0;" * (1 << 18))
        assert str(MAX_REQUEST) in (await raw.line())["error"]["message"]
        other = await Raw.connect(path)
        assert "ok" in await other.ask("status")
        raw.writer.write_eof()
        assert await raw.line() is None
        other.close()


async def test_errors_become_lines(path: Path) -> None:
    async def missing(request: Request) -> Any:
        raise NotFound("no album 5;\n try `search`")

    async def broken(request: Request) -> Any:
        raise RuntimeError("the token is hunter2")

    async def cancelled(request: Request) -> Any:
        raise asyncio.CancelledError

    async def not_json(request: Request) -> Any:
        return {"x": object()}

    def sync_broken(request: Request) -> Any:
        raise KeyError("x")

    handlers = {"a": missing, "b": broken, "c": cancelled, "d": not_json, "e": sync_broken}
    async with serving(path, handlers):
        raw = await Raw.connect(path)
        expected = {"code": "not_found", "message": "no album 5; try `search`", "exit": 1}
        assert (await raw.ask("a"))["error"] == expected
        for cmd in "bcde":
            error = (await raw.ask(cmd))["error"]
            assert (error["code"], error["exit"]) == ("stopping" if cmd == "c" else "internal", 1)
            assert "hunter2" not in error["message"]
        raw.close()


async def test_an_internal_error_is_logged_with_its_traceback(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def broken(request: Request) -> Any:
        raise RuntimeError("why")

    async with serving(path, {"b": broken}):
        raw = await Raw.connect(path)
        await raw.ask("b")
        raw.close()
    assert any(r.exc_info and "why" in str(r.exc_info[1]) for r in caplog.records)


async def test_names_that_are_not_utf8_still_make_json(path: Path) -> None:
    async def names(request: Request) -> Any:
        return ["Bj\udcf6rk"]

    async with serving(path, {"x": names}):
        raw = await Raw.connect(path)
        assert await raw.ask("x") == {"ok": ["Bj\udcf6rk"]}
        raw.close()


async def test_progress_comes_before_the_result(path: Path) -> None:
    step = asyncio.Event()

    async def work(request: Request) -> Any:
        request.progress({"percent": 10})
        await step.wait()
        for n in range(20, 100):
            request.progress({"percent": n})
        return "done"

    async with serving(path, {"w": work}):
        raw = await Raw.connect(path)
        assert await raw.ask("w") == {"progress": {"percent": 10}}
        step.set()
        assert await raw.line() == {"progress": {"percent": 99}}  # the newest alone: nobody had time to read the others
        assert await raw.line() == {"ok": "done"}
        raw.close()


async def test_what_was_not_sent_yet_comes_before_the_result(path: Path) -> None:
    """The handler is done while its first event still waits for the reader."""
    done = asyncio.Event()

    async def work(request: Request) -> Any:
        for n in range(3):
            request.event([n, "x" * 3_000_000])
            await asyncio.sleep(0)
        done.set()
        return "done"

    async with serving(path, {"w": work}):
        raw = await Raw.connect(path)
        raw.send("w")
        await done.wait()
        lines = [await raw.line() for _ in range(4)]
        assert [line["event"][0] for line in lines[:3]] == [0, 1, 2]
        assert lines[3] == {"ok": "done"}
        raw.close()


async def test_a_client_that_goes_cancels_its_handler(path: Path) -> None:
    begun, ended = asyncio.Event(), asyncio.Event()

    async def work(request: Request) -> Any:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async with serving(path, {"w": work}):
        raw = await Raw.connect(path)
        raw.send("w")
        await asyncio.wait_for(begun.wait(), 5)
        raw.close()
        await asyncio.wait_for(ended.wait(), 1)


async def test_a_client_that_only_stops_writing_gets_its_answer(path: Path) -> None:
    """`echo ... | socat - UNIX:...` closes its writing half at once."""
    step = asyncio.Event()

    async def work(request: Request) -> Any:
        await step.wait()
        return 1

    async with serving(path, {"w": work}):
        raw = await Raw.connect(path)
        raw.send("w")
        raw.writer.write_eof()
        await asyncio.sleep(0.05)  # for the server to see the end of the requests
        step.set()
        assert await raw.line() == {"ok": 1}
        assert await raw.line() is None


async def test_a_long_command_is_heard_to_be_alive(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "ALIVE_SECONDS", 0.05)
    async with serving(path, {"w": lambda _: asyncio.Event().wait()}):
        raw = await Raw.connect(path)
        raw.send("w")
        for _ in range(3):
            assert await raw.line(alive=True) == {"alive": True}
        raw.close()


async def test_a_slow_reader_holds_up_nobody_and_misses_old_events(path: Path) -> None:
    """100 MB of events for a client that does not read: the handler never waits, memory stays bounded."""
    payload = "x" * 10_000
    sent = asyncio.Event()

    async def watch(request: Request) -> Any:
        for n in range(10_000):
            request.event({"n": n, "payload": payload})
            if n % 100 == 0:
                await asyncio.sleep(0)
        sent.set()
        await asyncio.Event().wait()

    async with serving(path, {"watch": watch, "status": echo}):
        slow = socket.socket(socket.AF_UNIX)
        slow.setblocking(False)
        slow.connect(str(path))
        slow.send(b'{"cmd": "watch"}\n')
        await asyncio.wait_for(sent.wait(), 10)
        other = await Raw.connect(path)
        assert "ok" in await asyncio.wait_for(other.ask("status"), 1)
        other.close()
        loop = asyncio.get_running_loop()
        data = bytearray()
        while not data.endswith(b"\n") or json.loads(data.splitlines()[-1]).get("event", {}).get("n") != 9_999:
            data += await asyncio.wait_for(loop.sock_recv(slow, 1 << 20), 5)
        slow.close()
        seen = [json.loads(line)["event"]["n"] for line in data.splitlines() if b"event" in line]
        assert seen == sorted(seen)
        assert len(seen) < 1000


async def test_a_reader_that_never_takes_its_answer_is_dropped(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "SEND_SECONDS", 0.1)

    begun = asyncio.Event()

    async def big(request: Request) -> Any:
        begun.set()
        return "x" * 10_000_000

    async with serving(path, {"big": big}) as control:
        stuck = socket.socket(socket.AF_UNIX)
        stuck.connect(str(path))
        stuck.send(b'{"cmd": "big"}\n')
        async with asyncio.timeout(5):
            await begun.wait()
            await asyncio.wait(control._tasks)
        stuck.close()


async def test_closing_ends_every_handler_within_two_seconds(path: Path) -> None:
    ended = []

    async def stubborn(request: Request) -> Any:
        request.progress({"percent": 0})
        while True:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                ended.append(1)
                if len(ended) > 3:
                    raise

    async with serving(path, {"w": stubborn}) as control:
        clients = [await Raw.connect(path) for _ in range(3)]
        for raw in clients:
            assert "progress" in await raw.ask("w")
        async with asyncio.timeout(2):
            await control.close()
        assert len(ended) >= 3
        for raw in clients:
            assert await raw.line() is None


async def test_too_many_clients_are_told_so(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "MAX_CLIENTS", 2)
    async with serving(path, {"status": echo}):
        clients = [await Raw.connect(path) for _ in range(2)]
        for raw in clients:
            assert "ok" in await raw.ask("status")
        third = await Raw.connect(path)
        assert (await third.line())["error"]["code"] == "busy"
        for raw in (*clients, third):
            raw.close()


async def test_an_idle_client_does_not_stay_for_ever(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "IDLE_SECONDS", 0.05)
    async with serving(path, {}):
        raw = await Raw.connect(path)
        assert await raw.line() is None


async def test_a_second_player_is_refused_and_the_first_lives(path: Path) -> None:
    async with serving(path, {"status": echo}):
        with pytest.raises(AlreadyRunning, match="already running"):
            await ControlServer(path, {}).start()
        raw = await Raw.connect(path)
        assert "ok" in await raw.ask("status")
        raw.close()


async def test_of_many_that_start_together_one_wins(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path.parent.mkdir(parents=True)
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(path))
    listen = ControlServer._listen

    def slowly(self: ControlServer, address: bytes) -> socket.socket:
        time.sleep(0.05)  # between the look at the old socket and the new one, where two could meet
        return listen(self, address)

    monkeypatch.setattr(ControlServer, "_listen", slowly)
    controls = [ControlServer(path, {"status": echo}) for _ in range(8)]
    results = await asyncio.gather(*(control.start() for control in controls), return_exceptions=True)
    assert [type(r) for r in results if r is not None] == [AlreadyRunning] * 7
    raw = await Raw.connect(path)
    assert "ok" in await raw.ask("status")
    raw.close()
    for control in controls:
        await control.close()


async def test_the_socket_of_a_killed_player_is_replaced(path: Path) -> None:
    code = (
        "import asyncio, sys\nfrom appliance.control.server import ControlServer\n"
        "async def main():\n    await ControlServer(sys.argv[1], {}).start()\n    print('up', flush=True)\n"
        "    await asyncio.Event().wait()\nasyncio.run(main())\n"
    )
    root = Path(protocol.__file__).parents[2]
    process = subprocess.Popen(  # noqa: ASYNC220
        [sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, env=os.environ | {"PYTHONPATH": str(root)}
    )
    assert process.stdout is not None
    with process.stdout:
        assert process.stdout.readline() == b"up\n"
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert stat.S_ISSOCK(looked_at(path).st_mode)
    async with serving(path, {"status": echo}):
        raw = await Raw.connect(path)
        assert "ok" in await raw.ask("status")
        raw.close()


def test_what_is_not_a_socket_is_left_alone(path: Path) -> None:
    path.parent.mkdir(parents=True)
    path.write_text("precious")
    with pytest.raises(ChadboxError, match="is not a socket"):
        asyncio.run(ControlServer(path, {}).start())
    assert path.read_text() == "precious"


async def test_closing_leaves_the_socket_of_a_later_player(path: Path) -> None:
    first = ControlServer(path, {})
    await first.start()
    os.unlink(path)
    async with serving(path, {"status": echo}):
        await first.close()
        raw = await Raw.connect(path)
        assert "ok" in await raw.ask("status")
        raw.close()


async def test_a_path_that_cannot_be_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(ChadboxError, match="at most 107 bytes"):
        await ControlServer(tmp_path / ("x" * 200), {}).start()
    (tmp_path / "file").write_text("")
    with pytest.raises(ChadboxError, match="cannot be made"):
        await ControlServer(tmp_path / "file" / "sock", {}).start()
