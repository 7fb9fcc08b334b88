"""The token's bytes are in its header and nowhere else (P3, R4)."""

from __future__ import annotations

import base64
import os
import re
import signal
import subprocess
from pathlib import Path
from urllib.parse import quote

import pytest

from appliance.demo.faultserver import Answer, FaultServer, Seen
from tests.faults.cloud import Cloud, FaultBox, material
from tests.support.processes import descendants

TOKENS = ("S3cret/token+first=-abcdefgh", "S3cret/token+second=-ijklmnop", "S3cret/token+third=-qrstuvwx")


def shapes(token: str) -> set[bytes]:
    """What a token may look like where somebody has written it down."""
    raw = token.encode()
    encoded = {base64.b64encode(raw[i:])[2:-4] for i in range(3)}  # wherever in a base64 text it stands
    return {raw, quote(token, safe="").encode(), quote(token).encode(), raw.hex().encode()} | encoded


NEEDLES = set().union(*(shapes(token) for token in TOKENS))


def found(data: bytes) -> bool:
    return any(needle in data for needle in NEEDLES)


def test_the_hunt_finds_what_is_there() -> None:
    for token in TOKENS:
        assert found(b"x" + token.encode() + b"y")
        assert found(base64.b64encode(b"Bearer " + token.encode()))
        assert found(f"http://host/?access_token={quote(token)}".encode())


def test_the_token_is_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHADBOX_LOG", "DEBUG")
    monkeypatch.setenv("PYTHONFAULTHANDLER", "1")
    album = material(tmp_path, "flac", 3.0, tracks=4)
    other = FaultServer()
    with Cloud(tmp_path, token=TOKENS[0], pace=0.05) as cloud:
        for n, (path, frames) in enumerate(zip(album.tracks, album.frames, strict=True)):
            track = cloud.add("a", f"{n}", path.read_bytes(), "flac", samples=frames, sample_rate=44_100,
                              duration=frames / 44_100)  # fmt: skip
            other.files[track["path"]] = path.read_bytes()
            other.etags[track["path"]] = track["etag"]
        cloud.call(other.listen())
        stage = {"n": 0}

        async def hook(seen: Seen, answer: Answer) -> Answer | None:
            """Every kind of answer that leads an exception, a log line or a request elsewhere."""
            stage["n"] += 1
            if seen.path == "/music/a/1.flac":
                return Answer(302, b"", {"Location": f"{other.url}{seen.target}"})
            if seen.path == "/music/a/2.flac" and stage["n"] % 2:
                return Answer(raw=b"HTTP/1.1 500 " + seen.headers.get("authorization", "").encode()[:0] + b"X\r\n\r\n")
            return None

        cloud.hook = hook
        said: list[bytes] = []
        with FaultBox(tmp_path, cloud, pace=0.05) as box:

            def run(*arguments: str) -> None:
                done = subprocess.run(box.command(*arguments), capture_output=True, timeout=60, check=False)
                said.extend((done.stdout, done.stderr))

            def look_at_processes() -> None:
                assert box.player_process
                for pid in [box.player_process.pid, *descendants(box.player_process.pid)]:
                    for name in ("cmdline", "environ", "comm"):
                        said.append(Path(f"/proc/{pid}/{name}").read_bytes())

            box.start_player(sync=False)
            look_at_processes()
            limits = Path(f"/proc/{box.player_process.pid}/limits").read_text() if box.player_process else ""
            assert re.search(r"Max core file size +0 +0 ", limits), "a core file would hold the token"
            run("sync")
            run("play", "album:a")
            box.wait(lambda s: s["position"] > 0 or s["state"] == "stopped", 30)
            cloud.give_token(TOKENS[1])  # the next request is refused and renewed
            run("sync", "--full")
            cloud.valid = {"nothing at all"}  # refused for good
            for command in ("sync", "status --json", "jobs", "config show"):
                run(*command.split())
            box.wait(lambda s: "token-rejected" in s["health"], 30, "the refusal")
            look_at_processes()
            cloud.give_token("broken token\nwith two lines")
            run("sync")
            cloud.give_token(TOKENS[2])
            run("sync")
            assert box.player_process
            os.kill(box.player_process.pid, signal.SIGABRT)  # a crash, with a report of every thread's stack
            box.player_process.wait(10)
            box.start_player(sync=False)
            run("status", "--json")
            box.stop_player()
        cloud.call(other.away())
        log = (tmp_path / "player.log").read_bytes()
        assert b"DEBUG" in log
        assert b"Fatal Python error: Aborted" in log
        said += [bytes(path.read_bytes()) for path in tmp_path.rglob("*") if _is_ours(path)]
        assert any(path.name.startswith("chadbox.db") for path in tmp_path.rglob("*"))
        assert not any(found(piece) for piece in said)
        seen = [s for s in cloud.seen if found(repr(s.headers).encode())]
        assert {s.headers["authorization"] for s in seen} == {f"Bearer {token}" for token in TOKENS}
        for s in cloud.seen:
            rest = {k: v for k, v in s.headers.items() if k != "authorization"}
            assert not found(f"{s.target}{rest}".encode() + s.body)
        assert other.seen
        assert not any(found(repr(s).encode()) or "authorization" in s.headers for s in other.seen)


def _is_ours(path: Path) -> bool:
    return path.is_file() and not path.name.startswith("cloud-token") and not path.is_fifo()
