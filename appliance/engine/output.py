"""`audio.output` and `audio.rate` as options of mpv.

| output         | mpv                      | samples |
|----------------|--------------------------|---------|
| alsa           | alsa, ALSA's default     | float: 24 bits pass unchanged, and volume is not quantised to 1/256 |
| alsa:CARD      | alsa/plughw:CARD=CARD    | the same; plughw turns them into what the card takes |
| alsa:NAME:WITH | alsa/NAME:WITH           | a PCM by its full ALSA name, for those who know what they do |
| null           | null, in real time       | float |
| wav:FILE       | pcm, appending (see wav) | rate and channels of the first track; s16 when it has 16 bits, else s32 |
| snapcast:FIFO  | pcm into a fifo          | 48000:16:2, what snapserver's pipe source expects unless told otherwise |

A lossy first track makes an s32 WAV: integers of 32 bits keep what the decoder gives, and every program can read them.
"""

from __future__ import annotations

import contextlib
import os
import stat
from typing import Any

from appliance.engine import sniff, wav

BASE = {
    "config": "no",
    "load-scripts": "no",
    "ytdl": "no",
    "osc": "no",
    "terminal": "no",
    "input-default-bindings": "no",
    "input-vo-keyboard": "no",
    "vid": "no",
    "sid": "no",
    "vo": "null",
    "audio-display": "no",
    "autoload-files": "no",
    "audio-file-auto": "no",
    "sub-auto": "no",
    "idle": "yes",
    "gapless-audio": "weak",
    "prefetch-playlist": "yes",
    "replaygain": "no",
    "volume": "100",
    "volume-max": "100",
    "audio-fallback-to-null": "yes",
    "audio-channels": "stereo",
    # The file is on this machine's disk: nothing is gained by much read-ahead, or by keeping what was played.
    "cache": "yes",
    "cache-secs": "10",
    "demuxer-max-bytes": "3MiB",
    "demuxer-max-back-bytes": "0",
    "demuxer-seekable-cache": "no",  # so that every seek reaches the reader and can end a wait
    "cache-pause": "yes",
    "cache-pause-wait": "0.5",
    "stream-buffer-size": "256KiB",  # each reading of it runs Python
    "demuxer-termination-timeout": "0",
    # Hostile files: no playlists, no references to other files or hosts, no demuxer but those for music.
    "demuxer": "lavf",
    "access-references": "no",
    "ordered-chapters": "no",
    "load-unsafe-playlists": "no",
    "hls-bitrate": "no",
}
FORMATS = "flac,mp3,aac,ogg,wav,w64,rf64,aiff,mov,mp4,m4a,3gp,3g2,mj2,ape,wv,tta,dsf,caf,au,mpegts,matroska,webm"
OPTIONAL = {
    "cover-art-auto": "no",
    "load-auto-profiles": "no",
    "load-osd-console": "no",
    "load-stats-overlay": "no",
    "load-console": "no",
    "load-commands": "no",
    "load-select": "no",
    "load-positioning": "no",
    "load-context-menu": "no",
    "input-builtin-bindings": "no",
    "input-media-keys": "no",
    "media-controls": "no",
    "demuxer-lavf-o": f"protocol_whitelist=chadbox,format_whitelist=[{FORMATS}]",
}


def options(output: str, rate: int | str) -> dict[str, str]:
    """mpv's options for a setting that `config` has checked."""
    kind, _, rest = output.partition(":")
    chosen = dict(BASE)
    if rate != "native":
        chosen["audio-samplerate"] = str(rate)
    if kind == "alsa":
        chosen["ao"] = "alsa"
        chosen["audio-format"] = "float"
        if rest:
            chosen["audio-device"] = f"alsa/{rest}" if ":" in rest else f"alsa/plughw:CARD={rest}"
    elif kind == "wav":
        chosen |= {"ao": "pcm", "ao-pcm-file": rest, "ao-pcm-append": "yes", "ao-pcm-waveheader": "no"}
    elif kind == "snapcast":
        chosen |= {"ao": "pcm", "ao-pcm-file": rest, "ao-pcm-append": "yes", "ao-pcm-waveheader": "no"}
        chosen |= {"audio-format": "s16", "audio-samplerate": "48000"}
    else:
        # No conversion for nobody's ears. The buffer stays mpv's: a longer one saves time but lags behind after a seek.
        chosen["ao"] = "null"
    return chosen


def driver(output: str) -> str:
    """mpv's name of the output driver that must be the current one."""
    return {"alsa": "alsa", "wav": "pcm", "snapcast": "pcm"}.get(output.partition(":")[0], "null")


def prepare(output: str) -> None:
    """Make what an output needs before mpv opens it: the fifo, held open so that opening it never waits for a reader.

    Raises OSError.
    """
    kind, _, path = output.partition(":")
    if kind == "snapcast":
        with contextlib.suppress(FileExistsError):
            os.mkfifo(path, 0o660)
        if not stat.S_ISFIFO(os.stat(path).st_mode):
            raise OSError(f"{path} is not a fifo: name the one that snapserver reads")
        os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)  # stays open until this process ends


class WavFile:
    """The file behind `wav:FILE`; for every other output it does nothing."""

    def __init__(self, output: str, rate: int | str, options: dict[str, str]) -> None:
        """Adds to `options` what a file that already holds sound demands. Raises OSError."""
        kind, _, path = output.partition(":")
        self._path = path if kind == "wav" else None
        self._rate = None if rate == "native" else int(rate)
        self._decided = False
        self.channels = 2  # what the output is opened with
        self._size = 0
        self._at = 0.0
        if self._path is None:
            return
        if not os.path.exists(self._path):
            wav.create(self._path)
        wav.mend(self._path, cut=True)
        known = wav.read_format(self._path)
        if known is not None:
            self._decided = True
            self.channels = known[1]
            options |= _forced(*known)

    def decide(self, core: Any, track: dict[str, Any], descriptor: int) -> None:
        """Called with the first track that opens, in a hook: its format becomes the file's."""
        if self._path is None or self._decided:
            return
        rate = self._rate or track.get("demux-samplerate")
        if not rate:
            return
        depth = sniff.bits(descriptor, track.get("codec") or "") if descriptor >= 0 else None
        channels = self.channels = 1 if track.get("demux-channel-count") == 1 else 2
        format_ = "s16" if depth is not None and depth <= 16 else "s32"
        for name, value in _forced(int(rate), channels, format_).items():
            core.set_now(name, value)
        wav.set_format(self._path, int(rate), channels, format_)
        self._decided = True

    def tick(self, now: float) -> None:
        """About once a second: make the sizes in the header true."""
        if self._path is not None and now - self._at > 1.0:
            self._at = now
            self.mend()

    def mend(self) -> None:
        if self._path is not None and self._decided:
            try:
                size = os.stat(self._path).st_size
                if size != self._size:
                    wav.mend(self._path)
                    self._size = size
            except OSError:
                pass  # taken away under our feet; playing goes on


def _forced(rate: int, channels: int, format_: str) -> dict[str, str]:
    return {
        "audio-samplerate": str(rate),
        "audio-channels": "mono" if channels == 1 else "stereo",
        "audio-format": format_,
    }
