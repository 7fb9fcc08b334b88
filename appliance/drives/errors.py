"""What can be wrong with a drive, each as one line that says what to do (C7)."""

from __future__ import annotations

import errno

from appliance.errors import StorageError

GONE = (errno.ENODEV, errno.ENXIO, errno.ENOTCONN, errno.ESHUTDOWN, errno.ENOMEDIUM, errno.ESTALE)
FULL = (errno.ENOSPC, errno.EDQUOT)
BROKEN = (errno.EIO, errno.EUCLEAN, errno.EROFS, errno.EBADMSG, errno.EREMOTEIO, *GONE)  # of the drive, not of one file


class DriveError(StorageError):
    """The drive cannot be used as asked; `number` is the kernel's errno, if there is one."""

    code = "drive"

    def __init__(self, message: str, number: int | None = None) -> None:
        super().__init__(message)
        self.number = number


class Pulled(DriveError):
    """The drive was pulled out."""


class Full(DriveError):
    """The drive has no room for this."""


def explain(error: OSError, name: str) -> DriveError:
    """The DriveError of an OSError on the drive `name`."""
    if isinstance(error, DriveError):
        return error
    number = error.errno
    if number in FULL:
        return Full(f"{name} is full; remove something from it or use a larger drive", number)
    if number == errno.EROFS:
        return DriveError(f"{name} is write-protected, or was made read-only because it is damaged; check it", number)
    if number in GONE:
        return Pulled(f"{name} was pulled out; plug it in again and it goes on", number)
    if number in (errno.EACCES, errno.EPERM):
        return DriveError(f"{name}: the player has no permission to write there", number)
    if number == errno.EFBIG:
        return DriveError(f"{name}: the file is too large for its file system", number)
    if number in (errno.ENAMETOOLONG, errno.EINVAL):
        return DriveError(f"{name} does not accept the file's name", number)
    if number in (errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ELOOP):
        return DriveError(f"{name}: a file of somebody else is in the way", number)
    return DriveError(
        f"{name} cannot be read or written ({error.strerror or error}); check it on another machine", number
    )
