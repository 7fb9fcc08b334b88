"""`samples` against what FFmpeg decodes (S2): exact, or not given."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from mutagen.mp4 import MP4, MP4FreeForm

from appliance.server import tags

from .conftest import ffmpeg

FORMATS = {
    "flac": [], "wav": [], "aiff": [], "mp3": ["-c:a", "libmp3lame", "-b:a", "128k"],
    "vbr.mp3": ["-c:a", "libmp3lame", "-q:a", "4"], "alac.m4a": ["-c:a", "alac"], "ogg": ["-c:a", "libvorbis"],
    "opus": ["-c:a", "libopus"], "oga": ["-c:a", "flac", "-f", "ogg"],
}  # fmt: skip


def source(folder: Path, samples: int, rate: int, channels: int) -> Path:
    path = folder / "source.wav"
    ffmpeg("-f", "lavfi", "-i", f"aevalsrc=sin(2*PI*440*t):s={rate}", "-af", f"atrim=end_sample={samples}",
           "-ac", str(channels), str(path))  # fmt: skip
    return path


def decoded(path: Path, channels: int) -> int:
    raw = subprocess.run(["ffmpeg", "-v", "error", "-i", path, "-f", "s16le", "-"], capture_output=True, check=True)
    return len(raw.stdout) // 2 // channels


@pytest.mark.parametrize(("samples", "rate", "channels"), [(132_317, 44_100, 1), (96_000, 48_000, 2)])
def test_exact_lengths(tmp_path: Path, samples: int, rate: int, channels: int) -> None:
    wav = source(tmp_path, samples, rate, channels)
    for suffix, options in FORMATS.items():
        path = tmp_path / f"x.{suffix}"
        ffmpeg("-i", str(wav), *options, str(path))
        facts = tags.read(bytes(tmp_path), path.name.encode())
        assert facts.error is None, facts
        if suffix == "oga" and facts.samples is None:
            continue  # FFmpeg leaves the total open in Ogg
        assert facts.samples == decoded(path, channels), suffix
        assert facts.duration == pytest.approx(facts.samples / facts.sample_rate, abs=1e-6)


def test_aac_has_the_length_of_its_source(tmp_path: Path) -> None:
    wav, path = source(tmp_path, 100_000, 44_100, 2), tmp_path / "x.m4a"
    ffmpeg("-i", str(wav), "-c:a", "aac", str(path))
    assert tags.read(bytes(tmp_path), b"x.m4a").samples == 100_000  # a decoder gives the padding, too: 100,352

    media = MP4(path)
    smpb = " 00000000 00000840 00000120 000000000001869F 00000000"
    media["----:com.apple.iTunes:iTunSMPB"] = MP4FreeForm(smpb.encode())
    media.save()
    assert tags.read(bytes(tmp_path), b"x.m4a").samples == 0x1869F
    media["----:com.apple.iTunes:iTunSMPB"] = MP4FreeForm(b" 00000000 00000840 00000120 00000000FFFFFFFF")
    media.save()
    assert tags.read(bytes(tmp_path), b"x.m4a").samples is None


def test_none_where_the_header_does_not_say(tmp_path: Path) -> None:
    wav = source(tmp_path, 51_200, 44_100, 2)
    for name, options in {
        "padded.m4a": ["-c:a", "aac"],  # a whole number of frames: the last may be padded
        "x.aac": ["-c:a", "aac"],
        "notag.mp3": ["-c:a", "libmp3lame", "-write_xing", "0"],
        "noedit.m4a": ["-c:a", "aac", "-use_editlist", "0"],
        "frag.m4a": ["-c:a", "alac", "-movflags", "frag_keyframe+empty_moov"],
        "adpcm.wav": ["-c:a", "adpcm_ms"],
    }.items():
        ffmpeg("-i", str(wav), *options, str(tmp_path / name))
        facts = tags.read(bytes(tmp_path), name.encode())
        assert (facts.error, facts.samples) == (None, None), name


def test_truncated_files_do_not_claim_their_length(tmp_path: Path) -> None:
    wav = source(tmp_path, 100_000, 44_100, 2)
    for suffix in ("mp3", "ogg", "opus", "aiff", "wav"):
        path = tmp_path / f"x.{suffix}"
        ffmpeg("-i", str(wav), *FORMATS[suffix], str(path))
        data = path.read_bytes()
        path.write_bytes(data[: len(data) * 2 // 3])
        facts = tags.read(bytes(tmp_path), path.name.encode())
        assert facts.samples is None or (suffix == "wav" and facts.samples < 70_000), suffix


def test_a_piece_cut_out_of_a_stream(tmp_path: Path) -> None:
    """Pages of the middle behind the headers of the beginning: the last granule is not a length."""
    wav = source(tmp_path, 44_100 * 8, 44_100, 2)
    for suffix, keep in (("ogg", 2), ("opus", 2)):
        path = tmp_path / f"x.{suffix}"
        ffmpeg("-i", str(wav), *FORMATS[suffix], str(path))
        data = path.read_bytes()
        starts = [i for i in range(len(data)) if data.startswith(b"OggS", i)]
        assert len(starts) > 5
        path.write_bytes(data[: starts[keep]] + data[starts[keep + 2] :])
        assert tags.read(bytes(tmp_path), path.name.encode()).samples is None
