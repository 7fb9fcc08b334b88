"""REAPER projects, read back by a reader of our own (C9)."""

from __future__ import annotations

from pathlib import Path

import pytest

from appliance.cloud.models import Track
from appliance.drives import reaper
from appliance.drives.names import Namer
from appliance.drives.tree import Tree
from tests.drives.rpp import items, parse, words
from tests.drives.test_names import hostile


def test_1000_hostile_names() -> None:
    """Every file is referenced as it is called, every item begins where the one before it ends."""
    tracks = hostile(1000)
    for number, track in enumerate(tracks):
        track.duration = 1.0 + number / 7
    namer = Namer()
    listed = [(track, namer.path(track, discs=False)) for track in tracks]
    text = reaper.project("x\"'`\n>\n<TRACK", listed).encode("utf-8", "replace").decode("utf-8")
    assert all(c.isprintable() or c == "\n" for c in text), "a control character got into the project"
    placed = items(parse(text))
    assert [item.file for item in placed] == [path for _, path in listed]
    end = 0.0
    for item, (track, _) in zip(placed, listed, strict=True):
        assert item.position == pytest.approx(end, abs=1e-6)
        assert item.length == pytest.approx(track.duration, abs=1e-6)
        end = item.position + item.length


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("plain", '"plain"'),
        ("", '""'),
        ('a "b"', "'a \"b\"'"),
        ('a "b" it\'s', '`a "b" it\'s`'),
        ('a "b" it\'s `', "`a \"b\" it's '`"),
        ("two\nlines\t>", '"two lines >"'),
    ],
)
def test_quotes(text: str, written: str) -> None:
    assert reaper.quoted(text) == written
    assert words(f"NAME {written}") == ["NAME", written[1:-1]]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.flac", "FLAC"), ("a.MP3", "MP3"), ("a.wav", "WAVE"), ("a.aiff", "WAVE"), ("a.aif", "WAVE"),
        ("a.ogg", "VORBIS"), ("a.opus", "OPUS"), ("a.m4a", "VIDEO"), ("a", "VIDEO"),
    ],
)  # fmt: skip
def test_the_decoder_of_each_format(name: str, kind: str) -> None:
    assert items(parse(reaper.project("x", [(Track(id=1), name)])))[0].kind == kind


def test_lengths_are_exact_where_samples_are_known() -> None:
    assert reaper.seconds(Track(id=1, duration=2.0, samples=44101, sample_rate=44100)) == 44101 / 44100
    assert reaper.seconds(Track(id=1, duration=2.0, samples=0, sample_rate=44100)) == 2.0
    assert reaper.seconds(Track(id=1, duration=float("nan"), size=1_200_000)) == 10.0
    assert reaper.seconds(Track(id=1)) == 1.0


def test_a_project_is_never_replaced(tmp_path: Path) -> None:
    """Whoever works in it keeps the work; the same list again is the same file."""
    tree = Tree(tmp_path)
    first = [(Track(id=1, duration=1.0), "Music/a.flac")]
    assert reaper.write(tree, "Mix", first) == "Mix.RPP"
    assert reaper.write(tree, "Mix", first) == "Mix.RPP"
    assert reaper.write(tree, "Mix", [*first, *first]) == "Mix 2.RPP"
    (tmp_path / "Mix.RPP").write_text("changed")
    assert reaper.write(tree, "Mix", first) == "Mix 3.RPP"
    assert (tmp_path / "Mix.RPP").read_text() == "changed"
    assert "/" not in reaper.write(tree, "../../up", first)
    assert not list(tmp_path.parent.glob("*.RPP"))
    tree.close()
