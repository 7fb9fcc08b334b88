"""The demo's own promises: what it says when something fails, and that it leaves nothing behind."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.processes import wait_gone

# stands where `chadbox` would be started: a server that breaks in the way named, with a child of its own
STAND_IN = """
import pathlib, signal, subprocess, sys, time
way, pids = sys.argv[1], pathlib.Path(sys.argv[2])
if way == "dies":
    sys.exit("chadbox: the music folder is on fire")
if way == "stubborn":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
pids.with_suffix(".new").write_text(f"{__import__('os').getpid()} {child.pid}")
pids.with_suffix(".new").rename(pids)
if way == "nonsense":
    print("hello", flush=True)
time.sleep(60)
"""


class Demo:
    def __init__(self, tmp_path: Path) -> None:
        self.home, self.pids, self._started = tmp_path / "a demo", tmp_path / "pids", list[subprocess.Popen[str]]()
        self.music = tmp_path / "music"
        self.music.mkdir()

    def start(self, way: str) -> subprocess.Popen[str]:
        replace = f"session.chadbox = lambda: [sys.executable, '-c', {STAND_IN!r}, {way!r}, {str(self.pids)!r}]"
        code = f"import sys; from appliance.demo import __main__ as demo, session; {replace}; sys.exit(demo.main())"
        options = ["--headless", "--music", str(self.music), "--dir", str(self.home)]
        process = subprocess.Popen(
            [sys.executable, "-c", code, *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self._started.append(process)
        return process

    def children(self) -> list[int]:
        deadline = time.monotonic() + 20
        while not self.pids.exists():
            assert time.monotonic() < deadline, "the stand-in was never started"
            time.sleep(0.02)
        return [int(pid) for pid in self.pids.read_text().split()]

    def close(self) -> None:
        for process in self._started:
            process.kill()
            process.communicate()
        if self.pids.exists():
            for pid in self.children():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[Demo]:
    demo = Demo(tmp_path)
    yield demo
    demo.close()


@pytest.mark.parametrize("way", ["silent", "stubborn"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_everything_within_two_seconds(demo: Demo, way: str, number: signal.Signals) -> None:
    process = demo.start(way)
    children = demo.children()
    began = time.monotonic()
    process.send_signal(number)
    _, said = process.communicate(timeout=10)
    assert time.monotonic() - began < 2
    assert process.returncode == 128 + number
    assert "Traceback" not in said
    for pid in children:
        wait_gone(pid, 0.2)
    assert not list(demo.home.glob("run-*"))


def test_the_server_goes_even_when_the_demo_is_killed(demo: Demo) -> None:
    process = demo.start("silent")
    server, _ = demo.children()
    process.kill()
    wait_gone(server, 2)


def test_a_server_that_dies_is_one_line_with_its_last_words(demo: Demo) -> None:
    process = demo.start("dies")
    _, said = process.communicate(timeout=20)
    assert process.returncode == 1
    assert said.startswith("demo: server ended with 1: chadbox: the music folder is on fire")
    assert said.count("\n") == 1


def test_a_server_that_says_something_else_is_one_line(demo: Demo) -> None:
    process = demo.start("nonsense")
    _, said = process.communicate(timeout=20)
    assert (process.returncode, said.count("\n")) == (1, 1)
    assert "expected `listening on URL`, got `hello`" in said


def test_two_in_one_place_do_not_mix(demo: Demo) -> None:
    demo.start("silent")
    demo.children()
    _, said = (second := demo.start("silent")).communicate(timeout=20)
    assert second.returncode == 1
    assert "another demo is running" in said


@pytest.mark.parametrize(
    "options",
    [
        ["--seconds", "5"],
        ["--headless", "--seconds", "0"],
        ["--headless", "--seconds", "x"],
        ["--music", "/nowhere"],
        ["--x"],
    ],
)
def test_wrong_use_is_exit_code_2(options: list[str], tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "appliance.demo", "--dir", str(tmp_path), *options],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_headless_makes_sound_twice_in_a_row(tmp_path: Path, small: Path) -> None:
    """The whole product: server, player, engine, command line (P1, P5)."""
    shutil.copytree(small, tmp_path / "music")
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-m", "appliance.demo", "--headless", "--seconds", "12", "--dir", str(tmp_path)],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=100, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        result = json.loads(done.stdout)
        assert done.stdout.count("\n") == 1
        assert result["ok"]
        assert result["seconds"] >= 12
        assert result["peak"] > 0.05
        assert result["played"]
        assert result["refetched_bytes"] == 0
        assert 0 < result["network_bytes"] <= result["track_bytes"]
