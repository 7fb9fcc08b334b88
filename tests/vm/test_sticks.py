"""USB sticks in the installed appliance: udev, udisks, polkit and the kernel's own file systems (C3-C8).

A pull is QEMU's `device_del` in the middle of a fill: the box loses the device at once, and what is in its memory with
it. What the stick had acknowledged is on it, as with one that has no write cache of its own; what was under way may be
there or not. Sectors torn by failing power inside a stick are not modelled.

CHADBOX_VM_YANKS says how many pulls each file system gets, CHADBOX_VM_SEED which; both are printed.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import shlex
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support import tones
from tests.vm.build import music
from tests.vm.guest import STARVED, Guest
from tests.vm.sticks import Contents, Stick

pytestmark = [pytest.mark.vm, pytest.mark.timeout(7200)]

KINDS = ("vfat", "exfat", "ext4")
TRACKS, SECONDS = 40, 80.0  # in all; as WAV 350 kB each
YANKS = int(os.environ.get("CHADBOX_VM_YANKS", "100"))
SEED = int(os.environ.get("CHADBOX_VM_SEED", "1"))
OURS = ("Music/", "Playlists/Commute.m3u8", "MISSING.txt", ".chadbox/")
TORN = (
    "share",
    "free cluster.",
    "contains a free",
    "beyond",
    "bad cluster",
    "corrupt",
    "loop",
    "crosslink",
)  # of checkers
LIKE = """
import sqlite3
from appliance.store import meta
with sqlite3.connect("/var/lib/chadbox/chadbox.db", timeout=30) as db:
    like = "INSERT OR IGNORE INTO favourite (library, track_id) SELECT ?, track_id FROM track WHERE album = 'Many'"
    db.execute(like, (meta.get(db, "library.id"),))
    print(db.execute("SELECT count(*) FROM favourite").fetchone()[0])
