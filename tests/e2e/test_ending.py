"""Everything ends within two seconds when it is told to, whatever it is doing, and leaves nothing behind."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from appliance.demo.processes import chadbox, die_with_parent
from tests.e2e.conftest import NULL, Home
from tests.support.box import Box
from tests.support.processes import Alarm, descendants, end, wait_gone
from tests.support.proxy import Proxy

# SIGTERM and SIGINT take the same way, so the states take turns
SIGNALS = {
    "idle": signal.SIGTERM, "playing": signal.SIGINT, "paused": signal.SIGTERM, "buffering": signal.SIGINT,
    "fetching": signal.SIGTERM, "syncing": signal.SIGTERM, "no network": signal.SIGINT, "just started": signal.SIGINT,
}  # fmt: skip


@pytest.fixture
def tar_pit() -> Iterator[str]:
    """A server that takes connections and never says anything: its URL."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        held: list[socket.socket] = []

        def hold() -> None:
            while True:
                try:
                    held.append(listener.accept()[0])
                except OSError:
                    return

        threading.Thread(target=hold, daemon=True).start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)
        for one in held:
            one.close()


def ended(box: Box, number: int, processes: list[int]) -> None:
    """`number` ends the player within 2 s, and all that belonged to it."""
    assert box.player_process is not None
    began = time.monotonic()
    box.player_process.send_signal(number)
    try:
        code = box.player_process.wait(5)
    except subprocess.TimeoutExpired:
        raise AssertionError(f"it runs on\n{box.log('player')}") from None
    took = time.monotonic() - began
    assert took < 2.0, f"{took:.2f} s"
    assert code == 0
    for pid in processes:
        wait_gone(pid, max(0.1, 2.0 - took))
    assert not box.socket.exists()
    assert "Traceback" not in box.log("player", 1000), box.log("player", 100)


@pytest.mark.parametrize("state", SIGNALS)
def test_the_player_ends_in_every_state(home: Home, tmp_path: Path, proxy: Proxy, tar_pit: str, state: str) -> None:
    url = {"no network": "http://127.0.0.1:9", "syncing": tar_pit, "just started": tar_pit}.get(state, proxy.url)
    with home.player(tmp_path / "box", NULL, url=url) as box:
        background: subprocess.Popen[bytes] | None = None
        box.start_player(sync=False)
        if state in ("playing", "paused", "buffering", "fetching"):
            box.cli("sync")
            proxy.bandwidth = 200_000
        if state in ("playing", "paused", "buffering"):
            box.cli("play", home.track(home.large))
        if state == "playing":
            box.wait(lambda s: s["position"] > 0)
        elif state == "paused":
            box.cli("pause")
        elif state == "buffering":
            box.cli("seek", "30")
            box.wait(lambda s: s["state"] == "buffering")
        elif state == "fetching":
            background = subprocess.Popen(box.command("fetch", home.track(home.large)), stderr=subprocess.PIPE)
            box.wait(lambda s: s["counters"]["network_bytes"] > 0)
        elif state in ("syncing", "no network"):
            box.wait(lambda s: s["library"]["syncing"] if state == "syncing" else s["health"] == ["offline"])
            background = subprocess.Popen(box.command("sync"), stderr=subprocess.PIPE)
            time.sleep(0.3)  # the command is on its way; where exactly does not matter
        assert box.player_process is not None
        ended(box, SIGNALS[state], descendants(box.player_process.pid))
        if background is not None:
            _, said = background.communicate(timeout=3)
            assert background.returncode in (1, 3)
            assert said.startswith(b"chadbox: ")
            assert said.count(b"\n") == 1


def test_the_player_killed_leaves_no_engine(home: Home, start: Callable[..., Box]) -> None:
    box = start(NULL)
    box.cli("play", home.track(home.large))
    box.wait(lambda s: s["position"] > 0)
    assert box.player_process is not None
    below = descendants(box.player_process.pid)
    assert below
    box.player_process.kill()
    box.player_process.wait(2)
    for pid in below:
        wait_gone(pid, 2)
    assert box.socket.exists()  # stale: the next start takes it away
    box.start_player(sync=False)
    box.wait(lambda s: s["state"] == "playing", what="sound again")


