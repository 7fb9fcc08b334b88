"""What one music file says about itself: tags (mutagen), exact length, loudness.

Every format is first brought to one flat dictionary with the names of Vorbis comments, so that meaning is given in one
place. `read` runs in a worker process; it trusts nothing in the file.
"""

from __future__ import annotations

import hashlib
import math
import os
import re
from typing import Any, BinaryIO

import msgspec
import mutagen
from mutagen import MutagenError

from appliance.server import exact, exact_mp4, paths
from appliance.server.models import Facts
from appliance.server.text import UNKNOWN_ALBUM, UNKNOWN_ARTIST, clean

_ID3 = {
    "TIT2": "title", "TPE1": "artist", "TALB": "album", "TPE2": "albumartist", "TPOS": "discnumber",
    "TRCK": "tracknumber", "TCON": "genre", "TPUB": "label",
}  # fmt: skip
_ID3_DATES = ("TDRC", "TYER", "TDRL", "TDOR", "TORY")
_MP4 = {
    "\xa9nam": "title", "\xa9ART": "artist", "\xa9alb": "album", "aART": "albumartist", "disk": "discnumber",
    "trkn": "tracknumber", "\xa9day": "date", "\xa9gen": "genre", "\xa9pub": "label",
}  # fmt: skip
_INFO = {
    "INAM": "title",
    "IART": "artist",
    "IPRD": "album",
    "ICRD": "date",
    "IGNR": "genre",
    "ITRK": "tracknumber",
    "IPRT": "tracknumber",
}
_NAMES: dict[str, tuple[str, ...]] = {
    "title": ("title",),
    "artist": ("artist", "artists"),
    "album": ("album",),
    "album_artist": ("albumartist", "album artist", "album_artist"),
    "genre": ("genre",),
    "publisher": ("label", "publisher", "organization"),
    "country": ("releasecountry", "musicbrainz album release country", "country"),
    "type": ("releasetype", "musicbrainz_albumtype", "musicbrainz album type"),
    "status": ("releasestatus", "musicbrainz_albumstatus", "musicbrainz album status"),
}
_JOINED = ("artist", "album_artist")  # several values are all shown; of the rest the first counts

Tags = dict[str, list[str]]


def read(root: bytes, path: bytes) -> Facts:
    """The facts of the file `path` below `root`; `error` is set, in one line, when they cannot be had."""
    name = path.rpartition(b"/")[2]
    try:
        descriptor, status = paths.open_file(root, path)
    except (OSError, ValueError) as error:
        return Facts(name, error=f"cannot be opened: {getattr(error, 'strerror', None) or error}")
    facts = Facts(name, size=status.st_size, mtime_ns=status.st_mtime_ns)
    with os.fdopen(descriptor, "rb") as file:
        try:
            _read(file, path, facts)
        except (MutagenError, OSError, ValueError, LookupError, TypeError, AttributeError) as error:
            facts.error = f"not readable as music: {clean(error)[:200] or type(error).__name__}"
        except (ArithmeticError, AssertionError, NotImplementedError, MemoryError, RecursionError) as error:
            facts.error = f"not readable as music: {type(error).__name__}"
        except Exception as error:  # struct.error, zlib.error ...: whatever a parser makes of hostile bytes
            facts.error = f"not readable as music: {type(error).__name__}"
    return facts


