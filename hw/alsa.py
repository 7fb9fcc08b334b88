"""One volume control of one sound card through libasound's simple mixer, by ctypes.

Why not pyalsaaudio: it holds Python's global lock while the driver talks I2C to the DAC, so that a wedged bus would
stop the whole player; it drops the error of a failed write, so that a lost card goes unseen; and it has to be compiled
(version 0.11, `alsamixer_setvolume`). libasound itself is there wherever libmpv plays through ALSA.
"""

from __future__ import annotations

import ctypes
import os
from ctypes import byref, c_char_p, c_int, c_long, c_void_p
from typing import Any

from hw.errors import MixerError

_SIGNATURES: dict[str, list[Any]] = {
    "snd_mixer_open": [c_void_p, c_int],
    "snd_mixer_close": [c_void_p],
    "snd_mixer_attach": [c_void_p, c_char_p],
    "snd_mixer_selem_register": [c_void_p, c_void_p, c_void_p],
    "snd_mixer_load": [c_void_p],
    "snd_mixer_selem_id_malloc": [c_void_p],
    "snd_mixer_selem_id_free": [c_void_p],
    "snd_mixer_selem_id_set_name": [c_void_p, c_char_p],
    "snd_mixer_selem_id_set_index": [c_void_p, ctypes.c_uint],
    "snd_mixer_find_selem": [c_void_p, c_void_p],
    "snd_mixer_first_elem": [c_void_p],
    "snd_mixer_elem_next": [c_void_p],
    "snd_mixer_selem_get_name": [c_void_p],
    "snd_mixer_selem_has_playback_volume": [c_void_p],
    "snd_mixer_selem_has_playback_switch": [c_void_p],
    "snd_mixer_selem_get_playback_dB_range": [c_void_p, c_void_p, c_void_p],
    "snd_mixer_selem_set_playback_dB_all": [c_void_p, c_long, c_int],
    "snd_mixer_selem_set_playback_switch_all": [c_void_p, c_int],
    "snd_lib_error_set_handler": [c_void_p],
}
_RETURNS: dict[str, Any] = {
    "snd_mixer_find_selem": c_void_p,
    "snd_mixer_first_elem": c_void_p,
    "snd_mixer_elem_next": c_void_p,
    "snd_mixer_selem_get_name": c_char_p,
    "snd_mixer_selem_id_free": None,
    "snd_mixer_selem_id_set_name": None,
    "snd_mixer_selem_id_set_index": None,
}


class Control:
    """The control `name` of the ALSA control device `device`, such as `hw:CARD=sndrpihifiberry`.

    `lowest` and `highest` are its range in dB; `mutes` says that it has a switch. Raises MixerError, in one line that
    names what there is, when library, card, control or its dB scale is missing.
    """

    def __init__(self, device: str, name: str) -> None:
        self._alsa = _library()
        self._mixer = c_void_p()
        self._check(self._alsa.snd_mixer_open(byref(self._mixer), 0), "the ALSA mixer cannot be opened")
        try:
            self._check(self._alsa.snd_mixer_attach(self._mixer, device.encode()), f"no sound card {device}")
            self._check(self._alsa.snd_mixer_selem_register(self._mixer, None, None), f"{device} has no mixer")
            self._check(self._alsa.snd_mixer_load(self._mixer), f"the controls of {device} cannot be read")
            self._element = self._find(device, name)
            low, high = c_long(), c_long()
            self._check(
                self._alsa.snd_mixer_selem_get_playback_dB_range(self._element, byref(low), byref(high)),
                f'control "{name}" of {device} has no dB scale',
            )
        except MixerError:
            self.close()
            raise
        self.lowest, self.highest = low.value / 100, high.value / 100
        self.mutes = bool(self._alsa.snd_mixer_selem_has_playback_switch(self._element))
        self._what = f'control "{name}" of {device}'

    def set_db(self, db: float) -> None:
        """All channels to the nearest step of `db` (dB, 0 = full scale). Raises MixerError when the card is gone."""
        result = self._alsa.snd_mixer_selem_set_playback_dB_all(self._element, round(db * 100), 0)
        self._check(result, f"{self._what} cannot be set")

    def set_muted(self, muted: bool) -> None:
        """Switch all channels off or on, where there is a switch. Raises MixerError when the card is gone."""
        if self.mutes:
            result = self._alsa.snd_mixer_selem_set_playback_switch_all(self._element, int(not muted))
            self._check(result, f"{self._what} cannot be switched")

    def close(self) -> None:
        """Free the card. Safe to call twice."""
        if self._mixer:
            self._alsa.snd_mixer_close(self._mixer)
            self._mixer = c_void_p()

    def _find(self, device: str, name: str) -> c_void_p:
        identity = c_void_p()
        self._check(self._alsa.snd_mixer_selem_id_malloc(byref(identity)), "no memory")
        self._alsa.snd_mixer_selem_id_set_index(identity, 0)
        self._alsa.snd_mixer_selem_id_set_name(identity, name.encode())
        found = self._alsa.snd_mixer_find_selem(self._mixer, identity)
        self._alsa.snd_mixer_selem_id_free(identity)
        if not found or not self._alsa.snd_mixer_selem_has_playback_volume(found):
            there = ", ".join(self._volumes()) or "none"
            raise MixerError(
                f'{device} has no volume control "{name}"; it has: {there}; set dac.control in panel.wiring'
            )
        return c_void_p(found)

    def _volumes(self) -> list[str]:
        out, element = [], self._alsa.snd_mixer_first_elem(self._mixer)
        while element:
            if self._alsa.snd_mixer_selem_has_playback_volume(element):
                out.append(self._alsa.snd_mixer_selem_get_name(element).decode("utf-8", "replace"))
            element = self._alsa.snd_mixer_elem_next(element)
        return out

    def _check(self, result: int, what: str) -> None:
        if result < 0:
            raise MixerError(
                f"{what}: {os.strerror(-result)}; `aplay -l` lists the cards, `amixer -c CARD` the controls"
            )


_loaded: Any = None


def _library() -> Any:
    global _loaded
    if _loaded is None:
        try:
            library = ctypes.CDLL("libasound.so.2")
            for name, arguments in _SIGNATURES.items():
                function = getattr(library, name)
                function.argtypes, function.restype = arguments, _RETURNS.get(name, c_int)
        except (OSError, AttributeError):
            raise MixerError("libasound.so.2 is missing; install libasound2 (apt install libasound2)") from None
        library.snd_lib_error_set_handler(_SILENCE)  # it writes to standard error, beside our own one-line messages
        _loaded = library
    return _loaded


_silent = ctypes.CFUNCTYPE(None)(lambda: None)  # must outlive the library's use of it
_SILENCE = ctypes.cast(_silent, c_void_p)
