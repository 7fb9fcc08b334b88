from __future__ import annotations

import pytest

from appliance.errors import ChadboxError, NotFound, UsageError
from tests.library.conftest import Box
from tests.library.support import track


def song(n: int, title: str, artist: str = "Somebody", album: str = "", **more: object) -> dict[str, object]:
    return track(
        n, title=title, artist=artist, album=album or f"Album {n}", album_id=more.pop("album_id", f"a{n}"), **more
    )


async def titles(box: Box, words: str) -> list[str]:
    return [t.title for t in (await box.library.search(words))["tracks"]]


async def test_exact_titles_come_first_then_those_that_begin_so_then_the_rest(box: Box) -> None:
    box.model.put(*[song(n, f"Something with Help inside {n}") for n in range(300)])
    box.model.put(
        song(900, "Helpless"), song(901, "Help!"), song(902, "Please Help Me"), song(903, "Other", "Help Group")
    )
    await box.library.sync()
    found = await titles(box, "help")
    assert found[:2] == ["Help!", "Helpless"]
    assert len(found) == 20
    assert await titles(box, "helpl") == ["Helpless"]
    assert await titles(box, "pleasehelp") == ["Please Help Me"]
    assert (await titles(box, "please hel")) == ["Please Help Me"]
    assert [a.name for a in (await box.library.search("HELP gr"))["artists"]] == ["Help Group"]


async def test_albums_and_artists_are_found_and_the_bigger_wins(box: Box) -> None:
    box.model.put(*[song(n, f"T{n}", "The Beatles", "Abbey Road", album_id="abbey", no=n) for n in range(1, 6)])
    box.model.put(song(50, "X", "Beatles Tribute", "Abbey Road Covers"), song(51, "夜に駆ける", "YOASOBI", "THE BOOK"))
    await box.library.sync()
    found = await box.library.search("beat")
    assert [a.name for a in found["artists"]] == ["The Beatles", "Beatles Tribute"]
    assert [(a.id, a.tracks) for a in (await box.library.search("abbey road"))["albums"]] == [("abbey", 5), ("a50", 1)]
    assert await titles(box, "に駆け") == ["夜に駆ける"]
    assert await titles(box, "yoasobi 夜") == ["夜に駆ける"]


async def test_a_changed_or_deleted_track_is_found_by_its_new_words_alone(box: Box) -> None:
    box.model.put(song(1, "Old Name", "Old Artist", "Old Album", album_id="x"), song(2, "Stays"))
    await box.library.sync()
    box.model.put(song(1, "New Name", "New Artist", "New Album", album_id="x"))
    await box.library.sync()
    assert await box.library.search("old") == {"tracks": [], "albums": [], "artists": []}
    found = await box.library.search("new")
    assert [len(found[k]) for k in ("tracks", "albums", "artists")] == [1, 1, 1]
    box.model.remove(1)
    await box.library.sync()
    assert await box.library.search("new") == {"tracks": [], "albums": [], "artists": []}


@pytest.mark.parametrize(
    "words", ["", " ", '"', "*", "NEAR(", "a OR", "-", "^", "^help", "'", "\x00", "(" * 500, "\ud800"]
)
async def test_odd_words_are_harmless(box: Box, words: str) -> None:
    box.model.put(song(1, "Plain"))
    await box.library.sync()
    assert (await box.library.search(words))["tracks"] == []


