"""A real server, player and `chadbox`: signing in, renewing, being killed, playing offline (A3, P3, L5)."""

from __future__ import annotations

import os
import re
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.support import tones, wavs
from tests.support.box import Box
from tests.support.processes import Alarm, descendants
from tests.support.proxy import Proxy

NO_TOKEN: dict[str, dict[str, Any]] = {"server": {"token_file": None}}
TRACKS = 3


@pytest.fixture(scope="session")
def album(tmp_path_factory: pytest.TempPathFactory) -> tones.Album:
    return tones.album(tmp_path_factory.mktemp("signed"), "flac", tracks=TRACKS, seconds=4.0)


@pytest.fixture
def box(tmp_path: Path, album: tones.Album) -> Iterator[Box]:
    """Neither server nor player runs yet, and the player has no token."""
    with Box(tmp_path, album.folder.parent.parent, settings=NO_TOKEN, server=False, player=False) as box:
        yield box


def login(box: Box) -> tuple[subprocess.Popen[str], str]:
    """`chadbox login` that waits, and its code."""
    process = subprocess.Popen(box.command("login"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    with Alarm(process, 20):  # type: ignore[arg-type]
        lines = [process.stdout.readline() for _ in range(4)]
    code = re.search(r"approve the code\s+([A-Z]{4}-[A-Z]{4})\n", "".join(lines))
    assert code, lines
    assert f"chadbox serve approve {code[1]}" in lines[2]
    return process, code[1]


def state(box: Box) -> tuple[str, str]:
    return "--state", str(box.root / "server")


def sign_in(box: Box) -> None:
    process, code = login(box)
    box.cli("serve", "approve", code)
    output, errors = process.communicate(timeout=20)
    assert (process.returncode, output, errors) == (0, "signed in\n", "")


def rows(file: Path, sql: str) -> list[Any]:
    with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True, timeout=10)) as con:
        return con.execute(sql).fetchall()


