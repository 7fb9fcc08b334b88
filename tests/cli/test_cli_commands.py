"""Every command as a person types it: what reaches the player, what is printed, which code comes back (A1)."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from conftest import STATUS, TRACK, Player, Run

from appliance.control.protocol import Request
from appliance.errors import NotFound


@pytest.mark.parametrize(
    ("line", "cmd", "args"),
    [
        ("play", "play", {}),
        ("play album:12", "play", {"what": "album:12"}),
        ("play blue in green", "play", {"what": "blue in green"}),
        ("play -- --odd name", "play", {"what": "--odd name"}),
        ("pause", "pause", {}),
        ("prev", "prev", {}),
        ("seek 90", "seek", {"seconds": 90.0, "relative": False}),
        ("seek -10", "seek", {"seconds": -10.0, "relative": True}),
        ("seek -- -10", "seek", {"seconds": -10.0, "relative": True}),
        ("seek +1.5", "seek", {"seconds": 1.5, "relative": True}),
        ("seek -.5", "seek", {"seconds": -0.5, "relative": True}),
        ("seek -1:02:03", "seek", {"seconds": -3723.0, "relative": True}),
        ("volume 40", "volume", {"value": 40, "relative": False}),
        ("volume -5", "volume", {"value": -5, "relative": True}),
        ("volume +5", "volume", {"value": 5, "relative": True}),
        ("queue add artist:Björk", "queue_add", {"what": "artist:Björk", "next": False}),
        ("queue next track:1", "queue_add", {"what": "track:1", "next": True}),
        ("queue remove 1", "queue_remove", {"index": 1}),
        ("queue move 2 0", "queue_move", {"from": 2, "to": 0}),
        ("queue shuffle on", "queue_shuffle", {"on": True}),
        ("queue repeat one", "queue_repeat", {"mode": "one"}),
        ("search miles davis --limit 5", "search", {"words": "miles davis", "limit": 5}),
        ("browse", "browse", {"offset": 0, "limit": 100}),
        (
            "browse --offset=20 artist Miles Davis --filter b",
            "browse",
            {"category": "artist", "value": "Miles Davis", "offset": 20, "limit": 100, "filter": "b"},
        ),
        ("sync --full", "sync", {"full": True}),
        ("cache pin playlist:Night drive", "cache_pin", {"what": "playlist:Night drive"}),
        ("cache verify", "cache_verify", {}),
        ("fetch favourites", "fetch", {"what": "favourites"}),
        ("jobs cancel 5", "job_cancel", {"id": 5}),
        ("drive import MY CAR", "drive_import", {"name": "MY CAR"}),
        ("drive queue CAR", "drive_queue", {"name": "CAR"}),
    ],
)
def test_what_reaches_the_player(player: Player, chadbox: Run, line: str, cmd: str, args: dict[str, Any]) -> None:
    player.answers = {cmd: {}}
    done = chadbox(*line.split())
    assert (done.returncode, done.stderr) == (0, "")
    assert player.seen[0][0] == cmd
    assert {k: v for k, v in player.seen[0][1].items() if v != "" or k in args} == args | (
        {"relative": False} if cmd == "volume" and "relative" not in args else {}
    )


@pytest.mark.parametrize(
    "line",
    [
        "", "stauts", "status extra", "status --no-such", "status -x", "seek", "seek ten", "seek 1 2", "seek --10",
        "seek 1e9", "seek nan", "seek 99999999:00:00", "volume 101", "volume -101", "volume x", "volume 5.5",
        "queue remove -1", "queue remove x", "queue move 1", "queue drop 1", "queue shuffle maybe",
        "queue repeat twice", "search", "search x --limit", "search x --limit 0", "search x --limit=y",
        "browse --offset -1", "cache pin", "fetch", "jobs cancel x", "jobs cancel", "config", "config fix", "serve",
        "serve --music /tmp", "serve --state /tmp", "--socket", "--timeout 0 status", "--timeout x status",
        "panel x", "doctor", "drive fill", "export x", "commute x", "play --json=yes",
    ],
)  # fmt: skip
def test_wrong_usage_is_one_line_and_2(player: Player, chadbox: Run, line: str) -> None:
    done = chadbox(*line.split())
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("chadbox: ")
    assert player.seen == []


def test_an_empty_word_is_wrong_usage(player: Player, chadbox: Run) -> None:
    assert chadbox("play", "").returncode == 2
    assert player.seen == []


def test_a_misspelt_command_is_recognised(chadbox: Run) -> None:
    assert "did you mean status?" in chadbox("stauts").stderr


def test_not_running_is_3(chadbox: Run) -> None:
    for line in ("status", "status --json", "status --watch", "play", "jobs", "sync --json"):
        done = chadbox(*line.split())
        assert (done.returncode, done.stdout) == (3, "")
        assert done.stderr == (
            "chadbox: the player is not running; start it with `chadbox run` or `systemctl start chadbox`\n"
        )


def test_the_player_says_no(player: Player, chadbox: Run) -> None:
    player.answers["play"] = NotFound("there is no album 99; try `chadbox search`")
    done = chadbox("play", "album:99")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "chadbox: there is no album 99; try `chadbox search`\n"


def test_every_command_speaks_json(player: Player, ask: Any) -> None:
    answers: dict[str, Any] = {
        "queue": {"items": [], "index": None, "length": 0, "shuffle": False, "repeat": "off"},
        "volume": {"volume": 45},
        "search": {"tracks": [TRACK], "albums": [], "artists": []},
        "jobs": [{"id": 1, "kind": "sync", "state": "done", "progress": 100, "attempt": 1, "error": None}],
        "job_cancel": {},
        "sync": {"added": 1, "updated": 2, "deleted": 3, "seq": 4, "full": False},
        "cache": {"bytes": 1, "limit": 2, "tracks": 3, "files": []},
        "cache_clear": {"removed": 1, "bytes": 2},
        "fetch": {"tracks": 1, "bytes": 2, "failed": []},
    }
    player.answers = answers
    for line in ("queue", "volume", "search x", "jobs", "jobs cancel 1", "sync", "cache", "cache clear", "fetch x"):
        cmd = line.split()[0] if line not in ("jobs cancel 1", "cache clear") else None
        assert ask(*line.split()) == answers[cmd or ("job_cancel" if "jobs" in line else "cache_clear")]
    for line in ("status", "play", "pause", "toggle", "stop", "next", "prev", "seek 1", "queue clear"):
        assert ask(*line.split()) == STATUS


def test_status_for_people(player: Player, chadbox: Run) -> None:
    lines = chadbox("status").stdout.splitlines()
    assert lines[0] == "playing: Blue in Green - Miles Davis"
    assert lines[1] == "  Kind of Blue (1959)"
    assert lines[2] == "  1:01 [#####-------------------------] 5:37"
    assert lines[3] == "  volume 40, from cache, 100% on the box, null 44.1 kHz s32, gain -3.2 dB"
    assert lines[4:] == [
        "queue    place 1 of 3, shuffle off, repeat off",
        "library  12,345 tracks",
        "cache    120 tracks, 3.0 GiB of 8.0 GiB",
        "health   ok",
    ]
    drive = {"name": "STICK", "uuid": "A-1", "state": "filling", "adopted": True, "progress": 41}
    player.answers["status"] = STATUS | {"health": ["offline", "a-later-word"], "track": None, "drives": [drive]}
    text = chadbox("status").stdout
    assert "drive    STICK: filling, 41%" in text
    assert "health   offline, a-later-word\n  offline: the music server cannot be reached" in text


def test_transport_answers_with_one_line(player: Player, chadbox: Run) -> None:
    assert chadbox("next").stdout == "playing  Blue in Green - Miles Davis  1:01 / 5:37  volume 40\n"
    player.answers["stop"] = STATUS | {"state": "stopped", "track": None, "health": ["offline"]}
    assert chadbox("stop").stdout == "stopped  volume 40  ! offline\n"
    player.answers["volume"] = {"volume": 35}
    assert chadbox("volume", "-5").stdout == "volume 35\n"


def test_numbers_printed_by_queue_are_the_numbers_it_takes(player: Player, chadbox: Run) -> None:
    items = [{"track": TRACK | {"id": n, "title": f"Song {n}"}, "current": n == 1} for n in range(3)]
    player.answers["queue"] = {"items": items, "index": 1, "length": 3, "shuffle": True, "repeat": "all"}
    player.answers["queue_remove"] = {"length": 2}
    lines = chadbox("queue").stdout.splitlines()
    assert lines[-1] == "3 tracks in the queue, shuffle on, repeat all"
    current = next(line for line in lines if line.startswith(">"))
    assert "Song 1" in current
    assert chadbox("queue", "remove", current.split()[1]).stdout == "2 tracks in the queue\n"
    assert player.seen[-1] == ("queue_remove", {"index": 1})


def test_what_browse_and_search_print_can_be_played(player: Player, chadbox: Run) -> None:
    album = {"id": 12, "name": "Kind of Blue", "artist": "Miles Davis", "year": 1959, "tracks": 5}
    player.answers["search"] = {"tracks": [TRACK], "albums": [album], "artists": [{"name": "Miles Davis", "tracks": 5}]}
    text = chadbox("search", "miles").stdout
    assert all(what in text for what in ("track:7", "album:12", "artist:Miles Davis"))
    player.answers["search"] = {"tracks": [], "albums": [], "artists": []}
    assert chadbox("search", "x").stdout == "nothing found for: x\n"
    player.answers["browse"] = {"items": [album], "total": 31}
    text = chadbox("browse", "album", "--offset", "10", "--limit", "1").stdout
    assert "album:12" in text
    assert text.endswith("11 to 11 of 31; go on with --offset 11\n")
    player.answers["browse"] = {"categories": ["artist", "album"]}
    assert chadbox("browse").stdout == "artist\nalbum\n"
    player.answers["browse"] = {"items": [], "total": 0}
    assert chadbox("browse", "year").stdout == "nothing there\n"


def test_failures_in_part(player: Player, chadbox: Run) -> None:
    """Some tracks missing is no failure, all missing is; a damaged file is."""
    failed = [{"id": 9, "title": "Lost", "reason": "404"}]
    player.answers["fetch"] = {"tracks": 1, "bytes": 2048, "failed": failed}
    done = chadbox("fetch", "album:1")
    assert (done.returncode, done.stderr) == (0, "")
    assert "Lost" in done.stdout
    assert "1 track in the cache, 2.0 KiB fetched; 1 failed" in done.stdout
    player.answers["fetch"] = {"tracks": 0, "bytes": 0, "failed": failed}
    done = chadbox("fetch", "album:1", "--json")
    assert done.returncode == 1
    assert json.loads(done.stdout)["failed"] == failed
    player.answers["cache_verify"] = {"checked": 3, "bad": failed}
    done = chadbox("cache", "verify")
    assert done.returncode == 1
    assert "Lost: 404" in done.stderr
    player.answers["cache_verify"] = {"checked": 3, "bad": []}
    assert chadbox("cache", "verify").stdout == "3 files checked, 0 damaged\n"


def test_a_file_is_never_100_percent_before_its_last_byte(player: Player, chadbox: Run) -> None:
    one = {"id": 1, "title": "x", "bytes": 99_999, "size": 100_000, "complete": False, "pinned": True}
    player.answers["cache"] = {"bytes": 99_999, "limit": 1 << 30, "tracks": 1, "files": [one]}
    assert "99%" in chadbox("cache").stdout


def test_progress_is_not_printed_without_a_terminal(player: Player, chadbox: Run) -> None:
    async def sync(request: Request) -> Any:
        request.progress({"done": 1, "total": 2})
        await asyncio.sleep(0)
        return {"added": 2, "updated": 0, "deleted": 0, "seq": 2, "full": True}

    player.answers["sync"] = sync
    done = chadbox("sync")
    assert (done.stdout, done.stderr) == ("full sync: added 2, updated 0, deleted 0\n", "")


def test_help_tells_what_exists(chadbox: Run) -> None:
    text = chadbox("--help").stdout
    assert all(
        line in text for line in ("queue move A B", "seek [+-]SECONDS", "CHADBOX_SOCKET", "from 0", "3 the player")
    )
    assert "doctor" not in text
    assert all(len(line) <= 120 for line in text.splitlines())
    assert "queue shuffle on|off" in chadbox("queue", "--help").stdout
    assert "config check" in chadbox("config", "--help").stdout
    assert chadbox("seek", "-h").stdout.lstrip().startswith("seek [+-]SECONDS")
    assert chadbox("--version").stdout == "chadbox 0.1.0\n"


def test_where_the_socket_is(player: Player, chadbox: Run, tmp_path: Path) -> None:
    """--socket wins over CHADBOX_SOCKET, that over the settings, those over the default."""
    wrong = {"CHADBOX_SOCKET": str(tmp_path / "wrong")}
    right = str(player.path)
    settings = tmp_path / "chadbox.toml"
    settings.write_text(f'[server]\nurl = "http://h"\n[control]\nsocket = "{right}"\n')
    none = {"CHADBOX_SOCKET": ""}
    assert chadbox("--socket", right, "status", env=wrong).returncode == 0
    assert chadbox("status", f"--socket={right}", env=wrong).returncode == 0
    assert chadbox("--config", str(settings), "status", env=wrong).returncode == 3
    assert chadbox("--config", str(settings), "status", env=none).returncode == 0
    assert chadbox("status", env=none | {"CHADBOX_CONFIG": str(settings)}).returncode == 0
    done = chadbox("status", env=none)
    assert done.returncode == 1
    assert "none.toml: cannot be read" in done.stderr
    settings.write_text('[control\nsocket = "x"')
    done = chadbox("--config", str(settings), "status", env=none)
    assert (done.returncode, "not valid TOML" in done.stderr) == (1, True)
