"""Playlists of HLS (RFC 8216) as far as sound needs them; pure functions of hostile text."""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import urljoin

from msgspec import Struct

from appliance.errors import BadAddress, ServerError, Unplayable

MAX_SEGMENTS = 10_000  # eleven hours of four seconds each
MAX_LINE = 16 << 10  # characters
LONGEST = 86_400.0  # seconds of a segment; more is no time but nonsense
LARGEST = 1 << 40  # bytes; offsets and lengths beyond are no ranges but nonsense

_ATTRIBUTE = re.compile(r'([A-Z0-9-]{1,64})=("[^"]*"|[^",]*)(?:,|$)')
_NUMBER = re.compile(r"[0-9]{1,18}")
_SECONDS = re.compile(r"[0-9]{1,9}(?:\.[0-9]{0,18})?")
_RANGE = re.compile(r"([0-9]{1,18})(?:@([0-9]{1,18}))?")
_METHOD = re.compile(r"[A-Z0-9-]{1,32}")
_VIDEO = ("avc", "hvc", "hev", "dvh", "vp0", "vp8", "vp9", "av01", "mp4v")


class Segment(Struct, frozen=True):
    """`url` is absolute; `span` are first byte and length in what it names, None: all of it. `seconds` 0: not told.

    `number` is the media sequence number; an initialisation section (EXT-X-MAP) has none.
    """

    url: str
    seconds: float
    span: tuple[int, int] | None = None
    number: int | None = None


class Media(Struct, frozen=True):
    """A media playlist; `target` is the longest of its segments in seconds.

    `ended`: no more segments will come. `event`: they only ever come at the end, none goes.
    """

    segments: list[Segment]
    target: float
    ended: bool
    event: bool


class Master(Struct, frozen=True):
    """A playlist of playlists; `best` is the absolute URL of the one to hear."""

    best: str


class _Variant(Struct):
    url: str
    bandwidth: int
    video: bool
    group: str | None


def parse(text: str, base: str) -> Media | Master:
    """What the playlist at URL `base` says. Raises ServerError for what is none, Unplayable for an encrypted one."""
    lines = _lines(text)
    if not next(lines, "").startswith("#EXTM3U"):
        raise ServerError("what should be a playlist is none")
    body = list(lines)
    if any(line.startswith("#EXT-X-STREAM-INF:") for line in body):
        return _master(body, base)
    return _media(body, base)


def _lines(text: str) -> Iterator[str]:
    for line in text.removeprefix("\ufeff").replace("\r", "\n").split("\n"):
        if len(line) > MAX_LINE:
            raise ServerError("the playlist has a line that is too long")
        if line := line.strip():
            yield line


def _media(lines: list[str], base: str) -> Media:
    segments: list[Segment] = []
    seconds, span, target, number = 0.0, "", 0.0, 0
    ended = event = gap = fixed = False
    head: Segment | None = None  # the initialisation section in force
    written: Segment | None = None  # the one that stands in `segments` last
    ends: dict[str, int] = {}  # where the last range of a file ended: a range without offset goes on there
    for line in lines:
        tag, _, value = line.partition(":")
        if not line.startswith("#"):
            url = _joined(base, line)
            part = _span(span, ends.get(url)) if span else None
            if part:
                ends[url] = part[0] + part[1]
            if not gap:
                if head is not None and head != written:
                    segments.append(head)
                    written = head
                segments.append(Segment(url, seconds, part, number))
            number += 1
            if len(segments) > MAX_SEGMENTS:
                raise ServerError(f"the playlist has more than {MAX_SEGMENTS} segments")
            seconds, span, gap = 0.0, "", False
        elif tag == "#EXTINF":
            seconds = _seconds(value.partition(",")[0])
        elif tag == "#EXT-X-BYTERANGE":
            span = value.strip()
        elif tag == "#EXT-X-MAP":
            head = _map(_attributes(value), base)
        elif tag == "#EXT-X-KEY":
            _refuse_keys(_attributes(value))
        elif tag == "#EXT-X-TARGETDURATION":
            target = _seconds(value)
        elif tag == "#EXT-X-MEDIA-SEQUENCE":
            number = _number(value)
        elif tag == "#EXT-X-PLAYLIST-TYPE":
            event, fixed = value.strip() == "EVENT", value.strip() == "VOD"
        elif tag == "#EXT-X-GAP":
            gap = True
        elif tag == "#EXT-X-ENDLIST":
            ended = True
            break
    if fixed and not ended:
        raise ServerError("the playlist ends too early")
    if ended and not segments:
        raise ServerError("the playlist has no segments")
    return Media(segments, target, ended, event)


