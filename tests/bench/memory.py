"""Memory of player and engine together, with 50,000 tracks in the index, while FLAC plays in real time.

What they would take (PSS) on a machine where nothing else maps the same libraries, as on a player; a second player or
libmpv beside it would make the kernel's own figure smaller by chance.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from tests.bench._machine import alone, line, load, pss
from tests.bench._peers import Mopidy, Mpd, have
from tests.bench._player import TRACKS, Player, database, folder, sound
from tests.bench.pages import serving

NAMES = ("memory_playing", "memory_after_sync")
TARGET = 90.0  # MiB
SETTLED = 8.0  # seconds into the track at which is measured


def run() -> Iterator[dict[str, Any]]:
    with folder() as place, serving(TRACKS, sound(place)) as port:
        url = f"http://127.0.0.1:{port}"
        music = place / "music"
        music.mkdir()
        (music / "one.flac").symlink_to(sound(place))
        peer: list[float] = []
        slow: list[float] = []
        if have("mpd"):
            with Mpd(place / "mpd", music, songs=TRACKS) as mpd:
                mpd.ask('add "one.flac"')
                mpd.ask("play")
                time.sleep(SETTLED)
                peer.append(alone(mpd.pids))
        if have("mopidy"):
            with Mopidy(place / "mopidy", music) as mopidy:
                mopidy.ask("core.tracklist.add", uris=[(music / "one.flac").as_uri()])
                mopidy.ask("core.playback.play")
                time.sleep(SETTLED)
                slow.append(alone(mopidy.pids))
        with Player(place / "box", url, index=database(place)) as player:
            ours, parts, now = _playing(player)
            note = f"player {parts[0]:.1f}, engine {parts[1]:.1f}; PSS {now:.1f} beside what else runs here; {load()}"
            yield line(
                "memory_playing", [ours], "MiB", target=TARGET, peer="mpd", peer_values=peer, note=note, digits=1
            )
        yield line(
            "memory_playing_mopidy", [ours], "MiB", peer="mopidy", peer_values=slow, note="peer without index", digits=1
        )
        with Player(place / "fresh", url) as player, player.connect() as control:
            control.ask("sync", full=True)
            ours, parts, now = _playing(player)
            note = f"the same process took in all {TRACKS} tracks; player {parts[0]:.1f}, engine {parts[1]:.1f}; "
            note += f"PSS {now:.1f} beside what else runs here; {load()}"
            yield line("memory_after_sync", [ours], "MiB", target=TARGET, note=note, digits=1)


def _playing(player: Player) -> tuple[float, list[float], float]:
    """MiB together, each, and together with what other programs share counted off."""
    with player.connect() as control:
        control.ask("play", what="track:1")
        control.ask("search", words="love in the")
    player.wait("playing", position=SETTLED)
    return alone(player.pids), [alone([pid]) for pid in player.pids], pss(player.pids)