def _read(file: BinaryIO, path: bytes, facts: Facts) -> None:
    size = facts.size
    if size == 0:
        raise ValueError("the file is empty")
    media = _parse(file, paths.suffix(path))
    info: Any = media.info
    tags: Tags = {}
    family = type(media).__name__
    samples = None
    if family == "FLAC":
        tags, samples = _vorbis(media.tags), info.total_samples or None
    elif family.startswith("Ogg"):
        tags = _vorbis(media.tags)
        samples = exact.ogg_flac_frames(file) if family == "OggFLAC" else exact.ogg_frames(file, size)
    elif family == "MP4":
        tags = _mp4(media.tags)
        smpb = next(iter(tags.get("itunsmpb", [])), None)
        samples = exact_mp4.mp4_frames(file, size, info.codec, info.sample_rate, smpb)
    elif family in ("MP3", "EasyMP3"):
        tags = {**_ape(file), **_id3(media.tags)}
        samples = exact.mpeg_frames(file, size)
    elif family == "WAVE":
        samples, listed = exact.riff_frames(file, size)
        tags = {_INFO[k]: [v] for k, v in listed.items() if k in _INFO} | _id3(media.tags)
    elif family == "AIFF":
        samples, tags = exact.aiff_frames(file, size), _id3(media.tags)
    rate = 48_000 if family == "OggOpus" else getattr(info, "sample_rate", None)
    facts.sample_rate = int(rate) if rate and 0 < rate < 10_000_000 else None
    facts.samples = samples if facts.sample_rate else None
    length = facts.samples / facts.sample_rate if facts.samples and facts.sample_rate else float(info.length or 0)
    facts.duration = round(length, 6) if math.isfinite(length) and 0 <= length < 1e7 else 0.0
    _fill(facts, tags, path)
    _loudness(facts, tags, opus=family == "OggOpus")
    _fingerprint(facts, getattr(info, "md5_signature", 0))
    _from_path(facts, path)


def _parse(file: BinaryIO, suffix: str) -> Any:
    """mutagen's object for the file: by its extension, which is quick, else by its bytes."""
    from mutagen import aac, aiff, flac, mp3, mp4, oggopus, oggvorbis, wave

    kind: Any = {
        ".flac": flac.FLAC, ".mp3": mp3.MP3, ".wav": wave.WAVE, ".aiff": aiff.AIFF, ".aif": aiff.AIFF,
        ".opus": oggopus.OggOpus, ".ogg": oggvorbis.OggVorbis, ".oga": oggvorbis.OggVorbis, ".aac": aac.AAC,
    }.get(suffix, mp4.MP4)  # fmt: skip
    try:
        return kind(file)
    except MutagenError as error:
        file.seek(0)
        media = mutagen.File(file)
        if media is None:
            raise ValueError(clean(error) or "unknown format") from None
        return media


def _vorbis(comments: Any) -> Tags:
    tags: Tags = {}
    for key, value in comments or ():
        tags.setdefault(key.lower(), []).append(value)
    return tags


def _id3(frames: Any) -> Tags:
    tags: Tags = {}
    if not frames:
        return tags
    for key, name in _ID3.items():
        frame = frames.get(key)
        if frame is not None:
            tags[name] = [str(t) for t in (frame.genres if key == "TCON" else frame.text)]
    for key in _ID3_DATES:
        if key in frames and frames[key].text:
            tags.setdefault("date", [str(frames[key].text[0])])
    for frame in frames.getall("TXXX"):
        tags.setdefault(frame.desc.lower(), []).extend(str(t) for t in frame.text)
    for frame in frames.getall("RVA2"):
        kind = "album" if frame.desc.lower() == "album" else "track"
        tags.setdefault(f"replaygain_{kind}_gain", [f"{frame.gain} dB"])
    return tags


def _mp4(atoms: Any) -> Tags:
    tags: Tags = {}
    for key, values in (atoms or {}).items():
        if key in ("disk", "trkn"):
            tags[_MP4[key]] = [str(v[0]) for v in values if v[0]]
        elif key in _MP4:
            tags[_MP4[key]] = [str(v) for v in values]
        elif key.startswith("----:"):
            tags[key.rpartition(":")[2].lower()] = [bytes(v).decode("utf-8", "replace") for v in values]
    return tags


def _ape(file: BinaryIO) -> Tags:
    """ReplayGain of mp3gain lies in an APEv2 tag beside the ID3 one."""
    from mutagen import apev2

    file.seek(0)
    try:
        kind: Any = apev2.APEv2
        return {k.lower(): [str(v)] for k, v in kind(file).items() if k.lower().startswith("replaygain_")}
    except (MutagenError, ValueError):
        return {}


