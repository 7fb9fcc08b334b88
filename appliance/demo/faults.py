"""What servers and lines do wrong: each fault makes of an honest answer what a client may really get.

`FAULTS` maps a name to (what it is, what makes it). A maker takes the request, the honest answer to it and a seeded
source of chance; it returns a new answer. `storm` strikes at random, the same for the same seed.
"""

from __future__ import annotations

import gzip
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from email.utils import formatdate
from random import Random
from time import time

from appliance.demo.faultserver import Answer, Hook, Seen

Maker = Callable[[Seen, Answer, Random], Answer]
PAGE = b"<!DOCTYPE html><html><head><title>Sign in</title></head><body>Please sign in to the network</body></html>" * 9
ERROR = b'{"subsonic-response": {"status": "failed", "error": {"code": 40, "message": "Wrong username or password"}}}'
_RUBBISH = bytes(range(256)) * 300


@dataclass
class Fault:
    """`rubbish`: a client may read bytes of it that are of no use. `pace`: it costs time until a client gives up."""

    text: str
    make: Maker
    rubbish: bool = False
    pace: bool = False


def _headers(**changes: str | Callable[[Answer, Random], str]) -> Maker:
    """Replace headers (_ for -); an empty value takes one out."""

    def make(seen: Seen, answer: Answer, dice: Random) -> Answer:
        new = {
            k.replace("_", "-"): value if isinstance(value, str) else value(answer, dice)
            for k, value in changes.items()
        }
        return replace(answer, headers=answer.headers | new)

    return make


def _status(status: int, body: bytes = b"", **headers: str) -> Maker:
    fields = {k.replace("_", "-"): v for k, v in headers.items()}
    return lambda seen, answer, dice: Answer(status, body, {"Content-Type": "text/plain"} | fields)


def _half(answer: Answer) -> int:
    return len(answer.body) // 2


def _range(answer: Answer, dice: Random, *, shift: int = 0, invert: bool = False, grow: bool = False) -> str:
    span, _, size = answer.headers.get("Content-Range", f"bytes 0-{len(answer.body) - 1}/{len(answer.body)}")[
        6:
    ].partition("/")
    first, last = (int(n) for n in span.split("-"))
    if invert:
        return f"bytes {last + 1}-{first}/{size}"
    total = int(size) + dice.randrange(1, 1 << 20) if grow else int(size)
    return f"bytes {first + shift}-{last + shift}/{total}"


def _date() -> str:
    return formatdate(time() + 1, usegmt=True)


