"""Mounts a file system, prints what is on it as JSON, {path: [bytes, SHA-256]}, unmounts it. Runs in the box.

What cannot be read has the reason in place of the hash; "" has what the file system's checker said before.

look.py NODE KIND [FILE...]: with FILEs, makes the file system first and puts each there, with its own name as contents.
NODE may be one that is still to come.
"""

import hashlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

MAKE = {
    "vfat": ["mkfs.vfat", "-F", "32", "-s", "1", "-n"],
    "exfat": ["mkfs.exfat", "-L"],
    "ext4": ["mke2fs", "-q", "-F", "-t", "ext4", "-m", "0", "-L"],
}
CHECK = {"vfat": ["fsck.vfat", "-n"], "exfat": ["fsck.exfat", "-n"], "ext4": ["e2fsck", "-n"]}
PLACE = Path("/run/look")


def run(*command: str) -> None:
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def main(node: str, kind: str, label: str, *files: str) -> None:
    deadline = time.monotonic() + 60
    while not os.path.exists(node):
        assert time.monotonic() < deadline, f"{node} does not come"
        time.sleep(0.05)
    if label:
        run(*MAKE[kind], label, node)
    checked = subprocess.run([*CHECK[kind], node], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    place = PLACE / os.path.basename(node)
    place.mkdir(parents=True, exist_ok=True)
    run("mount", "-t", kind, node, str(place))
    try:
        for name in files:
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            (place / name).write_bytes(name.encode() * 20_000)
        for folder in ("Music", "Playlists") if files and kind == "ext4" else ():
            (place / folder).chmod(0o777)  # by somebody who lets others put music there; the player asks for no more
        found = {"": [checked.returncode, checked.stdout.decode(errors="replace")]}
        for folder, _, names in os.walk(place, onerror=fail):
            for path in (Path(folder, name) for name in names):
                try:
                    data = path.read_bytes()
                    found[str(path.relative_to(place))] = [len(data), hashlib.sha256(data).hexdigest()]
                except OSError as error:
                    found[str(path.relative_to(place))] = [path.stat().st_size, f"unreadable: {error.strerror}"]
        print(json.dumps(found))
    finally:
        run("umount", str(place))


def fail(error: OSError) -> None:
    raise error


if __name__ == "__main__":
    main(*sys.argv[1:])
