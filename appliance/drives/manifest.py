"""What is on a drive and why: manifest, MISSING.txt, playlists (C5; CONTRACT section 5).

.chadbox/manifest.json   files: what the box has put there and owns; missing: what could not be had
                         planned: where it was about to put files when it wrote this: what is found there after the
                         drive was pulled is its own, too; owned: playlists and reports of its own
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Collection, Sequence

import msgspec
from msgspec import Struct

from appliance.cloud.models import Id, Track
from appliance.drives.names import PLAYLISTS, component, legal
from appliance.drives.tree import Tree

log = logging.getLogger(__name__)

FOLDER = ".chadbox"
PATH = f"{FOLDER}/manifest.json"
ADOPTED = f"{FOLDER}/adopted"
MISSING = "MISSING.txt"


class File(Struct, omit_defaults=True):
    """A file that the box owns. `size` in bytes; `purpose`: the fill may remove only what it brought itself.

    `library` is set when it came from another library than the manifest's.
    """

    id: Id
    path: str
    size: int
    sha256: str
    etag: str | None
    purpose: str = "commute"
    library: str | None = None


class Planned(Struct, omit_defaults=True):
    """A file that is about to be there; `size` and `sha256` where they are known."""

    id: Id
    path: str
    size: int | None = None
    sha256: str | None = None
    etag: str | None = None
    purpose: str = "commute"


class Missing(Struct, omit_defaults=True):
    """A track that could not be had, and why, in one line; `purpose` as that of a file."""

    id: Id
    title: str
    reason: str
    purpose: str = "commute"


class Manifest(Struct):
    version: int = 1
    library: str = ""
    files: list[File] = []
    missing: list[Missing] = []
    planned: list[Planned] = []
    owned: list[str] = []

    def of(self, track_id: str) -> File | None:
        """The file of a track of this library."""
        return next((f for f in self.files if str(f.id) == track_id and f.library is None), None)

    def by_id(self) -> dict[str, File]:
        """Files of this library by track id."""
        return {str(f.id): f for f in self.files if f.library is None}


def load(tree: Tree) -> Manifest:
    """The drive's manifest; an empty one when there is none or it makes no sense. Its paths are checked. OSError."""
    data = tree.read(PATH)
    if data is None:
        return Manifest()
    try:
        found = msgspec.json.decode(data, type=Manifest)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        log.error("the drive's manifest cannot be read (%s); what is on the drive is left alone", error)
        return Manifest()
    found.files = [f for f in found.files if legal(f.path) and f.size >= 0]
    found.planned = [p for p in found.planned if legal(p.path)]
    found.owned = [path for path in found.owned if path == MISSING or legal(path)]
    return found


def save(tree: Tree, manifest: Manifest) -> None:
    """Whole or not at all. OSError."""
    tree.write(PATH, msgspec.json.format(msgspec.json.encode(manifest), indent=1) + b"\n")


def move_to(manifest: Manifest, library: str) -> None:
    """The box has another library now: what is there stays owned, under the old one's name."""
    if manifest.library and manifest.library != library:
        for file in manifest.files:
            file.library = file.library or manifest.library
    for file in manifest.files:
        if file.library == library:
            file.library = None
    if manifest.library != library:
        manifest.planned = []
    manifest.library = library


def book_missing(
    manifest: Manifest, before: Sequence[Missing], missing: Sequence[Missing], purpose: str, wanted: Collection[str]
) -> None:
    """Put what a run for `wanted` ids could not have in place of what was `before` of the same purpose.

    What another purpose lacks stays, as does what other exports lack, until it is there.
    """
    there = {*manifest.by_id(), *(str(m.id) for m in missing)}
    kept = [m for m in before if m.purpose != purpose or (purpose != "commute" and str(m.id) not in wanted)]
    manifest.missing = [m for m in kept if str(m.id) not in there]
    manifest.missing += [Missing(m.id, m.title, m.reason, purpose) for m in missing]


def write_missing(tree: Tree, manifest: Manifest) -> None:
    """MISSING.txt when something is missing, else none; somebody else's file of that name is left alone. OSError."""
    if not manifest.missing:
        if MISSING in manifest.owned:
            tree.remove(MISSING)
            manifest.owned.remove(MISSING)
        return
    lines = ["These tracks could not be had:", ""]
    lines += [f"{_line(m.title) or '?'} (id {_line(str(m.id))}): {_line(m.reason)}" for m in manifest.missing]
    _write_own(tree, manifest, MISSING, "\r\n".join([*lines, ""]))


def write_playlist(tree: Tree, manifest: Manifest, name: str, tracks: Sequence[tuple[Track, str]]) -> str | None:
    """`Playlists/NAME.m3u8` of (track, path on the drive) in play order; its path; None: it is not ours. OSError."""
    lines = ["#EXTM3U"]
    for track, path in tracks:
        lines.append(f"#EXTINF:{round(min(max(track.duration, 0), 1e6))},{_line(f'{track.artist} - {track.title}')}")
        lines.append(f"../{path}")
    path = f"{PLAYLISTS}/{component(name, 'Playlist', 80, 200)}.m3u8"
    return path if _write_own(tree, manifest, path, "\n".join([*lines, ""])) else None


def _write_own(tree: Tree, manifest: Manifest, path: str, text: str) -> bool:
    if path not in manifest.owned:
        if tree.stat(path) is not None:
            log.warning("%s on the drive is somebody else's; it is left alone", path)
            return False
        manifest.owned.append(path)
        save(tree, manifest)  # owned before it is there: a drive pulled in between must not make it a stranger's
    tree.write(path, text.encode("utf-8", "replace"))
    return True


def _line(text: str) -> str:
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def read_mark(tree: Tree) -> str:
    """The id of the box that adopted the drive, "" when none did. OSError."""
    data = tree.read(ADOPTED)
    with contextlib.suppress(UnicodeDecodeError):
        return (data or b"").decode("ascii").strip()[:100]
    return ""
