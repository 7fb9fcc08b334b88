"""P10, P11: what ALSA gets, and what happens when it is not there. ALSA's own plug-ins stand in for a card."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from appliance.engine import AudioChanged, EntryEnded, Idle, OutputBack, OutputLost, Position
from appliance.engine.output import options
from tests.engine import material
from tests.engine.rig import Rig

Split = Callable[[str], tuple[list[Path], np.ndarray]]

_CARD = """
pcm.!default {{
    type plug
    slave {{ format S32_LE
             pcm {{ type file
                    format raw
                    file "|cat >>{raw}"
                    slave.pcm {{ type null }} }} }}
}}
"""
_NO_CARD = 'pcm.!default { type hw\n card "nosuchcard" }\n'


@pytest.fixture
def card(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """ALSA's settings file; the card it describes writes S32 to capture.raw beside it."""
    path = tmp_path / "asound.conf"
    path.write_text(_CARD.format(raw=tmp_path / "capture.raw"))
    monkeypatch.setenv("ALSA_CONFIG_PATH", str(path))
    return path


def _unplug(card: Path) -> str:
    good = card.read_text()
    card.write_text(_NO_CARD)
    return good


def _plug_in(card: Path, text: str) -> None:
    card.write_text(text)
    os.utime(card, (1_000_000_000, 1_000_000_000))  # ALSA looks at whole seconds to see that the file is another


def _capture(card: Path) -> np.ndarray:
    return np.frombuffer((card.parent / "capture.raw").read_bytes(), "<i4").reshape(-1, 2)


def _sounding(out: np.ndarray) -> np.ndarray:
    """Without silent frames: a card that takes everything at once runs dry, and is then given a last half period."""
    return out[out.any(axis=1)]


@pytest.mark.parametrize("codec", ["flac", "flac24"])
async def test_the_card_gets_every_bit_at_full_volume(card: Path, split: Split, codec: str) -> None:
    files, samples = split(codec)
    async with Rig("alsa") as rig:
        await rig.play([rig.add(f) for f in files])
        assert rig.of(AudioChanged)[0].output == "alsa"
        assert rig.of(AudioChanged)[-1].underruns == 0
    wanted = samples << (8 if codec == "flac24" else 16)
    assert np.array_equal(_sounding(_capture(card)), _sounding(wanted))


async def test_a_change_of_rate_loses_nothing(card: Path, tmp_path: Path) -> None:
    """The native policy: the card is reopened between the two, and gets all of both."""
    sounds = [(material.signal(44_100), 44_100), (material.signal(48_000, 48_000), 48_000)]
    files = [material.write(tmp_path / f"{i}", s, "flac", r) for i, (s, r) in enumerate(sounds)]
    async with Rig("alsa") as rig:
        await rig.play([rig.add(f) for f in files])
        assert [e.rate for e in rig.of(AudioChanged)][-1] == 48_000
        assert rig.of(AudioChanged)[0].rate == 44_100
    out = _capture(card) >> 16
    assert np.array_equal(_sounding(out), _sounding(np.concatenate([sound for sound, _ in sounds])))


async def test_software_volume_is_cubic_and_fine_at_the_low_end(card: Path, split: Split) -> None:
    files, samples = split("flac24")
    async with Rig("alsa") as rig:
        rig.engine.set_volume(10)
        await rig.play([rig.add(files[0])])
    out = _sounding(_capture(card))
    wanted = samples[: material.CUTS[1]] * 2.0**8 * 0.1**3
    assert np.abs(out - wanted[-len(out) :]).max() < 64  # of 2**31: float's own precision at this level


async def test_no_card_holds_the_music_until_there_is_one(card: Path, split: Split) -> None:
    files, samples = split("flac")
    good = _unplug(card)
    async with Rig("alsa") as rig:
        entry, following = rig.add(files[0]), rig.add(files[1])
        rig.engine.load(entry, paused=False)
        rig.engine.set_next(following)
        lost = await rig.event(OutputLost)
        assert lost.reason
        await asyncio.sleep(0.7)  # longer than a retry: nothing is swallowed meanwhile
        assert rig.of(Position)[-1].state == "paused"
        assert rig.of(Position)[-1].seconds < 0.1
        assert not rig.of(EntryEnded)
        _plug_in(card, good)
        await rig.event(OutputBack, seconds=8)
        await rig.event(Idle, seconds=8)
        assert [e.reason for e in rig.of(EntryEnded)] == ["eof", "eof"]
        assert len(rig.of(OutputLost)) == len(rig.of(OutputBack)) == 1
    assert np.array_equal(_sounding(_capture(card) >> 16), _sounding(samples[: material.CUTS[2]]))


async def test_pausing_while_the_card_is_away_is_kept(card: Path, split: Split) -> None:
    files, _ = split("flac")
    good = _unplug(card)
    async with Rig("alsa") as rig:
        rig.engine.load(rig.add(files[0]), paused=False)
        await rig.event(OutputLost)
        rig.engine.set_paused(True)
        _plug_in(card, good)
        await rig.event(OutputBack, seconds=8)
        await asyncio.sleep(0.3)
        assert rig.of(Position)[-1].state == "paused"
        rig.engine.set_paused(False)
        assert (await rig.event(EntryEnded)).reason == "eof"


async def test_snapcast_gets_48000_16_2(tmp_path: Path, split: Split) -> None:
    files, _ = split("flac")
    fifo = tmp_path / "snapfifo"
    async with Rig(f"snapcast:{fifo}") as rig:
        with fifo.open("rb", buffering=0) as pipe:  # the engine has made it, and holds it open
            got = asyncio.create_task(asyncio.to_thread(pipe.read, 65_536))
            rig.engine.load(rig.add(files[0]), paused=False)
            data = await asyncio.wait_for(got, 5)
            changed = await rig.event(AudioChanged)
            rig.engine.stop()
    assert len(data) > 0
    assert (changed.rate, changed.format, changed.channels) == (48_000, "s16", 2)


def test_a_card_is_named_by_its_id() -> None:
    assert options("alsa:sndrpihifiberry", "native")["audio-device"] == "alsa/plughw:CARD=sndrpihifiberry"
    assert options("alsa:hw:CARD=DAC,DEV=1", "native")["audio-device"] == "alsa/hw:CARD=DAC,DEV=1"
    assert options("alsa", 48_000)["audio-samplerate"] == "48000"