def until(condition: Callable[[], object], what: str, seconds: float = 20) -> None:
    """For what has no event: files of another process."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.01)


def test_from_a_code_to_music(box: Box) -> None:
    box.start_server("--poll-interval", "0.3")
    box.start_player(sync=False)
    status = box.wait(lambda s: "token-rejected" in s["health"])
    assert "chadbox login" in status["health_details"]["token-rejected"]
    process, code = login(box)
    process.send_signal(signal.SIGINT)  # somebody gives up
    assert process.wait(5) == 130
    process, newer = login(box)
    assert newer != code
    assert "nobody waits" in box.cli("serve", "approve", "BBBB-CCCC", *state(box), code=1).stderr
    approved = box.cli("serve", "approve", newer.lower().replace("-", " "), *state(box)).stdout
    assert approved.startswith("approved: ")
    output, _ = process.communicate(timeout=10)
    assert (process.returncode, output) == (0, "signed in\n")
    file = box.root / "state" / "sign-in.json"
    assert file.stat().st_mode & 0o777 == 0o600
    box.wait(lambda s: s["health"] == ["ok"] and s["library"]["tracks"] == TRACKS, what="the library, by itself")
    box.cli("play", "album:1")
    box.wait(lambda s: s["state"] == "stopped" and s["counters"]["network_bytes"] > 0, what="the end of the album")
    box.stop_player()
    box.start_player(sync=False)
    assert box.json("sync")["added"] == 0
    (device,) = box.json("serve", "devices", *state(box))
    assert device["name"]
    box.cli("serve", "revoke", str(device["id"]), *state(box))
    assert box.json("logout") == {"signed_out": True}
    assert box.cli("logout").stdout == "nobody was signed in\n"
    assert not file.exists()
    box.wait(lambda s: "token-rejected" in s["health"], 5, what="a look at the server at once")
    assert "chadbox login" in box.cli("sync", code=1).stderr


def test_denied_and_expired(box: Box) -> None:
    box.start_server("--poll-interval", "0.2", "--code-life", "1.5")
    box.start_player(sync=False)
    process, code = login(box)
    box.cli("serve", "deny", code, *state(box))
    _, errors = process.communicate(timeout=10)
    assert (process.returncode, errors) == (1, "chadbox: the owner of the server denied it\n")
    done = box.cli("login", code=1)
    assert "expired" in done.stderr
    done = box.cli("login", "--json", code=1)
    assert (done.stdout, "approve the code" in done.stderr) == ("", True)
    box.stop_player()
    assert "not running" in box.cli("login", code=3).stderr


def test_a_token_that_ends_every_second(box: Box) -> None:
    box.start_server("--poll-interval", "0.2", "--token-life", "1")
    box.start_player(sync=False)
    sign_in(box)
    box.wait(lambda s: s["library"]["tracks"] == TRACKS)
    begun = time.monotonic()
    while time.monotonic() - begun < 4:
        box.cli("sync", "--full")
    box.cli("play", "album:1")
    status = box.wait(lambda s: s["state"] == "stopped" and s["queue"]["index"] is None, what="the end of the album")
    assert status["health"] == ["ok"]
    assert 3 <= status["counters"]["token_refreshes"] <= 20
    assert status["counters"]["stream_errors"] == 0
    before = status["counters"]["token_refreshes"]
    box.stop_player()
    box.start_player(sync=False)
    assert box.status()["counters"]["token_refreshes"] >= before


@pytest.mark.parametrize("when", ["answer under way", "answer lost"])
def test_kill_9_between_renewal_and_disk(box: Box, when: str) -> None:
    """The server has given out new tokens, the box has only the old ones: it is not signed out."""
    url = box.start_server("--poll-interval", "0.2", "--token-life", "1.5")
    with Proxy(url) as proxy:
        box.player_url = proxy.url
        box.start_player(sync=False)
        sign_in(box)
        box.wait(lambda s: s["library"]["tracks"] == TRACKS)
        kept = (box.root / "state" / "sign-in.json").read_bytes()
        proxy.forget()
        if when == "answer lost":
            proxy.cut_after("/api/v1/token", 1)
        else:
            proxy.delay = 0.6
        generations = lambda: rows(box.root / "server" / "server.db", "SELECT generation FROM sign_in")[0][0]  # noqa: E731
        before = generations()
        time.sleep(1.6)
        request = subprocess.Popen(box.command("sync"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until(lambda: generations() > before, "a renewal")
        if when == "answer lost":
            until(lambda: proxy.exchanges and request.poll() is not None, "the broken answer")
        box.kill9_player()
        request.wait(5)
        if when == "answer under way":
            assert (box.root / "state" / "sign-in.json").read_bytes() == kept
        proxy.delay = 0.0
        box.start_player(sync=False)
        assert box.json("sync")["added"] == 0
        box.wait(lambda s: s["health"] == ["ok"])


def test_tokens_are_found_nowhere(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHADBOX_LOG", "DEBUG")
    url = box.start_server("--poll-interval", "0.2", "--token-life", "1")
    with Proxy(url) as proxy:
        box.player_url = proxy.url
        box.start_player(sync=False)
        seen: set[bytes] = set()
        process, code = login(box)
        box.cli("serve", "approve", code, *state(box))
        assert process.wait(20) == 0
        file = box.root / "state" / "sign-in.json"

        def note() -> None:
            seen.update(re.findall(rb'"(?:access|refresh)":"([^"]+)"', file.read_bytes()))

        note()
        box.cli("play", "album:1")
        for _ in range(3):
            box.cli("sync", "--full")
            time.sleep(0.5)
            note()
        assert len(seen) >= 4
        assert box.player_process
        shown = [box.cli(*words, code=None) for words in (("config", "show"), ("status", "--json"), ("jobs", "--json"))]
        text = "".join(done.stdout + done.stderr for done in shown).encode()
        for pid in (box.player_process.pid, *descendants(box.player_process.pid)):
            for name in ("cmdline", "environ"):
                text += Path(f"/proc/{pid}/{name}").read_bytes()
        text += " ".join(exchange.path for exchange in proxy.exchanges).encode()
        for path in box.root.rglob("*"):
            if path.is_file() and path not in (file, box.token_file):
                text += path.read_bytes()
        assert b"appliance" in text
        assert not [token for token in seen if token in text]


def test_plays_are_reported_once_after_a_night_offline(box: Box) -> None:
    """Played from cache without network, killed, killed again between the server's count and ours: each counts once."""
    box.settings["audio"] = {"output": "null"}  # in real time: how long something was heard is what counts
    url = box.start_server("--poll-interval", "0.2")
    mine, theirs = box.root / "state" / "chadbox.db", box.root / "server" / "server.db"

    def reported() -> list[int]:
        return [n for (n,) in rows(mine, "SELECT reported FROM play ORDER BY n")]

    def counted() -> list[Any]:
        return rows(theirs, "SELECT id, track_id, played_at FROM play")

    with Proxy(url) as proxy:
        box.player_url = proxy.url
        box.start_player(sync=False)
        sign_in(box)
        box.wait(lambda s: s["library"]["tracks"] == TRACKS)
        assert box.json("fetch", "album:1")["tracks"] == TRACKS
        proxy.refuse()
        box.cli("play", "album:1")
        until(lambda: len(reported()) == TRACKS, "the end of the album")
        assert reported() == [0] * TRACKS
        box.kill9_player()
        box.start_player(sync=False)
        assert reported() == [0] * TRACKS
        proxy.forget()
        proxy.delay = 0.5  # the server's word that it has them is under way for so long
        proxy.accept()
        until(lambda: len(counted()) == TRACKS, "the plays")
        box.kill9_player()
        assert reported() == [0] * TRACKS
        proxy.delay = 0.0
        box.start_player(sync=False)
        until(lambda: reported() == [1] * TRACKS, "the note that they were reported")
        assert sum(e.path == "/api/v1/plays" for e in proxy.exchanges) == 2
    plays = counted()
    assert len(plays) == TRACKS
    assert {p for p, _, _ in plays} == {p for (p,) in rows(mine, "SELECT id FROM play")}
    assert sorted(t for _, t, _ in plays) == sorted(t for (t,) in rows(mine, "SELECT track_id FROM play"))
    for _, _, played_at in plays:
        assert played_at is None or abs(time.time() - played_at) < 300
    assert os.path.getsize(mine) > 0


