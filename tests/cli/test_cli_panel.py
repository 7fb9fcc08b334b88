"""F7: the panel in a terminal, driven through a pty as a person does."""

from __future__ import annotations

import asyncio
import base64
import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from appliance.cli.panel import KEYS, split, together
from appliance.cli.screen import Frame, lines_of
from appliance.control.protocol import Request
from appliance.errors import ChadboxError
from tests.cli.conftest import COMMAND, Player

WORDS = ["Blåbærtur", "Sigur Rós", "playing, from cache"]


def frame(height: int = 64, level: str = "on", words: list[str] | None = None, lit: int = 0xFF) -> dict[str, Any]:
    """The upper left 8 x 8 pixels lit."""
    pages = bytes([lit] * 8) + bytes(16 * height - 8)
    return {
        "width": 128, "height": height, "level": level, "words": WORDS if words is None else words,
        "pages": base64.b64encode(pages).decode(),
    }  # fmt: skip


class Stream:
    """What the player's `panel` command says; `say` from the test, frames go to who is connected."""

    def __init__(self, player: Player) -> None:
        self._player = player
        self.keys: list[dict[str, Any]] = []
        self._pressed = asyncio.Queue[dict[str, Any]]()
        self._requests: list[Request] = []
        self._end = asyncio.Event()
        player.answers |= {"panel": self._panel, "panel_key": self._key}

    async def _panel(self, request: Request) -> Any:
        self._requests.append(request)
        request.event(frame())
        await self._end.wait()

    async def _key(self, request: Request) -> Any:
        self.keys.append(request.args)
        self._pressed.put_nowait(request.args)
        return {}

    def say(self, doc: dict[str, Any]) -> None:
        async def tell() -> None:
            for request in self._requests:
                request.event(doc)

        self._player.run(tell())

    def pressed(self) -> dict[str, Any]:
        """The next key that arrives."""
        found: dict[str, Any] = self._player.run(asyncio.wait_for(self._pressed.get(), 10))
        return found


class Term:
    """The command on a terminal of its own."""

    def __init__(self, environment: dict[str, str], rows: int, columns: int, *options: str) -> None:
        self.master, slave = pty.openpty()
        self.resize(rows, columns)
        self.before = termios.tcgetattr(slave)
        self.process = subprocess.Popen(
            [*COMMAND, "panel", *options], env=environment | {"TERM": "xterm"}, stdin=slave, stdout=slave,
            stderr=slave, start_new_session=True, preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )  # fmt: skip
        self._slave = slave
        self.seen = ""

    def resize(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, keys: str) -> None:
        os.write(self.master, keys.encode())

    def until(self, text: str, seconds: float = 20.0) -> str:
        deadline = time.monotonic() + seconds
        while text not in self.seen:
            assert time.monotonic() < deadline, f"{text!r} did not come: {self.seen[-2000:]!r}"
            if select.select([self.master], [], [], 0.1)[0]:
                self.seen += os.read(self.master, 65536).decode("utf-8", "replace")
        return self.seen

    def end(self) -> int:
        deadline = time.monotonic() + 10
        while self.process.poll() is None:
            assert time.monotonic() < deadline, "it does not end"
            if select.select([self.master], [], [], 0.05)[0]:
                self.seen += os.read(self.master, 65536).decode("utf-8", "replace")
        while select.select([self.master], [], [], 0)[0]:
            self.seen += os.read(self.master, 65536).decode("utf-8", "replace")
        return self.process.returncode

    @property
    def restored(self) -> bool:
        return termios.tcgetattr(self._slave) == self.before

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.master)
        os.close(self._slave)


Open = Callable[..., Term]


@pytest.fixture
def term(environment: dict[str, str]) -> Iterator[Open]:
    opened: list[Term] = []

    def start(rows: int = 40, columns: int = 140, *options: str, env: dict[str, str] | None = None) -> Term:
        opened.append(Term(environment | (env or {}), rows, columns, *options))
        return opened[-1]

    yield start
    for one in opened:
        one.close()


