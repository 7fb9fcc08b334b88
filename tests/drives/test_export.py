"""Exports to drives, with a folder in place of the drive and everything else real (C9, C5, C6, R6, R8)."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from appliance.drives import preflight
from appliance.drives.export import KIND
from appliance.drives.fill import Fill, Result, Target
from appliance.drives.thread import DriveThread
from appliance.drives.tree import Tree
from appliance.events import DriveChanged
from appliance.jobs import Info
from tests.drives.rig import Rig, check, files, manifest
from tests.support.fileserver import Answer, Seen


async def export(box: Rig, ids: list[str], name: str = "Mine", *, project: bool = False) -> tuple[Info, Result | None]:
    """The end of an export of `ids`."""
    wish = await box.exports.wish(f"playlist:{name}", ids)
    job = await box.exports.to_drive(wish, "STICK", project=project)
    info = await asyncio.wait_for(box.jobs.wait(job), 30)
    return info, box.exports.take_result(job)


def purposes(stick: Path) -> dict[str, str]:
    return {entry["id"]: entry.get("purpose", "commute") for entry in manifest(stick)["files"]}


async def test_fill_and_export_leave_each_other_alone(box: Rig, stick: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """C6: with no room for both, neither takes away what the other brought; each keeps its list of what is missing."""
    for n in range(8):
        box.add(f"t{n}", 100_000)
    box.wanted = ["t0", "t1"]
    await box.adopted(stick)
    monkeypatch.setattr(Tree, "room", lambda tree: ((4 << 20) + 120_000, 8 << 20, 4096))
    _, result = await export(box, ["t2", "t3"])
    assert result is not None
    assert (result.copied, [m.id for m in result.missing]) == (1, ["t3"])
    assert "does not fit" in result.missing[0].reason
    assert check(box, stick) == {"t0", "t1", "t2"}, "the commute's tracks had to go"
    box.wanted = ["t4", "t5", "t6", "t7"]
    _, filled = await box.filled()
    assert filled.removed == 2
    assert check(box, stick) >= {"t2"}, "what was exported had to go"
    by = {m["id"]: m.get("purpose", "commute") for m in manifest(stick)["missing"]}
    assert by.pop("t3") == "export"
    assert set(by.values()) == {"commute"}
    assert "Title t3" in (stick / "MISSING.txt").read_text()
    monkeypatch.undo()
    await export(box, ["t3"], "More")
    await box.filled()
    assert manifest(stick)["missing"] == []
    assert not (stick / "MISSING.txt").exists()
    assert {p.name for p in (stick / "Playlists").iterdir()} == {"Commute.m3u8", "Mine.m3u8", "More.m3u8"}


async def test_what_a_commute_brought_stays_once_it_is_exported(
    box: Rig, stick: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """C9: it is not copied again, and no later fill removes it or takes it for its own, new version or not."""
    for n in range(3):
        box.add(f"t{n}")
    box.wanted = ["t0", "t1"]
    await box.adopted(stick)
    _, result = await export(box, ["t0"])
    assert result is not None
    assert (result.copied, result.kept) == (0, 1)
    assert purposes(stick) == {"t0": "export", "t1": "commute"}
    data = os.urandom(90_000)
    newer = box.tracks.all["t0"]
    box.server.files[newer.url] = data
    box.server.etags[newer.url] = newer.etag = '"newer"'
    newer.size, newer.sha256 = len(data), None
    await box.filled()
    assert purposes(stick) == {"t0": "export", "t1": "commute"}
    assert data in files(stick).values()
    box.wanted = ["t2"]
    monkeypatch.setattr(Tree, "room", lambda tree: (4 << 20, 8 << 20, 4096))
    _, filled = await box.filled()
    assert filled.removed == 1
    assert purposes(stick) == {"t0": "export", "t2": "commute"}


async def test_pulled_in_the_middle_it_goes_on_when_it_is_plugged(box: Rig, stick: Path) -> None:
    """C7, C9: by itself; what came whole before the pull is found again, as exported."""
    box.wanted = []
    ids = [str(box.add(f"t{n}", 400_000).id) for n in range(6)]
    box.wanted = []
    await box.adopted(stick)
    wish = await box.exports.wish("playlist:Mine", ids)
    gate = asyncio.Event()

    async def hook(seen: Seen, answer: Answer) -> Answer:
        if seen.path == box.tracks.all["t3"].url:
            await gate.wait()
        return answer

    box.server.hook = hook
    job = await box.exports.to_drive(wish, "STICK", project=False)
    while len(list(stick.rglob("*.flac"))) < 3:
        await asyncio.sleep(0.01)
    box.plugs.pull()
    gate.set()
    info = await asyncio.wait_for(box.jobs.wait(job), 10)
    assert (info.state, info.error) == ("failed", "STICK was pulled out; plug it in again and it goes on")
    done = asyncio.get_running_loop().create_future()
    box.bus.subscribe(
        DriveChanged, lambda event: done.done() or ((len(purposes(stick)) == 6 and done.set_result(None)) and None)
    )
    box.plugs.plug(stick)
    await asyncio.wait_for(done, 20)
    info = await asyncio.wait_for(box.jobs.wait(job), 10)
    assert info.state == "done"
    assert check(box, stick) == set(ids)
    assert set(purposes(stick).values()) == {"export"}


async def test_eject_cancels_it_and_what_waits_behind_it(box: Rig, stick: Path) -> None:
    """C7: nothing writes to a drive that is being ejected; no unfinished file is left."""
    ids = [str(box.add(f"t{n}").id) for n in range(3)]
    box.wanted = []
    await box.adopted(stick)
    began, gate = asyncio.Event(), asyncio.Event()

    async def hook(seen: Seen, answer: Answer) -> Answer:
        began.set()
        await gate.wait()
        return answer

    box.server.hook = hook
    jobs = []
    for name in ("One", "Two"):
        jobs.append(await box.exports.to_drive(await box.exports.wish(name, ids), "STICK", project=False))
    await asyncio.wait_for(began.wait(), 10)
    drive = box.drives.find("STICK")
    while len(drive.exports) < 2:
        await asyncio.sleep(0.01)
    await asyncio.wait_for(box.drives.eject("STICK"), 10)
    gate.set()
    assert drive.state == "safe-to-remove"
    assert [(await box.jobs.get(job)).state for job in jobs] == ["cancelled", "cancelled"]
    assert not list(stick.rglob("*.chadbox-part"))


async def test_the_preflight_tells_without_touching_anything(
    box: Rig, stick: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """C9: tracks and bytes to download and to copy, what is there, what does not fit and why."""
    for n in range(4):
        box.add(f"t{n}", 100_000)
    box.tracks.all["t3"].size = 5 << 30
    box.wanted = ["t0"]
    await box.adopted(stick, "vfat")
    entry = await box.exports.lend("t1", True, lambda doc: None)
    box.exports.give_back(entry)
    while not any(str(f.id) == "t1" and f.complete for f in await box.cache.listing()):
        await asyncio.sleep(0.01)
    before = {path: path.stat().st_mtime_ns for path in stick.rglob("*")}
    wish = await box.exports.wish("playlist:Mine", ["t0", "t1", "t2", "t3", "gone"])
    told = await box.exports.check(wish, "STICK")
    assert (told.name, told.tracks, told.kept, told.copy, told.bytes) == ("Mine", 5, 1, 2, 200_000)
    assert (told.download, told.download_bytes) == (1, 100_000)
    assert {m.id: m.reason.split(",")[0] for m in told.missing} == {
        "gone": "it is not in the library any more",
        "t3": "it is larger than 4 GiB - 1 byte",
    }
    assert told.seconds >= 1
    assert {path: path.stat().st_mtime_ns for path in stick.rglob("*")} == before


async def test_none_to_be_had_is_a_failed_job(box: Rig, stick: Path) -> None:
    """C9: with the reason, and the report of what is missing all the same."""
    box.add("t0")
    box.wanted = []
    await box.adopted(stick)

    async def hook(seen: Seen, answer: Answer) -> Answer:
        return Answer(404)

    box.server.hook = hook
    info, result = await export(box, ["t0"], project=True)
    assert info.state == "failed"
    assert "none of the 1 tracks" in (info.error or "")
    assert result is not None
    assert [m.id for m in result.missing] == ["t0"]
    assert files(stick).keys() == {"MISSING.txt"}
    assert (info.kind, KIND) == ("export", "export")


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A real file system of 1 MiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    if os.getuid() or not shutil.which("mount"):
        pytest.skip("only root can mount a small disk")
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "chadbox-test", str(folder)], check=False)
    if made.returncode:
        pytest.skip("no file system can be mounted here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=False)


async def test_full_in_the_middle_of_a_write(box: Rig, small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """C7, R8: room that vanishes after the plan: what is whole stays, the rest is told, no part is left."""
    ids = [str(box.add(f"t{n}", 300_000).id) for n in range(8)]
    box.wanted = []
    await box.adopted(small)
    monkeypatch.setattr(Tree, "room", lambda tree: (1 << 30, 2 << 30, 4096))
    info, result = await export(box, ids, project=True)
    assert info.state == "done"
    assert result is not None
    assert 1 <= result.copied <= 3
    assert result.copied + len(result.missing) == 8
    assert all("full" in m.reason for m in result.missing)
    assert len(check(box, small)) == result.copied


async def test_links_lead_nowhere_and_files_of_others_stay(box: Rig, stick: Path, tmp_path: Path) -> None:
    """R6: a folder that is a link is not entered, a file of the name that a track would get is left alone."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (stick / "Music").mkdir()
    (stick / "Music/Linked").symlink_to(outside)
    (stick / "Music/Artist/Album").mkdir(parents=True)
    (stick / "Music/Artist/Album/02 Title t1.flac").write_bytes(b"mine")
    (stick / "Mine.RPP").write_bytes(b"my work")
    box.add("t0", artist="Linked")
    box.add("t1", no=2)
    box.add("t2", artist="../../..", album="/etc", title="../passwd\n\x1b[2J")
    box.wanted = []
    await box.adopted(stick)
    _, result = await export(box, ["t0", "t1", "t2"], project=True)
    assert result is not None
    assert [m.id for m in result.missing] == ["t0"]
    assert list(outside.iterdir()) == []
    assert check(box, stick) == {"t1", "t2"}
    assert (stick / "Music/Artist/Album/02 Title t1.flac").read_bytes() == b"mine"
    assert (stick / "Mine.RPP").read_bytes() == b"my work", "somebody's project was replaced"
    assert (stick / "Mine 2.RPP").exists()


