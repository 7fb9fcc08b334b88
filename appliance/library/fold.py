"""Folding: what makes "Björk", "BJORK" and "bjork" one word, and how text is cut into tokens for the index.

The index and every query go through the same functions, so they agree by construction. What is written here ends up
in the database: a change of the rules must change `VERSION`, and the index is then rebuilt.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from functools import lru_cache

VERSION = f"1/{unicodedata.unidata_version}"

TOKEN = 32  # characters of a token that count; the rest of a longer word is ignored, in the index and in queries alike
WORDS = 400  # most tokens of one text
ANCHORS = (5, 9)  # lengths at which the beginning of a title is a token of its own; shorter ones are prefixes
INDEXED = 5  # characters up to which SQLite has prefixes in the index; longer ones it gathers word by word
QUERY = 200  # most characters of a query
PIECES = 12  # most words of a query

# Letters that Unicode does not take apart; what people type instead of them.
_LETTERS = str.maketrans(
    {"æ": "ae", "œ": "oe", "ø": "o", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "ħ": "h", "ŧ": "t", "ŋ": "n", "ı": "i",
     "ĸ": "k", "ɨ": "i", "ə": "e", "ƒ": "f", "ς": "σ", "’": "'", "‘": "'", "ʼ": "'", "‐": "-", "‑": "-", "–": "-"}
)  # fmt: skip
# Marks that carry meaning of their own: Indic nukta (7) and virama (9), the voicing marks of kana (8).
_KEPT_MARKS = (0, 7, 8, 9)
_ASCII_WORD = re.compile(r"[a-z0-9]+")
_SYMBOLS = {c: c + 0xFEE0 for c in range(0x21, 0x7F)}  # ASCII punctuation as its full-width twin: a token to SQLite
_CJK = re.compile(
    "[\u1100-\u11ff\u3005-\u3007\u3040-\u30ff\u3130-\u318f\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff"
    "\uac00-\ud7ff\uf900-\ufaff\U00020000-\U0003ffff]+"
)


def fold(text: str) -> str:
    """`text` in small letters without diacritics: "Motörhead" -> "motorhead", "Straße" -> "strasse"."""
    if text.isascii():
        return text.lower()
    text = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", text).casefold()).translate(_LETTERS)
    bare = "".join([c for c in text if unicodedata.combining(c) in _KEPT_MARKS])
    return unicodedata.normalize("NFC", bare)  # Hangul syllables and voiced kana whole again


def sort_key(text: str) -> str:
    """Where `text` stands in a list: folded, without a leading "The " and punctuation, at most 64 characters."""
    words = _words(fold(text))
    if len(words) > 1 and words[0] == "the":
        words = words[1:]
    return (" ".join(words) or fold(text).strip())[:64]


def plain(text: str) -> str:
    """`text` folded, its words parted by one space: what can be looked for inside a sort key."""
    return " ".join(_words(fold(text))) or fold(text).strip()


def year_key(year: int) -> str:
    """Years in the order of time, also before 1000."""
    return f"{year:05d}"


def squash(text: str) -> str:
    """`text` folded to letters and digits alone, cut to `TOKEN` characters: what a whole title is compared by."""
    words = _words(fold(text))
    return ("".join(words) or "".join(_symbols(fold(text))))[:TOKEN]


def index_text(title: str, *others: str | None) -> str:
    """The tokens of a thing called `title` that can also be found by `others`, as text for the index.

    Besides the words there are the title as a whole, marked by ^ (with and without a leading "The"), its beginnings of
    certain lengths, marked by ^^, and for Chinese, Japanese and Korean every character and every pair of neighbours,
    because those scripts do not mark words.
    """
    tokens: dict[str, None] = {}
    whole = squash(title)
    wholes = [whole] if whole else []
    if whole.startswith("the") and (bare := squash(sort_key(title))) != whole:
        wholes.append(bare)
    for name in wholes:
        tokens["^" + name] = None
        for length in ANCHORS:
            if len(name) >= length:
                tokens["^^" + name[:length]] = None
    tokens.update(dict.fromkeys(_tokens(title)))
    for text in others:
        if text:
            tokens.update(_shared_tokens(text))
    return " ".join(tokens) if len(tokens) <= WORDS else " ".join(list(tokens)[:WORDS])


class Query:
    """A search as typed: `match` for the index, and `fits` to judge a candidate more closely.

    All words must be found, the last one as a prefix. `match` is empty when there is nothing to look for.
    """

    def __init__(self, text: str) -> None:
        folded = fold(text[:QUERY])
        chunks = folded.split()
        named = [c for c in chunks if _words(c)]
        self.squashed = squash(folded)
        self.runs: list[str] = []  # CJK runs of three and more: pairs alone do not prove them
        parts: list[str] = []
        self.words: list[str] = []
        for i, chunk in enumerate((named or chunks)[:PIECES]):
            last = i == len(named or chunks) - 1
            if not named:
                parts += [_term(symbols, last) for symbols in _symbols(chunk)]
                continue
            words = _words(chunk)
            self.words += words
            every = [t for n, word in enumerate(words) for t in self._pieces(word, last and n == len(words) - 1)]
            both = " AND ".join(every)
            # "AC/DC" is found as "ac dc" and as "acdc", "don't" as "dont"
            joined = "".join(words)
            parts.append(f"(({both}) OR {_term(joined, last)})" if len(words) > 1 and not _CJK.search(joined) else both)
        self.match = " AND ".join(dict.fromkeys(parts))
        # A long prefix of a common word ("remast") would cost a list of all its tracks. So that is asked as one that is
        # in the index, `loose`, and `extends` tells which of the candidates were meant.
        self.loose, self._last = "", ""
        long = re.fullmatch(r'"(.*)"\*', parts[-1]) if parts else None
        if long and len(long[1]) > INDEXED:
            self._last = long[1]
            self.loose = " AND ".join(dict.fromkeys([*parts[:-1], f'"{self._last[:INDEXED]}"*']))

    def _pieces(self, word: str, last: bool) -> Iterable[str]:
        for n, (piece, cjk) in enumerate(pieces := _runs(word)):
            if not cjk:
                yield _term(piece, last and n == len(pieces) - 1)
            elif len(piece) == 1:
                yield _term(piece, False)
            else:
                if len(piece) > 2:
                    self.runs.append(piece)
                for k in range(min(len(piece) - 1, PIECES)):
                    yield _term(piece[k : k + 2], False)

    @property
    def exact(self) -> str:
        return f'"^{self.squashed}"' if self.squashed else ""

    @property
    def begins(self) -> list[str]:
        """Questions for titles that begin as typed; what they give may not fit and must be judged by `rank`.

        A prefix of few letters is in the index. For a longer one SQLite would gather every title that begins so, tens
        of thousands for a common word; a beginning that is itself a token costs nothing.
        """
        length = max((n for n in ANCHORS if n <= len(self.squashed)), default=0)
        if not length:
            return [f'"^{self.squashed}"*'] if self.squashed else []
        anchor = f'"^^{self.squashed[:length]}"'
        match = self.loose or self.match
        return [f"{anchor} AND {match}", anchor] if match else [anchor]

    def extends(self, *texts: str | None) -> bool:
        """Whether a word of a candidate from `loose` begins like the last word typed."""
        return any(token.startswith(self._last) for t in texts if t for token in _shared_tokens(t))

    def fits(self, *texts: str | None) -> bool:
        """False for a candidate that has the pairs of a CJK run but not the run."""
        return not self.runs or all(any(run in fold(t) for t in texts if t) for run in self.runs)

    def rank(self, title: str) -> int:
        """0 when `title` is what was typed, 1 when it begins so, 2 when it has all the words, else 3."""
        folded = fold(title)
        words = _words(folded) or _symbols(folded)
        names = ["".join(words)[:TOKEN]]
        if len(words) > 1 and words[0] == "the":
            names.append("".join(words[1:])[:TOKEN])
        if self.squashed in names:
            return 0
        if self.squashed and any(name.startswith(self.squashed) for name in names):
            return 1
        return 2 if self.words and all(word in folded for word in self.words) else 3


def _term(token: str, prefix: bool) -> str:
    # Tokens hold no quotation mark: it is punctuation, and as a symbol it is full-width.
    return f'"{token[:TOKEN]}"{"*" if prefix else ""}'


@lru_cache(256)
def _shared_tokens(text: str) -> dict[str, None]:
    """Tokens of an artist or album, which comes with every one of its tracks."""
    return dict.fromkeys(_tokens(text))


def _tokens(text: str) -> list[str]:
    folded = fold(text)
    if folded.isascii() and folded.isalnum():
        return [folded[:TOKEN]]
    tokens: list[str] = []
    for chunk in folded.split():
        tokens += _chunk_tokens(chunk)
    return tokens


@lru_cache(1024)
def _chunk_tokens(chunk: str) -> tuple[str, ...]:
    """Tokens of what stands between two spaces, folded: its words, and the words as one ("R.E.M." -> r e m rem)."""
    words = _words(chunk)
    if not words:
        return tuple(s[:TOKEN] for s in _symbols(chunk))
    tokens: list[str] = []
    for word in words[:WORDS]:
        for piece, cjk in _runs(word):
            if cjk:
                tokens += piece[:WORDS]
                tokens += [piece[k : k + 2] for k in range(min(len(piece) - 1, WORDS))]
            else:
                tokens.append(piece[:TOKEN])
    if len(words) > 1:
        tokens.append("".join(words)[:TOKEN])
    return tuple(tokens)


def _words(folded: str) -> list[str]:
    if folded.isascii():
        return _ASCII_WORD.findall(folded)
    # Marks belong to their word though they are not letters: Devanagari would fall to pieces.
    return "".join([c if c.isalnum() or unicodedata.category(c)[0] == "M" else " " for c in folded]).split()


def _symbols(chunk: str) -> list[str]:
    """The band "!!!" must be found too: punctuation alone is a word when there is nothing else."""
    return "".join([c for c in chunk.translate(_SYMBOLS) if c.isprintable()]).split()


def _runs(word: str) -> list[tuple[str, bool]]:
    """Stretches of one word that are (True) or are not (False) of a script without spaces."""
    if word.isascii():
        return [(word, False)]
    runs: list[tuple[str, bool]] = []
    at = 0
    for match in _CJK.finditer(word):
        if match.start() > at:
            runs.append((word[at : match.start()], False))
        runs.append((match[0], True))
        at = match.end()
    if at < len(word):
        runs.append((word[at:], False))
    return runs
