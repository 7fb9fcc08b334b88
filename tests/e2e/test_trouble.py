"""What goes wrong outside is told in one clear line and one word of `status`, and the music goes on (P4, R10, A5)."""

from __future__ import annotations

import contextlib
import http.server
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import NULL, Home
from tests.support import tones, wavs
from tests.support.box import Box
from tests.support.proxy import Proxy


def refused(box: Box, *command: str, code: int = 1) -> str:
    """The one line that a command fails with."""
    done = box.cli(*command, code=code)
    assert done.stdout == ""
    assert done.stderr.startswith("chadbox: ")
    assert done.stderr.count("\n") == 1, done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr


def quiet(box: Box) -> None:
    """The player's log has no traceback."""
    assert "Traceback" not in box.log("player", 10_000), box.log("player", 200)


@pytest.fixture
def other_listener() -> Iterator[str]:
    """A web server that knows nothing of music: its URL."""

    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = b"<html><body>It works!</body></html>"
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def bare(home: Home, root: Path, url: str | None = None, settings: dict[str, dict[str, object]] | None = None) -> Box:
    """A player that has never synced."""
    box = home.player(root / "bare", settings or NULL, url=url)
    box.token_file = root / "token"
    box.token_file.write_text(home.box.token_file.read_text())
    return box


# The server ----------------------------------------------------------------------------------------------------------


def test_a_wrong_token(home: Home, tmp_path: Path) -> None:
    box = bare(home, tmp_path)
    box.token_file.write_text("bad-token-77\n")
    with box:
        box.start_player(sync=False)
        assert "token" in refused(box, "sync")
        box.wait(lambda s: s["health"] == ["token-rejected"])
        assert "token" in refused(box, "play", "track:1")
        assert "put a valid one" in box.cli("status").stdout
        box.token_file.write_text(home.box.token_file.read_text())  # without a restart
        box.cli("sync")
        box.cli("play", home.track(home.albums["flac"]))
        box.wait(lambda s: s["state"] == "playing" and s["health"] == ["ok"], what="music with the right token")
        quiet(box)
        assert "bad-token-77" not in box.log("player", 10_000)


def test_no_token_at_all(home: Home, tmp_path: Path) -> None:
    box = bare(home, tmp_path)
    box.token_file.unlink()
    with box:
        box.start_player(sync=False)
        line = refused(box, "sync")
        assert str(box.token_file) in line
        box.wait(lambda s: s["health"] == ["token-rejected"])
        quiet(box)


def test_the_server_away(home: Home, tmp_path: Path) -> None:
    with bare(home, tmp_path, "http://127.0.0.1:9") as box:
        box.start_player(sync=False)
        assert "127.0.0.1:9" in refused(box, "sync")
        box.wait(lambda s: s["health"] == ["offline"])
        assert "cannot be reached" in refused(box, "play", "track:1")
        assert "cannot be reached" in refused(box, "fetch", "track:1")
        assert "empty" in refused(box, "play")
        quiet(box)


def test_something_else_listens(home: Home, tmp_path: Path, other_listener: str) -> None:
    with bare(home, tmp_path, other_listener) as box:
        box.start_player(sync=False)
        assert "server.url" in refused(box, "sync")
        box.wait(lambda s: s["health"] == ["server-error"])
        quiet(box)


def test_no_network_at_the_start_cached_music_plays(home: Home, start: Callable[..., Box], proxy: Proxy) -> None:
    album = home.albums["flac"]
    box = start(url=proxy.url)
    box.cli("fetch", home.what(album))
    box.cli("queue", "add", home.what(album))
    box.stop_player()
    fetched = proxy.body_bytes("/music/")
    proxy.refuse()
    box.start_player(sync=False)
    began = box.json("play")
    assert began["state"] in ("playing", "buffering")
    box.wait(lambda s: s["state"] == "stopped", what="the end")
    assert (d := wavs.difference(album.pcm, wavs.read(box.wav).data)) is None, d
    assert box.wait(lambda s: "offline" in s["health"])["source"] is None
    assert box.json("search", "part")["tracks"]
    assert "cannot be reached" in refused(box, "fetch", home.what(home.albums["opus"]))
    assert proxy.body_bytes("/music/") == fetched
    quiet(box)


