"""The parts that need no libmpv running: ranges, the WAV header, what is read from files."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.engine import Entry, sniff, wav
from appliance.engine.sparse import Stream
from tests.engine import material

_SPANS = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 20)).map(lambda p: (p[0], p[0] + p[1])), max_size=30)


@given(_SPANS, st.integers(0, 90))
def test_ranges_are_what_a_set_of_bytes_would_be(spans: list[tuple[int, int]], pos: int) -> None:
    stream, bytes_ = Stream("", None), set[int]()
    for start, stop in spans:
        stream.add(start, stop)
        bytes_ |= set(range(start, stop))
    wanted = pos
    while wanted in bytes_:
        wanted += 1
    assert stream.until(pos) == wanted


def test_the_exact_end_is_half_a_sample_behind_the_last() -> None:
    assert Entry(id=1, stream=1, samples=44_100, sample_rate=44_100).exact_end == 44_100.5 / 44_100
    assert Entry(id=1, stream=1, samples=44_100).exact_end is None
    assert Entry(id=1, stream=1, end=3.0, samples=1, sample_rate=1).exact_end == 3.0


def test_a_wav_header_is_mended_and_a_half_frame_cut(tmp_path: Path) -> None:
    path = str(tmp_path / "a.wav")
    wav.create(path)
    assert wav.read_format(path) is None
    wav.set_format(path, 96_000, 2, "s32")
    with open(path, "ab") as file:
        file.write(bytes(8 * 100 + 3))
    wav.mend(path, cut=True)
    assert os.path.getsize(path) == 44 + 800
    assert wav.read_format(path) == (96_000, 2, "s32")
    head = Path(path).read_bytes()[:44]
    assert struct.unpack("<I", head[4:8])[0] == 836
    assert struct.unpack("<I", head[40:44])[0] == 800


@pytest.mark.parametrize(
    ("codec", "name", "bits"),
    [
        ("flac", "flac", 16),
        ("flac24", "flac", 24),
        ("alac", "alac", 16),
        ("wav24", "pcm_s24le", 24),
        ("mp3", "mp3", None),
    ],
)
def test_bits_of_a_file(tmp_path: Path, codec: str, name: str, bits: int | None) -> None:
    samples = material.signal(5000, bits=24 if codec.endswith("24") else 16)
    with _opened(material.write(tmp_path / "x", samples, codec)) as descriptor:
        assert sniff.bits(descriptor, name) == bits


def test_the_end_of_aac_by_itunsmpb_and_by_edit_list(tmp_path: Path) -> None:
    path = material.write(tmp_path / "x", material.signal(50_001), "aac")
    with _opened(path) as descriptor:
        assert sniff.end(descriptor, "aac") == pytest.approx(50_001.5 / 44_100, abs=1e-9)
        assert sniff.end(descriptor, "flac") is None
    data = path.read_bytes()
    at = data.index(b"moov") - 4
    size = int.from_bytes(data[at : at + 4], "big")
    tag = b"\0\0\0\x80freeiTunSMPB\0\0\0\0data 00000000 00000840 000001CA 000000000000C34F 00000000"
    tag = tag.ljust(0x80, b"\0")
    path.write_bytes(data[:at] + (size + 0x80).to_bytes(4, "big") + data[at + 4 : at + size] + tag + data[at + size :])
    with _opened(path) as descriptor:
        assert sniff.end(descriptor, "aac") == pytest.approx((0xC34F + 0.5) / 44_100, abs=1e-9)


@given(st.binary(max_size=400), st.sampled_from([b"", b"\0\0\1\0moov", b"\0\0\1\0ftyp\0\0\0\0", b"fLaC\0"]))
def test_hostile_bytes_neither_raise_nor_hang(data: bytes, head: bytes) -> None:
    descriptor = os.memfd_create("hostile")
    try:
        os.write(descriptor, head + data)
        for codec in ("flac", "alac", "aac", "pcm_", "pcm_s", "pcm_s16le", ""):
            sniff.bits(descriptor, codec)
            sniff.end(descriptor, codec)
    finally:
        os.close(descriptor)


def test_importing_the_child_does_not_cost_asyncio() -> None:
    code = "import sys, appliance.engine.child; print(*(m for m in ('asyncio', 'ssl', 'msgspec') if m in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == ""


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
