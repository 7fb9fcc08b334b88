"""Every byte comes over the network once, whatever the listener does (P5)."""

from __future__ import annotations

import random
import time
from collections.abc import Callable

from appliance.control.client import Client
from tests.e2e.conftest import NULL, Home
from tests.support.box import Box
from tests.support.proxy import Proxy

MORE = 4 << 20  # bytes that a power cut may cost


def complete(status: dict[str, object]) -> bool:
    return status["cached_percent"] == 100


def test_50_seeks_a_stop_a_restart_and_a_replay(home: Home, start: Callable[..., Box], proxy: Proxy) -> None:
    proxy.delay, proxy.bandwidth = 0.01, 1.0e6
    box = start(NULL, url=proxy.url)
    size, what = home.tracks(home.large)[0]["size"], home.track(home.large)
    box.cli("play", what)
    dice = random.Random(5)
    into_holes, client = 0, Client(str(box.socket))  # 50 commands without 50 starts of Python
    for _ in range(50):
        client.call("seek", {"seconds": dice.uniform(0, 36)})
        time.sleep(dice.uniform(0, 0.15))  # as people do: now and then before the last one is done
        into_holes += proxy.body_bytes("/music/") < size
    assert into_holes > 20, "the download was over too soon: the proxy is too fast for this test"
    box.cli("stop")
    box.cli("play")
    proxy.bandwidth = None
    box.wait(complete, 20, "the whole file")
    assert box.stop_player() == 0
    box.start_player(sync=False)
    box.cli("play", what)
    box.cli("seek", "38")
    box.wait(lambda s: s["state"] == "stopped", 20, "the end of the track")
    box.cli("play", what)
    status = box.wait(lambda s: s["state"] == "playing" and s["position"] > 0.2)
    assert status["source"] == "cache"
    counters = status["counters"]
    assert counters["network_bytes"] == proxy.body_bytes("/music/") == size
    assert counters["refetched_bytes"] == counters["stream_errors"] == 0
    assert box.json("cache", "verify") == {"checked": 1, "bad": []}


def test_kill_9_in_mid_download_costs_little(home: Home, start: Callable[..., Box], proxy: Proxy) -> None:
    proxy.bandwidth = 6e6
    box = start(NULL, url=proxy.url)
    size = home.tracks(home.large)[0]["size"]
    box.cli("play", home.track(home.large))
    for part in (0.3, 0.6, 0.8):
        deadline = time.monotonic() + 20
        while proxy.body_bytes("/music/") < part * size:  # the proxy has no events to wait for
            assert time.monotonic() < deadline
            time.sleep(0.01)
        before = proxy.body_bytes("/music/")
        box.kill9_player()
        box.start_player(sync=False)
        box.wait(lambda s: s["state"] == "playing" and s["cached_percent"] > 0, what="sound again")
        kept = box.status()["counters"]["network_bytes"]
        assert kept >= before - MORE, f"{before - kept} bytes were lost"
    proxy.bandwidth = None
    counters = box.wait(complete, 20, "the whole file")["counters"]
    assert counters["refetched_bytes"] == 0
    assert proxy.body_bytes("/music/") <= size + 3 * MORE
    print("bytes more after three kills:", proxy.body_bytes("/music/") - size)
    assert box.json("cache", "verify")["bad"] == []


def test_a_broken_line_and_a_short_answer_cost_nothing(home: Home, start: Callable[..., Box], proxy: Proxy) -> None:
    size = home.tracks(home.large)[0]["size"]
    proxy.cut_after("/music/", 100_001, times=4)
    proxy.cut_after("/music/", 200_003, times=4, reset=False)
    box = start(NULL, url=proxy.url)
    box.cli("play", home.track(home.large))
    counters = box.wait(complete, 30, "the whole file")["counters"]
    assert counters["refetched_bytes"] == 0
    assert counters["network_bytes"] == size
    assert counters["stream_errors"] >= 5  # two requests may break at once
    assert box.status()["health"] == ["ok"]


def test_fetch_then_play_then_fetch(home: Home, start: Callable[..., Box], proxy: Proxy) -> None:
    """`fetch` and playing share what they have, also when both run at once."""
    proxy.bandwidth = 4e6
    box = start(NULL, url=proxy.url)
    size, what = home.tracks(home.large)[0]["size"], home.track(home.large)
    box.cli("play", what)
    box.wait(lambda s: s["state"] == "playing", what="sound")
    box.cli("seek", "20")
    proxy.bandwidth = None
    assert box.json("fetch", what)["tracks"] == 1
    assert box.json("fetch", what) == {"tracks": 1, "bytes": 0, "failed": []}
    assert box.status()["counters"]["network_bytes"] == proxy.body_bytes("/music/") == size
