"""`serve` as a process: one line, a private token, a quick end, nothing accepted is ever lost (S4, R1, R4, R8)."""

from __future__ import annotations

import http.client
import signal
import socket
import stat
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from appliance.errors import SettingsError
from appliance.server.run import parse_address

from .conftest import Process
from .test_upload import multipart

Put = Callable[..., Path]
Spawn = Callable[[], Process]


def test_starts_and_ends(spawn: Spawn, put: Put, tmp_path: Path, tone: bytes) -> None:
    music = tmp_path / "music"
    put(music / "a.flac", title="A")
    (music / "big.flac").write_bytes(tone + bytes(200 << 20))
    server = spawn()
    assert server.line == f"listening on http://127.0.0.1:{server.port}\n"
    token = tmp_path / "state" / "token"
    assert stat.S_IMODE(token.stat().st_mode) == 0o600
    assert len(server.token) >= 32
    while server.ask("GET", "/api/v1/stats").json["tracks"] < 2:
        time.sleep(0.02)
    connection = http.client.HTTPConnection("127.0.0.1", server.port)
    begun = time.monotonic()
    for _ in range(20):  # one connection, small answers: none may wait for a delayed acknowledgement
        connection.request("GET", "/api/v1/cat", headers={"Authorization": f"Bearer {server.token}"})
        assert connection.getresponse().read()
    assert time.monotonic() - begun < 0.6
    connection.close()
    second = subprocess.run(
        [sys.executable, "-c", "import sys; from pathlib import Path; from appliance.server import serve\n"
         "try: serve([Path(sys.argv[1])], Path(sys.argv[2]), '127.0.0.1:0')\n"
         "except Exception as e: print(e)", str(music), str(tmp_path / "state")],
        capture_output=True, text=True, timeout=20, check=True,
    )  # fmt: skip
    assert "another server is using this state folder" in second.stdout
    with socket.create_connection(("127.0.0.1", server.port)) as stream:  # a stream that nobody reads
        stream.sendall(
            f"GET /music/big.flac HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {server.token}\r\n\r\n".encode()
        )
        assert stream.recv(100)
        begun = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        output, errors = server.process.communicate(timeout=10)
        assert time.monotonic() - begun < 2
    assert server.process.returncode == 0
    assert output == ""
    assert "Traceback" not in errors
    assert server.token not in errors


def test_what_was_accepted_survives_the_plug(spawn: Spawn, put: Put, tmp_path: Path) -> None:
    put(tmp_path / "music" / "a.flac", title="A")
    uploaded = put(tmp_path / "src.flac", title="Up", artist="X", album="Y").read_bytes()
    server = spawn()
    while not (tracks := server.ask("GET", "/api/v1/library?since=0").json["added"]):
        time.sleep(0.02)
    track = tracks[0]["id"]
    play = {"id": str(uuid.uuid4()), "track_id": track, "played_at": None, "seconds": 3}
    body, kind = multipart("x.flac", uploaded)
    assert server.ask("PATCH", f"/api/v1/track/{track}", {"title": "Patched"}).status == 200
    assert server.ask("POST", "/api/v1/plays", [play]).json["accepted"] == 1
    assert server.ask("POST", "/api/v1/upload", body, Content_Type=kind, X_Idempotency_Key="k").status == 201
    server.kill()
    stale = tmp_path / "music" / ".chadbox-upload" / "old"
    stale.mkdir(parents=True)
    (stale / "incoming").write_bytes(b"half a file")

    server = spawn()
    assert server.ask("GET", f"/api/v1/track/{track}").json["title"] == "Patched"
    assert server.ask("POST", "/api/v1/plays", [play]).json["accepted"] == 0
    again = server.ask("POST", "/api/v1/upload", body, Content_Type=kind, X_Idempotency_Key="k")
    assert (again.status, again.json["duplicate"]) == (200, True)
    assert server.ask("GET", again.json["track"]["url"]).body == uploaded
    assert not stale.exists()
    assert server.ask("GET", "/api/v1/stats").json["tracks"] == 2


@pytest.mark.parametrize(
    ("text", "expected"),
    [("127.0.0.1:5000", ("127.0.0.1", 5000)), ("[::1]:0", ("::1", 0)), ("h:1", ("h", 1))],
)
def test_address(text: str, expected: tuple[str, int]) -> None:
    assert parse_address(text) == expected


@pytest.mark.parametrize("text", ["", "host", "host:", "host:x", "host:70000", "host:-1", "[::1:5"])
def test_bad_address(text: str) -> None:
    with pytest.raises(SettingsError, match="not an address"):
        parse_address(text)


def test_import_is_cheap() -> None:
    code = "import sys, appliance.server; print({'starlette', 'uvicorn', 'mutagen', 'sqlite3'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
