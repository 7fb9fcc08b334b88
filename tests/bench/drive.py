"""Filling a drive from a local server, beside rclone and aria2 with as many connections; and plugging a full one in.

All three write to folders of one disk, and the time ends when every file is synced: chadbox does that file by file
(and reads each back, and keeps a copy in its cache), for the others every file is synced when the command has ended.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import random
import shutil
import sqlite3
import subprocess
import time
import wave
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from appliance.drives import manifest as lists
from appliance.drives.manifest import File, Manifest
from appliance.drives.tree import Tree
from tests.bench._machine import line, load
from tests.bench._peers import have
from tests.bench._player import folder
from tests.drives.rig import rig
from tests.support.box import Box
from tests.support.proxy import Proxy

NAMES = ("drive_fill", "drive_replug")
TRACKS, SECONDS = 24, 40  # 7 MB each
FILES = 5_000
RUNS = 3
CONNECTIONS = 3
LINES = {  # bytes a second, a connection
    "drive_fill_gigabit": (125e6 / CONNECTIONS, "1 Gbit/s for all connections; the proxy's own limit is near"),
    "drive_fill_line": (12.5e6, "100 Mbit/s a connection"),
}


def run() -> Iterator[dict[str, Any]]:
    yield from _filling()
    yield asyncio.run(_replug())


def _filling() -> Iterator[dict[str, Any]]:
    with contextlib.ExitStack() as stack:
        place = stack.enter_context(folder())
        size = _music(place / "music")
        server = stack.enter_context(Box(place / "server", place / "music", player=False))
        server.wait_for_scan()
        _hashed(server)
        slow = stack.enter_context(Proxy(server.server_url))
        for name in ("drive_fill", *LINES):
            slow.bandwidth, note = LINES.get(name, (None, "as fast as it goes"))
            url = slow.url if name in LINES else server.server_url
            times: dict[str, list[float]] = {"chadbox": [], "rclone": [], "aria2c": []}
            for turn in range(RUNS if name == "drive_fill" else 1):
                for who in times:
                    if who != "chadbox" and not have(who):
                        continue
                    target = place / f"{name}-{who}-{turn}"
                    target.mkdir()
                    os.sync()
                    if who == "chadbox":
                        times[who].append(_ours(place / f"{name}-{turn}", server, url, target))
                    else:
                        times[who].append(_theirs(who, server, url, target))
                    found = sum(path.stat().st_size for path in target.rglob("*.wav"))
                    assert found == size, f"{who}: {found} of {size} bytes"
                    shutil.rmtree(target)
            rates = {who: [size / seconds / 1e6 for seconds in took] for who, took in times.items()}
            peers = {who: rate for who, rate in rates.items() if who != "chadbox" and rate}
            best = max(peers, key=lambda who: sorted(peers[who])[len(peers[who]) // 2], default=None)
            others = "; ".join(f"{who} {sorted(rate)[len(rate) // 2]:.1f}" for who, rate in peers.items())
            target_rate = 0.95 * sorted(peers[best])[len(peers[best]) // 2] if best else None
            yield line(
                name, rates["chadbox"], "MB/s", target=target_rate, peer=best, digits=1,
                peer_values=peers.get(best or "", []), note=f"{note}; {others}; {load()}",
            )  # fmt: skip
        yield _playing(place, server, slow.url, size)


def _playing(place: Path, server: Box, url: str, size: int) -> dict[str, Any]:
    """A track is heard over the same line over which the drive is filled meanwhile."""
    target = place / "drive_fill_playing"
    target.mkdir()
    stumbles = 0

    def listen(box: Box) -> Callable[[], None]:
        box.cli("play", f"track:{_hashed(server)[0]['id']}")
        before = box.wait(lambda s: s["state"] == "playing" and s["position"] > 0.3, what="sound")

        def end() -> None:
            nonlocal stumbles
            after = box.status()
            lag = after["uptime"] - before["uptime"] - (after["position"] - before["position"])
            assert after["state"] == "playing", after
            assert abs(lag) < 1, f"the sound is {lag:.1f} s behind"
            stumbles = after["audio"]["underruns"] - before["audio"]["underruns"]
            stumbles += sum(s["state"] == "buffering" for s in box.seen() if s["uptime"] > before["uptime"])

        return end

    took = _ours(place / "playing", server, url, target, listen)
    note = f"underruns of the output and waits for bytes, at {size / took / 1e6:.0f} MB/s; {load()}"
    return line("drive_fill_playing", [stumbles], "times", target=0, note=note)


def _music(music: Path) -> int:
    """TRACKS files of noise, no two the same; their bytes in all."""
    (music / "Album").mkdir(parents=True)
    for n in range(TRACKS):
        with wave.open(str(music / "Album" / f"{n + 1:02} Track.wav"), "wb") as file:
            file.setparams((2, 2, 44_100, 0, "NONE", "not compressed"))
            file.writeframes(random.Random(n).randbytes(SECONDS * 44_100 * 4))
    return sum(path.stat().st_size for path in music.rglob("*.wav"))


def _hashed(server: Box) -> list[dict[str, Any]]:
    deadline = time.monotonic() + 60
    while True:
        tracks: list[dict[str, Any]] = server.api("library?since=0&limit=1000")["added"]
        if all(track.get("sha256") for track in tracks):
            return tracks
        assert time.monotonic() < deadline, "the server has not hashed its files"
        time.sleep(0.1)


def _ours(
    root: Path, server: Box, url: str, target: Path, listen: Callable[[Box], Callable[[], None]] | None = None
) -> float:
    root.mkdir()
    settings = {"audio": {"output": "null"}, "drives": {"folders": [str(target)], "fill": False}}
    with Box(root, server.music, settings=settings, url=url, server=False, player=False) as box:
        box.token_file = server.token_file
        box.start_player(sync=False)
        box.cli("sync")
        box.cli("drive", "adopt", target.name)
        library = server.api("stats")["library"]
        ids = [(library, str(track["id"])) for track in _hashed(server)]
        with contextlib.closing(sqlite3.connect(root / "state" / "chadbox.db", timeout=10)) as db, db:
            db.executemany("INSERT INTO favourite (library, track_id) VALUES (?, ?)", ids)
        end = listen(box) if listen is not None else None
        before = time.perf_counter()
        result = box.json("drive", "fill", target.name, seconds=300)
        took = time.perf_counter() - before
        if end is not None:
            end()
        assert result["copied"] == TRACKS, result
    shutil.rmtree(root / "cache")
    return took


def _theirs(who: str, server: Box, url: str, target: Path) -> float:
    token = server.token_file.read_text().strip()
    paths = [urlsplit(track["url"]).path for track in _hashed(server)]
    commands: dict[str, Callable[[], list[str]]] = {
        "aria2c": lambda: [
            "aria2c", "-q", f"-j{CONNECTIONS}", "-x1", "-s1", "--file-allocation=none", "--no-conf",
            f"--header=Authorization: Bearer {token}", "-d", str(target), "-i", str(_list(target, url, paths)),
        ],
        "rclone": lambda: [
            "rclone", "copy", ":http:/music/Album/", str(target), "--http-url", url, f"--transfers={CONNECTIONS}",
            "--config", "/dev/null", "--http-headers", f"Authorization,Bearer {token}", "--files-from",
            str(_names(target, paths)), "--no-traverse", "--multi-thread-streams=0", "--checkers=3",
        ],
    }  # fmt: skip
    command = commands[who]()
    before = time.perf_counter()
    subprocess.run(command, check=True, timeout=300, stdout=subprocess.DEVNULL)
    for path in target.rglob("*.wav"):
        file = os.open(path, os.O_RDONLY)
        os.fsync(file)
        os.close(file)
    return time.perf_counter() - before


def _list(target: Path, url: str, paths: list[str]) -> Path:
    text = target.with_suffix(".txt")
    text.write_text("".join(f"{url}{path}\n out={path.rpartition('/')[2].replace('%20', ' ')}\n" for path in paths))
    return text


def _names(target: Path, paths: list[str]) -> Path:
    text = target.with_suffix(".txt")
    text.write_text("".join(path.rpartition("/")[2].replace("%20", " ") + "\n" for path in paths))
    return text


async def _replug() -> dict[str, Any]:
    """From udev's news of a drive with FILES files of ours, all wanted, until the fill has found nothing to do."""
    with folder() as place:
        stick = place / "STICK"
        stick.mkdir()
        async with rig(place / "box") as box:
            digest = hashlib.sha256(b"x").hexdigest()
            files = []
            for n in range(FILES):
                track = box.add(str(n), 1, title=f"Title {n}", album=f"Album {n // 12}", artist=f"Artist {n // 60}")
                track.sha256, track.etag = digest, None
                path = f"Music/{track.artist}/{track.album}/{n % 12 + 1:02} {track.title}.flac"
                (stick / path).parent.mkdir(parents=True, exist_ok=True)
                (stick / path).write_bytes(b"x")
                files.append(File(track.id, path, 1, digest, None))
            wanted, box.wanted = box.wanted, []
            await box.adopted(stick)
            tree = Tree(stick)
            lists.save(tree, Manifest(library="lib", files=files))
            tree.close()
            box.wanted = wanted
            times = []
            for _ in range(RUNS + 1):
                box.plugs.pull()
                before = time.perf_counter()
                box.plugs.plug(stick)
                await box.until("ready")
                _, result = await box.filled()
                times.append(time.perf_counter() - before)
                assert (result.kept, result.copied) == (FILES, 0), result
            return line("drive_replug", times[1:], "s", target=2.0, note=f"{FILES} files, nothing to do; {load()}")
