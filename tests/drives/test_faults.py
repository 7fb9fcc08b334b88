"""Drives that fail: pulled at any moment, full, read-only, broken, lying, hanging (C7)."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes.util
import fcntl
import os
import random
import shutil
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.drives.rig import Rig, check, files

EXT4_IOC_SHUTDOWN = 0x8004587D
NO_LOG_FLUSH = 2
PULLS = int(os.environ.get("CHADBOX_PULLS", "20"))

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="only root can mount")


# A real file system that is shut down under the writer


class Loop:
    """ext4 in a file. `pull` ends every input and output at once, as when the stick is out; nothing is flushed."""

    def __init__(self, root: Path) -> None:
        self.image, self.path = root / "image", root / "stick"
        self.path.mkdir()
        with self.image.open("wb") as file:
            file.truncate(48 << 20)
        subprocess.run(["mke2fs", "-q", "-t", "ext4", str(self.image)], check=True)

    def mount(self) -> None:
        done = subprocess.run(
            ["mount", "-o", "loop", str(self.image), str(self.path)], capture_output=True, check=False
        )
        if done.returncode:
            pytest.skip(f"no loop device: {done.stderr.decode()}")

    def pull(self) -> None:
        root = os.open(self.path, os.O_RDONLY)
        fcntl.ioctl(root, EXT4_IOC_SHUTDOWN, struct.pack("I", NO_LOG_FLUSH))
        os.close(root)

    def umount(self) -> None:
        for _ in range(50):
            done = subprocess.run(["umount", str(self.path)], check=False, capture_output=True)
            if not os.path.ismount(self.path):
                return
            time.sleep(0.02)
        who = [os.readlink(item.path) for item in os.scandir("/proc/self/fd") if os.path.lexists(item.path)]
        subprocess.run(["umount", "-l", str(self.path)], check=False)
        raise AssertionError(f"the drive is still held open: {done.stderr.decode()} {who}")


@pytest.fixture
def loop(tmp_path: Path) -> Iterator[Loop]:
    if not shutil.which("mke2fs"):
        pytest.skip("no mke2fs")
    made = Loop(tmp_path)
    made.mount()
    try:
        yield made
    finally:
        made.umount()


async def test_pulled_at_random_moments(box: Rig, loop: Loop) -> None:
    """Every file there is whole, the user's are untouched, and the next plug-in goes on; no byte comes twice."""
    dice = random.Random(11)
    for n in range(24):
        box.add(f"t{n}", dice.randint(1, 600_000))
    mine = dice.randbytes(200_000)
    (loop.path / "mine.flac").write_bytes(mine)
    (loop.path / "Music").mkdir()
    (loop.path / "Music/mine.flac").write_bytes(mine)
    os.sync()
    await box.adopted(loop.path, wait=False)
    kept = []
    for turn in range(PULLS):
        job = await box.drives.fill("STICK")
        await asyncio.sleep(dice.uniform(0, 0.12))
        loop.pull()
        if dice.random() < 0.5:
            await asyncio.sleep(dice.uniform(0, 0.05))  # udev is late: the fill meets the dead drive first
        box.plugs.pull()
        info = await asyncio.wait_for(box.jobs.wait(job), 10)
        assert info.state in ("done", "failed"), info
        await asyncio.sleep(0.02)
        loop.umount()
        loop.mount()
        for entry in loop.path.rglob("*"):
            if entry.is_file() and entry.suffix == ".flac" and "mine" not in entry.name:
                assert entry.read_bytes() in box.server.files.values(), f"{entry} is torn (pull {turn})"
        assert (loop.path / "mine.flac").read_bytes() == (loop.path / "Music/mine.flac").read_bytes() == mine
        kept.append(len([p for p in loop.path.rglob("*.flac") if "mine" not in p.name]))
        assert kept == sorted(kept), f"files were lost: {kept}"
        if kept[-1] == 24:
            box.plugs.plug(loop.path)  # full already: begin again with fewer
            await box.until("ready", "filling", "full")
            await box.filled()
            for number in range(turn, turn + 12):
                box.add(f"more{number}", dice.randint(1, 300_000))
            break
        box.plugs.plug(loop.path)
        await box.until("ready", "filling", "full")
    info, result = await box.filled()
    assert info.state == "done"
    assert result.missing == []
    assert check(box, loop.path) == set(box.wanted)
    names = [name for name in files(loop.path) if name.endswith(".flac")]
    assert len(names) == len(box.wanted) + 2, "a file is there twice"
    assert box.cache.counters.refetched_bytes == 0
    print("files after each pull:", kept)
    await box.drives.eject("STICK")


