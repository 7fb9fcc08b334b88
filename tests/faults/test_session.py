"""A session of hours in fast time (P3, P4): tokens and URLs that expire, a network that goes away, no gap.

The player's waiting times are scaled; the sound is taken from a FIFO at as many times its speed.
"""

from __future__ import annotations

import fcntl
import os
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from tests.faults.cloud import Cloud, FaultBox
from tests.faults.table import TABLE
from tests.support import tones

SPEED = 100
MINUTE = 60 / SPEED
RATE = 48_000
LENGTH = 6.0  # minutes of a track


class Ear(threading.Thread):
    """Takes sound out of a FIFO at SPEED times its rate and counts frames."""

    def __init__(self, fifo: Path) -> None:
        super().__init__(daemon=True)
        self.fd = os.open(fifo, os.O_RDONLY)
        fcntl.fcntl(self.fd, fcntl.F_SETPIPE_SZ, 1 << 20)  # 64 KiB every 20 ms would be 17 times the speed
        self.bytes = 0
        self.done = False

    @property
    def minutes(self) -> float:
        return self.bytes / 4 / RATE / 60

    def run(self) -> None:
        due = time.monotonic()
        step = RATE * 4 * SPEED // 50
        os.set_blocking(self.fd, False)
        while not self.done:
            due = max(due + 0.02, time.monotonic() - 0.5)  # what a busy machine has missed is made good
            left = step
            while left:
                try:
                    left -= (got := len(os.read(self.fd, left)))
                    self.bytes += got
                except BlockingIOError:
                    break
            time.sleep(max(0.0, due - time.monotonic()))
        os.close(self.fd)


@pytest.mark.timeout(600)
def test_hours_of_expiry_and_absence(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    hours, away = (6.0, (100, 250)) if request.config.getoption("--full") else (0.5, (13,))
    count = round(hours * 60 / LENGTH)
    form = tones.Format("mp3", "mp3", ("-c:a", "libmp3lame", "-b:a", "96k"), False, RATE)
    frames = int(LENGTH * 60 * RATE) | 1
    pcm = np.tile(tones.signal(10 * RATE, RATE), (frames // (10 * RATE) + 1, 1))[:frames]
    song = tones.encode(pcm, tmp_path / "song.mp3", form).read_bytes()
    stopping = threading.Event()
    with Cloud(tmp_path) as cloud:
        for n in range(count):
            cloud.add("day", f"{n:03}", song, "mp3", samples=frames, sample_rate=RATE, duration=frames / RATE)
        cloud.signature, cloud.good_signatures = 0, {0}

        def expire() -> None:
            """Minute by minute: what a server and a network do in a day."""
            began, minute = time.monotonic(), 0
            while not stopping.wait(max(0.0, began + (minute + 1) * MINUTE - time.monotonic())):
                minute += 1
                if minute % 15 == 0:
                    cloud.give_token(f"token-{minute}")
                if minute % 10 == 0:
                    cloud.signature, cloud.good_signatures = minute, {minute}
                if minute in away:
                    cloud.call(cloud.away())
                if minute - 5 in away:
                    cloud.call(cloud.listen())

        fifo = tmp_path / "fifo"
        os.mkfifo(fifo)
        settings = {"audio": {"output": f"snapcast:{fifo}"}, "cache": {"max_bytes": "64 MiB"}}
        opened: list[Ear] = []
        opener = threading.Thread(target=lambda: opened.append(Ear(fifo)))
        opener.start()
        with FaultBox(tmp_path, cloud, pace=1 / SPEED, settings=settings) as box:
            box.start_player(sync=False)
            opener.join(10)
            ear = opened[0]
            box.cli("sync")
            box.cli("play", "album:day")
            box.wait(lambda s: s["state"] == "playing", what="sound")
            ear.start()
            clock = threading.Thread(target=expire)
            clock.start()
            try:
                status = box.wait(lambda s: s["state"] == "stopped", 500, "the end of the day")
            finally:
                stopping.set()
                clock.join()
            time.sleep(0.5)  # for what is still in the FIFO
            ear.done = True
            ear.join()
            seen = box.seen()
        counters = status["counters"]
        assert status["message"] == ""
        assert status["queue"]["length"] == count
        playing = next(n for n, s in enumerate(seen) if s["state"] == "playing" and s["position"] > 0)
        gaps = [(s["track"]["id"], s["position"]) for s in seen[playing:] if s["state"] == "buffering"]
        assert not gaps
        assert ear.bytes == count * frames * 4, f"{ear.bytes / 4 - count * frames:+.0f} frames"
        assert counters["token_refreshes"] >= hours
        assert counters["url_refreshes"] >= hours
        assert counters["refetched_bytes"] == 0
        assert counters["network_bytes"] == count * len(song)
        words = {word for s in seen for word in s["health"]}
        assert "token-rejected" not in words
        TABLE.notes.append(
            f"session: {ear.minutes:.0f} min at {SPEED} times the speed, {count} tracks, every frame; away for 5 min"
            f" {len(away)} times; {counters['token_refreshes']} tokens and {counters['url_refreshes']} URLs renewed,"
            f" {len(cloud.refused)} requests refused; health said {sorted(words)}; no buffering"
        )
