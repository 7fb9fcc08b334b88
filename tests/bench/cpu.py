"""Processor time of player and engine while FLAC plays in real time into nothing, and while nothing happens."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from typing import Any

from tests.bench._machine import cpu, line, load
from tests.bench._peers import Mopidy, Mpd, have
from tests.bench._player import TRACKS, Player, database, folder, sound
from tests.bench.pages import serving

NAMES = ("cpu_playing", "cpu_idle")
PLAYING, IDLE = 60.0, 40.0  # seconds measured
SETTLE = 8.0  # seconds before: fetching, reading ahead


def run() -> Iterator[dict[str, Any]]:
    """All at the same time, so that they meet the same machine."""
    with contextlib.ExitStack() as stack:
        place = stack.enter_context(folder())
        port = stack.enter_context(serving(TRACKS, sound(place)))
        music = place / "music"
        music.mkdir()
        (music / "one.flac").symlink_to(sound(place))
        player = stack.enter_context(Player(place / "box", f"http://127.0.0.1:{port}", index=database(place)))
        control = stack.enter_context(player.connect())
        mpd = stack.enter_context(Mpd(place / "mpd", music, songs=TRACKS)) if have("mpd") else None
        mopidy = stack.enter_context(Mopidy(place / "mopidy", music)) if have("mopidy") else None
        groups = {"chadbox": player.pids, "mpd": mpd.pids if mpd else [], "mopidy": mopidy.pids if mopidy else []}
        time.sleep(SETTLE)
        idle = _used(groups, IDLE)
        control.ask("fetch", what="track:1")
        control.ask("play", what="track:1")
        if mpd:
            mpd.ask('add "one.flac"')
            mpd.ask("play")
        if mopidy:
            mopidy.ask("core.tracklist.add", uris=[(music / "one.flac").as_uri()])
            mopidy.ask("core.playback.play")
        time.sleep(SETTLE)
        playing = _used(groups, PLAYING)
        assert control.ask("status")["state"] == "playing"
        assert mpd is None or "state: play" in mpd.ask("status")
        assert mopidy is None or mopidy.ask("core.playback.get_state") == "playing"
    for name, target in (("mpd", 2.0), ("mopidy", None)):
        ours, theirs = [playing["chadbox"][0] * 36], [playing[name][0] * 36] if groups[name] else []
        limit = target * theirs[0] if target and theirs else None
        note = f"processor seconds for an hour; {_parts(playing['chadbox'])}; {load()}"
        ending = "" if name == "mpd" else f"_{name}"
        yield line(
            f"cpu_playing{ending}", ours, "s/h", target=limit, peer=name, peer_values=theirs, note=note, digits=1
        )
        ours, theirs = [idle["chadbox"][0]], [idle[name][0]] if groups[name] else []
        limit = 0.5 if name == "mpd" else None
        yield line(
            f"cpu_idle{ending}", ours, "%", target=limit, peer=name, peer_values=theirs, note=_parts(idle["chadbox"])
        )


def _parts(used: Sequence[float]) -> str:
    return f"player {used[1]:.2f} %, engine {used[2]:.2f} % of one core"


def _used(groups: dict[str, list[int]], seconds: float) -> dict[str, list[float]]:
    """Percent of one core that each group used over `seconds`: together, then each process."""
    began = time.monotonic()
    before = {pid: cpu([pid]) for pids in groups.values() for pid in pids}
    time.sleep(seconds)
    length = time.monotonic() - began
    each = {name: [(cpu([pid]) - before[pid]) / length * 100 for pid in pids] for name, pids in groups.items()}
    return {name: [sum(values), *values] for name, values in each.items()}
