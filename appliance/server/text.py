"""Text from tags and file names, which is hostile until it went through here (R6)."""

from __future__ import annotations

import re
import unicodedata

UNKNOWN_ARTIST, UNKNOWN_ALBUM = "Unknown Artist", "Unknown Album"
MAX_TEXT = 500  # characters kept of any tag
MAX_NAME_BYTES = 120  # of one path component made from tags

# C0, C1, line and paragraph separators, and what reorders or hides text: terminal escapes and look-alikes start here.
_CONTROL = re.compile(
    "[\x00-\x1f\x7f-\x9f\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb\ud800-\udfff]+"
)
_SPACE = re.compile(r"\s+")
_FORBIDDEN = re.compile(r'[/\\:*?"<>|]')
_RESERVED = re.compile(r"(?i)^(con|prn|aux|nul|com[1-9]|lpt[1-9])(\.|$)")


def clean(value: object) -> str:
    """`value` as one line of NFC text without control characters, at most MAX_TEXT characters."""
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    text = str(value)[: MAX_TEXT * 4]
    if not text.isascii() or not text.isprintable():
        text = unicodedata.normalize("NFC", _CONTROL.sub(" ", text))
    return _SPACE.sub(" ", text).strip()[:MAX_TEXT].rstrip()


def fold(text: str) -> str:
    """`text` for comparing: without case and diacritics."""
    if text.isascii():
        return text.lower()
    decomposed = unicodedata.normalize("NFKD", text.casefold())
    return "".join(c for c in decomposed if not unicodedata.combining(c))


def words(query: str) -> list[str]:
    """The folded words of a query, at most 12, in the sense of SQLite's unicode61 tokenizer (letters and digits)."""
    return re.findall(r"[^\W_]+", fold(clean(query)))[:12]


def safe_name(text: str, otherwise: str) -> str:
    """One path component that is legal on every file system a drive may have, made from untrusted text."""
    name = _FORBIDDEN.sub("_", clean(text)).strip(" .")
    while len(name.encode()) > MAX_NAME_BYTES:
        name = name[:-1].rstrip(" .")
    if _RESERVED.match(name):
        name = "_" + name
    return name or otherwise