async def test_really_full(box: Rig, loop: Loop) -> None:
    """The drive fills up with somebody else's files after the plan was made."""
    for n in range(30):
        box.add(f"t{n}", 1_000_000)
    loaded = False

    async def hook(seen: object, answer: object) -> None:
        nonlocal loaded
        if len(list(loop.path.rglob("*.flac"))) >= 4 and not loaded:
            loaded = True
            with (loop.path / "filler").open("wb", buffering=0) as file, contextlib.suppress(OSError):
                while True:
                    file.write(bytes(1 << 16))

    box.server.hook = hook  # type: ignore[assignment]
    await box.adopted(loop.path, wait=False)
    info, result = await box.filled()
    assert result.full or info.state == "failed"
    assert "is full" in (result.missing[0].reason if result.missing else str(info.error))
    (loop.path / "filler").unlink()
    for path in loop.path.rglob("*.flac"):
        assert path.read_bytes() in box.server.files.values()
    box.server.hook = None
    info, result = await box.filled()
    assert info.state == "done"
    assert "drive-full" not in box.health or result.missing
    check(box, loop.path)
    await box.drives.eject("STICK")


# A drive that answers as it is told


class Fuse:
    def __init__(self, root: Path) -> None:
        self.store, self.path, self.control = root / "store", root / "fuse", root / "control"
        self.store.mkdir()
        self.path.mkdir()
        self.say("")
        script = Path(__file__).with_name("fuse_drive.py")
        self.process = subprocess.Popen(
            [sys.executable, str(script), str(self.store), str(self.path), str(self.control)], stderr=subprocess.DEVNULL
        )
        deadline = time.monotonic() + 10
        while not os.path.ismount(self.path):
            assert self.process.poll() is None, "FUSE does not start"
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def say(self, word: str) -> None:
        new = self.control.with_suffix(".new")
        new.write_text(word)
        new.replace(self.control)

    def close(self) -> None:
        self.say("")
        self.process.kill()
        self.process.wait(5)
        subprocess.run(["umount", "-l", str(self.path)], check=False, capture_output=True)


@pytest.fixture
def fuse(tmp_path: Path) -> Iterator[Fuse]:
    pytest.importorskip("fuse", reason="fusepy is not installed", exc_type=(ImportError, OSError))
    if not ctypes.util.find_library("fuse") or not Path("/dev/fuse").exists():
        pytest.skip("no FUSE")
    made = Fuse(tmp_path)
    try:
        yield made
    finally:
        made.close()


@pytest.mark.parametrize(("word", "message"), [("EIO", "cannot be read or written"), ("EROFS", "write-protected")])
async def test_one_clear_message_and_the_next_fill_mends_it(box: Rig, fuse: Fuse, word: str, message: str) -> None:
    for n in range(6):
        box.add(f"t{n}", 200_000)
    await wait_for_files(box, fuse, 2, lambda: fuse.say(word))
    info, _ = await box.filled()
    if info.state == "done":  # it was through before the drive failed
        info, _ = await box.filled()
    assert info.state == "failed"
    assert message in str(info.error)
    assert "drive-error" in box.health
    fuse.say("")
    box.plugs.pull()
    assert "drive-error" not in box.health
    box.plugs.plug(fuse.path)
    await box.until("ready", "filling")
    info, _ = await box.filled()
    assert info.state == "done"
    assert check(box, fuse.store) == set(box.wanted)


