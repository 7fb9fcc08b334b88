"""How much louder or softer a track is played (P9).

EBU R 128 measures in LUFS; the gain that brings a track to the target is `target - lufs` in dB (ReplayGain 2.0 is the
same with a target of -18). A gain that would lift the true peak over -1 dBTP is cut to that.
"""

from __future__ import annotations

from typing import Literal

from appliance.cloud.models import Track

CEILING = -1.0  # dBTP
MOST = 12.0  # dB; a file that claims to be quieter than that is more likely mislabelled
Mode = Literal["auto", "album", "track", "off"]


def gain(track: Track, mode: Mode, target: float, *, in_album_order: bool) -> float:
    """Gain in dB; 0.0 when loudness is off or nothing is known of the track.

    `in_album_order`: the neighbour in the queue is the neighbour on the album, so their relation must be kept.
    """
    album = track.album_lufs is not None and (mode == "album" or (mode == "auto" and in_album_order))
    loudness = track.album_lufs if album else track.lufs
    peak = track.album_true_peak if album else track.true_peak
    if mode == "off" or loudness is None or not -70.0 <= loudness <= 10.0:
        return 0.0
    wanted = min(target - loudness, MOST)
    if peak is not None and -70.0 <= peak <= 20.0:
        wanted = min(wanted, CEILING - peak)
    return round(wanted, 2)
