"""A folder that somebody exports to, written by their own command (export.py says why)."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from pathlib import Path

from appliance.drives import manifest as lists
from appliance.drives.errors import DriveError
from appliance.drives.fill import Target
from appliance.drives.names import MUSIC, PLAYLISTS
from appliance.drives.thread import DriveThread
from appliance.drives.tree import Tree


class Goal:
    """`path` made ready to be written to; its last part is made when it lacks, and removed if nothing came into it.

    Blocks. Raises DriveError in one line for what cannot be written to.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.made = False
        try:
            if not path.exists():
                if not path.parent.is_dir():
                    raise DriveError(f"{path.parent} is not there; make it first, or name another folder with --to")
                os.mkdir(path)
                self.made = True
            if not stat.S_ISDIR(os.stat(path).st_mode):
                raise DriveError(f"{path} is a file; name a folder with --to")
            tree = Tree(path)
        except DriveError:
            raise
        except OSError as error:
            raise DriveError(explain(error, path), error.errno) from None
        self.target = Target(str(path), kind_of(path), "", tree, DriveThread(path.name or "folder"))
        try:
            self._check(tree)
        except (OSError, DriveError) as error:
            self.close()
            raise error if isinstance(error, DriveError) else DriveError(explain(error, path), error.errno) from None

    def _check(self, tree: Tree) -> None:
        if not tree.writable:
            readonly = os.statvfs(self.path).f_flag & os.ST_RDONLY
            raise DriveError(explain(OSError(errno.EROFS if readonly else errno.EACCES, ""), self.path))
        if lists.read_mark(tree):
            raise DriveError(f"{self.path} is a drive of the box; export to it with --to drive:{self.path.name}")

    def close(self) -> None:
        """Let go of it; the thread must be idle."""
        with contextlib.suppress(OSError):
            self.target.tree.close()
        self.target.thread.close()
        if self.made:
            self._tidy()

    def _tidy(self) -> None:
        """A folder of ours into which nothing came goes again, with what was made for it (R8)."""
        for top in (MUSIC, PLAYLISTS):
            for folder, _, _ in os.walk(self.path / top, topdown=False):
                with contextlib.suppress(OSError):
                    os.rmdir(folder)
        with contextlib.suppress(OSError):
            if set(os.listdir(self.path)) <= {lists.FOLDER}:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(self.path / lists.PATH)
                with contextlib.suppress(FileNotFoundError):
                    os.rmdir(self.path / lists.FOLDER)
                os.rmdir(self.path)


def explain(error: OSError, path: Path) -> str:
    """What is wrong with a folder, in one line that says what to do."""
    if error.errno in (errno.EACCES, errno.EPERM):
        return f"{path}: no permission to write there; name another folder with --to"
    if error.errno == errno.EROFS:
        return f"{path} can only be read; name another folder with --to"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"{path}: the disk is full; free some space or name another folder with --to"
    if error.errno == errno.ELOOP:
        return f"{path} is a loop of links; name another folder with --to"
    return f"{path} cannot be written to: {error.strerror or error}"


def kind_of(path: Path) -> str:
    """The kind of file system: vfat has limits of its own; "" when nobody knows."""
    try:
        device = os.stat(path).st_dev
        wanted = f"{os.major(device)}:{os.minor(device)}"
        for line in Path("/proc/self/mountinfo").read_text("utf-8", "replace").splitlines():
            words, _, rest = line.partition(" - ")
            if words.split()[2] == wanted:
                return rest.split()[0]
    except (OSError, IndexError):
        pass
    return ""
