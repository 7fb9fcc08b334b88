"""Filling a drive, with a folder in its place and everything else real (C3-C6, C8)."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import random
from pathlib import Path

import pytest

from appliance.cloud.models import Track
from appliance.drives import manifest as lists
from appliance.drives import plan as plans
from appliance.drives.copy import put_file
from appliance.drives.manifest import File, Manifest
from appliance.drives.tree import Tree
from appliance.errors import NotFound, UsageError
from appliance.stream import CacheEntry, Role
from tests.drives.rig import Rig, check, files, manifest, rig
from tests.drives.test_names import hostile, strict
from tests.support.fileserver import Answer, Seen


async def test_nothing_is_written_before_the_consent(box: Rig, stick: Path) -> None:
    (stick / "Music").mkdir()
    (stick / "Music/mine.mp3").write_bytes(b"mine")
    box.add("1")
    box.plugs.plug(stick)
    await box.until("not-adopted")
    assert box.plugs.mounts == [("/dev/STICK", False)]
    with pytest.raises(UsageError, match="not adopted"):
        await box.drives.fill("STICK")
    assert files(stick) == {"Music/mine.mp3": b"mine"}
    assert [p.name for p in stick.iterdir()] == ["Music"]


async def test_tracks_are_fetched_in_the_order_of_copying(
    box: Rig, stick: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when the first one takes longest to be opened: copying waits for it."""
    urls = [box.add(f"t{n}").url for n in range(8)]
    acquire = box.cache.acquire

    async def slow(library: str, track: Track, **options: bool) -> CacheEntry:
        if track.url == urls[0]:
            await asyncio.sleep(0.05)
        return await acquire(library, track, **options)

    monkeypatch.setattr(box.cache, "acquire", slow)
    await box.adopted(stick)
    asked = list(dict.fromkeys(seen.path for seen in box.server.seen if seen.path in urls))
    assert len(asked) == len(urls)
    assert set(asked[:3]) == set(urls[:3])


async def test_fill_in_play_order_with_manifest_and_playlist(box: Rig, stick: Path) -> None:
    ids = [str(box.add(f"t{n}").id) for n in range(12)]
    random.Random(3).shuffle(box.wanted)
    (stick / "mine.txt").write_text("mine")
    await box.adopted(stick)
    assert check(box, stick) == set(ids)
    assert [entry["id"] for entry in manifest(stick)["files"]] == box.wanted, "not in play order"
    listed = [line for line in (stick / "Playlists/Commute.m3u8").read_text("utf-8").splitlines() if line[0] != "#"]
    order = {entry["path"]: entry["id"] for entry in manifest(stick)["files"]}
    assert [order[line.removeprefix("../")] for line in listed] == box.wanted
    assert (stick / "mine.txt").read_text() == "mine"
    assert not (stick / "MISSING.txt").exists()
    assert {e.state for e in box.events} >= {"mounting", "not-adopted", "ready", "filling"}


async def test_a_second_fill_changes_nothing(box: Rig, stick: Path) -> None:
    for n in range(5):
        box.add(f"t{n}")
    await box.adopted(stick)
    before = {path: path.stat().st_mtime_ns for path in stick.rglob("*")}
    sent = sum(box.server.sent.values())
    info, result = await box.filled()
    assert info.state == "done"
    assert (result.copied, result.kept, result.bytes) == (0, 5, 0)
    assert {path: path.stat().st_mtime_ns for path in stick.rglob("*")} == before
    assert sum(box.server.sent.values()) == sent


async def test_what_the_box_has_goes_without_network(box: Rig, stick: Path) -> None:
    for n in range(3):
        box.add(f"t{n}")
    await box.adopted(stick)
    assert sum(box.server.sent.values()) == 300_000, "each byte once"
    other = stick.with_name("OTHER")
    other.mkdir()
    box.server.hook = refuse
    box.plugs.pull()
    box.plugs.plug(other, uuid="other")
    await box.until("not-adopted")
    await box.drives.adopt("STICK")
    info, result = await box.filled()
    assert (info.state, result.copied + result.kept) == ("done", 3)
    assert check(box, other) == {"t0", "t1", "t2"}