def test_the_server_goes_away_in_mid_track(home: Home, start: Callable[..., Box], proxy: Proxy) -> None:
    album = home.albums["flac24"]
    proxy.bandwidth = 400_000
    box = start(url=proxy.url)
    box.cli("play", home.what(album))
    for wait in (0.4, 1.0):
        before = proxy.body_bytes("/music/")
        box.wait(lambda s, b=before: s["counters"]["network_bytes"] > b + 100_000, what="bytes")
        proxy.refuse()
        status = box.wait(lambda s: s["state"] == "buffering" and "offline" in s["health"], what="buffering")
        assert status["track"]
        with pytest.raises(AssertionError, match="did not come"):
            box.wait(lambda s: s["state"] not in ("buffering", "playing"), wait)
        proxy.accept()
    proxy.bandwidth = None
    box.wait(lambda s: s["state"] == "stopped", 40, "the end")
    assert (d := wavs.difference(album.pcm, wavs.read(box.wav).data)) is None, d
    counters = box.status()["counters"]
    assert counters["refetched_bytes"] == 0
    assert counters["network_bytes"] == sum(t["size"] for t in home.tracks(album))
    box.wait(lambda s: s["health"] == ["ok"])
    quiet(box)


# Files ---------------------------------------------------------------------------------------------------------------


