"""P2, P5: what sounds of a playlist is what ffmpeg makes of its segments, sample by sample, from network and disk."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from appliance.control.client import Client
from tests.faults.cloud import Cloud, FaultBox
from tests.hls.material import KINDS, Material, decode, make
from tests.support import wavs

SECONDS = 8.0


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[Cloud]:
    with Cloud(tmp_path) as cloud:
        yield cloud


def add(cloud: Cloud, found: Material, name: str = "one", **fields: object) -> None:
    cloud.files |= found.files
    cloud.etags |= {path: f'"{len(data)}"' for path, data in found.files.items()}
    cloud.tracks.append(
        {"id": f"hls-{name}", "album_id": "hls", "title": name, "artist": "HLS", "album": "HLS", "no": 1,
         "duration": SECONDS, "path": "/hls/a.m3u8", **fields}
    )  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_every_sample_comes_out_once(kind: str, cloud: Cloud, tmp_path: Path) -> None:
    found = make(tmp_path / "hls", kind, SECONDS)
    add(cloud, found)
    (tmp_path / "box").mkdir()
    with FaultBox(tmp_path / "box", cloud) as box:
        box.start_player(sync=False)
        box.cli("sync")
        box.cli("play", "track:hls-one")
        box.wait(lambda s: s["state"] == "stopped", 30, "the end")
        counters = box.status()["counters"]
        assert counters["network_bytes"] == len(found.whole)
        assert counters["refetched_bytes"] == counters["stream_errors"] == 0
        box.stop_player()
        got = wavs.read(box.wav).data
        files = [p for p in (tmp_path / "box" / "cache").iterdir() if p.suffix == ".audio"]
        assert [p.read_bytes() for p in files] == [found.whole]
    expected = decode(found.whole, tmp_path)
    assert got.shape == expected.shape
    assert np.array_equal(got, expected)


@pytest.mark.parametrize("kind", KINDS)
def test_seeks_a_kill_and_a_replay_fetch_each_byte_once(kind: str, cloud: Cloud, tmp_path: Path) -> None:
    found = make(tmp_path / "hls", kind, 40.0)
    add(cloud, found, duration=40.0)
    cloud.bandwidth = 400_000.0
    null = {"audio": {"output": "null"}}
    (tmp_path / "box").mkdir()
    with FaultBox(tmp_path / "box", cloud, settings=null) as box:
        box.start_player(sync=False)
        box.cli("sync")
        box.cli("play", "track:hls-one")
        box.wait(lambda s: s["state"] == "playing" and s["position"] > 0, 20, "sound")
        dice, client = random.Random(4), Client(str(box.socket))
        for _ in range(10):
            place = dice.uniform(0, 36)
            client.call("seek", {"seconds": place})
            box.wait(lambda s, p=place: s["state"] == "playing" and p + 0.1 < s["position"] < p + 4, 20, "sound there")
        for _ in range(10):  # as fast as a hand that turns the knob: each ends the one before in mid-read
            place = dice.uniform(0, 36)
            client.call("seek", {"seconds": place})
        box.wait(lambda s, p=place: s["state"] == "playing" and p + 0.1 < s["position"] < p + 4, 20, "sound there")
        box.kill9_player()
        cloud.bandwidth = None
        box.start_player(sync=False)
        box.wait(lambda s: s["cached_percent"] == 100, 20, "the whole file")
        box.cli("play", "track:hls-one")
        box.cli("seek", "30")
        status = box.wait(lambda s: s["state"] == "playing" and s["position"] > 30, 20, "sound from the disk")
        assert status["source"] == "cache"
        assert status["counters"]["refetched_bytes"] == 0
        assert box.json("cache", "verify") == {"checked": 1, "bad": []}
    sent = sum(cloud.sent[path] for path in set(found.parts))
    assert sent <= len(found.whole) + (3 << 20), "more came again than a power cut may take"


def test_an_encrypted_one_is_passed_over(cloud: Cloud, tmp_path: Path) -> None:
    found = make(tmp_path / "hls", "ts", 3.0)
    text = found.files["/hls/a.m3u8"].replace(b"#EXTINF", b'#EXT-X-KEY:METHOD=AES-128,URI="k"\n#EXTINF', 1)
    add(cloud, found, duration=3.0)
    cloud.files["/hls/locked.m3u8"] = text
    cloud.etags["/hls/locked.m3u8"] = '"locked"'
    cloud.tracks.insert(0, cloud.tracks[0] | {"id": "hls-locked", "path": "/hls/locked.m3u8", "no": 0})
    (tmp_path / "box").mkdir()
    with FaultBox(tmp_path / "box", cloud, pace=0.1) as box:
        box.start_player(sync=False)
        box.cli("sync")
        box.cli("play", "album:hls")
        box.wait(lambda s: s["state"] == "stopped", 30, "the end")
        assert "passed over: its HLS segments are encrypted (AES-128)" in box.log("player")
        box.stop_player()
        assert np.array_equal(wavs.read(box.wav).data, decode(found.whole, tmp_path))


def test_a_live_stream_plays_until_stopped(cloud: Cloud, tmp_path: Path) -> None:
    found = make(tmp_path / "hls", "ts", 20.0)
    add(cloud, found, duration=0)
    names = [path.rpartition("/")[2] for path in found.parts]
    shown = 4

    def window() -> bytes:
        first = max(0, shown - 6)
        rows = "".join(f"#EXTINF:1.0,\n{name}\n" for name in names[first:shown])
        return f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXT-X-MEDIA-SEQUENCE:{first}\n{rows}".encode()

    cloud.files["/hls/a.m3u8"] = window()
    null = {"audio": {"output": "null"}}
    (tmp_path / "box").mkdir()
    with FaultBox(tmp_path / "box", cloud, settings=null) as box:
        box.start_player(sync=False)
        box.cli("sync")
        box.cli("play", "track:hls-one")
        for second in range(1, 6):
            box.wait(lambda s, t=second: s["position"] > t, 20, "the stream going on")
            shown += 1
            cloud.files["/hls/a.m3u8"] = window()
        box.cli("stop")
        assert box.status()["state"] == "stopped"
        assert box.status()["cache"]["bytes"] == 0
        assert box.stop_player() == 0
