"""Names that every file system of a drive and every car stereo accepts, made from hostile text (C4, R6).

Rules: FAT's forbidden characters and reserved names, no trailing dot or space, NFC, short enough for a path of 260
UTF-16 units (Windows) and a component of 255 bytes (ext4). Two names that differ by case or compatibility only are one
name on FAT. A `~` is replaced too: `ABCDEF~1.FLA` may be the short alias of another file in the folder.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from base64 import b32encode
from collections.abc import Callable, Collection, Iterable
from urllib.parse import unquote, urlsplit

from appliance.cloud.models import Track

MUSIC, PLAYLISTS = "Music", "Playlists"
PART = ".chadbox-part"
FOLDER_UNITS, FILE_UNITS = 70, 100  # UTF-16 units; Music/70/70/100 is 249
FOLDER_BYTES, FILE_BYTES = 210, 240  # of UTF-8
FAT_LARGEST = (1 << 32) - 1  # bytes of a file on FAT32
EXTENSIONS = frozenset(
    [
        "flac",
        "mp3",
        "m4a",
        "mp4",
        "aac",
        "ogg",
        "oga",
        "opus",
        "wav",
        "aiff",
        "aif",
        "alac",
        "wma",
        "ape",
        "wv",
        "mka",
        "webm",
        "dsf",
        "dff",
        "mpc",
        "tta",
    ]
)

_BY_MIME = {
    "audio/flac": "flac", "audio/x-flac": "flac", "audio/mpeg": "mp3", "audio/mp4": "m4a", "audio/x-m4a": "m4a",
    "audio/aac": "aac", "audio/ogg": "ogg", "audio/vorbis": "ogg", "audio/opus": "opus", "audio/wav": "wav",
    "audio/x-wav": "wav", "audio/vnd.wave": "wav", "audio/aiff": "aiff", "audio/x-aiff": "aiff",
}  # fmt: skip
_FORBIDDEN = re.compile(r'[<>:"/\\|?*~]')
_SPACE = re.compile(r"\s+")
_RESERVED = re.compile(r"(?i)(con|prn|aux|nul|clock\$|conin\$|conout\$|(com|lpt)[0-9¹²³])\s*(\.|$)")
_BAD_CATEGORIES = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")


def component(text: str, otherwise: str, units: int = FOLDER_UNITS, size: int = FOLDER_BYTES) -> str:
    """One legal path component of untrusted `text`, at most `units` UTF-16 units and `size` bytes long."""
    text = unicodedata.normalize("NFC", text[: 4 * units])
    if not text.isascii() or not text.isprintable():
        text = "".join(" " if c.isspace() else "_" if unicodedata.category(c) in _BAD_CATEGORIES else c for c in text)
    name = _SPACE.sub(" ", _FORBIDDEN.sub("_", text)).strip()
    if name.startswith("."):  # hidden, or worse
        name = "_" + name.lstrip(".")
    name = shorten(name, units - 1, size - 1)  # the last one is for the _ of a reserved name
    if _RESERVED.match(name):
        name = "_" + name
    return name or otherwise


def shorten(name: str, units: int, size: int) -> str:
    """`name` cut to so many UTF-16 units and bytes, without a dot or space at its end."""
    while len(name.encode("utf-16-le")) > 2 * units or len(name.encode()) > size:
        name = name[:-1]
    return name.rstrip(" .")


def fold(name: str) -> str:
    """Two names with the same fold may be one name on some file system."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold().upper()).casefold()


def extension(track: Track) -> str:
    """The file's extension, from its address or its type; only known ones are believed."""
    last = unquote(urlsplit(track.url).path).rpartition("/")[2]
    found = last.rpartition(".")[2].lower() if "." in last else ""
    if found in EXTENSIONS:
        return found
    return _BY_MIME.get((track.mime or "").partition(";")[0].strip().lower(), "audio")


def legal(path: str) -> bool:
    """Whether a path that a drive's manifest names is one that could be ours: relative, plain, below our folders."""
    parts = path.split("/")
    return (
        2 <= len(parts) <= 8
        and parts[0] in (MUSIC, PLAYLISTS)
        and len(path) <= 1000
        and all(p and p not in (".", "..") and len(p.encode("utf-8", "replace")) <= 255 for p in parts)
        and not any(ord(c) < 0x20 or ord(c) == 0x7F or 0xD800 <= ord(c) <= 0xDFFF for c in path)
    )


class Namer:
    """Gives each track its path below the drive's root: `Music/Artist/Album/NN Title.ext`.

    `taken` are paths that are spoken for; `occupied(folder)` lists the names that a folder of the drive has. A name
    that is taken gets a mark made from the track's id, so that it does not depend on the order of asking.
    """

    def __init__(
        self, taken: Iterable[str] = (), occupied: Callable[[str], Collection[str]] = lambda folder: ()
    ) -> None:
        self._taken: set[str] = set()
        self._spelt: dict[str, str] = {}  # folded folder -> as it is spelt
        self._occupied = occupied
        self._listed: set[str] = set()
        for path in taken:
            self.take(path)

    def take(self, path: str) -> None:
        """Nobody else gets `path`; its folders are spelt so from now on."""
        self._taken.add(fold(path))
        folder = path.rpartition("/")[0]
        while folder:
            self._spelt.setdefault(fold(folder), folder)
            folder = folder.rpartition("/")[0]

    def path(self, track: Track, *, discs: bool) -> str:
        """A free path for `track`, taken with this; `discs`: its album has more than one disc (D-NN)."""
        artist = component(track.album_artist or track.artist, "Unknown Artist")
        album = component(track.album, "Unknown Album")
        folder = self._folder(self._folder(MUSIC, artist), album)
        number = f"{min(max(track.no, 0), 9999):02}" if track.no else ""
        if discs and number:
            number = f"{min(max(track.disc or 1, 1), 999)}-{number}"
        ending = "." + extension(track)
        stem = f"{number} {track.title}".strip() if track.title.strip() else number
        path = ""
        for length in (0, 5, 10, 26):
            mark = f" ({_mark(track)[:length]})" if length else ""
            room = len(mark) + len(ending)
            path = f"{folder}/{component(stem, 'Track', FILE_UNITS - room, FILE_BYTES - room)}{mark}{ending}"
            if fold(path) not in self._taken:
                break
        self.take(path)
        return path

    def _folder(self, parent: str, name: str) -> str:
        folder = self._spelt.setdefault(fold(f"{parent}/{name}"), f"{parent}/{name}")
        if folder not in self._listed:
            self._listed.add(folder)
            self._taken.update(fold(f"{folder}/{there}") for there in self._occupied(folder))
        return folder


def _mark(track: Track) -> str:
    return (
        b32encode(hashlib.blake2s(str(track.id).encode("utf-8", "replace"), digest_size=16).digest()).decode().lower()
    )