def test_broken_files_are_passed_over(tmp_path: Path) -> None:
    album = tones.album(tmp_path / "music", "flac", seconds=4, tracks=2)
    good = album.tracks
    lying = {
        "text.flac": b"this is no music\n" * 300,
        "text.mp3": b"neither is this\n" * 300,
        "noise.m4a": bytes(range(256)) * 64,
        "half.flac": good[0].read_bytes()[: good[0].stat().st_size // 2],
    }
    for name, data in lying.items():
        (album.folder / f"01 {name}").write_bytes(data)
    (album.folder / "01 empty.flac").write_bytes(b"")
    with Box(tmp_path, album.folder.parent.parent, server=True, player=False) as box:
        wait_for_tracks(box, 2)
        box.start_player(sync=False)
        box.cli("sync")
        everything = box.json("search", "--limit", "50", "flac")["tracks"] + box.json("search", "part")["tracks"]
        ids = {track["url"].rpartition("/")[2]: track["id"] for track in everything}
        order = ["01%20Part%201.flac", *(n for n in sorted(ids) if "Part" not in n), "02%20Part%202.flac"]
        for name in order:
            box.cli("queue", "add", f"track:{ids[name]}")
        box.cli("play")
        status = box.wait(lambda s: s["state"] == "stopped", 30, "the end")
        data = wavs.read(box.wav).data
        one, two = album.part(0), album.part(1)
        assert (d := wavs.difference(one, data[: len(one)])) is None, d
        assert (d := wavs.difference(two, data[-len(two) :])) is None, d
        if len(order) > 2:
            assert status["message"]
        quiet(box)


def wait_for_tracks(box: Box, least: int) -> None:
    deadline, last = time.monotonic() + 20, -1
    while True:
        known = box.api("stats")["tracks"]
        if known >= least and known == last:
            return
        assert time.monotonic() < deadline
        last = known
        time.sleep(0.5)


def test_a_file_that_becomes_rubbish_after_the_sync(tmp_path: Path) -> None:
    """The library knows good tracks; what the server then sends is not them any more."""
    music = tmp_path / "music"
    albums = [tones.album(music, "flac", seconds=3, tracks=3, title=f"A{n}", seed=n) for n in range(2)]
    with Box(tmp_path, music) as box:
        ids = [t["id"] for a in albums for t in box.api(f"album/{box.album_id(a.folder.name)}/tracks")["tracks"]]
        albums[0].tracks[1].write_bytes(b"<html>gone</html>" * 1000)
        albums[0].tracks[2].unlink()
        albums[1].tracks[0].write_bytes(b"")
        shutil.copyfile(albums[1].tracks[2], albums[1].tracks[1])
        for track in ids:
            box.cli("queue", "add", f"track:{track}")
        box.cli("play")
        box.wait(lambda s: s["state"] == "stopped", 30, "the end")
        data = wavs.read(box.wav).data
        first, last = albums[0].part(0), albums[1].part(2)
        assert (d := wavs.difference(first, data[: len(first)])) is None, d
        assert (d := wavs.difference(last, data[-len(last) :])) is None, d
        assert box.status()["message"]
        done = box.json("fetch", f"album:{box.album_id('A0')}")
        assert done["tracks"] >= 1
        assert done["failed"]
        assert all("\n" not in f["reason"] and f["reason"] for f in done["failed"])
        quiet(box)


# The person ----------------------------------------------------------------------------------------------------------


def test_unknown_names(home: Home, start: Callable[..., Box]) -> None:
    box = start(NULL)
    for command in (
        ("play", "track:99999999"), ("play", "album:nope"), ("play", "artist:Nobody Known"), ("play", "genre:Nothing"),
        ("play", "playlist:none"), ("play", "xyzzy plugh"), ("queue", "add", "track:99999999"), ("fetch", "album:nope"),
        ("cache", "pin", "track:99999999"), ("queue", "remove", "7"), ("queue", "move", "1", "2"),
        ("jobs", "cancel", "77"), ("jobs", "retry", "77"), ("browse", "artist", "Nobody Known"),
    ):  # fmt: skip
        assert refused(box, *command)
    for command in (
        ("play", "track:"), ("seek", "x"), ("volume", "loud"), ("volume", "1000"), ("queue", "shuffle", "maybe"),
        ("queue", "repeat", "twice"), ("browse", "colour"), ("nonsense",), ("queue", "remove", "-1"), ("seek", "10"),
    ):  # fmt: skip
        refused(box, *command, code=2)
    assert "empty" in refused(box, "play")
    assert box.status()["health"] == ["ok"]
    quiet(box)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[audio]\noutptu = 'null'\n", ("[audio] outptu", "line")),
        ("[audoi]\noutput = 'null'\n", ("audoi", "line")),
        ("[audio]\nrate = 'fast'\n", ("[audio] rate", "line")),
        ("[cache]\nmax_bytes = '8 GigaByte'\n", ("[cache] max_bytes", "8 GiB", "line")),
        ("[audio\n", ("TOML",)),
    ],
)
def test_a_misspelt_setting(home: Home, tmp_path: Path, text: str, words: tuple[str, ...]) -> None:
    box = home.player(tmp_path / "box")
    box.config.write_text(f'[server]\nurl = "{home.url}"\n{text}')
    for command in (("run",), ("config", "check")):
        line = refused(box, *command)
        assert str(box.config) in line
        assert all(word in line for word in words), line
    box.close()


def test_a_socket_nobody_listens_on(home: Home, tmp_path: Path) -> None:
    box = home.player(tmp_path / "box")
    box.config.write_text(box.toml())
    for command in ("status", "play", "queue", "sync"):
        assert "not running" in refused(box, command, code=3)
    box.close()


# The disk ------------------------------------------------------------------------------------------------------------


def fill(path: Path) -> None:
    """Take all the room there is."""
    with path.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(bytes(4096)):
            pass


