"""Tags and a cover in each container's own way, through mutagen."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from appliance.demo import covers

# our name: Vorbis comment, ID3v2.4 frame, MP4 atom; the names are those that MusicBrainz Picard writes
_NAMES = {
    "title": ("title", "TIT2", "\xa9nam"),
    "artist": ("artist", "TPE1", "\xa9ART"),
    "album": ("album", "TALB", "\xa9alb"),
    "album_artist": ("albumartist", "TPE2", "aART"),
    "year": ("date", "TDRC", "\xa9day"),
    "genre": ("genre", "TCON", "\xa9gen"),
    "publisher": ("organization", "TPUB", "----:com.apple.iTunes:LABEL"),
    "country": (
        "releasecountry",
        "TXXX:MusicBrainz Album Release Country",
        "----:com.apple.iTunes:MusicBrainz Album Release Country",
    ),
    "type": ("releasetype", "TXXX:MusicBrainz Album Type", "----:com.apple.iTunes:MusicBrainz Album Type"),
    "status": ("releasestatus", "TXXX:MusicBrainz Album Status", "----:com.apple.iTunes:MusicBrainz Album Status"),
    "no": ("tracknumber", "TRCK", "trkn"),
    "disc": ("discnumber", "TPOS", "disk"),
}


def write(path: Path, tags: Mapping[str, str | int], cover: bytes | None = None) -> None:
    """Replace the tags of `path` with `tags` (named as in the server's Track) and `cover`.

    Raises ValueError for a name or a kind of file that is not known here, mutagen.MutagenError when the file is broken.
    """
    import mutagen
    from mutagen.aiff import AIFF
    from mutagen.flac import FLAC, Picture
    from mutagen.mp3 import MP3
    from mutagen.mp4 import MP4
    from mutagen.wave import WAVE

    unknown = set(tags) - set(_NAMES)
    if unknown:
        raise ValueError(f"no such tag: {', '.join(sorted(unknown))}")
    file: Any = mutagen.File(path)
    if isinstance(file, MP3 | WAVE | AIFF):
        _write_id3(file, tags, cover)
    elif isinstance(file, MP4):
        _write_mp4(file, tags, cover)
    elif file is not None:
        file.delete()
        file.update({_NAMES[name][0]: str(value) for name, value in tags.items()})
        if cover:
            picture = Picture()
            picture.type, picture.mime, picture.data = 3, covers.mime(cover), cover
            if isinstance(file, FLAC):
                file.clear_pictures()
                file.add_picture(picture)
            else:
                file["metadata_block_picture"] = base64.b64encode(picture.write()).decode("ascii")
        file.save()
    else:
        raise ValueError(f"{path}: not a kind of file that can be tagged")


def _write_id3(file: Any, tags: Mapping[str, str | int], cover: bytes | None) -> None:
    from mutagen import id3

    if file.tags is None:
        file.add_tags()
    file.tags.clear()
    for name, value in tags.items():
        frame, _, description = _NAMES[name][1].partition(":")
        extra = {"desc": description} if description else {}
        file.tags.add(getattr(id3, frame)(encoding=3, text=[str(value)], **extra))
    if cover:
        file.tags.add(id3.APIC(encoding=3, mime=covers.mime(cover), type=3, desc="", data=cover))
    file.save()


def _write_mp4(file: Any, tags: Mapping[str, str | int], cover: bytes | None) -> None:
    from mutagen.mp4 import MP4Cover

    if file.tags is None:
        file.add_tags()
    file.tags.clear()
    for name, value in tags.items():
        atom = _NAMES[name][2]
        if atom in ("trkn", "disk"):
            file.tags[atom] = [(int(value), 0)]
        elif atom.startswith("----"):
            file.tags[atom] = [str(value).encode("utf-8")]
        else:
            file.tags[atom] = [str(value)]
    if cover:
        kind = MP4Cover.FORMAT_PNG if covers.mime(cover) == "image/png" else MP4Cover.FORMAT_JPEG
        file.tags["covr"] = [MP4Cover(cover, imageformat=kind)]
    file.save()