FAULTS: dict[str, Fault] = {
    "whole": Fault("200 with the whole file for a part of it",
        lambda s, a, d: replace(a, status=200, body=a.whole or a.body, headers=a.headers | {"Content-Range": ""}),
        rubbish=True),
    "no-content-range": Fault("206 that does not say which part", _headers(Content_Range="")),
    "wrong-content-range": Fault("206 for another part", _headers(Content_Range=lambda a, d: _range(a, d, shift=7))),
    "inverted-range": Fault("206 from the end to the start",
        _headers(Content_Range=lambda a, d: _range(a, d, invert=True))),
    "absurd-range": Fault("206 with a number of 5,000 digits",
        _headers(Content_Range=lambda a, d: f"bytes 0-{'9' * 5000}/{'9' * 5000}")),
    "short": Fault("body ends in the middle, orderly", lambda s, a, d: replace(a, cut=_half(a))),
    "short-length": Fault("Content-Length of half the part, body as long",
        lambda s, a, d: replace(a, body=a.body[: _half(a)])),
    "short-chunked": Fault("half the part, in chunks",
        lambda s, a, d: replace(a, body=a.body[: _half(a)], chunked=True)),
    "empty-chunked": Fault("nothing, in chunks", lambda s, a, d: replace(a, body=b"", chunked=True)),
    "long": Fault("more bytes than the part has", lambda s, a, d: replace(a, body=a.body + _RUBBISH), rubbish=True),
    "long-chunked": Fault("more bytes than the part has, in chunks",
        lambda s, a, d: replace(a, body=a.body + _RUBBISH * 4, chunked=True), rubbish=True),
    "other-etag": Fault("another ETag, once", _headers(ETag=lambda a, d: f'"{d.randbytes(8).hex()}"')),
    "other-size": Fault("another size of the whole, once",
        _headers(Content_Range=lambda a, d: _range(a, d, grow=True))),
    "weak-etag": Fault("a weak ETag", _headers(ETag=lambda a, d: "W/" + a.headers.get("ETag", '""'))),
    "no-etag": Fault("the ETag is missing", _headers(ETag="")),
    "no-validator": Fault("neither ETag nor date", _headers(ETag="", Last_Modified="")),
    "gzip": Fault("compressed though asked not to", lambda s, a, d: replace(a, body=gzip.compress(a.body[:4096], 1),
        headers=a.headers | {"Content-Encoding": "gzip"})),
    "html": Fault("200 with a page to sign in", _status(200, PAGE, Content_Type="text/html; charset=utf-8")),
    "json": Fault("200 with an error in JSON", _status(200, ERROR, Content_Type="application/json")),
    "page-as-audio": Fault("200 with a page that is called audio", _status(200, PAGE, Content_Type="audio/flac"),
        rubbish=True),
    "multipart": Fault("206 multipart/byteranges", _headers(Content_Type="multipart/byteranges; boundary=x")),
    "redirect-loop": Fault("302 in circles", lambda s, a, d: Answer(302, b"", {"Location": s.target})),
    "redirect-nowhere": Fault("302 to a port where nobody is",
        lambda s, a, d: Answer(302, b"", {"Location": "http://127.0.0.1:9/x"})),
    "redirect-scheme": Fault("302 to a file of the client", _status(302, b"", Location="file:///etc/passwd")),
    "not-modified": Fault("304 though nothing was conditional", _status(304)),
    "no-content": Fault("204", _status(204, Content_Length="")),
    "416": Fault("416 for a part that is there", _status(416, Content_Range="bytes */1099511627776")),
    "416-empty": Fault("416: the file has no bytes", _status(416, b"", Content_Range="bytes */0")),
    "429": Fault("429, Retry-After in seconds", _status(429, b"slow down", Retry_After="1")),
    "503": Fault("503, Retry-After as a date", lambda s, a, d: Answer(503, b"", {"Retry-After": _date()})),
    "500": Fault("500", _status(500, b"Internal Server Error")),
    "502": Fault("502", _status(502, b"Bad Gateway")),
    "401": Fault("401", _status(401, b"{}", WWW_Authenticate="Bearer")),
    "403": Fault("403: the URL has expired", _status(403)),
    "404": Fault("404, once", _status(404)),
    "410": Fault("410: the URL has expired", _status(410)),
    "reset-early": Fault("RST before the answer", lambda s, a, d: replace(a, head=False, reset=True)),
    "reset": Fault("RST in the middle", lambda s, a, d: replace(a, cut=_half(a), reset=True)),
    "close-early": Fault("closed before the answer", lambda s, a, d: replace(a, head=False)),
    "garbage": Fault("not HTTP", lambda s, a, d: Answer(raw=b"220 mail.example.org ESMTP\r\n")),
    "bad-chunk": Fault("chunks that make no sense", lambda s, a, d: Answer(
        raw=b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Type: audio/flac\r\n\r\nzz\r\n")),
    "bad-length": Fault("Content-Length that is none", lambda s, a, d: Answer(
        raw=b"HTTP/1.1 200 OK\r\nContent-Length: 12x\r\nContent-Type: audio/flac\r\n\r\nabc")),
    "huge-headers": Fault("headers of a megabyte", lambda s, a, d: Answer(
        raw=b"HTTP/1.1 200 OK\r\n" + b"X-Padding: " + b"x" * (1 << 20) + b"\r\n\r\n")),
    "stall-early": Fault("no answer at all", lambda s, a, d: replace(a, head=False, silent=True), pace=True),
    "stall": Fault("silence in the middle", lambda s, a, d: replace(a, cut=_half(a), silent=True), pace=True),
    "trickle-headers": Fault("headers, a byte now and then", lambda s, a, d: replace(a, trickle=2.0), pace=True),
    "trickle": Fault("a byte now and then from the middle on", lambda s, a, d: replace(a, cut=_half(a), trickle=2.0),
        pace=True),
}  # fmt: skip


def spoil(name: str, seen: Seen, answer: Answer, dice: Random, pace: float = 1.0) -> Answer:
    """The answer with fault `name`; `pace` scales the seconds of those that trickle."""
    made = FAULTS[name].make(seen, answer, dice)
    return replace(made, trickle=made.trickle * pace)


def storm(
    seed: int, share: float, *, names: Collection[str] = tuple(FAULTS), pace: float = 1.0, prefix: str = "/music/",
    told: Callable[[str], None] = lambda name: None,
) -> Hook:  # fmt: skip
    """Spoil this `share` of the answers for paths with `prefix`, by faults of `names`, reproducibly; `told` of each."""
    dice, chosen = Random(seed), sorted(names)  # noqa: S311  (no secret depends on it)

    async def hook(seen: Seen, answer: Answer) -> Answer | None:
        if not seen.path.startswith(prefix) or dice.random() >= share:
            return None
        name = dice.choice(chosen)
        told(name)
        return spoil(name, seen, answer, dice, pace)

    return hook
