"""Give back the pages of shared libraries that were only needed to link them.

libmpv pulls in some 220 libraries, most for pictures and protocols that are never used here; resolving their symbols
maps 30 MiB that are not looked at again. Those pages are clean copies of files, so dropping them costs nothing but a
fault if one is needed after all.
"""

from __future__ import annotations

import contextlib
import ctypes

_DONTNEED = 4


def shed() -> None:
    """Drop what cannot have been written: code, and the start of each library's file, which holds its symbol tables.

    To be called while the process has one thread: a library that another thread unloads meanwhile could leave its
    place to something else. Data that was relocated is not touched: it reads as read-only but exists only in memory
    or in swap. Does nothing without /proc.
    """
    with contextlib.suppress(OSError, AttributeError, ValueError):
        madvise = ctypes.CDLL(None).madvise
        madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
        with open("/proc/self/maps", encoding="utf-8", errors="replace") as maps:
            rows = maps.readlines()
        for row in rows:
            span, access, offset, _, _, *path = row.split(None, 5)
            if path and ".so" in path[0] and (access == "r-xp" or (access == "r--p" and int(offset, 16) == 0)):
                start, stop = (int(address, 16) for address in span.split("-"))
                madvise(start, stop - start, _DONTNEED)