def _master(lines: list[str], base: str) -> Master:
    """The best sound: a variant that is sound alone, else one with the sound apart from pictures; then bandwidth."""
    variants: list[_Variant] = []
    sounds: dict[str, list[dict[str, str]]] = {}
    waiting: dict[str, str] | None = None
    for line in lines:
        tag, _, value = line.partition(":")
        if tag == "#EXT-X-STREAM-INF":
            waiting = _attributes(value)
        elif tag == "#EXT-X-MEDIA":
            found = _attributes(value)
            if found.get("TYPE") == "AUDIO":
                sounds.setdefault(found.get("GROUP-ID", ""), []).append(found)
        elif not line.startswith("#") and waiting is not None:
            variants.append(_variant(waiting, _joined(base, line)))
            waiting = None
        if len(variants) > MAX_SEGMENTS:
            raise ServerError("the playlist has too many variants")
    if not variants:
        raise ServerError("the playlist names no variant")

    def apart(variant: _Variant) -> str | None:
        group = sounds.get(variant.group or "", []) if variant.group is not None else []
        ranked = sorted(group, key=lambda s: (s.get("DEFAULT") != "YES", s.get("AUTOSELECT") != "YES"))
        return ranked[0].get("URI") if ranked else None

    def worth(variant: _Variant) -> tuple[int, int]:
        if not variant.video:
            return 2, variant.bandwidth
        # Of variants with pictures in them the smallest: the pictures come along for nothing.
        return (1, variant.bandwidth) if apart(variant) else (0, -variant.bandwidth)

    best = max(variants, key=worth)
    uri = apart(best)
    return Master(_joined(base, uri) if uri else best.url)


def _variant(attributes: dict[str, str], url: str) -> _Variant:
    codecs = attributes.get("CODECS", "").lower()
    video = "RESOLUTION" in attributes or any(c.strip().startswith(_VIDEO) for c in codecs.split(","))
    bandwidth = attributes.get("BANDWIDTH", "")
    return _Variant(url, _number(bandwidth) if _NUMBER.fullmatch(bandwidth) else 0, video, attributes.get("AUDIO"))


def _refuse_keys(attributes: dict[str, str]) -> None:
    method = attributes.get("METHOD", "")
    if method != "NONE":
        named = method if _METHOD.fullmatch(method) else "of an unknown kind"
        raise Unplayable(f"its HLS segments are encrypted ({named}), which chadbox cannot play")


def _map(attributes: dict[str, str], base: str) -> Segment:
    if not attributes.get("URI"):
        raise ServerError("the playlist has an initialisation section without an address")
    span = attributes.get("BYTERANGE")
    return Segment(_joined(base, attributes["URI"]), 0.0, _span(span, 0) if span else None)


def _span(text: str, follows: int | None) -> tuple[int, int]:
    match = _RANGE.fullmatch(text)
    if match is None:
        raise ServerError("the playlist has a byte range that is none")
    length = int(match[1])
    start = int(match[2]) if match[2] else follows
    if start is None or not 0 < length <= LARGEST or start > LARGEST:
        raise ServerError("the playlist has an impossible byte range")
    return start, length


def _attributes(text: str) -> dict[str, str]:
    return {match[1]: match[2].strip('"') for match in _ATTRIBUTE.finditer(text)}


def _number(text: str) -> int:
    if not _NUMBER.fullmatch(text.strip()):
        raise ServerError("the playlist has a number that is none")
    return int(text)


def _seconds(text: str) -> float:
    text = text.strip()
    return min(float(text), LONGEST) if _SECONDS.fullmatch(text) else 0.0


def _joined(base: str, reference: str) -> str:
    try:
        return urljoin(base, reference)
    except ValueError:
        raise BadAddress("the playlist has a URL that is none") from None
