"""Consecutive tracks come out as one unbroken signal, in every format, whatever the queue and the network do (P1)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from tests.e2e.conftest import Home
from tests.support import tones, wavs
from tests.support.box import Box
from tests.support.proxy import Proxy
from tests.support.wavs import Samples

# What fits into one WAV file: its rate and sample format are those of the first track.
GROUPS = {
    "44.1 kHz": ("flac", "alac", "wav", "aiff", "mp3", "vorbis", "aac"),
    "96 kHz": ("flac24",),
    "48 kHz": ("opus",),
}


class Ear:
    """Hears what a player has put out since it was asked last."""

    def __init__(self, box: Box) -> None:
        self.box, self.heard = box, 0

    def played(self) -> Samples:
        """What sounded until the queue came to its end."""
        self.box.wait(lambda s: s["state"] == "stopped", 30, "the end of the queue")
        data = wavs.read(self.box.wav).data
        fresh, self.heard = data[self.heard :], len(data)
        return fresh


def check(album: tones.Album, got: Samples, order: Sequence[int] = range(5)) -> None:
    """`got` is the tracks of `album` in `order`, each whole, one right after the other."""
    expected = np.concatenate([album.part(n) for n in order])
    if album.form.lossless:
        assert (d := wavs.difference(expected, got, album.form.rate)) is None, f"{album.form.name}: {d}"
        return
    assert len(got) == len(expected), f"{album.form.name}: {len(got) - len(expected):+d} frames"
    at = 0
    for n in order:
        part = album.part(n)
        place, likeness = wavs.align(part, got, at=at, window=3000)
        assert (place, likeness > 0.98) == (at, True), f"{album.form.name}: part {n} at {place - at:+d}, {likeness:.4f}"
        at += len(part)


def order_of(album: tones.Album, got: Samples) -> list[int]:
    """In which order the tracks were played, found by their beginnings."""
    order, at = [], 0
    while at < len(got):
        scores = [wavs.align(album.part(n)[:4000], got[at : at + 4000], window=0)[1] for n in range(5)]
        order.append(int(np.argmax(scores)))
        at += len(album.part(order[-1]))
    return order


@pytest.mark.parametrize("group", GROUPS)
def test_an_album_is_one_signal(home: Home, start: Callable[..., Box], group: str) -> None:
    ear = Ear(start())
    for name in GROUPS[group]:
        album = home.albums[name]
        ear.box.cli("play", home.what(album))
        check(album, ear.played())
    assert ear.box.status()["health"] == ["ok"]
    ear.box.stop_player()
    assert wavs.header_frames(ear.box.wav) == ear.heard  # the file is whole for other programs too


@pytest.mark.parametrize("group", GROUPS)
def test_the_same_track_twice_in_a_row_and_repeated_albums(home: Home, start: Callable[..., Box], group: str) -> None:
    ear = Ear(start())
    for name in (n for n in GROUPS[group] if n not in ("wav", "aiff", "vorbis")):
        album = home.albums[name]
        ear.box.cli("queue", "clear")
        for n in (1, 1, 2, 1, 1):
            ear.box.cli("queue", "add", home.track(album, n))
        ear.box.cli("play")
        check(album, ear.played(), (1, 1, 2, 1, 1))


def test_shuffle_plays_every_track_once_and_whole(home: Home, start: Callable[..., Box]) -> None:
    ear = Ear(start())
    ear.box.cli("queue", "shuffle", "on")
    orders = []
    for name in ("flac", "alac", "wav", "mp3", "aac"):
        album = home.albums[name]
        ear.box.cli("play", home.what(album))
        got = ear.played()
        orders.append(order_of(album, got))
        assert sorted(orders[-1]) == [0, 1, 2, 3, 4]
        check(album, got, orders[-1])
    assert len({tuple(order) for order in orders}) > 1, "the order is always the same"


@pytest.mark.parametrize("group", GROUPS)
def test_200_ms_of_network_delay(home: Home, start: Callable[..., Box], proxy: Proxy, group: str) -> None:
    proxy.delay = 0.1  # each way
    ear = Ear(start(url=proxy.url))
    for name in (n for n in GROUPS[group] if n not in ("alac", "aiff", "vorbis")):
        album = home.albums[name]
        ear.box.cli("play", home.what(album))
        check(album, ear.played())
    counters = ear.box.status()["counters"]
    assert counters["refetched_bytes"] == 0
    assert counters["network_bytes"] == proxy.body_bytes("/music/")