def test_a_box_that_was_signed_out_skips_nothing(box: Box, album: tones.Album) -> None:
    """What is cached plays on, the next track waits; a new sign-in, and it goes on by itself."""
    box.start_server("--poll-interval", "0.2", "--token-life", "1")
    box.start_player(sync=False)
    sign_in(box)
    box.wait(lambda s: s["library"]["tracks"] == TRACKS)
    first = box.api("album/1/tracks")["tracks"][0]["id"]
    assert box.json("fetch", f"track:{first}")["tracks"] == 1
    (device,) = box.json("serve", "devices", *state(box))
    box.cli("serve", "revoke", str(device["id"]), *state(box))
    time.sleep(1.1)
    box.cli("play", "album:1")
    status = box.wait(
        lambda s: s["queue"]["index"] == 1 and "token-rejected" in s["health"], what="the second track waiting"
    )
    assert "chadbox login" in status["health_details"]["token-rejected"]
    time.sleep(2)
    status = box.status()
    assert (status["queue"]["index"], status["queue"]["length"], status["position"]) == (1, TRACKS, 0.0)
    assert status["state"] in ("buffering", "playing")
    sign_in(box)
    status = box.wait(lambda s: s["state"] == "stopped", what="the end of the album")
    assert status["health"] == ["ok"]
    box.stop_player()
    assert wavs.difference(album.pcm, wavs.read(box.wav).data) is None, "every sample of the album, once"
