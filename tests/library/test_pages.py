from __future__ import annotations

import json
import logging
from typing import Any

import msgspec
import pytest

from appliance.cloud.models import Track
from appliance.errors import ServerError
from appliance.library.pages import COLUMNS, TEXT, Page, decode, from_row, to_row
from tests.library.support import track


def page(*tracks: Any, **fields: Any) -> bytes:
    return json.dumps({"library": "lib", "added": tracks, "seq": 7, "more": False} | fields).encode()


def value(found: Page, column: str) -> Any:
    return found.rows[0][COLUMNS.index(column)]


def test_a_track_survives_the_way_into_a_row_and_back() -> None:
    for item in (track(3), track(3, id="three", album_id=9, lufs=-9.5, no=None), {"id": 5}):
        original = msgspec.convert(item, Track)
        assert from_row(to_row(original)) == original
        assert type(from_row(to_row(original)).id) is type(item["id"])


@pytest.mark.parametrize(
    "body",
    [
        b"", b"{", b"[]", b"null", b"<html>busy</html>", b"\xff\xfe", b"[" * 200_000,
        b'{"seq": 1}', b'{"library": "a"}', page(seq="7"), page(seq=1.5), page(seq=-1), page(seq=2**64),
        page(library=""), b'{"library":"a","seq":1,"added":[{"x":' + b"[" * 5000 + b"]" * 5000 + b"}]}",
        page(library=None), page(library="x" * 300), page(library="a\x1b[31m"), page(more="yes"), page(added={"1": 2}),
        page(deleted=None), b'{"library":"a","seq":1e400}', b'{"library":"a","seq":1,"x":' + b"[" * 90_000 + b"}",
        page().replace(b'"more": false', b'"more": fals'),
    ],
)  # fmt: skip
def test_a_senseless_page_is_one_line(body: bytes) -> None:
    with pytest.raises(ServerError) as error:
        decode(body)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 300


@pytest.mark.parametrize(
    "bad",
    [
        '{"title": "no id"}', '{"id": null}', '{"id": ""}', '{"id": 1.5}', '{"id": true}', '{"id": [1]}', "5", "null",
        "[]",        '{"id": 123456789012345678901234567890}', '{"id": "%s"}' % ("x" * 300), '{"id": "a\\u001b[2J"}',
        '{"id": 1, "duration": 1e400}', '{"id": 1, "url": "%s"}' % ("/" * 9000),
        '{"id": 1, "url": "/a\\r\\nX: y"}',
    ],
)  # fmt: skip
def test_one_bad_track_keeps_no_other_away(bad: str, caplog: pytest.LogCaptureFixture) -> None:
    body = (
        b'{"library":"lib","seq":9,"added":[{"id":"before"},%s,{"id":"after"}],"deleted":["d",null,{}]}' % bad.encode()
    )
    with caplog.at_level(logging.WARNING):
        found = decode(body)
    assert [r[0] for r in found.rows] == ["before", "after"]
    assert (found.skipped, found.deleted) == (1, ["d"])
    assert "left out" in caplog.text
    assert "\x1b" not in caplog.text


@pytest.mark.parametrize(
    ("column", "sent", "kept"),
    [
        ("title", None, ""), ("title", 5, ""), ("title", "a\x1b[31mb\n", "a [31mb "), ("title", "x" * 5000, "x" * TEXT),
        ("year", "1999", 1999), ("year", "MCM", None), ("year", -4, None), ("year", 10**30, None), ("disc", 1.5, None),
        ("duration", -3, 0.0), ("duration", "180.5", 180.5), ("duration", 1e300, 0.0), ("duration", "NaN", 0.0),
        ("size", -1, None), ("size", 2**70, None),
        ("lufs", 1e30, None), ("lufs", "loud", None), ("etag", "x" * 999, None),
        ("album_id", "", None), ("genre", {"a": 1}, None), ("no", "7", 7),
    ],
)  # fmt: skip
def test_nonsense_in_a_field_costs_that_field(column: str, sent: Any, kept: Any) -> None:
    found = decode(page(track(1) | {column: sent}))
    assert value(found, column) == kept
    assert value(found, "artist") == "Artist 0"


def test_half_a_surrogate_costs_one_character() -> None:
    found = decode(rb'{"library":"lib","seq":9,"added":[{"id":1,"title":"a\udcffb","artist":"\ud83c\udfb5 \\ud800"}]}')
    assert (value(found, "title"), value(found, "artist")) == ("a\ufffdb", "🎵 \\ud800")


def test_a_track_told_twice_counts_as_told_last() -> None:
    found = decode(page(track(1), track(1, title="new")))
    assert [r[COLUMNS.index("title")] for r in found.rows] == ["new"]


def test_a_thousand_bad_tracks_do_not_fill_the_log(caplog: pytest.LogCaptureFixture) -> None:
    assert decode(page(*[{"id": ""}] * 1000)).skipped == 1000
    assert len(caplog.records) < 10