async def refuse(seen: Seen, answer: Answer) -> Answer:
    return Answer(404)


async def test_one_of_40_fails_and_39_are_there(box: Rig, stick: Path) -> None:
    for n in range(40):
        box.add(f"t{n}", 20_000)
    bad = box.tracks.all["t17"]

    async def hook(seen: Seen, answer: Answer) -> Answer:
        return Answer(404) if seen.path == bad.url else answer

    box.server.hook = hook
    drive = await box.adopted(stick, wait=False)
    info, result = await box.filled()
    assert info.state == "done"
    assert info.progress == 100
    assert [m.id for m in result.missing] == ["t17"]
    assert len(check(box, stick)) == 39
    report = (stick / "MISSING.txt").read_text("utf-8")
    assert "Title t17" in report
    assert "404" in report
    assert [m["id"] for m in manifest(stick)["missing"]] == ["t17"]
    assert drive.document()["missing"] == 1
    box.server.hook = None
    info, result = await box.filled()
    assert (result.copied, result.kept, result.missing) == (1, 39, [])
    assert not (stick / "MISSING.txt").exists()


async def test_no_room_in_the_cache_means_straight_to_the_drive_once(tmp_path: Path, stick: Path) -> None:
    async with rig(tmp_path / "small", cache_bytes=50_000) as box:
        for n in range(3):
            box.add(f"t{n}", 5_000_000)
        box.add("small", 20_000)
        await box.adopted(stick)
        assert check(box, stick) == {"t0", "t1", "t2", "small"}
        assert sum(box.server.sent.values()) == 15_020_000
        assert box.cache.counters.network_bytes == 15_020_000


def test_3000_hostile_names_are_3000_files(stick: Path, tmp_path: Path) -> None:
    """The plan and the copying of a fill, without the network: it would take a minute."""
    tracks = hostile(3000)
    source = tmp_path / "source"
    source.write_bytes(b"music")
    digest = hashlib.sha256(b"music").hexdigest()
    (stick / ".chadbox").mkdir()
    (stick / ".chadbox/adopted").write_text("box")
    for track in tracks:
        track.size = 5

    def plan() -> tuple[Tree, Manifest, plans.Plan]:
        tree = Tree(stick)
        manifest = plans.begin(tree, "box", "lib", nothing)
        return tree, manifest, plans.make(tree, "ext4", manifest, tracks, nothing)

    tree, manifest, first = plan()
    assert first.missing == []
    for item in first.items:
        assert put_file(tree, item.path, source, nothing, replace=False, expected=digest) == digest
        manifest.files.append(File(item.track.id, item.path, 5, digest, None))
    lists.save(tree, manifest)
    tree.close()
    there = list(files(stick))
    assert len(there) == 3000
    for path in there:
        strict(path)
    tree, manifest, second = plan()
    assert (second.items, second.remove, second.missing, second.kept) == ([], [], [], 3000)
    assert [path for _, path in second.order] == [path for _, path in first.order]
    tree.close()


def nothing() -> None:
    """A tick that never stops anything."""


