"""What the owner of a server does beside it, on the same machine: approve a code, see who is signed in, sign one out.

It works on the server's database. Whoever may write that is the owner, so no port has to be open for it and no token
passed. Needs none of the packages of the server.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from appliance.errors import NotFound, SettingsError
from appliance.server.db import DATABASE, Database
from appliance.server.signed_in import SignIns, code_digest


def decide(code: str, state: str | None, *, approve: bool) -> dict[str, Any]:
    """Approve or deny `code`: name and address of the device. Raises NotFound, UsageError, SettingsError, StorageError.

    Without `state`, the code is looked for at every server that runs here under this user (root: any).
    """
    folders = _folders(state)
    if len(folders) > 1:
        folders = [folder for folder in folders if _waits(folder, code)]
        if not folders:
            raise NotFound("nobody waits with this code at any server here; see what the box shows now")
    with _open(folders[0]) as sign_ins:
        device = sign_ins.decide(code, approve=approve)
        return {"name": device.name, "address": device.address}


def devices(state: str | None) -> list[dict[str, Any]]:
    """Those that are signed in, with times of this machine. Raises SettingsError, StorageError."""
    with _open(_one(state)) as sign_ins:
        return [
            {"id": d.id, "name": d.name, "signed_in": _when(d.created), "renewed": _when(d.used)}
            for d in sign_ins.devices()
        ]


def revoke(sign_in: int, state: str | None) -> None:
    """Sign a device out; it is out within seconds. Raises NotFound, SettingsError, StorageError."""
    with _open(_one(state)) as sign_ins:
        sign_ins.revoke(sign_in)


def _waits(folder: Path, code: str) -> bool:
    """Whether somebody waits with `code` at this server. Changes nothing there: it may be of another version."""
    try:
        with contextlib.closing(sqlite3.connect(f"file:{quote(str(folder / DATABASE))}?mode=ro", uri=True)) as sql:
            return sql.execute("SELECT 1 FROM device_code WHERE user = ?", (code_digest(code),)).fetchone() is not None
    except sqlite3.Error:
        return False


@contextlib.contextmanager
def _open(folder: Path) -> Iterator[SignIns]:
    if not (folder / DATABASE).is_file():  # nothing is made by a misspelt name
        raise SettingsError(f"{folder}: is not the state folder of a server; name it with --state")
    database = Database(folder / DATABASE)
    try:
        yield SignIns(database)
    finally:
        database.close()


def _one(state: str | None) -> Path:
    folders = _folders(state)
    if len(folders) > 1:
        names = ", ".join(str(folder) for folder in folders[:5])
        raise SettingsError(f"several servers run here; name one with --state: {names}")
    return folders[0]


def _folders(state: str | None) -> list[Path]:
    """`state`, or the state folders of running servers. Raises SettingsError."""
    if state is not None:
        return [Path(state)]
    found = sorted(_running())
    if not found:
        raise SettingsError("no server of this user runs on this machine; name its state folder with --state DIR")
    return found


def _running() -> set[Path]:
    """Folders whose lock a process holds that we may look into (a server locks its folder for as long as it runs)."""
    found: set[Path] = set()
    with contextlib.suppress(OSError):
        for line in Path("/proc/locks").read_text("ascii").splitlines():
            fields = line.split()  # 1: FLOCK  ADVISORY  WRITE 1234 08:02:5678 0 EOF
            if len(fields) < 5 or fields[1] != "FLOCK" or not fields[4].isdigit():
                continue
            with contextlib.suppress(OSError):
                for link in Path(f"/proc/{fields[4]}/fd").iterdir():
                    target = Path(os.readlink(link))
                    if target.name == "lock" and (target.parent / DATABASE).is_file():
                        found.add(target.parent)
    return found


def _when(at: float) -> str:
    return datetime.fromtimestamp(at).astimezone().isoformat(timespec="seconds")