"""


@pytest.fixture(scope="module")
def wanted(guest: Guest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[set[str]]:
    """Forty short tracks that a fill wants; their hashes, and those of the album that is played meanwhile."""
    album = tones.album(tmp_path_factory.mktemp("many"), "wav", tracks=TRACKS, seconds=SECONDS, title="Many", seed=5)
    hashes = set()
    for path in album.tracks:
        data = path.read_bytes()
        hashes.add(_hash(data))
        guest.put(f"/srv/music/Test Tones/Many/{path.name}", data)
    guest.run("systemctl restart chadbox-server")
    guest.until(f"su pi -c 'chadbox sync && chadbox status --json' | grep -q '\"tracks\": *{TRACKS + 3}'", 180)
    assert guest.run(f"/opt/chadbox/current/bin/python -c {shlex.quote(LIKE)}").strip() == str(TRACKS)
    played = music(tmp_path_factory.mktemp("played"))
    yield hashes | {_hash(path.read_bytes()) for path in played.tracks}
    guest.run("rm -r '/srv/music/Test Tones/Many'; systemctl restart chadbox-server")


@contextmanager
def playing(guest: Guest, tmp_path: Path) -> Iterator[dict[str, Any]]:
    """Plays one album over and over and listens; what was heard is in the dictionary afterwards."""
    frames = len(music(tmp_path).pcm)
    guest.run("rm -f /run/heard")
    listen = f"python3 /usr/lib/chadbox-vm/periodic.py {frames}"
    guest.run(f"systemd-run -q --unit=listen -p StandardOutput=file:/run/heard {listen}")
    guest.until("grep -q ready /run/heard")
    guest.chadbox("queue", "repeat", "all")
    guest.play_the_album()
    heard: dict[str, Any] = {}
    try:
        with guest.steady():
            yield heard
        heard |= guest.status()["audio"]
    finally:
        guest.run("systemctl stop listen; su pi -c 'chadbox stop; chadbox queue repeat off'", code=None)
    heard |= json.loads(guest.get("/run/heard").splitlines()[-1])


def judge(stick: Stick, found: Contents, hashes: set[str]) -> int:
    """How many tracks are whole. Fails when one is not, or when anything of the person's was touched.

    Right after a pull there may be the one part that was being written, and on FAT the track that was being given its
    name, empty: there a rename takes several writes.
    """
    assert {path: found.get(path) for path in stick.mine} == stick.mine, "the person's files were touched"
    whole, empty = 0, []
    for path, (size, digest) in found.items():
        assert not digest.startswith("unreadable"), f"{path} ({size} bytes) is {digest}\n{stick.checked}"
        if path in stick.mine or path.endswith(".chadbox-part"):
            continue
        assert path.startswith(OURS), f"{path} is nobody's"
        if path.startswith("Music/"):
            if size == 0 and stick.kind == "vfat":
                empty.append(path)
                continue
            assert digest in hashes, f"{path} ({size} bytes) is not whole"
            whole += 1
    assert len(empty) <= 1, f"more than the one that was being renamed: {empty}"
    if stick.kind == "vfat":  # its checker does not count the pull itself as damage, nor what has a journal
        lines = [line for line in stick.checked.splitlines() if "Dirty bit is set" not in line]
        assert not [line for line in lines if any(word in line.lower() for word in TORN)], stick.checked
    return whole


def complete(stick: Stick, found: Contents, hashes: set[str]) -> None:
    """Every track is there, the manifest says the same, and nothing is left over."""
    assert judge(stick, found, hashes) >= TRACKS
    assert not [path for path, (size, _) in found.items() if size == 0]
    assert not [path for path in found if path.endswith(".chadbox-part")]
    manifest = json.loads(stick.read(".chadbox/manifest.json"))
    listed = {file["path"]: (file["size"], file["sha256"]) for file in manifest["files"]}
    assert listed == {p: found[p] for p in found if p.startswith("Music/") and p not in stick.mine}
    assert len({digest for _, digest in listed.values()}) >= TRACKS
    assert manifest["missing"] == []


@pytest.mark.parametrize("kind", KINDS)
def test_plug_adopt_fill_eject_and_any_number_of_yanks(
    guest: Guest, wanted: set[str], tmp_path: Path, kind: str
) -> None:
    """C3-C7, and what they do to the sound (P1)."""
    stick = Stick(guest, tmp_path, kind, f"CAR{kind.upper()}")
    before = _hash(stick.image.read_bytes())
    stick.plug()
    assert stick.becomes("not-adopted", "error")["state"] == "not-adopted"
    (mount,) = [line.split() for line in guest.run("cat /proc/mounts").splitlines() if f"/{stick.label} " in line]
    assert {"ro", "nosuid", "nodev", "noexec"} <= set(mount[3].split(","))
    stick.pull()
    stick.becomes("gone")
    assert _hash(stick.image.read_bytes()) == before, "a stranger's drive was written to"

    stick.plug()
    stick.becomes("not-adopted")
    guest.chadbox("drive", "adopt", stick.label)
    (mount,) = [line.split() for line in guest.run("cat /proc/mounts").splitlines() if f"/{stick.label} " in line]
    assert {"rw", "nosuid", "nodev", "noexec"} <= set(mount[3].split(","))
    guest.chadbox("drive", "fill", stick.label, timeout=300)
    guest.chadbox("drive", "eject", stick.label)
    stick.becomes("safe-to-remove", "gone", seconds=10)  # gone: switched off, the box does not see it any more
    assert f"/{stick.label} " not in guest.run("cat /proc/mounts")
    stick.pull()
    complete(stick, stick.contents(), wanted)
    stick.check()

    empty = stick.image.with_suffix(".empty")  # the same stick after somebody deleted the music
    stick.plug()
    assert stick.becomes("ready")["progress"] in (0, 100)
    told = json.loads(guest.chadbox("drive", "fill", stick.label, "--json"))
    assert told["copied"] == 0
    assert told["kept"] >= TRACKS
    guest.run(f"systemctl show -P MainPID chadbox; rm -r '/media/chadbox/{stick.label}/Music/Test Tones' "
              f"/media/chadbox/{stick.label}/.chadbox/manifest.json")  # fmt: skip
    guest.chadbox("drive", "eject", stick.label)
    stick.pull()
    shutil.copyfile(stick.image, empty)

    dice = random.Random(f"{SEED} {kind}")
    pid, start = guest.pid(), time.monotonic()
    cycles, last = 0, 0
    with playing(guest, tmp_path) as heard:
        stick.plug()
        started = time.monotonic()
        stick.becomes("filling")
        stick.becomes("ready")
        longest = time.monotonic() - started
        stick.pull()
        stick.becomes("gone")
        shutil.copyfile(empty, stick.image)
        for yank in range(YANKS):
            stick.plug()
            time.sleep(dice.uniform(0.2, longest))  # the moment is what is being tried
            stick.pull()
            found = stick.contents()
            lost = [line.strip() for line in stick.checked.splitlines() if "Reclaimed" in line]
            print(f"{kind} yank {yank}: {len(found)} files; {lost}", flush=True)
            whole = judge(stick, found, wanted)
            assert whole >= last, f"yank {yank}: {last} tracks were there"
            last = whole
            if whole >= TRACKS:
                cycles += 1
                last = 0
                shutil.copyfile(empty, stick.image)
        stick.becomes("gone")
        stick.plug()
        stick.becomes("filling", "ready")
        guest.chadbox("drive", "fill", stick.label, timeout=300)
        guest.chadbox("drive", "eject", stick.label)
        stick.pull()
    complete(stick, stick.contents(), wanted)
    took = time.monotonic() - start
    print(
        f"{kind}: {YANKS} yanks (seed {SEED}), {cycles} fills done, 0 bad files, {len(heard['gaps'])} gaps in "
        f"{heard['seconds']:.0f} s of sound (the box waited {guest.waited:.1%}), {took:.0f} s; a "
        f"fill takes {longest:.1f} s"
    )
    assert guest.pid() == pid, "the player was started anew"
    if guest.waited < STARVED and not heard["overruns"]:  # else this machine, and not the player, may have stumbled
        assert (heard["gaps"], heard["underruns"]) == ([], 0), heard
    assert "media/chadbox" not in guest.run(f"cat /proc/mounts /proc/{pid}/mounts; ls -l /proc/{pid}/fd")


def test_a_write_protected_stick_is_refused_with_the_reason(guest: Guest, tmp_path: Path) -> None:
    """C7."""
    stick = Stick(guest, tmp_path, "vfat", "LOCKED")
    before = _hash(stick.image.read_bytes())
    stick.plug(protected=True)
    stick.becomes("not-adopted")
    said = guest.run("su pi -c 'chadbox drive adopt LOCKED'", code=1)
    assert "write-protected" in said
    assert len(said.splitlines()) == 1
    stick.pull()
    assert _hash(stick.image.read_bytes()) == before


def _hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