def test_a_full_disk(home: Home, start: Callable[..., Box], small_disk: Path) -> None:
    album = home.albums["flac"]
    (small_disk / "cache").mkdir()
    box = start({"cache": {"dir": str(small_disk / "cache"), "min_free": "1 MiB"}})
    (small_disk / "filler").write_bytes(bytes(16_000_000))  # less than min_free is left: not even one track fits
    box.cli("play", home.what(album))
    status = box.wait(lambda s: s["state"] == "stopped", 30, "the end")
    assert "disk-full" in status["health"]
    assert (d := wavs.difference(album.pcm, wavs.read(box.wav).data)) is None, d
    assert "room" in refused(box, "fetch", home.track(home.large))
    assert "Free some space" in box.cli("status").stdout
    (small_disk / "filler").unlink()
    box.cli("fetch", home.what(album))
    box.wait(lambda s: s["health"] == ["ok"], what="a healthy box")
    quiet(box)


def test_a_full_disk_under_everything(home: Home, start: Callable[..., Box], small_disk: Path) -> None:
    """The database cannot be written any more either."""
    box = start({"cache": {"dir": str(small_disk / "cache"), "min_free": "0"}, "state": {"dir": str(small_disk / "s")}})
    fill(small_disk / "filler")
    album = home.albums["flac"]
    box.cli("play", home.what(album))
    status = box.wait(lambda s: s["state"] == "stopped", 30, "the end")
    assert "disk-full" in status["health"]
    assert (d := wavs.difference(album.pcm, wavs.read(box.wav).data)) is None, d
    box.cli("volume", "50")
    box.cli("queue", "repeat", "all")
    (small_disk / "filler").unlink()
    box.cli("fetch", home.what(album))
    box.cli("queue", "repeat", "one")
    box.wait(lambda s: s["health"] == ["ok"], what="a healthy box")
    box.stop_player()
    box.start_player(sync=False)
    status = box.status()
    assert (status["queue"]["repeat"], status["queue"]["length"], status["volume"]) == ("one", 5, 50)
    quiet(box)


def test_no_room_by_min_free(home: Home, start: Callable[..., Box]) -> None:
    album = home.albums["alac"]
    box = start({"cache": {"min_free": "100 TiB"}})
    box.cli("play", home.what(album))
    assert "disk-full" in box.wait(lambda s: s["state"] == "stopped", 30, "the end")["health"]
    assert (d := wavs.difference(album.pcm, wavs.read(box.wav).data)) is None, d
    assert "room" in refused(box, "fetch", home.what(album))
    assert box.json("cache")["tracks"] == 0
    quiet(box)


def test_a_cache_smaller_than_a_track(home: Home, start: Callable[..., Box]) -> None:
    box = start({"cache": {"max_bytes": "1 MiB"}})
    box.cli("play", home.track(home.large))
    status = box.wait(lambda s: s["state"] == "stopped", 30, "the end")
    assert "cache-full" in status["health"]
    assert (d := wavs.difference(home.large.pcm, wavs.read(box.wav).data)) is None, d
    assert "room" in refused(box, "fetch", home.track(home.large))
    box.cli("play", home.track(home.albums["mp3"]))
    box.wait(lambda s: s["state"] == "stopped" and s["health"] == ["ok"], what="a healthy box")
    assert box.json("cache")["bytes"] <= 1 << 20
    quiet(box)


def test_the_least_recently_used_goes_first_and_pins_stay(home: Home, start: Callable[..., Box]) -> None:
    sizes = {n: home.tracks(home.albums["wav"])[n]["size"] for n in range(5)}
    box = start(NULL | {"cache": {"max_bytes": sum(sizes.values()) - 1}})
    what = [home.track(home.albums["wav"], n) for n in range(5)]
    for n in range(4):
        box.cli("fetch", what[n])
    box.cli("cache", "pin", what[0])
    box.cli("fetch", what[4])
    kept = {f"track:{f['id']}" for f in box.json("cache")["files"] if f["complete"]}
    assert kept == {what[0], what[2], what[3], what[4]}
    box.cli("cache", "clear")
    assert [f"track:{f['id']}" for f in box.json("cache")["files"]] == [what[0]]
    box.cli("cache", "unpin", what[0])
    box.cli("cache", "clear")
    assert box.json("cache") == {"bytes": 0, "limit": sum(sizes.values()) - 1, "tracks": 0, "files": []}
