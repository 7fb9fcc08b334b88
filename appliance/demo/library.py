"""The demo's music: nine short albums, one in every format that chadbox plays, made once into a directory.

`python -m appliance.demo.library DIR` makes it; the same ffmpeg makes the same bytes again.
"""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import sys
from array import array
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import NamedTuple

from appliance.demo import covers, tagging
from appliance.demo.processes import die_with_parent
from appliance.demo.synth import RATE, Style, render

_MINOR = ((0, 3, 7, 10), (-4, 0, 3, 7), (-9, -5, -2, 3), (-2, 2, 5, 9))
_MAJOR = ((0, 4, 7, 11), (-3, 0, 4, 7), (-7, -3, 0, 4), (-5, -1, 2, 7))
_DORIAN = ((0, 3, 7, 14), (-7, -3, 0, 5), (-2, 2, 5, 9), (-7, -3, 2, 5))
_ROOM = "aecho=0.8:0.75:61|113|197:0.25|0.18|0.1"
_HALL = "aecho=0.8:0.7:97|211|389|601:0.35|0.28|0.2|0.12"


class Encoding(NamedTuple):
    """How ffmpeg is to write an album: file name extension, codec options, and sample rate in Hz."""

    extension: str
    options: tuple[str, ...]
    rate: int = RATE


FLAC = Encoding("flac", ("-c:a", "flac", "-sample_fmt", "s16"))
FLAC_24_96 = Encoding("flac", ("-c:a", "flac", "-sample_fmt", "s32", "-bits_per_raw_sample", "24"), 96_000)
ALAC = Encoding("m4a", ("-c:a", "alac", "-sample_fmt", "s16p"))
WAV = Encoding("wav", ("-c:a", "pcm_s16le"))
AIFF = Encoding("aiff", ("-c:a", "pcm_s16be"))
MP3 = Encoding("mp3", ("-c:a", "libmp3lame", "-q:a", "2"))
OPUS = Encoding("opus", ("-c:a", "libopus", "-b:a", "128k"), 48_000)
VORBIS = Encoding("ogg", ("-c:a", "libvorbis", "-q:a", "6"))
AAC = Encoding("m4a", ("-c:a", "aac", "-b:a", "192k"))


class Album(NamedTuple):
    """One album; `gapless` ones are one piece cut in tracks, at sample positions without any pattern."""

    title: str
    artist: str
    year: int
    genre: str
    titles: tuple[str, ...]
    encoding: Encoding
    style: Style
    cover: str | None  # png, mjpeg, bmp or none
    colours: tuple[covers.Colour, covers.Colour]
    publisher: str = "Loose Connection"
    country: str = "XW"
    bars: int = 10
    room: str = _ROOM
    gapless: bool = False


GAPLESS_ALBUM = "Unbroken"
ALBUMS = (
    Album(
        GAPLESS_ALBUM, "The Long Line", 2019, "Ambient", ("Departure", "Ridge", "Valley", "Shore", "Arrival"), FLAC,
        Style("bell", 88, 57, _DORIAN, "k...h.s.k.k.h.s."), "png", ((40, 70, 140), (20, 30, 40)),
        bars=36, room=_HALL, gapless=True,
    ),
    Album(
        "Slow Light", "Aurora Field", 2022, "Modern Classical", ("Particle", "Wave"), FLAC_24_96,
        Style("keys", 66, 53, _MAJOR), "mjpeg", ((250, 200, 140), (60, 40, 60)), country="IS", bars=6, room=_HALL,
    ),
    Album(
        "Études de pluie", "Hélène Garçon", 1998, "Classical", ("Première goutte", "L’averse", "Après"), ALAC,
        Style("keys", 76, 60, _MINOR), "mjpeg", ((150, 170, 180), (40, 60, 80)), "Éditions du Toit", "FR", 7, _HALL,
    ),
    Album(
        "Neon Harbour", "Vector Club", 1987, "Synthpop", ("Ignition", "Last Ferry", "Pixel Rain"), MP3,
        Style("pluck", 112, 57, _MINOR, "k.h.s.h.k.hks.hh"), "mjpeg", ((230, 60, 150), (30, 10, 70)), country="GB",
    ),
    Album(
        "Тихий берег", "Ночная смена", 2004, "Downtempo", ("Маяк", "Отлив", "До рассвета"), OPUS,
        Style("bell", 82, 52, _DORIAN, "k...s..hk.k.s.h.", 0.2), "png", ((70, 90, 120), (10, 20, 30)),
        "Причал", "RU", 8,
    ),
    Album(
        "Αιγαίο", "Νήσος", 2011, "Folk", ("Άνεμος", "Αλάτι", "Φως"), VORBIS,
        Style("pluck", 96, 62, _MAJOR, "k..hs..h"), "mjpeg", ((90, 180, 230), (200, 190, 150)), country="GR", bars=9,
    ),
    Album(
        "海の見える部屋", "青い自転車", 2012, "City Pop", ("朝のコーヒー", "坂道", "夕立のあと"), AAC,
        Style("keys", 104, 58, _MAJOR, "k.hhs.h.k.k.s.hh", 0.1), "png", ((255, 170, 120), (0, 90, 120)),
        "潮風レコード", "JP",
    ),
    Album(
        "Field Notes", "Moss & Wire", 2015, "Electronic", ("Lichen", "Relay"), WAV,
        Style("bell", 120, 50, _MINOR, "k.h.k.h.k.h.k.hh"), None, ((90, 120, 60), (40, 50, 20)), country="DE",
    ),
    Album(
        "Night Bus", "Ella Marsh Trio", 1964, "Jazz", ("Stop 12", "Upper Deck"), AIFF,
        Style("keys", 116, 55, _DORIAN, "k..hs..hk.khs..h", 0.33), "bmp", ((20, 20, 60), (220, 160, 40)), country="US",
    ),
)  # fmt: skip