@pytest.mark.parametrize(
    ("command", "number"),
    [
        (("status", "--watch"), signal.SIGINT),
        (("status", "--watch", "--json"), signal.SIGTERM),
        (("sync",), signal.SIGINT),
        (("fetch", "LARGE"), signal.SIGINT),
        (("fetch", "LARGE"), signal.SIGTERM),
        (("play", "nothing yet"), signal.SIGINT),
    ],
    ids=str,
)
def test_client_commands_end(
    home: Home, tmp_path: Path, proxy: Proxy, tar_pit: str, command: tuple[str, ...], number: int
) -> None:
    """While the player is waiting for the network on their behalf."""
    slow = command[0] in ("sync", "play")
    with home.player(tmp_path / "box", NULL, url=tar_pit if slow else proxy.url) as box:
        box.start_player(sync=False)
        if command[0] == "fetch":
            box.cli("sync")
            proxy.bandwidth = 100_000
            command = ("fetch", home.track(home.large))
        client = subprocess.Popen(
            box.command(*command), stdout=subprocess.PIPE, stderr=subprocess.PIPE, preexec_fn=die_with_parent
        )
        if command[0] == "fetch":
            box.wait(lambda s: s["counters"]["network_bytes"] > 0)
        elif command[0] == "status":
            assert client.stdout is not None
            with Alarm(client, 10):
                assert client.stdout.read(1)
        else:
            time.sleep(0.5)  # it waits for an answer that never comes
            assert client.poll() is None
        began = time.monotonic()
        client.send_signal(number)
        _, said = client.communicate(timeout=5)
        assert time.monotonic() - began < 2.0
        assert client.returncode in (0, 130, -signal.SIGTERM, 143)
        assert b"Traceback" not in said
        if command[0] == "fetch":  # who asked is gone: so is the job
            deadline = time.monotonic() + 3
            while any(job["state"] in ("queued", "running") for job in box.json("jobs")):
                assert time.monotonic() < deadline
                time.sleep(0.05)
        assert box.status()["state"] == "stopped"


def test_a_second_player_on_the_same_socket(home: Home, start: Callable[..., Box]) -> None:
    box = start(NULL)
    box.cli("play", home.track(home.large))
    done = subprocess.run(
        [*chadbox(), "--config", str(box.config), "run"], capture_output=True, text=True, timeout=20, check=False
    )
    assert done.returncode == 1
    lines = done.stderr.strip().splitlines()
    assert lines[-1].startswith("chadbox: ")
    assert "already running" in lines[-1]
    assert "Traceback" not in done.stderr
    assert box.wait(lambda s: s["position"] > 0.2)["state"] == "playing"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["TERM", "INT"])
@pytest.mark.parametrize("state", ["idle", "streaming", "scanning"])
def test_the_server_ends(home: Home, tmp_path: Path, state: str, number: int) -> None:
    box = Box(tmp_path, home.box.music, player=False)
    with box:
        assert box.server_process is not None
        if state == "streaming":
            box.wait_for_scan()
            token = box.token_file.read_text().strip()
            ids = box.album_id("Large")
            url = box.api(f"album/{ids}/tracks")["tracks"][0]["url"]
            stream = socket.create_connection(("127.0.0.1", int(box.server_url.rpartition(":")[2])))
            stream.sendall(f"GET {url} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n".encode())
            assert stream.recv(1000).startswith(b"HTTP/1.1 200")
        began = time.monotonic()
        box.server_process.send_signal(number)
        assert box.server_process.wait(5) == 0
        assert time.monotonic() - began < 2.0
        if state == "streaming":
            stream.close()
        assert "Traceback" not in box.log("server", 1000), box.log("server")


def test_ctrl_c_in_a_terminal_reaches_all_and_ends_all(home: Home, tmp_path: Path) -> None:
    """The terminal sends SIGINT to the whole foreground group at once."""
    with home.player(tmp_path / "box", NULL) as box:
        box.config.write_text(box.toml())
        process = subprocess.Popen(
            [*chadbox(), "--config", str(box.config), "run"], stderr=subprocess.PIPE, start_new_session=True,
            preexec_fn=die_with_parent,
        )  # fmt: skip
        try:
            deadline = time.monotonic() + 20
            while not box.socket.exists() or box.cli("status", code=None).returncode:
                assert time.monotonic() < deadline
                time.sleep(0.05)
            below = descendants(process.pid)
            os.killpg(process.pid, signal.SIGINT)
            began = time.monotonic()
            _, said = process.communicate(timeout=5)
            assert time.monotonic() - began < 2.0
            assert process.returncode == 0
            assert b"Traceback" not in said, said
            for pid in below:
                wait_gone(pid, 2)
        finally:
            end(process, 1)
