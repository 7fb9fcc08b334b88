"""Servers that no one here wrote: nginx with and without Range, in front of the API, and a WebDAV server (P4, P5)."""

from __future__ import annotations

import asyncio
import random
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

from appliance.demo.faultserver import Answer, FaultServer, Seen, part
from appliance.demo.processes import die_with_parent
from appliance.stream import Role
from tests.faults.cloud import Cloud, FaultBox, material
from tests.faults.lab import MIB, Lab, noise, song, until
from tests.support import wavs
from tests.support.processes import end

SONG = noise(4 * MIB + 99)

NGINX = """
daemon off; pid {root}/pid; error_log {root}/error.log; worker_processes 1; {user}
events {{ worker_connections 64; }}
http {{
  access_log off; types {{ audio/flac flac; }}
  client_body_temp_path {root}/t1; proxy_temp_path {root}/t2; fastcgi_temp_path {root}/t3;
  uwsgi_temp_path {root}/t4; scgi_temp_path {root}/t5;
  server {{ listen 127.0.0.1:{port}; root {files}; {settings} }}
}}
"""
SETTINGS = {
    "as it comes": "",
    "without Range": "max_ranges 0;",
    "without ETag": "etag off;",
    "compressing": "gzip on; gzip_types *; gzip_min_length 1; gzip_proxied any;",
    "few requests a connection": "keepalive_requests 2;",
    "nothing to go by": "max_ranges 0; etag off; add_header Last-Modified '';",
}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 15
    while True:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        assert process.poll() is None, f"ended with {process.returncode}"
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture
def nginx(tmp_path: Path) -> Iterator[Callable[..., tuple[int, subprocess.Popen[bytes]]]]:
    """`nginx(settings, files, port=0)`: its port and process."""
    program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if program is None:
        pytest.skip("nginx is not installed")
    with ExitStack() as stack:

        def start(settings: str, files: Path, port: int = 0) -> tuple[int, subprocess.Popen[bytes]]:
            port = port or free_port()
            root = tmp_path / f"nginx-{port}"
            root.mkdir(exist_ok=True)
            config = root / "nginx.conf"
            user = "user root;" if Path("/root").exists() and __import__("os").getuid() == 0 else ""
            config.write_text(NGINX.format(root=root, port=port, files=files, settings=settings, user=user))
            process = subprocess.Popen(
                [program, "-c", str(config), "-p", str(root)], start_new_session=True, preexec_fn=die_with_parent,
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            )  # fmt: skip
            stack.callback(end, process, 3)
            wait_for(port, process)
            return port, process

        yield start


def serve(root: Path) -> Path:
    (root / "files" / "music").mkdir(parents=True)
    (root / "files" / "music" / "song.flac").write_bytes(SONG)
    return root / "files"


async def fetch_with_seeks(lab: Lab, *, told: bool) -> None:
    """Seek about while it comes; every byte must be right and have come once."""
    track = song("song", SONG) if told else song("song")
    entry, demand = await lab.want(track)
    dice = random.Random(4)
    for _ in range(12):
        lab.fetcher.read_at(entry, dice.randrange(len(SONG)), waiting=True)
        await asyncio.sleep(0.005)
    await asyncio.wait_for(asyncio.shield(demand.finished), 30)
    assert entry.path.read_bytes() == SONG
    assert not lab.passed_over
    assert not lab.replaced
    assert lab.cache.counters.refetched_bytes == 0
    lab.cache.release(entry)


@pytest.mark.parametrize("told", [True, False], ids=["size known", "size unknown"])
@pytest.mark.parametrize("kind", SETTINGS)
async def test_nginx(
    kind: str, told: bool, tmp_path: Path, nginx: Callable[..., tuple[int, subprocess.Popen[bytes]]]
) -> None:
    port, _ = nginx(SETTINGS[kind], serve(tmp_path))
    async with Lab(tmp_path, f"http://127.0.0.1:{port}") as lab:
        await fetch_with_seeks(lab, told=told)
        assert lab.cache.counters.network_bytes == len(SONG)


async def test_nginx_is_restarted_in_mid_track(
    tmp_path: Path, nginx: Callable[..., tuple[int, subprocess.Popen[bytes]]]
) -> None:
    files = serve(tmp_path)
    port, process = nginx("limit_rate 3m;", files)
    async with Lab(tmp_path, f"http://127.0.0.1:{port}") as lab:
        entry, demand = await lab.want(song("song", SONG))
        await until(lambda: entry.have.total() >= MIB)
        end(process, 0)
        await asyncio.sleep(0.3)
        nginx("", files, port)
        await asyncio.wait_for(asyncio.shield(demand.finished), 30)
        assert entry.path.read_bytes() == SONG
        assert lab.cache.counters.network_bytes == len(SONG)
        lab.cache.release(entry)


