"""Cleaning and measuring text for a terminal (R6, A1)."""

from __future__ import annotations

import time
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.cli.text import bar, clean, clock, count, cut, pad, size, width

ANY_TEXT = st.text(st.characters(), max_size=60)  # lone surrogates too


@pytest.mark.parametrize(
    ("dirty", "neat"),
    [
        ("plain", "plain"),
        (None, ""),
        (7, "7"),
        ("a\tb\r\nc\u2028d", "a b c d"),
        ("\x1b[1;31mred\x1b[0m", "red"),
        ("\x9b31mred", "red"),
        ("\x1b]0;title\x07x", "x"),
        ("\x1b]8;;http://evil\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x9d0;t\x9cx", "x"),
        ("\x1bP1$r\x1b\\x", "x"),
        ("\x1b(0x\x1bc", "x"),
        ("\x1b", ""),
        ("\x1b]unfinished", "unfinished"),
        ("\x1b\x1b[31m[2Jx", "[2Jx"),
        ("abc\u202ecba", "abccba"),
        ("\u2066\u2067\u2068\u2069\u200e\u200f\u061c", ""),
        ("bad\udc80", "bad\ufffd"),
        ("\U0001f468\u200d\U0001f469", "\U0001f468\u200d\U0001f469"),
        ("Ünïcødé Ж 青", "Ünïcødé Ж 青"),
    ],
)
def test_clean(dirty: object, neat: str) -> None:
    assert clean(dirty) == neat


@given(ANY_TEXT)
def test_clean_leaves_nothing_that_steers(text: str) -> None:
    neat = clean(text)
    assert not any(unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") for c in neat)
    assert not any(
        unicodedata.bidirectional(c) in ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI") for c in neat
    )
    assert clean(neat) == neat


@given(ANY_TEXT, st.integers(0, 40))
def test_cut_fits(text: str, columns: int) -> None:
    neat = clean(text)
    short = cut(neat, columns)
    assert width(short) <= columns
    assert width(pad(short, columns)) == columns
    if width(neat) <= columns and len(neat) <= columns * 8:
        assert short == neat or columns == 0


@pytest.mark.parametrize(
    ("text", "columns"), [("abc", 3), ("青い", 4), ("e\u0301", 1), ("ﾊﾛｰ", 3), ("한", 2), ("Ｗ", 2), ("🎵", 2)]
)
def test_width(text: str, columns: int) -> None:
    assert width(text) == columns


def test_a_wide_character_is_not_halved() -> None:
    assert cut("青青青", 4) == "青…"


def test_piled_up_marks_are_bounded() -> None:
    assert len(cut("a" + "\u0301" * 100_000, 20)) < 200


def test_hostile_length_is_no_matter() -> None:
    begun = time.monotonic()
    for part in ("\x1b]", "\x9d", "\x1b[", "\x1b[0", "\x1bP x", "\u202e", "\x1b", "\x9d\x9d "):
        clean(part * 100_000)
    assert time.monotonic() - begun < 2


def test_formats() -> None:
    assert [clock(s) for s in (0, 59.9, 60, 3723, -5, None, float("nan"), "x")] == [
        "0:00", "0:59", "1:00", "1:02:03", "0:00", "0:00", "0:00", "0:00",
    ]  # fmt: skip
    assert [size(n) for n in (0, 1023, 1536, 5 << 30, 3 << 40, None)] == [
        "0 B", "1023 B", "1.5 KiB", "5.0 GiB", "3.0 TiB", "0 B",
    ]  # fmt: skip
    assert [count(n, "track") for n in (0, 1, 12345)] == ["0 tracks", "1 track", "12,345 tracks"]
    assert [bar(p, 6) for p in (0, 50, 100, 200, -1, None)] == [
        "[----]",
        "[##--]",
        "[####]",
        "[####]",
        "[----]",
        "[----]",
    ]
