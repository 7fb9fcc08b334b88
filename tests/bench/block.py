"""How long the player's event loop may keep a request waiting, while it plays, syncs, searches and fetches at once.

A process of its own asks for `status` over and over and notes how long each answer took. Another does the same at the
same time with an asyncio server that only answers, in a process beside the player: what that one shows is the machine,
not the player.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.bench._machine import line, load
from tests.bench._player import TRACKS, Control, Player, folder, sound
from tests.bench.pages import ROOT, serving

NAMES = ("loop_block",)
TARGET = 20.0  # ms
PAUSE = 0.001  # seconds between answer and next question: the asking must not be what keeps the loop busy
ROUNDS = 3


def run() -> Iterator[dict[str, Any]]:
    ours: list[float] = []
    echo: list[float] = []
    net: list[float] = []
    high: list[float] = []
    for _ in range(ROUNDS):
        mine, machine = _measure()
        ours.append(mine["longest"])
        echo.append(machine["longest"])
        net.append(max(0.0, mine["longest"] - machine["longest"]))
        high.append(mine["p999"])
    note = f"longest answer less the longest of an idle server of the same kind; {load()}"
    yield line("loop_block", net, "ms", target=TARGET, note=note, digits=1)
    yield line(
        "loop_block_answer",
        ours,
        "ms",
        peer="idle server",
        peer_values=echo,
        note="longest answer to `status`",
        digits=1,
    )
    yield line("loop_block_p999", high, "ms", note="99.9 % of the answers came within", digits=1)


def _measure() -> tuple[dict[str, float], dict[str, float]]:
    with contextlib.ExitStack() as stack:
        place = stack.enter_context(folder())
        port = stack.enter_context(serving(TRACKS, sound(place)))
        player = stack.enter_context(Player(place / "box", f"http://127.0.0.1:{port}"))
        server = stack.enter_context(_python("--echo", str(place / "echo")))
        assert server.stdout is not None
        server.stdout.readline()
        stack.callback(server.terminate)
        askers = [stack.enter_context(_python("--ask", str(p))) for p in (player.box.socket, place / "echo")]
        for asker in askers:
            stack.callback(asker.terminate)
        _work(player)
        found = []
        for asker in askers:
            assert asker.stdin is not None
            assert asker.stdout is not None
            asker.stdin.close()
            found.append(json.loads(asker.stdout.readline()))
        return found[0], found[1]


def _work(player: Player) -> None:
    """The first full sync, playing, fetching and searching, all at once, until the sync is done and a bit longer."""
    done = threading.Event()

    def search() -> None:
        with player.connect() as control:
            words = "love in the night"
            while not done.is_set():
                for length in range(1, len(words) + 1):
                    control.ask("search", words=words[:length])
                control.ask("browse", category="artist", offset=100)
                time.sleep(0.05)

    with player.connect() as control:
        while control.ask("status")["library"]["tracks"] < 1000:  # the first sync runs by itself
            time.sleep(0.02)
        control.ask("play", what="track:1")
        searching = threading.Thread(target=search)
        searching.start()
        try:
            control.ask("fetch", what="album:2")
            control.ask("sync")
            control.ask("sync", full=True)
            control.ask("next")
            time.sleep(1)
        finally:
            done.set()
            searching.join()


def _python(*arguments: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "tests.bench.block", *arguments]
    return subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


async def _echo(path: str) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.readline():
            writer.write(b'{"ok": {}}\n')
        writer.close()

    server = await asyncio.start_unix_server(answer, path)
    print("ready", flush=True)
    await server.serve_forever()


def _ask(path: Path) -> None:
    """Ask until standard input ends; then print the longest answer time and the one that 0.1 % exceed, in ms."""
    times: list[float] = []
    os.set_blocking(0, False)
    with contextlib.suppress(socket.timeout), Control(path) as control:
        while os.read(0, 1) != b"" if _readable() else True:
            before = time.perf_counter()
            control.ask("status")
            times.append((time.perf_counter() - before) * 1000)
            time.sleep(PAUSE)
    times.sort()
    print(json.dumps({"longest": times[-1], "p999": times[int(len(times) * 0.999)], "count": len(times)}), flush=True)


def _readable() -> bool:
    import select

    return bool(select.select([0], [], [], 0)[0])


if __name__ == "__main__":
    if sys.argv[1] == "--echo":
        asyncio.run(_echo(sys.argv[2]))
    else:
        _ask(Path(sys.argv[2]))
