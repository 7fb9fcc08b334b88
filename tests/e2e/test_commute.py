"""C2 from outside: what was heard is in the plan, with its reasons; as WHAT and as a table too."""

from __future__ import annotations

import json
from collections.abc import Callable

from tests.e2e.conftest import Home
from tests.support.box import Box


def test_c2_what_was_heard_is_what_would_be_fetched(home: Home, start: Callable[..., Box]) -> None:
    box = start()
    assert box.json("commute") == {"at": None, "next": None, "tracks": []}
    assert "nothing yet" in box.cli("commute").stdout
    nothing = box.cli("queue", "add", "commute", code=1)
    assert "commute" in nothing.stderr
    box.cli("play", home.track(home.large))
    box.wait(lambda s: s["state"] == "stopped", 60, "the end of the track")
    tracks: list[dict[str, object]] = []
    for _ in range(100):
        tracks = box.json("commute", "--at", "07:30")["tracks"]
        if tracks:
            break
    played = next(t for t in tracks if f"track:{t['id']}" == home.track(home.large))
    assert "heard once" in " ".join(map(str, played["reasons"]))  # type: ignore[call-overload]
    assert played["cached"] is True
    assert all(t["reasons"] for t in tracks)
    assert "heard once" in box.cli("commute", "--why").stdout
    wrong = box.cli("commute", "--at", "soon", code=None)
    assert wrong.returncode in (1, 2)
    assert wrong.stderr.count("\n") == 1
    assert "is not a time" in wrong.stderr
    assert json.loads(box.cli("queue", "add", "commute", "--json").stdout)["added"] == len(
        box.json("commute")["tracks"]
    )
