"""Test music: one signal, cut at odd places into tracks, in every format; and the exact PCM that has to come out.

The signal never repeats and is nowhere silent, so that a lost, doubled or moved sample shows wherever it is: sweeps
that differ between the channels, with a little noise from a fixed seed.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from appliance.demo import tagging
from tests.support import wavs


@dataclass(frozen=True)
class Format:
    """`lossless` ones come out bit for bit; of the others length and place are exact, at `rate` Hz."""

    name: str
    extension: str
    options: tuple[str, ...]
    lossless: bool
    rate: int = 44_100
    bits: int = 16


_FLAC_24 = ("-c:a", "flac", "-sample_fmt", "s32", "-bits_per_raw_sample", "24")
FORMATS = {
    form.name: form
    for form in (
        Format("flac", "flac", ("-c:a", "flac", "-sample_fmt", "s16"), True),
        Format(
            "flac24", "flac", ("-c:a", "flac", "-sample_fmt", "s32", "-bits_per_raw_sample", "24"), True, 96_000, 24
        ),
        Format("alac", "m4a", ("-c:a", "alac", "-sample_fmt", "s16p"), True),
        Format("wav", "wav", ("-c:a", "pcm_s16le"), True),
        Format("aiff", "aiff", ("-c:a", "pcm_s16be"), True),
        Format("mp3", "mp3", ("-c:a", "libmp3lame", "-b:a", "192k"), False),
        Format("opus", "opus", ("-c:a", "libopus", "-b:a", "128k"), False, 48_000),
        Format("vorbis", "ogg", ("-c:a", "libvorbis", "-q:a", "5"), False),
        Format("aac", "m4a", ("-c:a", "aac", "-b:a", "192k"), False),
    )
}
LOSSLESS = tuple(name for name, form in FORMATS.items() if form.lossless)
LOSSY = tuple(name for name, form in FORMATS.items() if not form.lossless)


@dataclass(frozen=True)
class Album:
    """`tracks` are the encoded files in order, `cuts` their edges in `pcm`: (frames, channels), int16 or int32."""

    form: Format
    tracks: tuple[Path, ...]
    cuts: tuple[int, ...]
    pcm: NDArray[Any]

    @property
    def folder(self) -> Path:
        return self.tracks[0].parent

    @property
    def frames(self) -> tuple[int, ...]:
        """Exact length of each track after trimming."""
        return tuple(b - a for a, b in pairwise(self.cuts))

    def part(self, track: int) -> NDArray[Any]:
        """What track number `track` (from 0) decodes to, or would if it were lossless."""
        return self.pcm[self.cuts[track] : self.cuts[track + 1]]

    @cached_property
    def seconds(self) -> float:
        return len(self.pcm) / self.form.rate


def signal(frames: int, rate: int, *, channels: int = 2, bits: int = 16, seed: int = 1) -> NDArray[Any]:
    """(frames, channels) int16 or, for 24 bit, int32 with the low byte zero; peak about -4 dBFS."""
    time, dice = np.arange(frames) / rate, np.random.default_rng(seed)
    columns = []
    for channel in range(channels):
        low, high = 110.0 * (1 + channel) + 7 * seed, 2500.0 - 400 * channel
        span = max(frames / rate, 1e-9)
        sweep = np.sin(2 * np.pi * (low * time + (high - low) * time**2 / (2 * span)))
        slow = np.sin(2 * np.pi * (61.7 + 13 * channel) * time)
        columns.append(0.35 * sweep + 0.2 * slow + 0.02 * dice.uniform(-1, 1, frames))
    wave = np.stack(columns, axis=1)
    if bits == 16:
        return np.round(wave * 32767).astype(np.int16)
    return np.round(wave * (2**23 - 1)).astype(np.int32) << 8


def edges(frames: int, tracks: int) -> tuple[int, ...]:
    """Cuts at odd frames that no codec's frame size divides, from 0 to `frames`."""
    inner = (frames * n // tracks + 131 * (n * n % 5 - 2) for n in range(1, tracks))
    return (0, *(cut | 1 for cut in inner), frames)


def album(
    root: Path, form: str | Format = "flac", *, tracks: int = 5, seconds: float = 10.0, title: str | None = None,
    artist: str = "Test Tones", channels: int = 2, seed: int = 1, year: int = 2001, genre: str = "Test",
) -> Album:  # fmt: skip
    """Make an album of `seconds` in all, below `root`/artist/title, tagged.

    What was encoded before is taken from a cache (in CHADBOX_TEST_CACHE, else in the system's temporary directory).
    Raises subprocess.CalledProcessError.
    """
    form = FORMATS[form] if isinstance(form, str) else form
    title = title or f"Tones in {form.name}"
    pcm = signal(int(seconds * form.rate) | 1, form.rate, channels=channels, bits=form.bits, seed=seed)
    cuts = edges(len(pcm), tracks)
    folder = root / artist / title
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for no, (start, stop) in enumerate(pairwise(cuts), start=1):
        path = folder / f"{no:02} Part {no}.{form.extension}"
        encode(pcm[start:stop], path, form)
        tags: dict[str, str | int] = {
            "title": f"Part {no}", "artist": artist, "album": title, "album_artist": artist,
            "year": year, "genre": genre, "no": no, "disc": 1,
        }  # fmt: skip
        tagging.write(path, tags)
        paths.append(path)
    return Album(form, tuple(paths), cuts, pcm)


def encode(pcm: NDArray[Any], path: Path, form: Format) -> Path:
    """Encode int16 or int32 samples to `path`, untagged; the same input is encoded once and then copied."""
    key = hashlib.sha256(repr((form, pcm.shape, str(pcm.dtype))).encode() + pcm.tobytes()).hexdigest()[:32]
    kept = _cache() / f"{key}.{form.extension}"
    if not kept.exists():
        part = kept.with_name(f"{key}.{os.getpid()}.{form.extension}")
        source = wavs.write(part.with_suffix(".source.wav"), pcm, form.rate)
        try:
            command = [
                "ffmpeg",
                "-v",
                "error",
                "-nostdin",
                "-y",
                "-i",
                str(source),
                "-bitexact",
                *form.options,
                str(part),
            ]
            subprocess.run(command, check=True)
            if form.extension == "mp3":
                _mend_lame_tag(part, len(pcm))
            part.rename(kept)
        finally:
            source.unlink(missing_ok=True)
            part.unlink(missing_ok=True)
    shutil.copyfile(kept, path)
    return path


def decode(path: Path) -> NDArray[Any]:
    """What ffmpeg makes of a file: (frames, channels) int32. It does not trim the end of Vorbis (5.1)."""
    probe = ["ffprobe", "-v", "error", "-select_streams", "a:0", "-show_entries", "stream=channels", "-of", "csv=p=0"]
    channels = int(subprocess.run([*probe, str(path)], stdout=subprocess.PIPE, check=True).stdout.split()[0])
    command = ["ffmpeg", "-v", "error", "-nostdin", "-i", str(path), "-map", "a:0", "-f", "s32le", "-"]
    raw = subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout
    return np.frombuffer(raw, "<i4").reshape(-1, channels)


def _mend_lame_tag(path: Path, frames: int) -> None:
    """Write the true padding into an MP3's LAME tag: ffmpeg 5.1 is up to some samples off at certain lengths."""
    raw = bytearray(path.read_bytes())
    info = max(raw.find(b"Info", 0, 4096), raw.find(b"Xing", 0, 4096))
    start = raw.rfind(b"\xff\xfb", 0, info)  # the frame that holds the tag
    delay_and_padding = info + 141  # 12 bits each, where frames, bytes, seek table and quality are all present
    coded = int.from_bytes(raw[info + 8 : info + 12]) * 1152
    delay = int.from_bytes(raw[delay_and_padding : delay_and_padding + 3]) >> 12
    raw[delay_and_padding : delay_and_padding + 3] = ((delay << 12) | (coded - delay - frames)).to_bytes(3)
    checksum = 0
    for byte in raw[start : info + 154]:  # CRC-16/ARC up to the field itself
        checksum ^= byte
        for _ in range(8):
            checksum = (checksum >> 1) ^ (0xA001 if checksum & 1 else 0)
    raw[info + 154 : info + 156] = checksum.to_bytes(2)
    path.write_bytes(raw)


def _cache() -> Path:
    named = os.environ.get("CHADBOX_TEST_CACHE")
    folder = Path(named) if named else Path(tempfile.gettempdir()) / f"chadbox-tones-{os.getuid()}"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not named and folder.stat().st_uid != os.getuid():  # a shared /tmp: nobody else's files
        raise PermissionError(f"{folder} belongs to somebody else; set CHADBOX_TEST_CACHE")
    return folder
