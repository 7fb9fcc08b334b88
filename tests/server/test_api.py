"""The routes of the contract against the real server (S1, S4, R6)."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from appliance.server.catalog import TOMBSTONE_SECONDS

from .conftest import Live

Put = Callable[..., Path]
Start = Callable[..., Live]


@pytest.fixture
def small(start: Start, put: Put, tmp_path: Path) -> Live:
    """Three albums: one by one artist, one compilation in two folders, one without tags."""
    music = tmp_path / "music"
    for no in (2, 1):
        put(music / "Björk" / "Début" / f"{no}.flac", title=f"Song {no}", artist="Björk", album="Début",
            tracknumber=f"{no}/2", discnumber="1", date="1993-07-05", genre="Electronic", label="One Little",
            releasecountry="GB", releasetype="album", releasestatus="official")  # fmt: skip
    for disc in (1, 2):
        put(music / "Mix" / f"CD {disc}" / "01.flac", title=f"Mixed {disc}", artist=f"Guest {disc}", album="Mix",
            discnumber=str(disc), tracknumber="1", date="2001", genre="Rock")  # fmt: skip
    put(music / "Some Artist" / "Some Album" / "07 Plain Name.flac")
    return start()


def test_categories_and_narrowing(small: Live) -> None:
    names = small.get("/api/v1/cat")["categories"]
    assert names == ["artist", "year", "album", "publisher", "country", "genre", "type", "status"]

    def items(path: str) -> list[Any]:
        return small.get("/api/v1/cat/" + path)["items"]

    assert [i["name"] for i in items("artist")] == ["Björk", "Guest 1", "Guest 2", "Some Artist"]
    assert [(i["name"], i["artist"], i["year"], i["tracks"]) for i in items("album")[:2]] == [
        ("Début", "Björk", 1993, 2), ("Mix", "Various Artists", 2001, 2),
    ]  # fmt: skip
    assert [(i["id"], i["tracks"], i["albums"]) for i in items("year")] == [(1993, 2, 1), (2001, 2, 1)]
    assert [i["name"] for i in items("artist?filter=bjork")] == ["Björk"]
    assert [i["name"] for i in items("artist?filter=GUEST&offset=1&limit=1")] == ["Guest 2"]
    assert small.get("/api/v1/cat/artist?filter=guest&limit=1")["total"] == 2
    assert [i["name"] for i in items("genre?artist=Bj%C3%B6rk")] == ["Electronic"]
    assert [i["name"] for i in items("album?year=2001&genre=Rock")] == ["Mix"]
    mix = next(i["id"] for i in items("album") if i["name"] == "Mix")
    assert [i["name"] for i in items(f"artist?album={mix}")] == ["Guest 1", "Guest 2"]
    for name, value in (("publisher", "One Little"), ("country", "GB"), ("type", "album"), ("status", "official")):
        assert [i["name"] for i in items(name)] == [value]


def test_album_in_order_and_names_from_the_path(small: Live) -> None:
    albums = {i["name"]: i["id"] for i in small.get("/api/v1/cat/album")["items"]}
    answer = small.get(f"/api/v1/album/{albums['Début']}/tracks")
    assert [t["title"] for t in answer["tracks"]] == ["Song 1", "Song 2"]
    assert (answer["album"]["name"], answer["album"]["artist"], answer["album"]["tracks"]) == ("Début", "Björk", 2)
    assert [t["disc"] for t in small.get(f"/api/v1/album/{albums['Mix']}/tracks")["tracks"]] == [1, 2]
    (plain,) = small.get(f"/api/v1/album/{albums['Some Album']}/tracks")["tracks"]
    assert (plain["title"], plain["artist"], plain["album"], plain["no"]) == (
        "Plain Name",
        "Some Artist",
        "Some Album",
        7,
    )
    assert plain["samples"] == 8820
    assert plain["duration"] == pytest.approx(0.2)


def test_older_names(small: Live) -> None:
    small.hashed()  # else the background work changes the tracks between two answers
    album = small.get("/api/cat/album")["items"][0]
    assert small.get(f"/api/album/{album['id']}/tracks") == small.get(f"/api/v1/album/{album['id']}/tracks")
    assert small.get("/api/stats") == small.get("/api/v1/stats")
    assert small.get("/api/cat") == small.get("/api/v1/cat")
    assert small.ask("POST", "/api/rescan").status == 202


def test_search(small: Live) -> None:
    def titles(query: str) -> list[str]:
        return [t["title"] for t in small.get(f"/api/v1/search?q={query}")["tracks"]]

    assert titles("song%202") == ["Song 2"]
    assert titles("BJORK") == ["Song 1", "Song 2"]
    assert titles("debut%20so") == ["Song 1", "Song 2"]
    assert titles("ong") == []
    for hostile in ("", "%22", "*", "a%20OR%20b", "NEAR(", "title:song", "%00", "-", "%22%22%22", "%F0%9F%8E%B5"):
        small.get(f"/api/v1/search?q={hostile}")
    found = small.get("/api/v1/search?q=gue")
    assert [a["name"] for a in found["artists"]] == ["Guest 1", "Guest 2"]
    assert [a["name"] for a in small.get("/api/v1/search?q=debu")["albums"]] == ["Début"]


def test_stats(small: Live) -> None:
    stats = small.get("/api/v1/stats")
    assert (stats["tracks"], stats["albums"], stats["artists"]) == (5, 3, 4)
    assert stats["duration"] == pytest.approx(1.0)
    assert stats["bytes"] == sum(t["size"] for t in small.tracks())
    uuid.UUID(stats["library"])


def test_delta_pages(small: Live) -> None:
    small.hashed()
    seen, since = [], 0
    for _ in range(10):
        page = small.get(f"/api/v1/library?since={since}&limit=2")
        assert page["library"] == small.get("/api/v1/stats")["library"]
        assert not page["updated"]
        assert not page["deleted"]
        assert len(page["added"]) <= 2
        seen += [t["id"] for t in page["added"]]
        assert page["seq"] > since
        since = page["seq"]
        if not page["more"]:
            break
    assert len(seen) == len(set(seen)) == 5
    assert since == small.get("/api/v1/stats")["seq"]
    end = small.get(f"/api/v1/library?since={since}")
    assert (end["added"], end["updated"], end["deleted"], end["seq"], end["more"]) == ([], [], [], since, False)


def test_delta_of_changes(small: Live, put: Put, tmp_path: Path) -> None:
    small.hashed()
    before = small.get("/api/v1/stats")["seq"]
    gone, kept = small.track("Song 1"), small.track("Song 2")
    (tmp_path / "music" / "Björk" / "Début" / "1.flac").unlink()
    put(tmp_path / "music" / "new.flac", title="New")
    put(tmp_path / "music" / "brief.flac", title="Brief")
    small.ask("PATCH", f"/api/v1/track/{kept['id']}", {"title": "Better"})
    small.rescan()
    (tmp_path / "music" / "brief.flac").unlink()
    small.rescan()
    page = small.get(f"/api/v1/library?since={before}")
    assert [t["title"] for t in page["added"]] == ["New"]
    assert [t["title"] for t in page["updated"]] == ["Better"]
    assert page["deleted"] == [gone["id"]]  # and not the one that came and went meanwhile
    assert small.get("/api/v1/library?since=0")["deleted"] == []


def test_tombstones_end_after_30_days(small: Live, tmp_path: Path) -> None:
    small.hashed()
    early = small.get("/api/v1/stats")["seq"]
    (tmp_path / "music" / "Björk" / "Début" / "1.flac").unlink()
    small.rescan()
    late = small.get("/api/v1/stats")["seq"]
    catalog = small.app.catalog
    assert catalog.purge(time.time() + TOMBSTONE_SECONDS - 60) == 0
    assert len(small.get(f"/api/v1/library?since={early}")["deleted"]) == 1
    assert catalog.purge(time.time() + TOMBSTONE_SECONDS + 60) == 1
    answer = small.ask("GET", f"/api/v1/library?since={early}")
    assert (answer.status, answer.json["error"]["code"]) == (410, "sequence_expired")
    assert small.ask("GET", f"/api/v1/library?since={late}").status == 200
    ahead = small.ask("GET", f"/api/v1/library?since={late + 1}")
    assert (ahead.status, ahead.json["error"]["code"]) == (410, "sequence_expired")
    # who starts from nothing gets through, in pages below that horizon too
    since, count = 0, 0
    while True:
        page = small.get(f"/api/v1/library?since={since}&limit=1")
        since, count = page["seq"], count + len(page["added"])
        if not page["more"]:
            break
    assert count == 4


def test_hashing_while_a_client_is_paging(start: Start, put: Put, tmp_path: Path) -> None:
    for n in range(6):
        put(tmp_path / "music" / f"{n}.flac", title=str(n))
    live = start(background=False)
    first = live.get("/api/v1/library?since=0&limit=3")
    etags = {t["title"]: t["etag"] for t in live.tracks()}
    live.app.hasher.start()
    live.hashed()
    rest, since = [], first["seq"]
    while True:
        page = live.get(f"/api/v1/library?since={since}&limit=3")
        assert not page["updated"]  # all of it is new to who began with nothing
        rest += page["added"]
        since = page["seq"]
        if not page["more"]:
            break
    assert {t["title"] for t in first["added"]} | {t["title"] for t in rest} == set("012345")
    assert {t["title"]: t["etag"] for t in live.tracks()} == etags  # a hash changes no entity tag


def test_patch_lasts(small: Live, put: Put, tmp_path: Path) -> None:
    track = small.track("Mixed 1")
    answer = small.ask("PATCH", f"/api/v1/track/{track['id']}", {"title": "Fixed\x1b[31m", "year": 1999, "genre": None})
    assert answer.status == 200
    assert (answer.json["title"], answer.json["year"], "genre" in answer.json) == ("Fixed [31m", 1999, False)
    assert answer.json["seq"] > track["seq"]
    file = tmp_path / "music" / "Mix" / "CD 1" / "01.flac"
    put(file, title="Retagged", artist="Guest 1", album="Mix", discnumber="1", tracknumber="3", genre="Pop")
    small.rescan()
    now = small.get(f"/api/v1/track/{track['id']}")
    assert (now["title"], now["year"], now.get("genre"), now["no"]) == ("Fixed [31m", 1999, None, 3)
    moved = small.ask("PATCH", f"/api/v1/track/{track['id']}", {"album": "Other"}).json
    assert moved["album_id"] != track["album_id"]
    assert small.get(f"/api/v1/album/{moved['album_id']}/tracks")["album"]["name"] == "Other"


def test_bad_requests_are_told_so(small: Live) -> None:
    song = small.track("Song 1")["id"]
    plays, exists, share = "/api/v1/plays", "/api/v1/exists", "/api/v1/share"
    for method, path, body, status in (
        ("GET", "/api/v1/library?since=x", None, 400), ("GET", "/api/v1/library?since=-1", None, 400),
        ("GET", "/api/v1/library?limit=0", None, 400), ("GET", "/api/v1/library?limit=1e3", None, 400),
        ("GET", "/api/v1/library?since=" + "9" * 400, None, 400), ("GET", "/api/v1/cat/colour", None, 404),
        ("GET", "/api/v1/cat/artist?offset=-1", None, 400), ("GET", "/api/v1/cat/artist?year=x", None, 400),
        ("GET", "/api/v1/album/0/tracks", None, 404), ("GET", "/api/v1/album/x/tracks", None, 404),
        ("GET", "/api/v1/album/" + "9" * 30 + "/tracks", None, 404), ("GET", "/api/v1/nothing", None, 404),
        ("GET", "/api/v1/device/code", None, 405), ("POST", "/api/v1/login", {}, 404),
        ("DELETE", "/api/v1/stats", None, 405), ("GET", "/api/v1/track/999", None, 404),
        ("PATCH", "/api/v1/track/999", {"title": "x"}, 404), ("PATCH", f"/api/v1/track/{song}", b"{", 400),
        ("PATCH", f"/api/v1/track/{song}", {"title": ""}, 422), ("PATCH", f"/api/v1/track/{song}", {"title": 5}, 422),
        ("PATCH", f"/api/v1/track/{song}", {"duration": 5}, 422), ("PATCH", f"/api/v1/track/{song}", [], 422),
        ("PATCH", f"/api/v1/track/{song}", {"year": 10**30}, 422), ("PATCH", f"/api/v1/track/{song}", b"\xff", 400),
        ("POST", exists, b'{"x":' + b"[" * 100_000, 400), ("POST", plays, {"id": 1}, 422),
        ("POST", plays, [{"id": "no", "track_id": 1, "seconds": 1}], 422),
        ("POST", plays, [{"id": str(uuid.uuid4()), "track_id": 1, "seconds": -1}], 422),
        ("POST", plays, [{"id": str(uuid.uuid4()), "track_id": 1, "seconds": 1, "played_at": "noon"}], 422),
        ("POST", exists, {"files": [{}] * 1001}, 400), ("POST", exists, b"x" * (5 << 20), 413),
        ("POST", share, {"track_id": song}, 422), ("POST", share, {"track_id": song, "ttl": 0}, 422),
        ("POST", share, {"track_id": 999, "ttl": 60}, 404), ("POST", share, {"track_id": 2**70, "ttl": 60}, 404),
    ):  # fmt: skip
        answer = small.ask(method, path, body)
        assert answer.status == status, (method, path[:80], answer.status, answer.body)
        assert set(answer.json["error"]) == {"code", "message"}
        assert "\n" not in answer.json["error"]["message"]


def test_plays_count_once(small: Live) -> None:
    play = {"id": str(uuid.uuid4()), "track_id": "1", "played_at": "2026-05-01T10:00:00Z", "seconds": 61.5}
    other = {**play, "id": str(uuid.uuid4()), "played_at": None}
    assert small.ask("POST", "/api/v1/plays", [play, other, play]).json == {"accepted": 2, "received": 3}
    assert small.ask("POST", "/api/v1/plays", [play]).json == {"accepted": 0, "received": 1}
    rows = small.app.database.reader.execute("SELECT played_at, seconds FROM play ORDER BY played_at").fetchall()
    assert rows == [(None, 61.5), (1777629600.0, 61.5)]


def test_exists(small: Live) -> None:
    small.hashed()
    song = small.track("Song 1")
    asked = [
        {"sha256": song["sha256"].upper(), "duration": 1}, {"sha256": "0" * 64, "duration": 0.2},
        {"sha256": "1" * 64, "duration": 2.1, "artist": "BJORK", "title": "song 1"},
        {"sha256": "2" * 64, "duration": 9.0, "artist": "Björk", "title": "Song 1"},
        {"sha256": None, "duration": 0.2, "artist": "Nobody", "title": "Song 1"},
    ]  # fmt: skip
    answer = small.ask("POST", "/api/v1/exists", {"files": asked}).json["files"]
    assert [f["track_id"] for f in answer] == [song["id"], None, song["id"], None, None]
    assert [f["sha256"] for f in answer] == [f["sha256"] for f in asked]


def test_share_link(small: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    song, other = small.track("Song 1"), small.track("Song 2")
    answer = small.ask("POST", "/api/v1/share", {"track_id": song["id"], "ttl": 3600}).json
    origin = f"http://127.0.0.1:{small.port}"
    assert answer["url"].startswith(origin)
    assert answer["expires_at"].endswith("Z")
    link = answer["url"].removeprefix(origin)

    def status(path: str, **headers: str) -> int:
        return small.ask("GET", path, token=None, **headers).status

    assert status(link) == 200
    part = small.ask("GET", link, token=None, Range="bytes=0-3")
    assert (part.status, part.body) == (206, b"fLaC")
    assert small.ask("HEAD", link, token=None).headers["etag"] == song["etag"]
    _, share, track, expires, rest = link.split("/")
    assert status(f"/{share}/{other['id']}/{expires}/{rest}") == 403
    assert status(f"/{share}/{track}/{int(expires) + 1}/{rest}") == 403
    assert status(f"/{share}/{track}/{expires}/{'A' * 43}") == 403
    assert status("/share/") == 403
    assert status("/share/../api/v1/stats") == 403
    assert small.ask("POST", link, token=None).status == 405
    now = time.time()
    monkeypatch.setattr("appliance.server.auth.time.time", lambda: now + 3601)
    assert small.ask("GET", link, token=None).json["error"]["code"] == "link_expired"
