"""USB sticks for the box: image files with a partition table, and what is on them when nobody has them plugged in.

A stick is looked at as a copy in another slot of the box, by the kernel's own drivers, so that looking changes nothing
and the player does not see it.
"""

from __future__ import annotations

import base64
import json
import shlex
import shutil
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tests.vm.guest import Guest

START = 2048  # sectors before the partition
TYPES = {"vfat": 0x0C, "exfat": 0x07, "ext4": 0x83}
PYTHON = "/opt/chadbox/current/bin/python /usr/lib/chadbox-vm"
Contents = Mapping[str, tuple[int, str]]  # path -> bytes, SHA-256
MINE = ("holiday.jpg", "Music/My Band/Demo.mp3", "Music/copying.txt", "Playlists/mine.m3u8", "letters/to bob.txt")


class Stick:
    """A stick of `mib` MiB with one partition, formatted as `kind` and with a person's files on it."""

    def __init__(self, guest: Guest, folder: Path, kind: str, label: str, mib: int = 64) -> None:
        self.guest, self.kind, self.label = guest, kind, label
        self.image = folder / f"{label}.img"
        with self.image.open("wb") as file:
            file.truncate(mib << 20)
            sectors = (mib << 11) - START
            entry = struct.pack("<B3sB3sII", 0, b"\xfe\xff\xff", TYPES[kind], b"\xfe\xff\xff", START, sectors)
            file.seek(446)
            file.write(entry + bytes(48) + b"\x55\xaa")
        self.checked = ""  # what the checker of file systems said at the last look
        self.mine = self._look(self.image, label, *MINE)

    def plug(self, *, protected: bool = False) -> None:
        self.guest.plug(self.label, self.image, protected=protected)

    def pull(self) -> None:
        self.guest.pull(self.label)

    def becomes(self, *states: str, seconds: float = 90) -> dict[str, Any]:
        """The player's document of the stick, once it is in one of `states`."""
        words = shlex.join([self.label, f"{seconds:g}", *states])
        answer = self.guest.run(f"{PYTHON}/drive.py {words}", timeout=seconds + 30)
        document: dict[str, Any] = json.loads(answer)
        return document

    def contents(self) -> Contents:
        """What another machine would find on it, after its journal was replayed if there is one."""
        copy = self.image.with_suffix(".copy")
        shutil.copyfile(self.image, copy)  # sparse on file systems that can share blocks
        try:
            return self._look(copy)
        finally:
            copy.unlink()

    def read(self, path: str) -> bytes:
        """One file of it."""
        place = shlex.quote(f"/run/read/{path}")
        script = f"mkdir -p /run/read && mount -o ro -t {self.kind} NODE /run/read && base64 -w0 {place}"
        script += "; c=$?; umount /run/read; exit $c"
        return base64.b64decode(self._slot(self.image, lambda node: self.guest.run(script.replace("NODE", node))))

    def check(self) -> str:
        """What the file system's own checker says; GuestFailed when it is not clean."""
        command = {"vfat": "fsck.vfat -n", "exfat": "fsck.exfat -n", "ext4": "e2fsck -fn"}[self.kind]
        return self._slot(self.image, lambda node: self.guest.run(f"{command} {node}"))

    def _look(self, image: Path, *words: str) -> Contents:
        def look(node: str) -> str:
            return self.guest.run(f"python3 /usr/lib/chadbox-vm/look.py {node} {self.kind} {shlex.join(words or [''])}")

        found: dict[str, list[Any]] = json.loads(self._slot(image, look))
        self.checked = str(found.pop("")[1])
        return {path: (int(size), str(digest)) for path, (size, digest) in found.items()}

    def _slot(self, image: Path, work: Callable[[str], str]) -> str:
        """Do something with the partition's device in a slot that is none of the player's."""
        name = f"look-{self.label}"
        self.guest.plug(name, image, usb=False)
        try:
            node = f"/dev/disk/by-id/scsi-0QEMU_QEMU_HARDDISK_{name}-part1"
            self.guest.until(f"[ -e {node} ]")
            return work(node)
        finally:
            self.guest.pull(name)
            self.guest.until(f"! [ -e {node} ]")
