"""Segments and playlists as ffmpeg makes them, and the file that they are together."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tests.support import wavs

KINDS = ("ts", "fmp4", "byterange", "adts", "mp3")
_HLS = ("-f", "hls", "-hls_time", "1", "-hls_list_size", "0", "-hls_playlist_type", "vod")


@dataclass(frozen=True)
class Material:
    """`files` by path below /hls/; `whole` is all of them in order of play."""

    files: dict[str, bytes]
    whole: bytes
    parts: list[str]


def make(root: Path, kind: str, seconds: float = 8.0) -> Material:
    """Noise in segments of a second, in the form `kind`, with the playlist /hls/a.m3u8."""
    root.mkdir(parents=True)
    pcm = (np.random.default_rng(1).standard_normal((int(44100 * seconds), 2)) * 6000).clip(-32767, 32767)
    wavs.write(root / "in.wav", pcm.astype(np.int16), 44100)
    sound = ("-c:a", "libmp3lame", "-b:a", "192k") if kind == "mp3" else ("-c:a", "aac", "-b:a", "192k")
    form: tuple[str, ...] = {
        "ts": (*_HLS, "a.m3u8"),
        "fmp4": (*_HLS, "-hls_segment_type", "fmp4", "a.m3u8"),
        "byterange": (*_HLS, "-hls_flags", "single_file", "a.m3u8"),
        "adts": ("-f", "segment", "-segment_time", "1", "-segment_format", "adts", "a%d.aac"),
        "mp3": ("-f", "segment", "-segment_time", "1", "-segment_format", "mp3", "-write_xing", "0", "a%d.mp3"),
    }[kind]
    command = ("ffmpeg", "-v", "error", "-nostdin", "-i", "in.wav", *sound, *form)
    subprocess.run(command, cwd=root, check=True, timeout=60)
    (root / "in.wav").unlink()
    if kind in ("adts", "mp3"):
        names = sorted((p.name for p in root.iterdir()), key=_number)
        rows = "".join(f"#EXTINF:1.0,\n{name}\n" for name in names)
        (root / "a.m3u8").write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:2\n{rows}#EXT-X-ENDLIST\n")
    files = {f"/hls/{p.name}": p.read_bytes() for p in root.iterdir()}
    text = files["/hls/a.m3u8"].decode()
    parts = [f"/hls/{line}" for line in text.splitlines() if line and not line.startswith("#")]
    if kind == "fmp4":
        parts = ["/hls/init.mp4", *parts]
    return Material(files, b"".join(files[p] for p in dict.fromkeys(parts)), parts)


def decode(data: bytes, root: Path) -> wavs.Samples:
    """What ffmpeg makes of the whole, as 32-bit integers."""
    (root / "whole").write_bytes(data)
    command = ("ffmpeg", "-v", "error", "-nostdin", "-y", "-i", "whole", "-c:a", "pcm_s32le", "whole.wav")
    subprocess.run(command, cwd=root, check=True, timeout=60)
    return wavs.read(root / "whole.wav").data


def _number(name: str) -> int:
    return int(re.sub(r"\D", "", name) or 0)
