"""An evening with the box: what a listener does, and what the box shows meanwhile (P6-P8, L3, A1, A5)."""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import pairwise

import pytest

from tests.e2e.conftest import NULL, Home
from tests.support.box import Box
from tests.support.proxy import Proxy
from tests.support.watch import Status


def shows(box: Box, *, state: str = "playing", index: int | None) -> Status:
    """Wait until the queue stands at `index` in `state`."""
    return box.wait(
        lambda s: (s["state"], s["queue"]["index"]) == (state, index) and (index is None or bool(s["track"])),
        what=f"{state} at {index}",
    )


def sounding(status: Status) -> bool:
    return bool(status["state"] == "playing" and status["position"] > 0)


def test_moving_through_an_album(home: Home, start: Callable[..., Box]) -> None:
    box = start(NULL)
    box.cli("play", home.what(home.calm))
    shows(box, index=0)
    box.cli("next")
    box.cli("next")
    shows(box, index=2)
    box.cli("prev")
    shows(box, index=1)
    box.cli("seek", "+60")  # past the end: the next
    shows(box, index=2)
    box.cli("seek", "-60")  # before the start: the start
    assert box.status()["queue"]["index"] == 2
    box.cli("pause")
    box.cli("seek", "5.5")
    box.wait(lambda s: s["audio"] and s["position"] == 5.5, what="the place that was sought")
    box.cli("cache")  # some time passes
    assert (box.status()["state"], box.status()["position"]) == ("paused", 5.5)
    box.cli("toggle")
    shows(box, index=3)  # by itself
    box.cli("next")
    box.cli("next")
    shows(box, state="stopped", index=None)
    box.cli("play")
    shows(box, index=0)
    box.cli("stop")
    assert shows(box, state="stopped", index=0)["position"] == 0
    box.cli("toggle")
    shows(box, index=0)


def test_editing_the_queue_while_it_plays(home: Home, start: Callable[..., Box]) -> None:
    box = start(NULL)
    box.cli("play", home.track(home.large))
    box.wait(sounding)
    box.cli("queue", "add", home.what(home.albums["flac"]))
    box.cli("queue", "next", home.track(home.albums["opus"]))
    ids = [item["track"]["id"] for item in box.json("queue")["items"]]
    flac = [t["id"] for t in home.tracks(home.albums["flac"])]
    assert ids == [home.tracks(home.large)[0]["id"], home.tracks(home.albums["opus"])[0]["id"], *flac]
    box.cli("queue", "move", "0", "6")  # what plays, to the end
    assert shows(box, index=6)["position"] > 0
    box.cli("queue", "move", "6", "3")
    box.cli("queue", "remove", "4")
    box.cli("next")
    status = shows(box, index=4)
    assert status["track"]["id"] == flac[3]
    box.cli("queue", "remove", "4")  # what plays: the next one does
    assert shows(box, index=4)["track"]["id"] == flac[4]
    box.cli("queue", "remove", "4")  # the last one
    shows(box, state="stopped", index=None)
    box.cli("play", home.track(home.large))
    box.cli("queue", "clear")
    status = shows(box, state="stopped", index=None)
    assert (status["track"], status["queue"]["length"]) == (None, 0)


def test_shuffle_and_repeat_while_playing(home: Home, start: Callable[..., Box]) -> None:
    box = start(NULL)
    box.cli("play", home.what(home.calm))
    box.cli("next")
    playing = shows(box, index=1)
    box.cli("queue", "shuffle", "on")
    box.cli("queue", "repeat", "all")
    assert box.status()["track"]["id"] == playing["track"]["id"]
    heard = [1]
    for _ in range(4):
        box.cli("next")
        heard.append(box.status()["queue"]["index"])
    assert sorted(heard) == [0, 1, 2, 3, 4]
    box.cli("prev")
    assert box.status()["queue"]["index"] == heard[-2]
    box.cli("queue", "shuffle", "off")
    box.cli("queue", "repeat", "one")
    at = box.status()["queue"]["index"]
    for _ in range(2):
        before = box.status()["uptime"]
        box.cli("seek", "5.5")
        box.wait(lambda s, b=before: s["uptime"] > b and s["position"] < 0.5 and s["state"] == "playing", what="again")
        assert box.status()["queue"]["index"] == at
    box.cli("seek", "+50")
    assert box.status()["queue"]["index"] == at
    box.cli("next")
    assert box.status()["queue"]["index"] == (at + 1 if at < 4 else None)


def test_what_the_watch_tells_fits_together(home: Home, start: Callable[..., Box]) -> None:
    """Positions only grow within a track, at the speed of time; states and tracks belong together."""
    box = start(NULL)
    box.wait(lambda s: s["state"] == "stopped")  # from now on everything is seen
    box.cli("play", home.what(home.albums["flac"]))
    box.wait(lambda s: s["state"] != "stopped")
    box.wait(lambda s: s["state"] == "stopped", 20, "the end")
    documents = [s for s in box.seen() if s["queue"]["length"]]
    assert len(documents) > 8
    for one, two in pairwise(documents):
        assert two["uptime"] > one["uptime"]
        track, following = (s["track"] and s["track"]["id"] for s in (one, two))
        same = one["state"] == two["state"] and track == following
        if same:  # a change of what plays is told at once
            assert two["uptime"] - one["uptime"] >= 0.09, "more than ten documents a second"
        if two["state"] == "playing" and same:
            step = two["position"] - one["position"]
            assert -0.05 <= step <= two["uptime"] - one["uptime"] + 0.3, (one["position"], two["position"])
    order = [s["queue"]["index"] for s in documents if s["queue"]["index"] is not None]
    assert order == sorted(order)
    assert set(order) == {0, 1, 2, 3, 4}
    for s in documents:
        assert (s["track"] is None) == (s["queue"]["index"] is None)
        assert 0 <= s["position"] <= s["duration"] + 0.3
        assert s["source"] in (("network", "cache") if s["track"] else (None,))
        assert 0 <= s["cached_percent"] <= 100
        assert isinstance(s["cached_percent"], int)