def test_it_draws_takes_keys_and_leaves_the_terminal_as_it_was(player: Player, term: Open) -> None:
    stream = Stream(player)
    shell = term()
    shell.until("████████")
    shell.until("q quit")
    for keys, doc in (
        ("\x1b[C", {"action": "scroll", "detents": 1, "steps": 1}),
        ("\x1b[A", {"action": "scroll", "detents": -1, "steps": -1}),
        ("\r", {"action": "select"}),
        ("\x7f", {"action": "back"}),
        (" ", {"action": "play_pause"}),
        ("+", {"action": "volume_up"}),
        ("\x1b[6~", {"action": "skip", "detents": 1, "steps": 1}),
    ):
        shell.type(keys)
        assert stream.pressed() == {"detents": 0, "steps": 0, "count": 0} | doc
    shell.type("q")
    assert shell.end() == 0
    assert "\x1b[?1049h" in shell.seen
    assert shell.seen.rstrip("\r\n").endswith("\x1b[?25h\x1b[?1049l")
    assert shell.restored


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_however_it_ends_the_terminal_is_restored(player: Player, term: Open, number: signal.Signals) -> None:
    Stream(player)
    shell = term()
    shell.until("q quit")
    if number == signal.SIGINT:
        shell.type("\x03")
    else:
        shell.process.send_signal(number)
    assert shell.end() == 128 + number
    assert "\x1b[?25h\x1b[?1049l" in shell.seen
    assert "Traceback" not in shell.seen
    assert shell.restored


def test_the_end_of_the_player_is_one_line_and_code_3(player: Player, term: Open) -> None:
    stream = Stream(player)
    shell = term()
    shell.until("q quit")
    player.run(player.server.close())
    assert shell.end() == 3
    assert "the player" in shell.seen.split("\x1b[?1049l")[-1]
    assert shell.restored
    del stream


def test_without_a_player_it_is_code_3(chadbox: Callable[..., subprocess.CompletedProcess[str]], term: Open) -> None:
    done = chadbox("panel")
    assert (done.returncode, done.stdout) == (3, "")
    shell = term()
    assert shell.end() == 3
    assert shell.restored


def test_nonsense_from_the_player_is_one_line(player: Player, term: Open) -> None:
    stream = Stream(player)
    shell = term()
    shell.until("q quit")
    stream.say(frame() | {"pages": "AAAA"})
    assert shell.end() == 1
    assert "makes no sense" in shell.seen
    assert shell.restored


def test_a_resize_draws_anew_and_smaller_windows_get_dots_or_words(player: Player, term: Open) -> None:
    Stream(player)
    shell = term()
    shell.until("████████")
    shell.seen = ""
    shell.resize(20, 70)
    shell.until("⣿⣿⣿⣿")
    shell.seen = ""
    shell.resize(10, 30)
    shell.until("Blåbærtur")


def test_ctrl_z_gives_the_terminal_back_and_fg_takes_it_again(player: Player, term: Open) -> None:
    stream = Stream(player)
    shell = term()
    shell.until("q quit")
    shell.process.send_signal(signal.SIGTSTP)
    shell.until("\x1b[?1049l")
    deadline = time.monotonic() + 10
    stat = f"/proc/{shell.process.pid}/stat"
    while (state := open(stat).read().rsplit(")", 1)[1].split()[0]) != "T":  # noqa: SIM115
        assert time.monotonic() < deadline, state
        time.sleep(0.01)
    assert shell.restored
    shell.seen = ""
    shell.process.send_signal(signal.SIGCONT)
    shell.until("q quit")
    shell.type("n")
    assert stream.pressed()["action"] == "next"


def test_plain_says_words_once_and_again_when_they_change(player: Player, start: Callable[..., Any]) -> None:
    stream = Stream(player)
    process = start("panel", "--plain")
    lines = [process.stdout.readline().decode().rstrip() for _ in range(3)]
    assert lines == WORDS
    stream.say(frame(lit=1))  # another picture, the same words
    stream.say(frame(words=["Blåbærtur", "paused\x1b[2J"]))
    assert process.stdout.readline().decode() == "paused\n"
    stream.say(frame(level="off", words=[]))
    assert process.stdout.readline().decode() == "(dark)\n"


