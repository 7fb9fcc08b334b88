"""What a fill will do: what stays, what is copied in which order, what has to go, and what cannot be had (C3, C4).

Everything here blocks and belongs on the drive's thread.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable, Sequence

from msgspec import Struct

from appliance.cloud.models import Track
from appliance.drives import copy
from appliance.drives import manifest as lists
from appliance.drives.copy import Tick
from appliance.drives.errors import DriveError
from appliance.drives.manifest import File, Manifest, Missing
from appliance.drives.names import FAT_LARGEST, PART, Namer, fold
from appliance.drives.tree import Tree

RESERVE_LEAST, RESERVE_MOST, RESERVE_SHARE = 4 << 20, 128 << 20, 50  # bytes, bytes, one part of so many
UNKNOWN = 16 << 20  # bytes, of a track whose size nobody knows
BYTES_A_SECOND = 120_000  # of a track of which only the duration is known
FAT = ("vfat", "msdos", "fat")


class Item(Struct):
    """A file to be copied. `size` in bytes as far as known; `replace`: it is ours already, in another version."""

    track: Track
    path: str
    size: int
    replace: bool


class Plan(Struct):
    """`order` is (track, path) of all that will be there, in play order."""

    items: list[Item]
    remove: list[File]
    missing: list[Missing]
    order: list[tuple[Track, str]]
    kept: int = 0
    bytes: int = 0  # to be copied
    room: int = 0  # bytes for music before anything is copied, without the reserve


def begin(tree: Tree, box: str, library: str, tick: Tick) -> Manifest:
    """Check that the drive is still adopted, remove what an interrupted run left, and tell what the box owns there.

    Raises DriveError when the drive does not carry this box's mark any more, and OSError.
    """
    check_mark(tree, box)
    manifest = lists.load(tree)
    folders = {"", lists.FOLDER, *(path.rpartition("/")[0] for path in manifest.owned)}
    folders |= {file.path.rpartition("/")[0] for file in manifest.files}
    folders |= {item.path.rpartition("/")[0] for item in manifest.planned}
    for folder in sorted(folders):
        tick()
        for name in tree.listing(folder):
            if name.endswith(PART):
                tree.remove(f"{folder}/{name}" if folder else name)
    _recover(tree, manifest, tick)
    if library:
        lists.move_to(manifest, library)
    return manifest


def check_mark(tree: Tree, box: str) -> None:
    """Before anything is written or removed: this is the drive that was adopted (C6)."""
    if lists.read_mark(tree) != box:
        raise DriveError("the drive does not carry the mark of this box any more; adopt it again")


def _recover(tree: Tree, manifest: Manifest, tick: Tick) -> None:
    """What was about to be put there and is there, whole, is ours though the list was never finished.

    FAT renames in several steps: pulled in between, the new name is there, empty. Such a file is removed, and so is a
    file of ours that was about to be replaced and is neither the old version nor the new one.
    """
    planned = {item.path: item for item in manifest.planned}
    for file in tuple(manifest.files):
        tick()
        item, size = planned.pop(file.path, None), tree.size(file.path)
        if size is None or (item is None and (size > 0 or file.size == 0)):
            continue
        digest = copy.hash_of(tree, file.path, tick)
        if digest == file.sha256:
            continue
        if item is not None and size and item.size in (None, size) and item.sha256 in (None, digest):
            file.size, file.sha256, file.etag = size, digest, item.etag
            continue
        tree.remove(file.path)
        if file.purpose == "commute":
            manifest.files.remove(file)
    for item in planned.values():
        tick()
        size = tree.size(item.path)
        if size == 0 and item.size != 0:
            tree.remove(item.path)
            continue
        if size is None or item.size not in (None, size):
            continue
        digest = copy.hash_of(tree, item.path, tick)
        if item.sha256 in (None, digest):
            manifest.files.append(File(item.id, item.path, size, digest, item.etag, item.purpose))
    manifest.planned = []


def current(file: File, track: Track) -> bool:
    """Whether `file` is the version of `track` that the server has now."""
    if track.sha256:
        return file.sha256 == track.sha256.lower()
    if track.etag and file.etag:
        return file.etag == track.etag
    return track.size is None or track.size == file.size


def make(
    tree: Tree, kind: str, manifest: Manifest, tracks: Sequence[Track], tick: Tick, purpose: str = "commute"
) -> Plan:
    """The plan for `tracks`, in play order; a kind of file system of FAT limits the size of files. OSError.

    Only for the commute something has to go: what a commute brought. What was exported stays until its owner is
    done with it, and an export takes nothing away.
    """
    plan = Plan([], [], [], [])
    free, total, piece = tree.room()
    reserve = min(max(RESERVE_LEAST, total // RESERVE_SHARE), RESERVE_MOST)
    owned = manifest.by_id()
    paths = {f.path for f in manifest.files}
    wanted = {str(t.id) for t in tracks}
    spare = [f for f in manifest.files if f.purpose == "commute" and (f.library or str(f.id) not in wanted)]
    if purpose != "commute":
        spare = []
    spare = [*(f for f in spare if f.library), *(f for f in spare if not f.library)]
    spare_bytes = sum(_room(f.size, piece) for f in spare)
    left = plan.room = free - reserve + spare_bytes
    ours = {fold(path) for path in paths}

    def strangers(folder: str) -> list[str]:
        return [name for name in tree.listing(folder) if fold(f"{folder}/{name}") not in ours]

    namer = Namer(paths, strangers)
    discs = _discs(tracks)
    largest = FAT_LARGEST if kind in FAT else None
    needed = 0
    for track in tracks:
        tick()
        file = owned.get(str(track.id))
        if file is not None and current(file, track) and tree.size(file.path) == file.size:
            plan.kept += 1
            plan.order.append((track, file.path))
            continue
        size = _size(track)
        reason = ""
        if largest is not None and size > largest:
            reason = "it is larger than 4 GiB - 1 byte, the most that a file on FAT32 can hold; use exFAT"
        elif _room(size, piece) > left:
            reason = f"it does not fit: {mib(size)} needed, {mib(max(left, 0))} left on the drive"
        if reason:
            plan.missing.append(Missing(track.id, track.title, reason))
            continue
        left -= _room(size, piece)
        needed += _room(size, piece)
        path = file.path if file is not None else namer.path(track, discs=str(track.album_id) in discs)
        plan.items.append(Item(track, path, size, file is not None))
        plan.order.append((track, path))
        plan.bytes += size
    over = needed - (free - reserve)
    for file in spare:
        if over <= 0:
            break
        plan.remove.append(file)
        over -= _room(file.size, piece)
    return plan


def remove(tree: Tree, box: str, manifest: Manifest, files: Iterable[File], tick: Tick) -> None:
    """Remove files of ours. DriveError when the drive is not the adopted one, OSError."""
    gone = list(files)
    if not gone:
        return
    check_mark(tree, box)
    for file in gone:
        tick()
        tree.remove(file.path)
        manifest.files.remove(file)


def mib(size: int) -> str:
    """`size` for people: 12.3 MiB, 4.5 GiB."""
    return f"{size / (1 << 30):.1f} GiB" if size >= 1 << 30 else f"{size / (1 << 20):.1f} MiB"


def too_full(number: int | None) -> bool:
    return number in (errno.ENOSPC, errno.EDQUOT)


def _size(track: Track) -> int:
    if track.size is not None:
        return track.size
    return int(track.duration * BYTES_A_SECOND) if track.duration > 0 else UNKNOWN


def _room(size: int, piece: int) -> int:
    """What a file takes: whole pieces, and one for its name."""
    return (size + piece - 1) // piece * piece + piece


def _discs(tracks: Iterable[Track]) -> set[str]:
    """Albums with more than one disc, as far as these tracks tell."""
    return {str(t.album_id) for t in tracks if (t.disc or 1) > 1}
