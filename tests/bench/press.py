"""From a press to the first sample at the sound card (see _ear.py), the same way for mpd.

Both are stopped and let go of the card between two presses, so each press opens the file and the card. Cached: the file
is on disk. Over the network: the same line of 100 ms a round trip for both, and a track never heard before.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests.bench._ear import Ear
from tests.bench._machine import line, load
from tests.bench._peers import Mpd, have
from tests.bench._player import TRACKS, Player, database, folder, sound
from tests.bench.pages import serving
from tests.support.proxy import Proxy

NAMES = ("press_cached", "press_network", "press_network_first", "press_command")
RUNS = 11
ROUND_TRIP = 0.1  # seconds


def run() -> Iterator[dict[str, Any]]:
    with contextlib.ExitStack() as stack:
        place = stack.enter_context(folder())
        port = stack.enter_context(serving(TRACKS, sound(place)))
        proxy = stack.enter_context(Proxy(f"http://127.0.0.1:{port}", delay=ROUND_TRIP / 2))
        ear = stack.enter_context(Ear(place, "ours"))
        os.environ["ALSA_CONFIG_PATH"] = str(ear.settings)  # the player passes it on to its engine
        stack.callback(os.environ.pop, "ALSA_CONFIG_PATH")
        player = stack.enter_context(Player(place / "box", proxy.url, output="alsa", index=database(place)))
        control = stack.enter_context(player.connect())
        mpd = mpd_ear = None
        if have("mpd"):
            mpd_ear = stack.enter_context(Ear(place, "mpd"))
            mpd = stack.enter_context(_mpd(place, mpd_ear))
        control.ask("fetch", what="track:1")

        def press(what: str) -> float:
            return _heard(ear, lambda: control.ask("play", what=what), lambda: control.ask("stop"))

        def peer(song: str) -> float:
            assert mpd is not None
            assert mpd_ear is not None
            mpd.ask("clear")
            mpd.ask(f'add "{song}"')
            return _heard(mpd_ear, lambda: mpd.ask("play"), lambda: mpd.ask("stop"))

        cached: list[float] = []
        theirs: list[float] = []
        for _ in range(RUNS + 1):
            cached.append(press("track:1"))
            if mpd:
                theirs.append(peer("one.flac"))
        del cached[0], theirs[:1]  # the first of each loads code from disk
        yield line("press_cached", cached, "s", peer="mpd", peer_values=theirs, note=load()) | _twice(theirs)
        commands = [
            _heard(ear, lambda: _cli(player, "play", "track:1"), lambda: control.ask("stop")) for _ in range(RUNS)
        ]
        yield line("press_command", commands, "s", note=f"`chadbox play` from the shell; {load()}")
        warm: list[float] = []
        theirs = []
        for number in range(RUNS):
            control.ask("fetch", what=f"track:{3000 + number}")  # the line is warm, as it is while music plays
            warm.append(press(f"track:{2000 + number * 40}"))
            if mpd:
                theirs.append(peer(f"{proxy.url}/music/{4000 + number}/01.flac"))
        trip = statistics.median(_bare(proxy.url, RUNS))
        note = f"target: cached + one round trip, {trip:.3f} s for a bare socket; connection open; {load()}"
        target = statistics.median(cached) + trip
        yield line("press_network", warm, "s", target=target, peer="mpd", peer_values=theirs, note=note)


def _bare(url: str, times: int) -> Iterator[float]:
    """Seconds from a request on an open connection to the first bytes of the file: line, proxy and server alone."""
    parts = urlsplit(url)
    line = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=10)
    with contextlib.closing(line):
        for number in range(times + 1):
            before = time.perf_counter()
            line.request("GET", f"/music/{5000 + number}/01.flac", headers={"Range": "bytes=0-262143"})
            answer = line.getresponse()
            assert answer.read(4096), answer.status
            if number:  # the first opens the connection
                yield time.perf_counter() - before
            answer.read()


def _twice(theirs: list[float]) -> dict[str, Any]:
    return {"target": round(2 * sorted(theirs)[len(theirs) // 2], 3)} if theirs else {}


def _mpd(place: Path, ear: Ear) -> Mpd:
    music = place / "music"
    music.mkdir()
    (music / "one.flac").symlink_to(sound(place))
    return Mpd(place / "mpd", music, 'type "alsa"\ndevice "default"', alsa=ear.settings)


def _heard(ear: Ear, press: Callable[[], Any], stop: Callable[[], Any]) -> float:
    """Seconds from sending the command to the first sample."""
    ear.arm()
    before = time.perf_counter()
    press()
    after = ear.first()
    stop()
    return after - before


def _cli(player: Player, *arguments: str) -> None:
    subprocess.run(player.box.command(*arguments), stdout=subprocess.DEVNULL, check=True, timeout=30)
