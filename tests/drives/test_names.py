"""Names on a drive, judged by rules written down here again, from Microsoft's FAT and exFAT specifications (C4, R6)."""

from __future__ import annotations

import random
import re
import unicodedata

import pytest

from appliance.cloud.models import Track
from appliance.drives.names import Namer, component, fold, legal

RESERVED = {"CON", "PRN", "AUX", "NUL", *(f"{n}{i}" for n in ("COM", "LPT") for i in "123456789¹²³")}


def strict(path: str) -> None:
    """AssertionError for a path that FAT32, exFAT or Windows would not take as it is."""
    assert len(path.encode("utf-16-le")) // 2 <= 259
    for part in path.split("/"):
        assert part
        assert part not in (".", "..")
        units = part.encode("utf-16-le")  # raises for lone surrogates
        assert len(units) <= 2 * 255
        assert len(part.encode()) <= 255
        assert not re.search(r'[\x00-\x1f\x7f"*/:<>?\\|]', part), part
        assert part[-1] not in " .", part
        assert part[0] != " "
        assert part.partition(".")[0].rstrip(" ").upper() not in RESERVED, part
        assert unicodedata.normalize("NFC", part) == part
        assert not re.fullmatch(r".{1,6}~\d(\..{0,3})?", part), f"{part} may be another file's short name"


def upcase(path: str) -> str:
    """exFAT's up-case table works on single UTF-16 units."""
    return "".join(c.upper() if len(c.upper()) == 1 and c <= "\uffff" else c for c in path)


def hostile(count: int) -> list[Track]:
    dice = random.Random(7)
    seeds = [
        "CON", "con.txt", "NUL", "Lpt1.flac", "COM¹", "aux ", "..", ".", "...", "../../etc/passwd", "/etc/shadow",
        "a/b\\c", "C:\\x", "trailing.", "trailing ", " leading", ".hidden", "", " ", "\x00\x1b[31m", "tab\tnew\nline",
        "é", "e\u0301", "ﬁ", "fi", "FI", "ß", "ss", "SS", "ı", "i", "I", "\u212a", "k", "K", "ſ", "s", "Ω", "Ω", "Å",
        "Å", "😀", "😀" * 200, "x" * 300, "X" * 300, "あ" * 300, "\ud800", "a\udfffb", "\ufffe", "\u202eevil",
        "zero\u200bwidth", "?*<>|:\"", "ABCDEF~1", "abcdef~2.fla", "COPYING", "copying.chadbox-part", "~", "%00",
    ]  # fmt: skip
    alphabet = "aAbB .é\u0301ßİı/\\:*~\x07😀あ\u202e\udc80"
    titles = seeds + ["".join(dice.choices(alphabet, k=dice.randint(0, 40))) for _ in range(count - len(seeds))]
    places = [dice.choice(seeds) for _ in range(7)]
    return [
        Track(
            id=n, title=title, artist=dice.choice(places), album=dice.choice(places), url="/music/x.flac",
            no=dice.choice((None, 0, 1, 2, -5, 10**9)), disc=dice.choice((None, 1, 2)), album_id=n % 5,
        )
        for n, title in enumerate(titles)
    ]  # fmt: skip


def test_3000_hostile_names_are_legal_and_differ() -> None:
    namer = Namer()
    paths = [namer.path(track, discs=bool(track.disc)) for track in hostile(3000)]
    for path in paths:
        strict(path)
        assert legal(path)
        assert path.startswith("Music/")
        assert path.count("/") == 3
    assert len({upcase(path) for path in paths}) == 3000
    folders = {path.rpartition("/")[0] for path in paths}
    assert len({upcase(folder) for folder in folders}) == len(folders), "two spellings of one folder"


def test_the_same_tracks_get_the_same_names_whatever_else_there_is() -> None:
    tracks = hostile(300)
    first = [Namer().path(track, discs=False) for track in tracks]
    assert [Namer().path(track, discs=False) for track in tracks] == first
    namer = Namer()
    together = [namer.path(track, discs=False) for track in tracks]
    again = Namer()
    assert [again.path(track, discs=False) for track in tracks] == together


def test_the_layout() -> None:
    track = Track(
        id=1, title="So What", artist="Miles Davis", album="Kind of Blue", no=1, url="/music/a/b.FLAC?sig=x.y"
    )
    assert Namer().path(track, discs=False) == "Music/Miles Davis/Kind of Blue/01 So What.flac"
    track.disc = 2
    assert Namer().path(track, discs=True) == "Music/Miles Davis/Kind of Blue/2-01 So What.flac"
    track.url, track.mime, track.album_artist = "/stream/1", "audio/mpeg", "V/A"
    assert Namer().path(track, discs=False) == "Music/V_A/Kind of Blue/01 So What.mp3"


def test_a_strangers_file_keeps_its_name() -> None:
    track = Track(id=1, title="A", artist="B", album="C", url="/x.mp3")
    taken = Namer(occupied=lambda folder: ["a.MP3"] if folder == "Music/B/C" else [])
    path = taken.path(track, discs=False)
    assert fold(path) != fold("Music/B/C/A.mp3")
    strict(path)


@pytest.mark.parametrize(
    "path",
    ["../x", "/Music/x", "Music/../x", "Music//x", "Music", "Other/x", "Music/\n", "Music/./x", "Music/" + "x" * 300],
)
def test_paths_of_a_manifest_that_are_not_believed(path: str) -> None:
    assert not legal(path)


def test_a_component_is_never_empty() -> None:
    assert component("", "Otherwise") == "Otherwise"
    assert component("..", "Otherwise") == "_"
