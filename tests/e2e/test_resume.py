"""The engine dies, the plug is pulled: the music goes on where it was (P8, R1)."""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest

from tests.e2e.conftest import NULL, Home
from tests.support.box import Box
from tests.support.watch import Status


def sounding(status: Status) -> bool:
    return bool(status["state"] == "playing" and status["position"] > 0)


def placeless(document: Any) -> Any:
    """Without where the tracks are: they go on coming to the box meanwhile."""
    if isinstance(document, dict):
        return {key: placeless(value) for key, value in document.items() if key != "where"}
    return [placeless(value) for value in document] if isinstance(document, list) else document


def test_the_engine_killed_in_mid_track(home: Home, start: Callable[..., Box]) -> None:
    box = start(NULL)
    box.cli("play", home.track(home.large))
    for place in (10, 24):
        box.cli("seek", str(place))
        before = box.wait(lambda s, p=place: s["state"] == "playing" and s["position"] > p + 0.2)
        killed_at, pid = time.monotonic(), box.kill9_engine()
        status = box.wait(lambda s, p=before["position"]: s["position"] > p + 1.5, 10, "sound again")
        waited, gone_on = time.monotonic() - killed_at, status["position"] - before["position"]
        assert box.engine_pid() not in (None, pid)
        # of the time that passed, at most a second was silent, and nothing was left out
        assert gone_on - 0.5 <= waited <= gone_on + 1.0 + 0.5, f"{waited:.2f} s, in which {gone_on:.2f} s were heard"
        print(f"silent for {waited - gone_on:.2f} s")
        seen = [s["position"] for s in box.seen() if s["uptime"] >= before["uptime"]]
        assert min(seen) >= before["position"] - 0.5, "it went back too far"
        assert max(b - a for a, b in pairwise(seen)) < 0.9, f"it leapt: {seen}"
        assert box.status()["health"] == ["ok"]


def test_the_engine_killed_while_paused(home: Home, start: Callable[..., Box]) -> None:
    box = start(NULL)
    box.cli("play", home.track(home.large))
    box.cli("seek", "20")
    box.wait(sounding)
    before = box.json("pause")["position"]
    pid = box.kill9_engine()
    deadline = time.monotonic() + 5
    while box.engine_pid() in (None, pid):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert box.status()["state"] == "paused"
    box.cli("volume", "55")
    box.cli("play")
    status = box.wait(lambda s: s["state"] == "playing" and s["position"] > before + 0.2)
    assert status["position"] < before + 2
    assert status["volume"] == 55


@pytest.mark.parametrize("state", ["playing", "paused", "shuffled", "stopped", "ended"])
def test_the_plug_pulled(home: Home, start: Callable[..., Box], state: str) -> None:
    box = start(NULL)
    box.cli("volume", "37")
    box.cli("queue", "add", home.what(home.calm))
    box.cli("queue", "add", home.track(home.large))
    box.cli("queue", "add", home.what(home.calm))
    if state == "shuffled":
        box.cli("queue", "shuffle", "on")
    box.cli("queue", "repeat", "all" if state != "ended" else "off")
    box.cli("play")
    for _ in range(11 if state == "ended" else 5):
        box.cli("next")
    if state != "ended":
        box.cli("seek", "0.4")
        box.wait(sounding)
    if state == "paused":
        box.cli("pause")
    if state == "stopped":
        box.cli("stop")
    before = box.json("queue")
    was = box.status()
    box.kill9_player()
    box.start_player(sync=False)
    assert placeless(box.json("queue")) == placeless(before)
    now = box.wait(lambda s: s["state"] in ({"playing", "buffering"} if was["state"] == "playing" else {was["state"]}))
    for key in ("track", "volume", "queue"):
        assert placeless(now[key]) == placeless(was[key]), key
    assert was["position"] - 10 <= now["position"] <= was["position"] + 3
    if state in ("playing", "shuffled", "paused"):
        assert was["state"] == {"shuffled": "playing"}.get(state, state)
        assert now["track"]
        box.cli("play")
        box.wait(sounding, what="sound")
    else:
        assert was["state"] == "stopped"


def test_position_is_at_most_ten_seconds_old(home: Home, start: Callable[..., Box]) -> None:
    """Nothing but time has passed since the last command: checkpoints have to do it."""
    box = start(NULL)
    box.cli("play", home.track(home.large))
    before = box.wait(lambda s: s["position"] > 11, 20)["position"]
    box.kill9_player()
    box.start_player(sync=False)
    now = box.wait(sounding)["position"]
    assert before - 10 <= now <= before + 1, f"{before} before, {now} after"
    print(f"{before - now:.1f} s back")


def test_volume_turned_just_before_the_plug_and_the_cap(home: Home, start: Callable[..., Box]) -> None:
    box = start({"audio": {"output": "null", "max_startup_volume": 60}})
    assert box.status()["volume"] == 60
    box.cli("volume", "90")
    box.kill9_player()
    box.start_player(sync=False)
    assert box.status()["volume"] == 60  # it was 90: capped
    box.cli("volume", "-20")
    assert box.status()["volume"] == 40
    box.kill9_player()
    box.start_player(sync=False)
    assert box.status()["volume"] == 40


def test_a_clean_stop_and_start_keeps_the_exact_place(home: Home, start: Callable[..., Box]) -> None:
    box = start(NULL)
    box.cli("play", home.track(home.large))
    box.cli("seek", "15")
    box.wait(lambda s: s["position"] > 15.3)
    was = box.status()
    assert box.stop_player() == 0
    box.start_player(sync=False)
    now = box.wait(sounding)
    assert abs(now["position"] - was["position"]) < 1.5
    assert now["source"] == "cache" or now["cached_percent"] > 0
