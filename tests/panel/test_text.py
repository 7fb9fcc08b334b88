"""F4, R6: text in any script and of any kind becomes a picture; none breaks it."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.panel import glyphs
from appliance.panel.glyphs import NARROW_BOX, WIDE_BOX, Builtin, Unifont, open_font
from appliance.panel.picture import Picture
from appliance.panel.text import LONGEST, Typesetter, clean, visual, wrapped
from tests.panel.samples import SCREENS, Script
from tests.panel.support import font, needs_unifont, shown

NASTY = st.text(st.one_of(st.characters(), st.sampled_from("\x00\x1b\x9b\u202e\u200d\u0301\ufe0f🏽🎧한אبا\ud800")))


@needs_unifont
@given(NASTY, NASTY, NASTY, st.sampled_from([64, 32]), st.floats(0, 1e6))
def test_no_text_breaks_a_screen(title: str, artist: str, album: str, height: int, after: float) -> None:
    script = Script(title, artist, album, (title, artist, album), "a")
    for screen in SCREENS.values():
        picture = shown(screen(script, height), 10 + after)
        assert len(picture.picture.pages()) == 16 * height
        assert picture.until is None or picture.until > 10 + after


@given(NASTY)
def test_what_is_cleaned_has_only_visible_characters(text: str) -> None:
    result = clean(text)
    assert len(result) <= LONGEST
    assert clean(result) == result or len(result) == LONGEST
    assert not {unicodedata.category(char) for char in result} & {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
    assert sorted(visual(result)) == sorted(result)


@given(NASTY, st.integers(2, 20))
def test_wrapped_lines_fit_and_lose_nothing(text: str, columns: int) -> None:
    lines = wrapped(text, columns)
    wide = [sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in line) for line in lines]
    assert all(width <= columns for width in wide)
    assert "".join("".join(lines).split()) == "".join(clean(text).split())


@needs_unifont
def test_every_script_has_its_letters() -> None:
    for text in (
        "Жаркий ёжик",
        "Ελλάδα",
        "東京の夜カナ",
        "北京歌曲龍",
        "서울 노래",
        "Łódź Ñandú",
        "🎧"[:0] + "שלום مرحبا",
    ):
        for char in text:
            assert font().glyph(char).columns not in (NARROW_BOX.columns, WIDE_BOX.columns), char
            assert len(font().glyph(char).columns) == (16 if unicodedata.east_asian_width(char) == "W" else 8), char


@needs_unifont
def test_missing_glyphs_are_boxes_as_wide_as_they_would_be() -> None:
    assert font().glyph("\U00012000") == NARROW_BOX
    assert font().glyph("\U0001f3a7") == WIDE_BOX


@needs_unifont
def test_marks_stand_over_their_letter_and_take_no_room() -> None:
    setter = Typesetter(font())
    plain, marked = setter.line("x"), setter.line("x\u0302")  # there is no composed x with circumflex
    assert len(marked) == len(plain)
    assert all(both & one == one for both, one in zip(marked, plain, strict=True))
    assert marked != plain
    assert setter.line("x" + "\u0302" * 500) == setter.line("x\u0302\u0302")
    assert len(clean("x" + "\u0302" * 500)) == 3
    assert setter.line("\u0302x")  # nothing to stand over


def test_right_to_left_words_are_turned_round_and_others_stay() -> None:
    assert visual("abc שלום 12") == "abc םולש 12"
    assert visual("שלום עולם") == "םלוע םולש"
    assert visual("plain") == "plain"


def test_control_characters_never_reach_the_display() -> None:
    assert clean("a\x1b[31mb\r\nc\x00\u202ed\u200be\ufe0f") == "a[31mb cde"
    assert clean("one\ttwo\u2028three") == "one two three"
    assert clean(None) == ""
    assert clean("e\u0301") == "é"


def test_without_unifont_latin_can_be_read_and_a_message_says_what_to_do(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    found = open_font(tmp_path / "none.hex")
    assert isinstance(found, Builtin)
    assert "apt install unifont" in caplog.text
    assert found.glyph("é") == found.glyph("e") != NARROW_BOX
    assert found.glyph("я") == NARROW_BOX
    assert found.glyph("東") == WIDE_BOX
    assert Typesetter(found).line("Hello, Wörld!")


def test_a_damaged_font_gives_boxes_not_crashes(tmp_path: Path) -> None:
    path = tmp_path / "u.hex"
    path.write_bytes(
        b"0041:00000000182424427E42424242420000\n0042:zz\n0043\n\xff\xfe:00\n0045:00000000182424427E42424242420000"
    )
    damaged = Unifont(path)
    assert damaged.glyph("A") != NARROW_BOX
    for char in "BCDEFZ\u0000\U0010ffff":
        assert damaged.glyph(char)
    (tmp_path / "empty.hex").write_bytes(b"")
    assert isinstance(open_font(tmp_path / "empty.hex"), Builtin)


@needs_unifont
def test_glyphs_are_those_of_the_file() -> None:
    """A thousand lines of the font, found by halving, are what they are by reading the whole file."""
    lines = glyphs.UNIFONT.read_text("ascii").splitlines()
    fresh = Unifont()
    for line in lines[:: len(lines) // 1000]:
        code, bits = line.split(":")
        picture = Picture(16, 16)
        picture.draw(fresh.glyph(chr(int(code, 16))).columns, 0, 0)
        width = len(bits) // 4
        rows = [
            sum((column >> y & 1) << (width - 1 - x) for x, column in enumerate(picture.columns[:width]))
            for y in range(16)
        ]
        assert "".join(f"{row:0{width // 4}X}" for row in rows) == bits, code