async def test_nginx_with_another_file_under_the_name(
    tmp_path: Path, nginx: Callable[..., tuple[int, subprocess.Popen[bytes]]]
) -> None:
    """A file that is replaced on a real server: If-Range, 200, and never a mixture."""
    files = serve(tmp_path)
    port, _ = nginx("limit_rate 3m;", files)
    new = noise(3 * MIB, seed=9)
    async with Lab(tmp_path, f"http://127.0.0.1:{port}") as lab:
        entry, demand = await lab.want(song("song"))
        await until(lambda: entry.have.total() >= MIB)
        (files / "music" / "new").write_bytes(new)
        (files / "music" / "new").rename(files / "music" / "song.flac")
        with pytest.raises(Exception, match="replaced"):
            await asyncio.wait_for(asyncio.shield(demand.finished), 30)
        lab.cache.release(entry)
        second = await lab.fetch(song("song"))
        assert second.path.read_bytes() == new


def _wsgidav(files: Path, port: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "wsgidav.server.server_cli", "--host", "127.0.0.1", "--port", str(port), "--root",
         str(files), "--auth", "anonymous", "--no-config", "-q"],
        start_new_session=True, preexec_fn=die_with_parent, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip


@pytest.mark.parametrize("told", [True, False], ids=["size known", "size unknown"])
async def test_wsgidav(told: bool, tmp_path: Path) -> None:
    pytest.importorskip("wsgidav")
    files, port = serve(tmp_path), free_port()
    process = _wsgidav(files, port)
    try:
        wait_for(port, process)
        async with Lab(tmp_path, f"http://127.0.0.1:{port}") as lab:
            await fetch_with_seeks(lab, told=told)
            # a library that is behind says that the file is longer: requests past its end
            (files / "music" / "other.flac").write_bytes(SONG[: 2 * MIB])
            entry = await lab.fetch(song("other", SONG), Role.JOB)
            assert entry.path.read_bytes() == SONG[: 2 * MIB]
    finally:
        end(process, 3)


@pytest.mark.parametrize("lie", ["bytes {last}-{first}/{size}", "bytes {first}-{last}/{last}", "bytes 0-{last}/{size}"])
async def test_a_server_that_never_gets_ranges_right_is_asked_for_whole_files(lie: str, tmp_path: Path) -> None:
    """Wrong and inverted Content-Range as WebDAV servers have been seen to send, for ever."""

    async def hook(seen: Seen, answer: Answer) -> Answer | None:
        if not seen.range or not seen.path.startswith("/music/"):
            return None
        first, last = seen.range
        answer = part(SONG, server.etags[seen.path], seen)
        answer.headers["Content-Range"] = lie.format(first=first or 1, last=min(last, len(SONG) - 1), size=len(SONG))
        return answer

    async with FaultServer({"/music/song.flac": SONG}) as server, Lab(tmp_path, server.url) as lab:
        server.hook = hook
        entry = await lab.fetch(song("song", SONG))
        assert entry.path.read_bytes() == SONG
        assert not lab.passed_over
        assert lab.cache.counters.network_bytes <= len(SONG) + (512 << 10)  # what came before it was found out


def test_playing_through_nginx_in_front_of_the_api(
    tmp_path: Path, nginx: Callable[..., tuple[int, subprocess.Popen[bytes]]]
) -> None:
    """It serves the files itself, under tags of its own, and hands on the rest: gapless, once, and kept."""
    album = material(tmp_path, "flac", 5.0, tracks=3)
    files = tmp_path / "files"
    with Cloud(tmp_path) as cloud:
        for n, (path, frames) in enumerate(zip(album.tracks, album.frames, strict=True)):
            track = cloud.add("a", f"{n}", path.read_bytes(), "flac", samples=frames, sample_rate=44_100,
                              duration=frames / 44_100)  # fmt: skip
            target = files / track["path"].lstrip("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
        port, _ = nginx(f"location /api/ {{ proxy_pass {cloud.url}; proxy_set_header Host $host; }}", files)
        with FaultBox(tmp_path, cloud) as box:
            box.player_url = f"http://127.0.0.1:{port}"
            box.start_player(sync=False)
            box.cli("sync")
            for _ in range(2):
                box.cli("play", "album:a")
                box.wait(lambda s: s["state"] == "stopped", 30, "the end")
            counters = box.status()["counters"]
            box.stop_player()
            box.start_player(sync=False)
            assert box.status()["cache"]["tracks"] == 3
            box.cli("play", "album:a")
            again = box.wait(lambda s: s["state"] == "stopped", 30, "the end")["counters"]
            box.stop_player()
        size = sum(len(path.read_bytes()) for path in album.tracks)
        assert counters["network_bytes"] == again["network_bytes"] == size
        assert again["refetched_bytes"] == 0
        assert not cloud.sent.get("/music/a/0.flac")
        heard = wavs.read(box.wav).data
        assert (d := wavs.difference(album.pcm, heard[-len(album.pcm) :])) is None, d
        assert len(heard) in (len(album.pcm), 3 * len(album.pcm))
        assert np.any(heard)