def _fill(facts: Facts, tags: Tags, path: bytes) -> None:
    for field, names in _NAMES.items():
        values = next((v for v in (tags.get(n) for n in names) if v), [])
        texts = list(dict.fromkeys(t for t in (clean(v) for v in values[:32]) if t))
        if texts:
            setattr(facts, field, clean(", ".join(texts)) if field in _JOINED else texts[0])
    facts.no = _number(tags, "tracknumber", "track")
    facts.disc = _number(tags, "discnumber", "disc")
    year = re.search(r"\d{4}", "".join(tags.get("date", tags.get("year", tags.get("originaldate", [])))[:1]))
    facts.year = int(year[0]) or None if year else None


def _number(tags: Tags, *names: str) -> int | None:
    for name in names:
        for value in tags.get(name, [])[:1]:
            match = re.match(r"\s*(\d{1,5})", value)
            if match and 0 < int(match[1]) <= 9999:
                return int(match[1])
    return None


def _from_path(facts: Facts, path: bytes) -> None:
    """Names for what the tags leave out: `Artist/Album/NN Title.ext`, or `NN - Artist - Title.ext`."""
    if facts.title and facts.artist and facts.album:
        return
    parts = [clean(p) for p in path.split(b"/")]
    stem = clean(path.rpartition(b"/")[2].rpartition(b".")[0])
    numbered = re.match(r"(?:(\d{1,2})-)?(\d{1,3})(?:\s*[-._)]\s*|\s+)(?=\S)", stem)
    rest = stem[numbered.end() :] if numbered else stem
    if numbered and not facts.title:
        facts.disc = facts.disc or (int(numbered[1]) if numbered[1] else None) or None
        facts.no = facts.no or int(numbered[2]) or None
    folders = [p for p in parts[:-1] if not re.fullmatch(r"(?i)(cd|dis[ck])\s*\d+", p)]
    artist, dash, title = rest.partition(" - ")
    if not folders and dash and not facts.artist:
        facts.artist = artist.strip()
        rest = title.strip() or rest
    facts.title = facts.title or rest or stem or "Untitled"
    facts.album = facts.album or (folders[-1] if folders else UNKNOWN_ALBUM)
    facts.artist = facts.artist or facts.album_artist or (folders[-2] if len(folders) > 1 else UNKNOWN_ARTIST)


def _loudness(facts: Facts, tags: Tags, *, opus: bool) -> None:
    """ReplayGain 2.0 is relative to -18 LUFS; R128_* (RFC 7845, 5.2.1) to -23, in 1/256 dB."""
    for kind, level, peak in (("track", "lufs", "true_peak"), ("album", "album_lufs", "album_true_peak")):
        gain = _float(tags, f"replaygain_{kind}_gain")
        value = -18 - gain if gain is not None and abs(gain) <= 60 else None
        q78 = _float(tags, f"r128_{kind}_gain")
        if q78 is not None and abs(q78) <= 60 * 256 and (opus or value is None):
            value = -23 - q78 / 256
        if value is not None:
            setattr(facts, level, round(value, 3))
        linear = _float(tags, f"replaygain_{kind}_peak")
        if linear is not None and 1e-6 < linear < 100:
            setattr(facts, peak, round(20 * math.log10(linear), 3))


def _float(tags: Tags, name: str) -> float | None:
    for value in tags.get(name, [])[:1]:
        match = re.match(r"\s*([-+]?\d{1,7}(?:[.,]\d{1,12})?)(?:\s*dB)?\s*\Z", value, re.IGNORECASE)
        if match:
            return float(match[1].replace(",", "."))
    return None


def _fingerprint(facts: Facts, md5: int) -> None:
    """A 63-bit hash of what stays the same when a file is renamed or moved; without tags that includes its time."""
    known = bool(md5 or facts.title)
    same = (facts.size, facts.title, facts.artist, facts.album, facts.disc, facts.no, facts.duration, str(md5),
            0 if known else facts.mtime_ns)  # fmt: skip
    digest = hashlib.blake2b(msgspec.msgpack.encode(same), digest_size=8).digest()
    facts.content = int.from_bytes(digest, "big") >> 1
