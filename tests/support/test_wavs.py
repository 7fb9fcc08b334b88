import struct
from pathlib import Path

import numpy as np
import pytest

from tests.support import tones, wavs


@pytest.mark.parametrize("dtype", [np.int16, np.int32, np.float32])
def test_reads_what_it_wrote(tmp_path: Path, dtype: type) -> None:
    data: np.ndarray = (tones.signal(1001, 44_100).astype(np.float64) / (32768 if dtype == np.float32 else 1)).astype(
        dtype
    )
    wav = wavs.read(wavs.write(tmp_path / "a.wav", data, 44_100))
    assert (wav.rate, wav.frames, wav.channels) == (44_100, 1001, 2)
    assert wavs.difference(data, wav.data) is None


def test_reads_extensible_24_bit_into_the_high_bits(tmp_path: Path) -> None:
    guid = struct.pack("<H", 1) + bytes.fromhex("000000001000800000aa00389b71")
    form = struct.pack("<HHIIHHHHI", 0xFFFE, 1, 96_000, 288_000, 3, 24, 22, 24, 4) + guid
    body = b"\x01\x02\x03\xff\xff\xff"
    chunks = b"fmt " + struct.pack("<I", len(form)) + form + b"data" + struct.pack("<I", len(body)) + body
    path = tmp_path / "a.wav"
    path.write_bytes(b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks)
    wav = wavs.read(path)
    assert (wav.rate, wav.bits) == (96_000, 24)
    assert wav.data[:, 0].tolist() == [0x03020100, -256]


def test_a_header_that_was_never_mended_hides_nothing(tmp_path: Path) -> None:
    path = wavs.write(tmp_path / "a.wav", tones.signal(500, 44_100), 44_100)
    raw = bytearray(path.read_bytes())
    raw[40:44] = struct.pack("<I", 0)
    path.write_bytes(raw)
    assert wavs.read(path).frames == 500
    assert wavs.header_frames(path) == 0


@pytest.mark.parametrize("shift", [0, 1, 1234, -77])
def test_align_finds_the_place(shift: int) -> None:
    whole = tones.signal(20_000, 44_100)
    inside = whole[-shift:] if shift < 0 else np.concatenate([tones.signal(shift, 44_100, seed=9), whole])
    place, likeness = wavs.align(whole, inside)
    assert place == shift
    assert likeness > 0.999
    assert wavs.align(whole, inside, at=0, window=2000)[0] == shift


def test_difference_says_where_and_how_far() -> None:
    pcm = tones.signal(60_000, 44_100)
    assert wavs.difference(pcm, pcm.copy()) is None
    assert wavs.difference(pcm, pcm.astype(np.int32) << 16) is None
    lost = np.concatenate([pcm[:30_000], pcm[30_010:]])
    found = wavs.difference(pcm, lost)
    assert found is not None
    assert found.frame == 30_000
    assert "-10 frames" in str(found)
    assert "60000 frames expected, 59990 came" in str(found)
    changed = pcm.copy()
    changed[777, 1] ^= 1
    found = wavs.difference(pcm, changed)
    assert found is not None
    assert (found.frame, found.count) == (777, 1)
    assert wavs.difference(pcm, pcm[:, :1]) is not None


def test_silences_are_found() -> None:
    pcm = tones.signal(10_000, 44_100) | 1
    pcm[4000:4100] = 0
    pcm[6000:6010] = 0
    assert wavs.silences(pcm, 44_100) == [(4000, 4100)]
