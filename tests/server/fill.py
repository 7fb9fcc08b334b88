"""A state folder with any number of made-up tracks, for measuring: `python -m tests.server.fill STATE MUSIC N`."""

from __future__ import annotations

import hashlib
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from appliance.server.catalog import Catalog
from appliance.server.db import Database
from appliance.server.models import Facts

PER_ALBUM = 10
_WORDS = ("Amber", "Blue", "Cold", "Dawn", "Echo", "Fjörd", "Glass", "Harbour", "Iron", "Jade", "Kyoto", "Lumière",
          "Moon", "North", "Ocean", "Paper", "Quiet", "River", "Silver", "Tide",
          "Umbra", "Velvet", "Winter", "Zenith")  # fmt: skip
_GENRES = ("Rock", "Jazz", "Classical", "Electronic", "Folk", "Metal", "Hip-Hop", "Ambient")


def fill(state: Path, music: Path, count: int) -> str:
    """Add `count` tracks below the folder `music`, which should be missing or empty, so that no scan takes them for
    deleted; the library id."""
    database = Database(state / "server.db")
    catalog = Catalog(database)
    ((root_id, _),) = catalog.roots([os.fsencode(os.path.abspath(music))]).items()
    catalog.bulk_add(root_id, _folders(count))
    library = database.meta("library")
    database.close()
    return library


def _folders(count: int) -> Iterator[tuple[bytes, list[Facts]]]:
    n, made = len(_WORDS), 0
    for album in range((count + PER_ALBUM - 1) // PER_ALBUM):
        artist = f"{_WORDS[album // 7 % n]} {_WORDS[album // 5 % n]} {album // 12}"
        title = f"{_WORDS[album % n]} {_WORDS[album * 7 % n]} {album}"
        files = []
        for no in range(1, min(PER_ALBUM, count - made) + 1):
            made += 1
            name = f"{_WORDS[made * 5 % n]} {_WORDS[made * 11 % n]} {made}"
            files.append(
                Facts(
                    f"{no:02d} {name}.flac".encode(), size=20_000_000 + made, mtime_ns=1_700_000_000_000_000_000 + made,
                    content=made, title=name, artist=artist, album=title, album_artist=artist, disc=1, no=no,
                    year=1960 + album % 65, genre=_GENRES[album % 8], publisher=f"Label {album % 500}",
                    country="XW", type="album", status="official", duration=200.0 + no, samples=(200 + no) * 44_100,
                    sample_rate=44_100, lufs=-12.5, true_peak=-0.5, album_lufs=-12.0, album_true_peak=-0.3,
                    sha256=hashlib.sha256(made.to_bytes(8, "big")).hexdigest(),
                )
            )  # fmt: skip
        yield f"{artist}/{title}".encode(), files


if __name__ == "__main__":
    begun = time.monotonic()
    fill(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
    print(f"{time.monotonic() - begun:.1f} s")
