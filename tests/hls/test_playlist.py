"""P2, R6: reading playlists; whatever is in them, what comes out is a plan or one line."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.errors import ChadboxError, ServerError, Unplayable
from appliance.stream.hls.plan import Plan
from appliance.stream.hls.playlist import Master, Media, Segment, parse
from appliance.stream.ranges import IntervalSet

BASE = "https://cdn.example/music/a/list.m3u8?key=1"


def media(text: str) -> Media:
    found = parse("#EXTM3U\n" + text, BASE)
    assert isinstance(found, Media)
    return found


def best(text: str) -> str:
    found = parse("#EXTM3U\n" + text, BASE)
    assert isinstance(found, Master)
    return found.best


def test_addresses_are_seen_from_the_playlist() -> None:
    found = media("#EXTINF:4,\ns.ts\n#EXTINF:4,\n/s.ts\n#EXTINF:4,\nhttp://o.example/s.ts\n#EXT-X-ENDLIST\n")
    urls = ["https://cdn.example/music/a/s.ts", "https://cdn.example/s.ts", "http://o.example/s.ts"]
    assert [s.url for s in found.segments] == urls
    assert found.ended


def test_ranges_go_on_where_the_last_one_ended() -> None:
    found = media("#EXT-X-BYTERANGE:10@5\ns\n#EXT-X-BYTERANGE:7\ns\n#EXT-X-BYTERANGE:1@0\nt\n#EXT-X-ENDLIST")
    assert [s.span for s in found.segments] == [(5, 10), (15, 7), (0, 1)]
    assert Plan(found).size == 18
    with pytest.raises(ServerError, match="byte range"):
        media("#EXT-X-BYTERANGE:7\ns\n#EXT-X-ENDLIST")


def test_an_initialisation_comes_once_and_again_when_it_changes() -> None:
    one, two = '#EXT-X-MAP:URI="i",BYTERANGE="7@3"\n', '#EXT-X-MAP:URI="j"\n'
    found = media(f"{one}a\n{one}b\n#EXT-X-DISCONTINUITY\n{two}c\n#EXT-X-ENDLIST")
    names = [s.url.rpartition("/")[2] for s in found.segments]
    assert names == ["i", "a", "b", "j", "c"]
    assert found.segments[0].span == (3, 7)
    assert [s.number for s in found.segments] == [None, 0, 1, None, 2]


@pytest.mark.parametrize("method", ["AES-128", "SAMPLE-AES", "SAMPLE-AES-CTR"])
def test_encryption_is_named(method: str) -> None:
    with pytest.raises(Unplayable, match=rf"encrypted \({method}\)"):
        media(f'#EXT-X-KEY:METHOD={method},URI="k"\ns.ts\n#EXT-X-ENDLIST')
    media("#EXT-X-KEY:METHOD=NONE\ns.ts\n#EXT-X-ENDLIST")
    with pytest.raises(Unplayable, match="of an unknown kind") as raised:
        media("#EXT-X-KEY:METHOD=\x1b[31m\ns.ts\n#EXT-X-ENDLIST")
    assert "\x1b" not in str(raised.value)


def test_the_best_sound_is_chosen() -> None:
    sound = '#EXT-X-STREAM-INF:BANDWIDTH={},CODECS="mp4a.40.2"\n{}\n'
    assert best(sound.format(64, "low") + sound.format(256, "high") + sound.format(256, "same")).endswith("/high")
    film = '#EXT-X-STREAM-INF:BANDWIDTH=9000,RESOLUTION=1x1,CODECS="avc1.4d,mp4a"\nfilm\n'
    assert best(film + sound.format(64, "low")).endswith("/low")
    apart = '#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="g",NAME="x",URI="x"\n'
    apart += '#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="g",NAME="y",DEFAULT=YES,URI="y"\n'
    dubbed = film.replace("RESOLUTION", 'AUDIO="g",RESOLUTION')
    assert best(apart + film + dubbed).endswith("/y")
    assert best(film.replace("9000", "900").replace("\nfilm", "\nsmall") + film).endswith("/small")


def test_a_live_list_is_taken_up_near_its_end_and_goes_on() -> None:
    def part(first: int, last: int, *, end: bool = False) -> Media:
        rows = "".join(f"#EXTINF:4,\n{n}.m4s\n" for n in range(first, last))
        text = f'#EXT-X-TARGETDURATION:4\n#EXT-X-MEDIA-SEQUENCE:{first}\n#EXT-X-MAP:URI="i"\n{rows}'
        return media(text + ("#EXT-X-ENDLIST" if end else ""))

    plan = Plan(part(0, 10))
    assert [s.number for s in plan.segments] == [None, 7, 8, 9]
    assert not plan.extend(part(2, 10))
    assert plan.extend(part(5, 12))
    assert plan.extend(part(20, 22, end=True))
    assert [s.number for s in plan.segments] == [None, 7, 8, 9, 10, 11, 20, 21]
    assert plan.ended
    for first in range(22, 5000, 20):
        plan.extend(part(first, first + 20))
        for index in plan.unknown():
            plan.learn(index, 100)
    assert len(plan.segments) < 1100
    place = plan.offsets[-2] + 5
    assert plan.block(place, IntervalSet()) == (plan.offsets[-2], plan.offsets[-1])
    assert plan.block(0, IntervalSet()) is None


def test_sizes_survive_in_a_mark_for_the_same_segments_alone() -> None:
    text = "#EXTINF:4,\na.ts?sig=1\n#EXTINF:4,\nb.ts\n#EXTINF:4,\nc.ts\n#EXT-X-ENDLIST"
    plan = Plan(media(text))
    plan.learn(0, 10)
    plan.learn(2, 30)
    assert plan.block(15, IntervalSet()) == (10, 1 << 62)
    again = Plan(media(text.replace("sig=1", "sig=2")))
    assert again.recall(plan.mark())
    assert again.sizes == [10, None, 30]
    again.learn(1, 20)
    assert again.size == 60
    assert [again.segment_at(p) for p in (0, 9, 10, 29, 30, 59, 60)] == [0, 0, 1, 1, 2, 2, None]
    assert not Plan(media(text.replace("c.ts", "d.ts"))).recall(plan.mark())
    for broken in ("", "hls:", f"hls:{plan.identity}", plan.mark() + " 7", plan.mark().replace("10", "1" * 99)):
        assert not Plan(media(text)).recall(broken)


_TAGS = [
    *("#EXTINF:", "#EXT-X-BYTERANGE:", "#EXT-X-MAP:", "#EXT-X-KEY:", "#EXT-X-MEDIA-SEQUENCE:", "#EXT-X-ENDLIST"),
    *("#EXT-X-STREAM-INF:", "#EXT-X-MEDIA:", "#EXT-X-TARGETDURATION:", "#EXT-X-PLAYLIST-TYPE:", "#EXT-X-GAP", ""),
]
_VALUES = (
    f'4.0, -1 {"9" * 30} nan 1e999 7@3 -7@-3 5 URI="x" URI="http://[" METHOD=NONE METHOD=AES-128 VOD EVENT BANDWIDTH=-1'
    ' TYPE=AUDIO,GROUP-ID="g" \0 s.ts http://[ \u0663'
).split(" ")
_TAG = st.builds("{}{}".format, st.sampled_from(_TAGS), st.sampled_from(_VALUES))
_LINE = st.one_of(_TAG, st.text(max_size=40))


@settings(max_examples=500, deadline=None)
@given(st.lists(_LINE, max_size=30))
def test_any_text_gives_a_plan_or_one_line(lines: list[str]) -> None:
    try:
        found = parse("#EXTM3U\n" + "\n".join(lines), BASE)
    except ChadboxError as error:
        reason = str(error)
    else:
        reason = ""
    assert not re.search(r"[\x00-\x1f\x7f]", reason)
    if reason:
        return
    if isinstance(found, Media):
        plan = Plan(found)
        assert all(s.span is None or (s.span[0] >= 0 and s.span[1] > 0) for s in plan.segments)
        assert all(isinstance(s, Segment) and s.seconds >= 0 for s in plan.segments)
        assert plan.offsets == sorted(plan.offsets)
        plan.extend(found)
