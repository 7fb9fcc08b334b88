from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mutagen.oggvorbis import OggVorbis

from tests.support import tones, wavs


@pytest.mark.parametrize("name", tones.LOSSLESS)
def test_lossless_tracks_join_to_the_signal_they_were_cut_from(tmp_path: Path, name: str) -> None:
    album = tones.album(tmp_path, name, tracks=3, seconds=1.5)
    joined = np.concatenate([tones.decode(path) for path in album.tracks])
    assert (found := wavs.difference(album.pcm, joined)) is None, found


@pytest.mark.parametrize("name", ["mp3", "opus"])
def test_lossy_tracks_have_the_exact_length(tmp_path: Path, name: str) -> None:
    album = tones.album(tmp_path, name, tracks=3, seconds=1.5)
    assert [len(tones.decode(path)) for path in album.tracks] == list(album.frames)


def test_vorbis_tracks_declare_the_exact_length(tmp_path: Path) -> None:
    album = tones.album(tmp_path, "vorbis", tracks=3, seconds=1.5)
    infos: list[Any] = [OggVorbis(path).info for path in album.tracks]  # from the last page's granule position
    assert [round(info.length * album.form.rate) for info in infos] == list(album.frames)


@pytest.mark.parametrize("name", tones.LOSSY)
def test_lossy_tracks_begin_in_the_right_place(tmp_path: Path, name: str) -> None:
    album = tones.album(tmp_path, name, tracks=3, seconds=1.5)
    place, likeness = wavs.align(album.part(1), tones.decode(album.tracks[1]), window=3000)
    assert place == 0
    assert likeness > 0.95


def test_cuts_are_odd_and_no_multiple_of_a_frame() -> None:
    for cut in tones.edges(441_001, 5)[1:-1]:
        assert cut % 2
        assert all(cut % size for size in (576, 960, 1024, 1152, 4096, 4608))