async def test_cancelled_in_the_middle_of_a_file(box: Rig, stick: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """R8: also while bytes are being written, nothing half is left and the list is right."""
    ids = [str(box.add(f"t{n}", 3_000_000).id) for n in range(2)]
    target = Target("here", "ext4", "", Tree(stick), DriveThread("here"))
    source: Any = box.supply
    fill: Fill

    def progress(percent: int) -> None:
        if percent >= 60:
            running.cancel()

    fill = Fill(target, source, progress, lambda manifest: None)
    running = asyncio.create_task(fill.run(ids, "export", "Mine"))
    await asyncio.wait([running])
    assert running.cancelled()
    assert check(box, stick) == {"t0"}
    target.thread.close()


def test_names_of_exports() -> None:
    assert preflight.title("queue", []) == "Queue"
    assert preflight.title("artist: Björk ", []) == "Björk"
    assert preflight.title("commute", []) != "Commute", "that playlist is the fill's"
    assert preflight.title("playlist:COMMUTE", []) != "COMMUTE"


async def test_what_a_power_cut_left_unlisted_is_still_an_export(box: Rig, stick: Path) -> None:
    """C7: a file that came just before the cut is found by the next fill, and stays what it was."""
    box.add("t0")
    box.wanted = []
    await box.adopted(stick)
    await export(box, ["t0"])
    listed = manifest(stick)
    listed["planned"] = [{k: v for k, v in file.items() if k != "size"} for file in listed.pop("files")]
    (stick / ".chadbox/manifest.json").write_text(json.dumps(listed))
    await box.filled()
    assert purposes(stick) == {"t0": "export"}
    assert check(box, stick) == {"t0"}