def test_ways_to_say_what(home: Home, start: Callable[..., Box]) -> None:
    box = start(NULL)
    count = len(home.albums)
    for what, tracks in (
        (home.what(home.albums["opus"]), 5), ("artist:artist OPUS", 5), ("genre:test", 5 * count), ("artist opus", 5),
        ("tones in opus", 5), ("large", 1), (home.track(home.large), 1), ("part 3 alac", 1),
    ):  # fmt: skip
        box.cli("play", what)
        assert box.status()["queue"]["length"] == tracks, what
        box.wait(sounding, what=what)


def test_fetched_music_plays_offline(home: Home, start: Callable[..., Box], proxy: Proxy) -> None:
    box = start(NULL, url=proxy.url)
    what = home.what(home.calm)
    assert box.json("fetch", what)["tracks"] == 5
    jobs = box.json("jobs")
    assert [(job["kind"], job["state"], job["progress"]) for job in jobs] == [("fetch", "done", 100)]
    box.cli("cache", "pin", what)
    proxy.refuse()
    box.cli("play", what)
    for index in range(5):
        status = shows(box, index=index)
        assert (status["source"], status["cached_percent"]) == ("cache", 100)
        box.cli("next")
    assert box.json("cache", "verify")["checked"] == 5
    box.cli("cache", "clear")
    assert box.json("cache")["tracks"] == 5  # pinned


def test_cache_commands_while_music_plays(home: Home, start: Callable[..., Box]) -> None:
    box = start(NULL)
    box.cli("fetch", home.what(home.albums["flac"]))
    box.cli("play", home.track(home.large))
    before = box.wait(lambda s: s["position"] > 0.2 and s["cached_percent"] == 100)
    deadline = time.monotonic() + 10
    while box.json("cache", "verify")["checked"] < 6:  # until the last one is hashed
        assert time.monotonic() < deadline
    assert box.json("cache", "verify") == {"checked": 6, "bad": []}
    assert box.json("cache", "clear")["removed"] == 5
    kept = box.json("cache")
    assert kept["tracks"] == 1  # what plays stays
    assert box.wait(lambda s: s["position"] > before["position"] + 0.5)["state"] == "playing"
    box.cli("seek", "30")
    box.wait(lambda s: s["position"] > 30.2, what="sound after the cache was cleared")
    assert box.status()["counters"]["refetched_bytes"] == 0


def test_a_damaged_file_is_found_dropped_and_fetched_again(home: Home, start: Callable[..., Box]) -> None:
    box = start()
    album = home.albums["flac"]
    box.cli("fetch", home.what(album))
    files = sorted((box.root / "cache").glob("*.audio"))
    data = bytearray(files[2].read_bytes())
    data[5000] ^= 0xFF
    files[2].write_bytes(data)
    done = box.cli("cache", "verify", "--json", code=1)
    assert done.stderr.count("\n") == 1
    assert box.json("cache")["tracks"] == 4
    assert box.json("fetch", home.what(album))["bytes"] == len(data)
    assert box.json("cache", "verify") == {"checked": 5, "bad": []}


def test_volume_while_it_plays(home: Home, start: Callable[..., Box]) -> None:
    box = start(NULL)
    box.cli("play", home.track(home.large))
    box.wait(sounding)
    for change, value in (("-30", 70), ("+7", 77), ("0", 0), ("-5", 0), ("100", 100), ("+5", 100), ("42", 42)):
        assert box.json("volume", change) == {"volume": value}
    before = box.status()
    assert before["volume"] == 42
    assert box.wait(lambda s: s["position"] > before["position"] + 0.3)["state"] == "playing"


def test_a_press_is_answered_at_once(home: Home, start: Callable[..., Box]) -> None:
    """Fast presses of next and prev, then sound of the track that is shown."""
    box = start(NULL)
    box.cli("play", home.what(home.calm))
    box.cli("queue", "repeat", "all")
    for n in range(12):
        began = time.monotonic()
        box.cli("prev" if n % 3 == 2 else "next")
        assert time.monotonic() - began < 1.5
    shown = box.status()
    status = box.wait(sounding)
    assert status["queue"]["index"] == shown["queue"]["index"]
    assert status["message"] == ""


@pytest.mark.parametrize("what", ["large", "genre:test"])
def test_play_again_and_again(home: Home, start: Callable[..., Box], what: str) -> None:
    """The same request while it plays starts over, and nothing is lost or left behind."""
    box = start(NULL)
    for _ in range(5):
        box.cli("play", what)
    box.wait(sounding)
    assert box.status()["health"] == ["ok"]
    assert box.status()["counters"]["refetched_bytes"] == 0
    assert "Traceback" not in box.log("player", 1000)
