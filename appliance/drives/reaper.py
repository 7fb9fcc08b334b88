"""A REAPER project of exported tracks: one track with an item for each, one after the other in play order (C9).

The format, as REAPER writes and reads it: lines of words; `<NAME words` opens a block and a lone `>` closes it. A word
with a space in it, or none, stands in quotes, of the kind that it does not contain: ", else ', else `; of a text that
has all three, the ` become '. There is no other escape. Relative FILE paths begin at the project's folder. The word
after SOURCE chooses the decoder, whatever the file holds; what REAPER decodes through its video layer is VIDEO.
Sources: cockos.com/wiki State Chunk Definitions; projectcontext.cpp of Cockos' WDL.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from appliance.cloud.models import Track
from appliance.drives.names import component
from appliance.drives.plan import BYTES_A_SECOND
from appliance.drives.tree import Tree

SUFFIX = ".RPP"
MOST_OF_A_NAME = 99  # projects of one name in one folder
FADE = 0  # seconds; REAPER's default of 10 ms would be heard where tracks join without a gap

_SOURCES = {
    "flac": "FLAC", "mp3": "MP3", "wav": "WAVE", "aiff": "WAVE", "aif": "WAVE", "ogg": "VORBIS", "oga": "VORBIS",
    "opus": "OPUS", "wv": "WAVPACK",
}  # fmt: skip


def write(tree: Tree, name: str, tracks: Sequence[tuple[Track, str]]) -> str:
    """Write `NAME.RPP` beside the exported folders; its path. Blocks; OSError, FileExistsError.

    A project belongs to whoever works in it: one that is there is never replaced, the new one gets a number. One that
    says the same is the one.
    """
    data = project(name, tracks).encode("utf-8", "replace")
    stem = component(name, "Export", 80, 200)
    for number in range(1, MOST_OF_A_NAME + 1):
        path = f"{stem}{f' {number}' if number > 1 else ''}{SUFFIX}"
        if tree.stat(path) is None:
            tree.write(path, data)
            return path
        if tree.size(path) == len(data) and tree.read(path) == data:
            return path
    raise FileExistsError(17, "there are too many projects of that name", stem + SUFFIX)


def project(name: str, tracks: Sequence[tuple[Track, str]]) -> str:
    """The text of a project of (track, path relative to the project), in play order."""
    lines = ['<REAPER_PROJECT 0.1 "6.0/chadbox" 0', "  RIPPLE 0", "  AUTOXFADE 0", "  TEMPO 120 4 4", "  <TRACK"]
    lines += [f"    NAME {quoted(name)}", "    NCHAN 2"]
    position = 0.0
    for track, path in tracks:
        length = seconds(track)
        lines += [
            "    <ITEM", f"      POSITION {_number(position)}", f"      LENGTH {_number(length)}", "      LOOP 0",
            f"      FADEIN 1 {FADE} 0", f"      FADEOUT 1 {FADE} 0", f"      NAME {quoted(_title(track))}",
            f"      <SOURCE {source(path)}", f"        FILE {quoted(path)}", "      >", "    >",
        ]  # fmt: skip
        position += length
    return "\n".join([*lines, "  >", ">", ""])


def seconds(track: Track) -> float:
    """How long a track is: exact where its samples are known, by its size where nothing else is."""
    if track.samples and track.sample_rate and track.samples > 0 and track.sample_rate > 0:
        return track.samples / track.sample_rate
    if math.isfinite(track.duration) and track.duration > 0:
        return track.duration
    return max(1.0, (track.size or 0) / BYTES_A_SECOND)


def source(path: str) -> str:
    """The type of SOURCE that REAPER has for a file of this name."""
    return _SOURCES.get(path.rpartition(".")[2].lower(), "VIDEO")


def quoted(text: str) -> str:
    """`text` as one word of a line."""
    text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    for quote in ('"', "'", "`"):
        if quote not in text:
            return f"{quote}{text}{quote}"
    return "`" + text.replace("`", "'") + "`"


def _title(track: Track) -> str:
    return f"{track.artist} - {track.title}" if track.artist else track.title


def _number(value: float) -> str:
    return f"{value:.10f}".rstrip("0").rstrip(".") or "0"