async def test_too_much_for_the_drive_says_what_fits(box: Rig, stick: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """2 GiB wanted, 1 GiB free; and 5 GiB in one file is refused by FAT32."""
    gib = 1 << 30
    monkeypatch.setattr(Tree, "room", lambda tree: (gib, 4 * gib, 4096))
    for n in range(20):
        box.add(f"t{n}", 10).size = gib // 10
    box.add("huge", 10).size = 5 * gib
    tree = Tree(stick)
    tracks = [box.tracks.all[i] for i in box.wanted]
    plan = plans.make(tree, "vfat", Manifest(), tracks, lambda: None)
    assert len(plan.items) == 9
    assert len(plan.missing) == 12
    assert "102.4 MiB needed" in plan.missing[0].reason
    assert "FAT32" in plan.missing[-1].reason
    assert plan.bytes < gib
    plan = plans.make(tree, "exfat", Manifest(), tracks, lambda: None)
    assert "does not fit: 5.0 GiB needed" in plan.missing[-1].reason
    tree.close()


async def test_what_is_not_wanted_any_more_makes_room_and_nothing_else(
    box: Rig, stick: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for n in range(6):
        box.add(f"old{n}", 1_000_000)
    (stick / "mine.flac").write_bytes(bytes(1_000_000))
    await box.adopted(stick)
    mib = 1 << 20
    used = lambda: sum(p.stat().st_size for p in stick.rglob("*") if p.is_file())  # noqa: E731
    monkeypatch.setattr(Tree, "room", lambda tree: (14 * mib - used(), 14 * mib, 4096))
    box.wanted = []
    for n in range(4):
        box.add(f"new{n}", 1_000_000)
    _, result = await box.filled()
    assert (result.copied, result.missing) == (4, [])
    assert 0 < result.removed < 6, "more was removed than had to be"
    assert check(box, stick) >= {f"new{n}" for n in range(4)}
    assert (stick / "mine.flac").stat().st_size == 1_000_000


async def test_only_what_is_owned_is_replaced(box: Rig, stick: Path) -> None:
    box.add("1", title="A", no=1)
    folder = stick / "Music/Artist/Album"
    folder.mkdir(parents=True)
    (folder / "01 A.flac").write_bytes(b"mine")
    (stick / "MISSING.txt").write_text("mine")
    (stick / "Playlists").mkdir()
    (stick / "Playlists/Commute.m3u8").write_text("mine")
    box.wanted.append("gone")
    await box.adopted(stick)
    assert check(box, stick) == {"1"}
    for name in ("Music/Artist/Album/01 A.flac", "MISSING.txt", "Playlists/Commute.m3u8"):
        assert files(stick)[name] == b"mine"


async def test_a_new_version_replaces_the_old_one_in_its_place(box: Rig, stick: Path) -> None:
    box.add("1")
    await box.adopted(stick)
    (path,) = [entry["path"] for entry in manifest(stick)["files"]]
    track = box.tracks.all["1"]
    data = b"new" * 50_000
    box.server.files[track.url] = data
    box.server.etags[track.url] = '"new"'
    track.etag, track.size, track.sha256, track.title = '"new"', len(data), hashlib.sha256(data).hexdigest(), "Renamed"
    _, result = await box.filled()
    assert result.copied == 1
    assert (stick / path).read_bytes() == data
    assert check(box, stick) == {"1"}


async def test_an_empty_file_that_a_pull_left_is_never_kept(box: Rig, stick: Path) -> None:
    """C4: FAT renames in several steps; pulled in between, a planned or a replaced file is there and empty."""
    for n in range(3):
        box.add(f"t{n}")
    await box.adopted(stick)
    box.wanted.remove("t2")
    listed = manifest(stick)
    first, second, unwanted = listed["files"]
    listed["files"] = [second, unwanted]
    listed["planned"] = [{key: first[key] for key in ("id", "path", "size", "sha256")}]
    for entry in (first, second, unwanted):
        (stick / entry["path"]).write_bytes(b"")
    (stick / ".chadbox/manifest.json").write_text(json.dumps(listed))
    info, result = await box.filled()
    assert (info.state, result.copied, result.missing) == ("done", 2, [])
    assert check(box, stick) == {"t0", "t1"}
    assert len(files(stick)) == 3, "an empty file was left beside the two and the playlist"


@pytest.mark.parametrize("came", ["old", "new", "neither", "empty", "nothing"])
async def test_pulled_while_a_file_is_replaced(box: Rig, stick: Path, came: str) -> None:
    """C4: the old version stays until the new one is whole, and nothing in between is taken for either."""
    box.add("1")
    await box.adopted(stick)
    listed = manifest(stick)
    (entry,) = listed["files"]
    path, track, old = stick / entry["path"], box.tracks.all["1"], box.data("1")
    data = bytes(reversed(old))  # of the same size
    box.server.files[track.url], box.server.etags[track.url] = data, '"new"'
    track.etag, track.sha256 = '"new"', hashlib.sha256(data).hexdigest()
    listed["planned"] = [
        {"id": "1", "path": entry["path"], "size": track.size, "sha256": track.sha256, "etag": track.etag}
    ]
    (stick / ".chadbox/manifest.json").write_text(json.dumps(listed))
    path.unlink()
    if came != "nothing":
        path.write_bytes({"old": old, "new": data, "neither": bytes(len(old)), "empty": b""}[came])
    info, result = await box.filled()
    assert (info.state, result.copied, result.kept) == ("done", int(came != "new"), int(came == "new"))
    assert path.read_bytes() == data
    assert check(box, stick) == {"1"}


async def test_symlinks_lead_nowhere(box: Rig, stick: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (stick / "Music").symlink_to(outside)
    box.add("1")
    await box.adopted(stick, wait=False)
    info, result = await box.filled()
    assert [m.id for m in result.missing] == ["1"]
    assert list(outside.iterdir()) == []
    (stick / "Music").unlink()
    (stick / ".chadbox").rename(tmp_path / "real")
    (stick / ".chadbox").symlink_to(outside)
    info, _ = await box.filled()
    assert info.state == "failed"
    assert list(outside.iterdir()) == []


async def test_a_manifest_that_leads_outside_is_not_believed(box: Rig, stick: Path, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("x")
    await box.adopted(stick)
    (stick / ".chadbox/manifest.json").write_text(
        '{"version":1,"library":"other","files":[{"id":1,"path":"../victim","size":1,"sha256":"x","etag":null}],'
        '"missing":[],"owned":["/etc/passwd"],"planned":[{"id":2,"path":"Music/../../victim"}]}'
    )
    box.add("1")
    info, result = await box.filled()
    assert (info.state, result.copied) == ("done", 1)
    assert victim.read_text() == "x"
    (stick / ".chadbox/manifest.json").write_text('{"files": [')
    info, result = await box.filled()
    assert info.state == "done"
    assert len(check(box, stick)) == 1


async def test_a_copy_of_the_drive_and_a_strangers_mark_are_no_consent(box: Rig, stick: Path) -> None:
    box.add("1")
    await box.adopted(stick)
    box.plugs.pull()
    box.plugs.plug(stick, uuid="another")
    await box.until("not-adopted")
    box.plugs.pull()
    (stick / ".chadbox/adopted").write_text("somebody else\n")
    box.plugs.plug(stick)
    drive = await box.until("not-adopted")
    assert not drive.adopted
    assert box.plugs.mounts[-1] == ("/dev/STICK", False)


async def test_forget_and_eject(box: Rig, stick: Path) -> None:
    box.add("1")
    await box.adopted(stick)
    await box.drives.forget("STICK")
    assert not (stick / ".chadbox/adopted").exists()
    assert len(files(stick)) == 2
    drive = await box.drives.eject("stick")
    assert drive.state == "safe-to-remove"
    assert box.plugs.unmounted == [("/dev/STICK", False), ("/dev/STICK", True)]  # safe already before it is off
    with os.scandir("/proc/self/fd") as items:
        held = [os.readlink(item.path) for item in items if item.is_symlink() and os.path.lexists(item.path)]
    assert not [path for path in held if path.startswith(str(stick))], "the drive is still held open"
    box.plugs.pull()
    with pytest.raises(NotFound, match="none is plugged in"):
        box.drives.find("STICK")


async def test_cancel_leaves_no_part_and_the_next_fill_goes_on(box: Rig, stick: Path) -> None:
    for n in range(6):
        box.add(f"t{n}", 400_000)
    box.server.delay = 0.05
    drive = await box.adopted(stick, wait=False)
    while not any(e.progress > 20 for e in box.events):
        await asyncio.sleep(0.01)
    assert drive.job is not None
    info = await box.jobs.cancel(drive.job)
    assert info.state == "cancelled"
    there = check(box, stick)
    assert 0 < len(there) < 6
    box.server.delay = 0
    info, result = await box.filled()
    assert (info.state, result.kept + result.copied) == ("done", 6)
    assert result.kept >= len(there)  # one more when it was cancelled between the rename and the booking
    assert check(box, stick) == set(box.wanted)


async def test_a_restart_of_the_box_goes_on(box: Rig, stick: Path) -> None:
    for n in range(6):
        box.add(f"t{n}", 400_000)
    box.server.delay = 0.05
    await box.adopted(stick, wait=False)
    while not any(e.progress > 20 for e in box.events):
        await asyncio.sleep(0.01)
    await box.restart()
    box.server.delay = 0
    box.plugs.plug(stick)
    await box.until("ready", "filling")
    info, _ = await box.filled()
    assert info.state == "done"
    assert check(box, stick) == set(box.wanted)


async def test_offline_copies_what_is_here_and_the_rest_when_the_server_is_back(box: Rig, stick: Path) -> None:
    for n in range(8):
        box.add(f"t{n}")
    down = True

    async def hook(seen: Seen, answer: Answer) -> Answer:
        return Answer(200, answer.body, answer.headers, cut=0) if down else answer

    box.server.hook = hook
    await box.adopted(stick, wait=False)
    info, result = await box.filled()
    assert info.state == "done"
    assert result.offline
    assert len(result.missing) == 8
    down = False
    box.health.raise_("offline")
    box.health.clear("offline")
    async with asyncio.timeout(10):
        while not (stick / ".chadbox/manifest.json").exists() or len(manifest(stick)["files"]) < 8:
            await asyncio.sleep(0.02)
    await box.filled()
    assert len(check(box, stick)) == 8


async def test_the_drives_copy_is_used_instead_of_the_network(box: Rig, stick: Path) -> None:
    track = box.add("1", 3_000_000)
    await box.adopted(stick)
    await box.cache.clear()
    sent = sum(box.server.sent.values())
    entry = await box.cache.acquire("lib", track)
    demand = box.fetcher.demand(entry, track, Role.CURRENT)
    await asyncio.wait_for(demand.finished, 5)
    assert entry.from_drive
    assert entry.path.read_bytes() == box.data("1")
    assert sum(box.server.sent.values()) == sent
    box.fetcher.withdraw(demand)
    box.cache.release(entry)


async def test_a_drive_pulled_while_it_is_played_from(box: Rig, stick: Path) -> None:
    track = box.add("1", 8_000_000)
    await box.adopted(stick)
    await box.cache.clear()
    entry = await box.cache.acquire("lib", track)

    def arrived(*_: object) -> None:
        if entry.have.total() > 1_000_000 and box.plugs.paths.pop("/dev/STICK", None):
            box.plugs.pull()

    entry.on_bytes = arrived
    demand = box.fetcher.demand(entry, track, Role.CURRENT)
    await asyncio.wait_for(demand.finished, 5)
    assert entry.path.read_bytes() == box.data("1")
    assert box.cache.counters.refetched_bytes == 0
    box.fetcher.withdraw(demand)
    box.cache.release(entry)


async def test_a_damaged_copy_on_the_drive_is_not_played_twice(box: Rig, stick: Path) -> None:
    track = box.add("1", 300_000)
    await box.adopted(stick)
    (path,) = [stick / entry["path"] for entry in manifest(stick)["files"]]
    path.write_bytes(bytes(300_000))
    await box.cache.clear()
    for _ in range(3):
        entry = await box.cache.acquire("lib", track)
        demand = box.fetcher.demand(entry, track, Role.CURRENT)
        await asyncio.wait([demand.finished], timeout=5)
        async with asyncio.timeout(5):
            while entry.sha256 is None and not entry.superseded:
                await asyncio.sleep(0.01)
        box.fetcher.withdraw(demand)
        box.cache.release(entry)
        if entry.sha256:
            break
    assert entry.sha256 == track.sha256
