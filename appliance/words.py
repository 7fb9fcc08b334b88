"""The words for what can be wrong (A5), and what to do about each: the same on display, in `status` and in the log."""

from __future__ import annotations

ADVICE = {
    "offline": "the music server cannot be reached; what is on the box plays on. Check network and [server] url",
    "server-error": "the music server answers with errors; see its log",
    "token-rejected": "the music server refuses the token; put a valid one into [server] token_file",
    "clock-unset": "the clock is not set; plays count without a time until the network brings one",
    "output-lost": "the sound card is gone; check its seat and cable, and [audio] output",
    "cache-full": "everything in the cache is pinned or in use; unpin something or raise [cache] max_bytes",
    "disk-full": "the disk is full; music is streamed, not kept. Free some space or lower [cache] max_bytes",
    "display-lost": "the display does not answer; check its cable",
    "input-lost": "the knob or a button cannot be used; the log names the pin and what to do",
    "drive-full": "the USB drive is full; remove something from it or use a larger one",
    "drive-error": "the USB drive cannot be read or written; check it on another machine",
    "throttled": "the power supply is too weak or the board too hot; use a better supply, give it air",
}


def title(word: str) -> str:
    """`output-lost` as a heading: `Output lost`."""
    return word.replace("-", " ").capitalize()
