"""One entry on its way through mpv: what mpv is told of it, and whether its end was one."""

from __future__ import annotations

from typing import Any

SCHEME = "chadbox"


class Item:
    """An entry on its way through mpv."""

    def __init__(self, entry: dict[str, Any], start: float | None = None) -> None:
        self.id: int = entry["id"]
        self.stream: int = entry["stream"]
        self.start: float = entry["start"] if start is None else start
        self.end: float | None = entry["end"]
        self.gain: float = entry["gain_db"]
        self.duration: float | None = entry["duration"]
        self.entry = entry
        self.queued = False  # mpv has been told of it
        self.started = self.loaded = self.playing = False
        self.pending_seek: float | None = None
        self.position = self.start
        self.sought = self.start  # where it was sent last; no earlier place is heard after that
        self.final: float | None = None
        self.measured: float | None = None  # the demuxer's idea of the duration
        self.interrupted = False

    @property
    def uri(self) -> str:
        return f"{SCHEME}://{self.id}/{self.stream}"

    @property
    def options(self) -> str:
        """Options for this file alone, in mpv's key-value syntax."""
        chosen = {}
        if self.start > 0:
            chosen["start"] = f"{self.start:.9f}"
        if self.end is not None:
            chosen["end"] = f"{self.end:.9f}"
        if self.gain:
            chosen["af"] = self.filters(mono=False)
        return ",".join(f"{key}=%{len(value)}%{value}" for key, value in chosen.items())

    def filters(self, *, mono: bool) -> str:
        """What this file's sound goes through; per file, so that it takes effect at the very sample of the join."""
        chain = []
        if mono:
            # FFmpeg spreads one channel over two at -3 dB. FL and FR are there for HE-AAC, whose header may say mono.
            chain.append("lavfi=[pan=stereo|FL=FL+FC|FR=FR+FC]")
        if self.gain:
            chain.append(f"lavfi=[volume={self.gain:.4f}dB:precision=double]")  # double: keeps the lowest bits
        return ",".join(chain)


def judge(item: Item, position: float, error: str | None) -> tuple[str, str | None]:
    """Whether what looks like the end of the data is the end of the track (P4)."""
    exact = item.end is not None
    whole = item.end if exact else item.duration or item.measured
    if whole is None:
        return ("error", error) if error else ("eof", None)
    # mpv's position at the end lags by what its output still holds; a library's duration may be an estimate.
    short = whole - position > (1.0 if exact else max(2.0, 0.03 * whole))
    if error and whole - position > 1.0:
        return "error", error
    if short:
        return "error", f"its sound ends at {position:.0f} s of {whole:.0f} s: the file is cut short or damaged"
    return "eof", None