def make(directory: Path, albums: tuple[Album, ...] = ALBUMS, progress: Callable[[int], None] | None = None) -> None:
    """Make `albums` below `directory`, which appears only when it is whole; a directory that exists is left as it is.

    `progress` hears percentages. Raises FileNotFoundError when there is no ffmpeg, subprocess.CalledProcessError when
    it fails, OSError when the disk does.
    """
    if directory.exists():
        return
    part = directory.with_name(f"{directory.name}.part")
    shutil.rmtree(part, ignore_errors=True)  # of a run that was interrupted
    with ProcessPoolExecutor(min(os.cpu_count() or 1, len(albums)), initializer=die_with_parent) as pool:
        work = [pool.submit(_make_album, part / a.artist / a.title, a, seed) for seed, a in enumerate(albums, start=1)]
        for done, album in enumerate(as_completed(work), start=1):
            album.result()
            if progress:
                progress(100 * done // len(work))
    os.sync()
    part.rename(directory)


def cuts(samples: int, tracks: int) -> list[int]:
    """Where a piece of `samples` frames is cut into `tracks`: odd, uneven places, from 0 to `samples`."""
    inner = [samples * n // tracks + 997 * (n * n % 7 - 3) for n in range(1, tracks)]
    return [0, *(position | 1 for position in inner), samples]


def _make_album(folder: Path, album: Album, seed: int) -> None:
    folder.mkdir(parents=True)
    cover = None
    if album.cover:
        cover = covers.png(300, *album.colours, seed=seed)
        if album.cover != "png":
            cover = covers.convert(cover, album.cover)
        if album.cover == "mjpeg":
            (folder / "cover.jpg").write_bytes(cover)
    for no, (title, sound) in enumerate(zip(album.titles, _sounds(album, seed), strict=True), start=1):
        path = folder / f"{no:02} {title}.{album.encoding.extension}"
        _encode(sound, path, album)
        tags: dict[str, str | int] = {
            "title": title, "artist": album.artist, "album": album.title, "album_artist": album.artist,
            "year": album.year, "genre": album.genre, "publisher": album.publisher, "country": album.country,
            "type": "album", "status": "official", "no": no, "disc": 1,
        }  # fmt: skip
        tagging.write(path, tags, cover)


def _sounds(album: Album, seed: int) -> Iterator[bytes]:
    """What each track of `album` sounds like: interleaved stereo, 32 bit, at RATE."""
    if album.gapless:
        whole = _process(render(album.style, album.bars, seed), album.room)
        edges = cuts(len(whole) // 8, len(album.titles))
        for start, stop in itertools.pairwise(edges):
            yield whole[8 * start : 8 * stop]
    else:
        for number in range(len(album.titles)):
            turn = number % len(album.style.chords)  # every track begins on another chord
            style = album.style._replace(chords=album.style.chords[turn:] + album.style.chords[:turn])
            yield _process(render(style, album.bars, 100 * seed + number), album.room)


def _process(stereo: array[int], room: str) -> bytes:
    """`stereo` with the echo of a room, as many samples as before."""
    filters = f"{room},alimiter=limit=0.9:level=disabled:attack=1,atrim=end_sample={len(stereo) // 2}"
    return _ffmpeg(stereo.tobytes(), "-af", filters, *_RAW)


def _encode(sound: bytes, path: Path, album: Album) -> None:
    encoding = album.encoding
    dither = "aresample=osf=s16:dither_method=triangular" if "s16" in "".join(encoding.options) else "anull"
    rate = ["-ar", str(encoding.rate)]
    _ffmpeg(sound, "-af", dither, *rate, *encoding.options, "-map_metadata", "-1", str(path))


_RAW = ("-f", "s32le", "-ar", str(RATE), "-ac", "2", "-")


def _ffmpeg(sound: bytes, *arguments: str) -> bytes:
    command = ["ffmpeg", "-v", "error", "-nostdin", *_RAW[:-1], "-i", "-", "-bitexact", *arguments]
    return subprocess.run(command, input=sound, stdout=subprocess.PIPE, check=True).stdout  # noqa: S603


def main() -> int:
    """Make the library in the directory named, with percentages on standard output."""
    try:
        make(Path(sys.argv[1]), progress=lambda percent: print(percent, flush=True))
    except FileNotFoundError as error:
        print(f"ffmpeg is needed to make the demo's music: {error}; `./dev setup` installs it", file=sys.stderr)
        return 1
    except (subprocess.CalledProcessError, OSError) as error:
        print(f"the demo's music could not be made: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
