"""The tokens of a sign-in on disk: one file in the state directory, for the player's user alone (A3).

Written whole under another name, synced, renamed: after a power cut there is the old pair or the new one, never half.
"""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path

import msgspec
from msgspec import Struct

from appliance.errors import StorageError

NAME = "sign-in.json"
MAX_FILE = 64 << 10  # bytes


class Tokens(Struct):
    """An access token, the refresh token for the next one, and when it ends.

    `url` is the server that gave them: no other one may see them. Times are Unix time by this box's clock; `expires_at`
    is None when the server did not say. `repr` shows none of it.
    """

    url: str
    access: str
    refresh: str | None = None
    received_at: float = 0.0
    expires_at: float | None = None

    def __repr__(self) -> str:
        return "Tokens(...)"


class TokenStore:
    """The file `sign-in.json` in `folder`. Every method blocks."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / NAME

    def load(self, url: str) -> Tokens | None:
        """The tokens of server `url`; None when there are none or the file is damaged (then its owner signs in again).

        Raises StorageError when it is there and cannot be read.
        """
        try:
            descriptor = os.open(self.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StorageError(f"{self.path}: the sign-in cannot be read: {error.strerror}") from None
        with os.fdopen(descriptor, "rb") as file:
            mode = os.fstat(descriptor).st_mode
            if not stat.S_ISREG(mode):
                return None
            if mode & 0o077:  # somebody copied it about; what can be mended is
                with contextlib.suppress(OSError):
                    os.fchmod(descriptor, 0o600)
            raw = file.read(MAX_FILE)
        try:
            tokens = msgspec.json.decode(raw, type=Tokens)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            return None
        return tokens if tokens.url == url and is_token(tokens.access) else None

    def save(self, tokens: Tokens) -> None:
        """On disk when this returns. Raises StorageError."""
        fresh = self.path.with_name(NAME + ".new")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(FileNotFoundError):
                fresh.unlink()  # of a write that a power cut ended
            descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(msgspec.json.encode(tokens))
                file.flush()
                os.fsync(descriptor)
            os.replace(fresh, self.path)
            _sync(self.path.parent)
        except OSError as error:
            raise StorageError(
                f"{self.path}: the sign-in cannot be written: {error.strerror}; check free space and owner"
            ) from None

    def remove(self) -> bool:
        """Whether there was something to remove. Raises StorageError."""
        try:
            with contextlib.suppress(FileNotFoundError):
                self.path.with_name(NAME + ".new").unlink()
            self.path.unlink()
            _sync(self.path.parent)
        except FileNotFoundError:
            return False
        except OSError as error:
            raise StorageError(f"{self.path}: the sign-in cannot be removed: {error.strerror}") from None
        return True


def is_token(text: str, most: int = 8192) -> bool:
    """Whether `text` can stand in a header: printable ASCII without spaces."""
    return 0 < len(text) <= most and all("!" <= c <= "~" for c in text)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