async def wait_for_files(box: Rig, fuse: Fuse, count: int, then: Callable[[], None]) -> None:
    await box.adopted(fuse.path, wait=False)
    async with asyncio.timeout(10):
        while len(list(fuse.store.rglob("*.flac"))) < count:
            await asyncio.sleep(0.005)
    then()


async def test_enospc_at_every_write(box: Rig, fuse: Fuse) -> None:
    """Wherever it strikes, what is there is whole and the next fill completes it."""
    for n in range(3):
        box.add(f"t{n}", 150_000)
    await box.adopted(fuse.path)
    for n in range(1, 26):
        for path in fuse.store.rglob("*.flac"):
            path.unlink()
        fuse.say(f"ENOSPC {n}")
        info, result = await box.filled()
        assert info.state in ("done", "failed")
        if info.state == "failed" or result.missing:
            said = str(info.error) + "".join(m.reason for m in result.missing)
            assert "is full" in said, said
        for path in fuse.store.rglob("*.flac"):
            assert path.read_bytes() in box.server.files.values(), f"torn after {n} writes"
        fuse.say("")
        if box.drives.find("STICK").state == "error":
            box.plugs.pull()
            box.plugs.plug(fuse.path)
            await box.until("ready", "filling")
        info, result = await box.filled()
        assert (info.state, result.missing) == ("done", [])
        assert check(box, fuse.store) == set(box.wanted)


async def test_a_drive_that_lies_about_its_size(box: Rig, fuse: Fuse) -> None:
    for n in range(8):
        box.add(f"t{n}", 120_000)
    fuse.say("LIE")
    await box.adopted(fuse.path, wait=False)
    info, _ = await box.filled()
    if info.state == "done":
        info, _ = await box.filled()
    assert info.state == "failed"
    assert "smaller than it says" in str(info.error)
    there = [path.read_bytes() for path in fuse.store.rglob("*.flac")]
    assert 0 < len(there) < 8
    assert all(data in box.server.files.values() for data in there)
    fuse.say("")
    box.plugs.pull()
    box.plugs.plug(fuse.path)
    await box.until("ready", "filling")
    await box.filled()
    assert check(box, fuse.store) == set(box.wanted)


async def test_a_drive_that_hangs_holds_up_nothing(box: Rig, fuse: Fuse, monkeypatch: pytest.MonkeyPatch) -> None:
    for n in range(6):
        box.add(f"t{n}", 200_000)
    await box.adopted(fuse.path, wait=False)
    drive = box.drives.find("STICK")
    drive.thread._stall = 0.5
    fuse.say("HANG")
    slowest = 0.0
    job = asyncio.create_task(box.filled())
    while not job.done():
        before = time.monotonic()
        await asyncio.sleep(0.01)
        slowest = max(slowest, time.monotonic() - before - 0.01)
    info, _ = await job
    assert info.state in ("failed", "done")
    if info.state == "done":
        info, _ = await box.filled()
    assert "does not answer" in str(info.error)
    assert slowest < 0.3, f"the loop stood still for {slowest:.2f} s"
    assert "drive-error" in box.health
    fuse.say("")


async def test_a_drive_whose_driver_dies(box: Rig, fuse: Fuse) -> None:
    for n in range(6):
        box.add(f"t{n}", 300_000)
    await wait_for_files(box, fuse, 1, fuse.process.kill)
    info, _ = await box.filled()
    if info.state == "done":
        info, _ = await box.filled()
    assert info.state == "failed"
    assert "pulled out" in str(info.error)
    for path in fuse.store.rglob("*.flac"):
        assert path.read_bytes() in box.server.files.values()
