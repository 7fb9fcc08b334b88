"""Importing from the outside: the real player, a folder in place of a stick, the chadbox command (C10, A1)."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from pathlib import Path

from tests.drives.import_rig import noise, songs, tone
from tests.support.box import Box
from tests.support.proxy import Proxy


def test_c10_the_command_imports_shows_the_queue_and_can_be_stopped(tmp_path: Path) -> None:
    stick = tmp_path / "CAR"
    stick.mkdir()
    songs(stick, tone(tmp_path), 5)
    (stick / "text.mp3").write_text("no music" * 99)
    settings = {"audio": {"output": "null"}, "drives": {"folders": [str(stick)]}}
    with Box(tmp_path / "box", settings=settings, player=False) as box, Proxy(box.server_url) as proxy:
        box.player_url = proxy.url
        box.start_player(sync=False)
        box.wait(lambda s: s["drives"] and s["drives"][0]["state"] == "not-adopted", what="the drive")
        said = box.cli("drive", "import", "CAR").stdout
        assert "5 uploaded, 0 there already, 1 failed: the server refused it (415)" in said
        again = box.json("drive", "import", "CAR")
        assert (again["uploaded"], again["known"], again["bytes"]) == (0, 5, 0)
        assert [file["path"] for file in again["failed"]] == ["text.mp3"]
        assert "failed" in box.cli("drive", "queue", "CAR").stdout
        assert {file["state"] for file in box.json("drive", "queue", "CAR")} == {"duplicate", "failed"}
        assert [(j["kind"], j["state"]) for j in box.json("jobs")] == [("import", "done"), ("import", "done")]
        box.wait(lambda s: s["library"]["tracks"] == 5, what="the new tracks in the box's own library")
        assert not (stick / ".chadbox").exists()

        noise(stick / "Large.wav", 40 << 20)
        proxy.saboteur = lambda exchange, place, sent: exchange.method == "PATCH" and sent > 1 << 20
        command = subprocess.Popen(box.command("drive", "import", "CAR"), stderr=subprocess.DEVNULL)
        while not any(e.method == "PATCH" for e in proxy.exchanges):
            assert command.poll() is None
            time.sleep(0.01)
        command.send_signal(signal.SIGINT)
        assert command.wait(5) == 130
        assert json.loads(box.cli("jobs", "--json").stdout)[0]["state"] == "cancelled"
        proxy.saboteur = lambda exchange, place, sent: False
        assert box.json("drive", "import", "CAR")["uploaded"] == 1
        assert box.stop_player() == 0