async def test_the_index_is_rebuilt_when_the_folding_rules_change(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    box.model.put(*[song(n, f"Title {n}", album_id=f"a{n // 3}") for n in range(2500)])
    await box.library.sync()
    before = await box.library.browse("artist"), await box.library.browse("album"), await box.library.search("title 17")
    monkeypatch.setattr("appliance.library.fold.VERSION", "other")
    await box.reopen()
    await box.library.sync()
    after = await box.library.browse("artist"), await box.library.browse("album"), await box.library.search("title 17")
    assert after == before
    box.model.remove(17)
    await box.library.sync()
    assert await titles(box, "title 17") == [f"Title {n}" for n in (*range(170, 180), *range(1700, 1710))]


async def test_what(box: Box) -> None:
    box.model.put(
        song(1, "B", "Ünder", "First", album_id=7, no=2, genre="Jazz", year=2001),
        song(2, "A", "Ünder", "First", album_id=7, no=1, genre="Jazz", year=2001),
        song(3, "C", "Ünder", "Early", album_id=8, no=1, genre="Rock", year=1990),
        song(4, "Guest", "Other", "Early", album_id=8, no=2, album_artist="Ünder", genre="Rock", year=1990),
        song(9, "First Snow", "Nobody", "Else", genre="Folk", year=1980, id="x:9"),
        track(10, album_id=None, artist="Lone", album="Single", title="Lonely"),
    )
    await box.library.sync()
    lib = box.library
    assert await lib.resolve("track:x:9") == ["x:9"]
    assert await lib.resolve("album:7") == ["2", "1"]
    assert await lib.resolve("album:early") == ["3", "4"]
    assert await lib.resolve("artist:under") == ["3", "4", "2", "1"]
    assert await lib.resolve("artist:Other") == ["4"]
    assert await lib.resolve("genre: jazz") == ["2", "1"]
    assert await lib.resolve("UNDER") == ["3", "4", "2", "1"]
    assert await lib.resolve("first") == ["2", "1"]
    assert await lib.resolve("first snow") == ["x:9"]
    assert await lib.resolve("guest") == ["4"]
    assert await lib.resolve("album:~Lone/Single") == ["10"]
    await lib.set_favourite(3)
    await lib.set_favourite("x:9")
    assert await lib.resolve("favourites") == ["3", "x:9"]
    await lib.set_favourite(3, on=False)
    await lib.set_playlist("Mörning", [4, "gone", 1, 4])
    assert await lib.playlists() == [("Mörning", 4)]
    assert await lib.resolve("playlist:morning") == ["4", "1", "4"]
    await lib.drop_playlist("Mörning")
    for what, error in {
        "track:77": NotFound, "album:77": NotFound, "artist:Nix": NotFound, "genre:": UsageError, "": UsageError,
        "playlist:morning": NotFound, "commute": UsageError, "zzzz": NotFound, "re:zero": NotFound,
    }.items():  # fmt: skip
        with pytest.raises(error) as raised:
            await lib.resolve(what)
        assert isinstance(raised.value, ChadboxError)
        assert "\n" not in str(raised.value)

    async def commute() -> list[str]:
        return ["1"]

    lib.commute = commute
    assert await lib.resolve("commute") == ["1"]


async def test_browse(box: Box) -> None:
    box.model.put(
        song(1, "A", "The Zebras", "One", album_id=1, year=2001, genre="Jazz"),
        song(2, "B", "éclair", "Two", album_id=2, year=1999, genre="Jazz"),
        song(3, "C", "The Zebras", "Zero", album_id=3, year=1998, genre="Rock"),
    )
    await box.library.sync()
    lib = box.library
    assert "genre" in (await lib.browse())["categories"]
    assert [(i.name, i.tracks, i.albums) for i in (await lib.browse("artist"))["items"]] == [
        ("éclair", 1, 1),
        ("The Zebras", 2, 2),
    ]
    assert [i.name for i in (await lib.browse("year"))["items"]] == ["1998", "1999", "2001"]
    assert [i.name for i in (await lib.browse("artist", "the zebras"))["items"]] == ["Zero", "One"]
    assert await lib.browse("genre", "Jazz", offset=1, limit=1) == {
        "items": (await lib.browse("album", filter="tw"))["items"],
        "total": 2,
    }
    page = await lib.browse("album", "3")
    assert (page["album"].name, [t.id for t in page["tracks"]], page["total"]) == ("Zero", [3], 1)
    assert (await lib.browse("artist", filter="ECL"))["total"] == 1
    assert await lib.letters("artist") == [("e", 0), ("z", 1)]
    assert (await lib.browse("album", offset=99))["items"] == []
    with pytest.raises(UsageError, match="is not a category; there are artist"):
        await lib.browse("colour")
    with pytest.raises(NotFound):
        await lib.browse("year", "1066")


async def test_history(box: Box) -> None:
    box.model.put(track(1), track(2), track(3))
    await box.library.sync()
    lib = box.library
    ids = {await lib.record_play(n, 170, clock_ok=n != 2) for n in (1, 2, 1, 3)}
    await lib.record_play(1, 5, clock_ok=True)
    assert len(ids) == 4
    await box.reopen()
    assert [t.id for t in await box.library.recently_played(2)] == [1, 3]
    assert [await box.library.play_count(n) for n in (1, 2, 3, 4)] == [2, 1, 1, 0]
    rows = await box.store.read(lambda con: con.execute("SELECT track_id, played_at FROM play ORDER BY n").fetchall())
    assert [(t, at is None) for t, at in rows] == [("1", False), ("2", True), ("1", False), ("3", False), ("1", False)]


async def test_a_long_last_word_finds_the_common_and_the_rare(box: Box) -> None:
    """Past five letters the last word is looked for among the candidates of its beginning, and by itself if need be."""
    box.model.put(song(900, "A Remasquito"), *[song(n, f"Song {n} Remastered") for n in range(700)])
    box.model.put(song(800, "The Remasquerade"), song(801, "Remasqued"), song(802, "Ball", "Remasque Rade"))
    await box.library.sync()
    assert len(await titles(box, "remastere")) == 20
    assert await titles(box, "song 699 remast") == ["Song 699 Remastered"]
    assert await titles(box, "remasq") == ["The Remasquerade", "Remasqued", "A Remasquito", "Ball"]
    assert await titles(box, "rade ball remasque") == ["Ball"]
    assert await titles(box, "remasx") == []
