"""C8, L4: music of drives beside the server's tracks: no sync, however it goes, may touch, count or fake it."""

from __future__ import annotations

from appliance.cloud.models import Track
from appliance.events import LibraryChanged
from appliance.library.own import OwnFile
from appliance.own import is_own, own_id
from tests.library.conftest import Box
from tests.library.support import track

UUID = "1234-ABCD"


def file(n: int, **tags: str) -> OwnFile:
    path = b"A/%d.flac" % n
    fields = {"title": f"Own {n}", "artist": "Stick", "album": "Mine"} | tags
    found = Track(id=own_id(UUID, path), album_id="drive:x:y", duration=9.0, **fields)  # type: ignore[arg-type]
    return OwnFile(path, 100 + n, 7, found)


async def fill(box: Box, count: int) -> list[str]:
    await box.library.own.known(UUID, "CAR")
    await box.library.own.learn(UUID, [file(n) for n in range(count)])
    return [own_id(UUID, b"A/%d.flac" % n) for n in range(count)]


async def stick(box: Box) -> int:
    return len((await box.library.search("stick", 200))["tracks"])


async def test_side_by_side_and_never_counted_as_the_servers(box: Box) -> None:
    box.model.put(*[track(n) for n in range(20)])
    await box.library.sync()
    ids = await fill(box, 30)
    assert await stick(box) == 30
    assert [i.tracks for i in (await box.library.browse("artist", "Stick"))["items"]] == [30]
    assert await box.library.resolve("artist:Stick") == ids
    box.model.put(track(99))
    await box.library.sync()
    assert (box.library.tracks, box.library.seq) == (21, box.model.seq)
    await box.library.sync(full=True)
    assert (await stick(box), box.library.tracks) == (30, 21)
    assert isinstance(box.events[-1], LibraryChanged) or any(isinstance(e, LibraryChanged) for e in box.events)


async def test_another_library_and_a_restart(box: Box) -> None:
    box.model.put(track(1))
    await box.library.sync()
    ids = await fill(box, 5)
    box.model.library = "other"
    box.model.put(track(2))
    await box.library.sync()
    assert await stick(box) == 5, "the drive is still plugged in"
    await box.reopen()
    await box.library.own.begin()
    assert (await stick(box), box.library.tracks) == (0, len(box.model.tracks)), "no drive has been found yet"
    assert [str(t.id) for t in await box.library.get_tracks(ids)] == ids, "the queue still tells what they are"


async def test_hidden_remembered_shown_changed_and_forgotten(box: Box) -> None:
    ids = await fill(box, 4)
    await box.library.own.hide(UUID)
    assert await stick(box) == 0
    assert "Stick" not in {i.name for i in (await box.library.browse("artist"))["items"]}
    known = await box.library.own.known(UUID, "CAR")
    assert known[b"A/3.flac"] == (103, 7)
    await box.library.own.show(UUID, list(known))
    assert await stick(box) == 4
    await box.library.own.learn(UUID, [file(0, title="Renamed"), OwnFile(b"A/1.flac", 1, 1, None)])
    assert await stick(box) == 3
    assert (await box.library.track(ids[0])).title == "Renamed"
    await box.library.own.forget(UUID, [b"A/2.flac"])
    assert await stick(box) == 2
    place = await box.library.own.place(ids[3])
    assert place is not None
    assert (place.name, place.path, place.size) == ("CAR", b"A/3.flac", 103)
    assert await box.library.own.place(ids[2]) is None


async def test_a_server_cannot_speak_of_them(box: Box) -> None:
    """R6: neither replace, nor delete, nor invent one."""
    ids = await fill(box, 2)
    assert all(is_own(i) for i in ids)
    box.model.put(track(1), track(2) | {"id": ids[0], "title": "Taken over"}, track(3) | {"id": "drive:no:where"})
    await box.library.sync()
    assert (await box.library.track(ids[0])).title == "Own 0"
    assert box.library.tracks == 1
    box.model.remove(ids[0])
    await box.library.sync()
    assert (await box.library.track(ids[0])).title == "Own 0"
    assert await stick(box) == 2


async def test_plays_are_kept_and_not_told(box: Box) -> None:
    """L5."""
    ids = await fill(box, 1)
    await box.library.record_play(ids[0], 9.0, clock_ok=True)
    rows = await box.store.read(lambda con: con.execute("SELECT track_id, reported FROM play").fetchall())
    assert rows == [(ids[0], 3)]
    assert await box.library.play_count(ids[0]) == 1
    assert [str(t.id) for t in await box.library.recently_played()] == ids
