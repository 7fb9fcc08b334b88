from __future__ import annotations

import sqlite3
import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.library.fold import QUERY, TOKEN, Query, fold, index_text, plain, sort_key, squash, year_key

WORD = st.text(st.sampled_from("aAbBcéÖßøł3ЖйΣς夜東京花火かが한국"), min_size=1, max_size=6)
ANY = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)


def found(query: str, *texts: str) -> bool:
    """What the real index says."""
    con = sqlite3.connect(":memory:")
    con.execute(
        "CREATE VIRTUAL TABLE f USING fts5(t, content='', detail=none, columnsize=0, tokenize=\"ascii tokenchars '^'\")"
    )
    con.execute("INSERT INTO f (rowid, t) VALUES (1, ?)", (index_text(*texts),))
    asked = Query(query)
    try:
        if not asked.match:
            return False
        return bool(con.execute("SELECT 1 FROM f WHERE f MATCH ?", (asked.match,)).fetchall()) and asked.fits(*texts)
    finally:
        con.close()


@pytest.mark.parametrize(
    ("text", "folded"),
    [
        ("Motörhead", "motorhead"), ("Straße", "strasse"), ("Ærøskøbing", "aeroskobing"), ("Łódź", "lodz"),
        ("Đorđe", "dorde"), ("ΟΔΟΣ", "οδοσ"), ("Ёлка", "елка"), ("が", "が"), ("ｱﾞ", "ア\u3099"), ("한국", "한국"),
        ("İstanbul", "istanbul"), ("ﬁre", "fire"), ("Ｆｕｌｌ", "full"), ("Sigur Rós", "sigur ros"),
    ],
)  # fmt: skip
def test_fold_makes_one_word_of_its_spellings(text: str, folded: str) -> None:
    assert fold(text) == folded


@given(ANY)
def test_folding_twice_changes_nothing(text: str) -> None:
    assert fold(fold(text)) == fold(text)


@given(ANY)
def test_case_does_not_matter_for_words(text: str) -> None:
    assert plain(text.casefold()) == plain(fold(text.casefold()))


@pytest.mark.parametrize(
    ("name", "key"),
    [("The Beatles", "beatles"), ("The The", "the"), ("The", "the"), ("Theory", "theory"), ("  A-ha", "a ha"),
     ("!!!", "!!!"), ("Ólafur", "olafur"), ("", "")],
)  # fmt: skip
def test_sort_keys(name: str, key: str) -> None:
    assert sort_key(name) == key


def test_years_sort_as_numbers() -> None:
    assert sorted([1999, 800, 2024], key=year_key) == [800, 1999, 2024]


@pytest.mark.parametrize(
    ("query", "texts"),
    [
        ("mot", ["Motörhead"]), ("motö", ["Motorhead"]), ("beatles love", ["Love Me Do", "The Beatles"]),
        ("love beat", ["Love Me Do", "The Beatles"]), ("acdc", ["T.N.T.", "AC/DC"]), ("ac/dc", ["Live", "AC DC"]),
        ("ac/dc", ["Live", "ACDC"]), ("dont", ["Don't Stop"]), ("don’t st", ["Dont Stop"]), ("amour", ["L'amour"]),
        ("r.e.m", ["Losing", "REM"]), ("rem", ["Losing", "R.E.M."]), ("!!", ["Louden Up", "!!!"]),
        ("simon & garf", ["Bookends", "Simon and Garfunkel"]), ("京", ["東京事変"]), ("京事", ["東京事変"]),
        ("京事変", ["東京事変"]), ("東京 ring", ["東京Ringo"]), ("東京ri", ["東京Ringo"]), ("국", ["한국"]),
        ("ガラ", ["カラガラ"]),
        ("हिन", ["हिन्दी गीत"]), ("a" * 60, ["A" * 80]), ("straße", ["STRASSE"]), ("strasse", ["Straße"]),
    ],
)  # fmt: skip
def test_is_found(query: str, texts: list[str]) -> None:
    assert found(query, *texts)


@pytest.mark.parametrize(
    ("query", "texts"),
    [("beatles stones", ["The Beatles"]), ("orhead", ["Motörhead"]), ("mot love", ["Motörhead"]),
     ("東変", ["東京事変"]),
     ("東京京事", ["東京事京事 東京"]), ("", ["x"]), ("   ", ["x"]), ("\0", ["x"]), ("か", ["が"])],
)  # fmt: skip
def test_is_not_found(query: str, texts: list[str]) -> None:
    assert not found(query, *texts)


@given(st.lists(WORD, min_size=1, max_size=4), st.lists(WORD, min_size=1, max_size=3), st.data())
@settings(max_examples=150, deadline=None)
def test_every_prefix_of_words_that_are_there_finds_them(
    title: list[str], artist: list[str], data: st.DataObject
) -> None:
    words = data.draw(st.permutations(title + artist))[:3]
    typed = " ".join(words)
    cut = data.draw(st.integers(len(typed) - len(words[-1]) + 1, len(typed)))
    assert found(typed[:cut], " ".join(title), " ".join(artist))


@given(st.text(st.sampled_from("東京事変夜空花火がかハ한국音"), min_size=1, max_size=8), st.data())
@settings(max_examples=100, deadline=None)
def test_every_piece_of_a_text_without_spaces_finds_it(text: str, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(text) - 1))
    stop = data.draw(st.integers(start + 1, len(text)))
    assert found(text[start:stop], text)


@given(st.text(st.sampled_from("abc "), max_size=12), st.text(st.sampled_from("abc "), max_size=6))
@settings(max_examples=200, deadline=None)
def test_agrees_with_a_naive_model(text: str, query: str) -> None:
    words, asked = text.split(), query.split()
    expected = bool(asked) and all(a in words for a in asked[:-1]) and any(w.startswith(asked[-1]) for w in words)
    assert found(query, text) == expected


@given(ANY, st.text(max_size=300))
@settings(max_examples=200, deadline=None)
def test_nothing_typed_breaks_the_query(text: str, query: str) -> None:
    found(query, text)
    found(f'{query}" OR *', text)


def test_ranks() -> None:
    query = Query("the wall")
    assert [query.rank(t) for t in ("The Wall", "The Wall Pt. 2", "Another Brick in the Wall", "Mother")] == [
        0,
        1,
        2,
        3,
    ]
    assert Query("beatles").rank("The Beatles") == 0


def test_what_is_too_long_is_cut_alike() -> None:
    assert len(Query("x" * 1000).match) < QUERY
    assert len(squash("y" * 100)) == TOKEN
    assert found(string.ascii_lowercase * 3, string.ascii_lowercase * 3)