def test_a_terminal_without_utf_8_gets_words(player: Player, term: Open) -> None:
    Stream(player)
    shell = term(40, 140, env={"PYTHONUTF8": "0", "PYTHONIOENCODING": "latin-1", "LC_ALL": "C"})
    shell.until("playing, from cache")
    assert "\x1b[?1049h" not in shell.seen


def test_a_dark_display_says_what_to_do(player: Player, term: Open) -> None:
    stream = Stream(player)
    shell = term()
    shell.until("q quit")
    stream.say(frame(level="off", words=[], lit=0))
    shell.until("a key wakes it")


# The parts ------------------------------------------------------------------------------------------------------------


def test_pictures_become_blocks_and_dots() -> None:
    doc = frame(32) | {"pages": base64.b64encode(bytes([0b1001, 0b0110]) + bytes(510)).decode()}
    picture = Frame(doc)
    assert picture.half_blocks()[0].startswith("▀▄ ")
    assert picture.half_blocks()[1].startswith("▄▀ ")
    assert (len(picture.half_blocks()), len(picture.half_blocks()[0])) == (16, 128)
    assert picture.braille()[0][0] == chr(0x2800 | 0x01 | 0x40 | 0x10 | 0x20)
    assert (len(picture.braille()), len(picture.braille()[0])) == (8, 64)
    dots = [chr(0x2800 | bit) for bit in (1, 2, 4, 0x40, 8, 0x10, 0x20, 0x80)]
    for n, char in enumerate(dots):
        column, row = divmod(n, 4)
        pages = bytearray(512)
        pages[column] = 1 << row
        assert Frame(doc | {"pages": base64.b64encode(pages).decode()}).braille()[0][0] == char


@pytest.mark.parametrize(("columns", "rows"), [(140, 40), (80, 24), (66, 18), (64, 16), (40, 3), (1, 1)])
@pytest.mark.parametrize("height", [64, 32])
def test_lines_fit_the_window(columns: int, rows: int, height: int) -> None:
    lines = lines_of(Frame(frame(height)), columns, rows)
    assert len(lines) <= rows
    assert all(len(line) <= columns for line in lines)


@pytest.mark.parametrize(
    "change", [{"pages": "!"}, {"pages": "AAAA"}, {"width": 0}, {"height": 10**9}, {"words": 3}, {"level": None}]
)
def test_frames_that_make_no_sense(change: dict[str, Any]) -> None:
    if change == {"level": None}:
        assert Frame(frame() | change).level == "None"
        return
    with pytest.raises(ChadboxError):
        Frame(frame() | change)
    with pytest.raises(ChadboxError):
        Frame([])


def test_keys_that_come_together() -> None:
    assert split("a\x1b[A\x1b[5~\x1bb\x1bOA\x1b") == ["a", "\x1b[A", "\x1b[5~", "\x1b", "b", "\x1bOA", "\x1b"]
    assert together("jjjk") == [
        {"action": "scroll", "detents": 3, "steps": 3}, {"action": "scroll", "detents": -1, "steps": -1},
    ]  # fmt: skip
    assert together("nxq") == [{"action": "next"}, None]
    assert together("\x1b[99;99x?") == []
    assert KEYS["j"]["detents"] == 1  # joining has not changed the table


def test_every_key_is_an_action_that_the_player_knows() -> None:
    from appliance.control.protocol import parse

    for doc in KEYS.values():
        import json

        assert parse(json.dumps({"cmd": "panel_key", "args": doc}).encode())[1]["action"] == doc["action"]


def test_the_help_names_the_keys() -> None:
    from appliance.cli.panel import HELP

    assert re.search(r"arrows.*enter.*backspace.*space.*n p.*m .*f .*q ", HELP)
