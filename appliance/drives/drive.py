"""One drive while it is plugged in: what is known of it and what is open on it."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from appliance.drives import manifest as lists
from appliance.drives.manifest import Manifest
from appliance.drives.music import Shelf
from appliance.drives.source import Found
from appliance.drives.thread import DriveThread
from appliance.drives.tree import Tree

READY = ("ready", "filling", "full")


class Guest(Protocol):
    """Somebody else who has the drive open: told to let go before it is unmounted, and when it was pulled."""

    async def close(self) -> None: ...
    def lose(self) -> None: ...


class Drive:
    """`state` is one of: mounting, not-adopted, ready, filling, full, error, ejecting, safe-to-remove.

    Files are touched on `thread` only; `tree` is None while nothing is open.
    """

    def __init__(self, found: Found) -> None:
        self.node, self.kind = found.node, found.kind
        self.uuid = found.uuid
        self.name = " ".join("".join(c if c.isprintable() else " " for c in found.name).split())[:100] or found.uuid
        self.state = "mounting"
        self.adopted = False
        self.progress = 0
        self.message = ""
        self.path: Path | None = None
        self.tree: Tree | None = None
        self.shelf: Shelf | None = None
        self.job: int | None = None
        self.exports: set[int] = set()  # jobs that write to it, or wait for their turn
        self.files = 0
        self.bytes = 0
        self.missing: list[lists.Missing] = []
        self.switching_off = False
        self.off = False  # ejected, and no longer seen by the machine
        self.offline = False  # the last fill lacked the network
        self.thread = DriveThread(self.name)
        self.guests: list[Guest] = []

    async def open(self, path: Path) -> str:
        """Look at what is mounted at `path`; the id of the box that adopted it. OSError, DriveError."""
        self.path = path
        self.tree = await self.thread.run(Tree, path)
        return await self.thread.run(lists.read_mark, self.tree)

    async def show(self, library: str) -> None:
        """Offer what the manifest says is there to the player. OSError, DriveError."""
        assert self.tree is not None  # noqa: S101 - it was opened
        assert self.path is not None  # noqa: S101
        manifest = await self.thread.run(lists.load, self.tree)
        if library:
            lists.move_to(manifest, library)
        self.take(manifest)
        self.shelf = Shelf(self.name, await self.thread.run(Tree, self.path), manifest.by_id(), library)

    def take(self, manifest: Manifest) -> None:
        """What is there now."""
        self.files, self.bytes = len(manifest.files), sum(f.size for f in manifest.files)
        self.missing = list(manifest.missing)
        if self.shelf is not None:
            self.shelf.files = manifest.by_id()
            self.shelf.library = manifest.library

    async def close(self) -> None:
        """Let go of everything, so that it can be unmounted."""
        while self.guests:
            await self.guests.pop().close()
        if self.shelf is not None:
            await self.shelf.close()
            self.shelf = None
        if self.tree is not None and not self.thread.dead:
            await self.thread.run(self.tree.close)
        self.tree = None

    def lose(self) -> None:
        """It was pulled out."""
        while self.guests:
            self.guests.pop().lose()
        if self.shelf is not None:
            self.shelf.lose()
        self.thread.lose(*([self.tree.close] if self.tree is not None else []))
        self.tree = self.shelf = None

    def document(self) -> dict[str, object]:
        """As `status` and `drive` show it."""
        return {
            "name": self.name, "uuid": self.uuid, "state": self.state, "adopted": self.adopted,
            "progress": self.progress, "kind": self.kind, "message": self.message, "files": self.files,
            "bytes": self.bytes, "missing": len(self.missing), "path": str(self.path) if self.path else None,
        }  # fmt: skip
