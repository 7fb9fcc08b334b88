"""From nothing to ready, and one `chadbox status`: with 50,000 tracks in the index, files in the kernel's cache."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from typing import Any

from tests.bench._machine import line, load
from tests.bench._peers import Mopidy, Mpd, have
from tests.bench._player import TRACKS, Player, database, folder, sound
from tests.bench.pages import serving

NAMES = ("start_ready", "start_sounding", "cli_status")
RUNS = 7


def run() -> Iterator[dict[str, Any]]:
    with folder() as place, serving(TRACKS, sound(place)) as port:
        player = Player(place / "box", f"http://127.0.0.1:{port}", index=database(place))
        music = place / "music"
        music.mkdir()
        (music / "one.flac").symlink_to(sound(place))
        mpd = Mpd(place / "mpd", music, songs=TRACKS) if have("mpd") else None
        ours: list[float] = []
        theirs: list[float] = []
        for _ in range(RUNS):  # in turn, so that a busy moment of the machine meets both
            with player:
                ours.append(player.ready)
            if mpd:
                with mpd:
                    theirs.append(mpd.ready)
        note = f"process start to READY=1; peer to its greeting; {load()}"
        yield line("start_ready", ours, "s", target=0.5, peer="mpd", peer_values=theirs, note=note)
        if have("mopidy"):
            slow = [_ready(Mopidy(place / "mopidy", music)) for _ in range(2)]
            yield line(
                "start_ready_mopidy", ours, "s", peer="mopidy", peer_values=slow, note="peer to its first answer"
            )
        sounding: list[float] = []
        with player, player.connect() as control:
            control.ask("fetch", what="track:1")
            control.ask("play", what="track:1")
            player.wait("playing", position=1.0)
        for _ in range(RUNS):
            before = time.perf_counter()
            with player:
                at = _position(player)
                player.wait("playing", position=at + 0.01)
                sounding.append(time.perf_counter() - before)
        yield line("start_sounding", sounding, "s", note=f"process start to a moving position from the cache; {load()}")
        with player:
            yield from _status(player, mpd)


def _position(player: Player) -> float:
    with player.connect() as control:
        return float(control.ask("status")["position"])


def _ready(peer: Mopidy) -> float:
    with peer:
        return peer.ready


def _status(player: Player, mpd: Mpd | None) -> Iterator[dict[str, Any]]:
    ours = [_timed(player.box.command("status")) for _ in range(RUNS * 2)]
    theirs: list[float] = []
    if mpd and have("mpc"):
        with mpd:
            theirs = [_timed(["mpc", "--host", str(mpd.socket), "status"]) for _ in range(RUNS * 2)]
    yield line("cli_status", ours, "s", target=0.1, peer="mpc", peer_values=theirs, note=load())
    bare = [_timed([player.box.command()[0], "-c", "pass"]) for _ in range(RUNS)] if _is_python(player) else []
    if bare:
        yield line("cli_status_interpreter", bare, "s", note="the interpreter alone, doing nothing")


def _is_python(player: Player) -> bool:
    return "python" in player.box.command()[0].rpartition("/")[2]


def _timed(command: list[str], check: Callable[..., Any] = subprocess.run) -> float:
    before = time.perf_counter()
    check(command, stdout=subprocess.DEVNULL, check=True, timeout=30)
    return time.perf_counter() - before
