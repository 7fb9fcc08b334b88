import shutil
from array import array
from pathlib import Path

import numpy as np
import pytest
from mutagen import File as open_tags

from appliance.demo import covers, library, mixer, synth, wav
from tests.support import tones, wavs


def test_packed_buffers_add_delay_and_amplify_exactly() -> None:
    dice = np.random.default_rng(3)
    notes = [
        (dice.integers(-(2**20), 2**20, 700).astype(np.int32), at, gain) for at, gain in ((0, 3), (599, 1), (1801, 40))
    ]
    expected = np.zeros(3000, np.int64)
    track = mixer.Track(bar=600)
    for note, at, gain in notes:
        expected[at : at + 700] += note.astype(np.int64) * gain
        track.add(mixer.pack(array("i", note.tolist())) * gain, at)
    assert mixer.unpack(track.total(), 3000).tolist() == expected.tolist()


def test_a_buffer_that_overflows_is_an_error_and_no_noise() -> None:
    loudest = mixer.pack(array("i", [2**31 - 1]))
    with pytest.raises(OverflowError):
        mixer.unpack(loudest * 2, 1)


def test_the_same_piece_is_the_same_samples_and_uses_its_range() -> None:
    style = synth.Style("pluck", 140, 57, ((0, 4, 7), (5, 9, 12)), "k.h.s.h.")
    piece = synth.render(style, 3, seed=5)
    assert piece == synth.render(style, 3, seed=5)
    assert piece != synth.render(style, 3, seed=6)
    assert 0.79 <= max(max(piece), -min(piece)) / 2**31 <= 0.801


def test_the_gapless_album_joins_to_one_piece_cut_at_odd_places(small: Path) -> None:
    seed, album = next((n, a) for n, a in enumerate(library.ALBUMS, start=1) if a.gapless)
    piece = np.frombuffer(library._process(synth.render(album.style, 2, seed), album.room), "<i4").reshape(-1, 2)
    decoded = [tones.decode(path) for path in sorted((small / album.artist / album.title).glob("*.flac"))]
    assert len(decoded) == 2
    assert len(decoded[0]) % 2
    joined = np.concatenate(decoded)
    assert len(joined) == len(piece)
    assert np.abs((joined >> 16) - (piece >> 16)).max() <= 2  # rounding and dither


def test_every_format_has_its_tags_and_cover(small: Path) -> None:
    seen = set()
    for album in library.ALBUMS:
        for no, title in enumerate(album.titles[:2], start=1):
            path = next((small / album.artist / album.title).glob(f"{no:02}*"))
            file = open_tags(path)
            assert file is not None
            assert getattr(file.info, "sample_rate", 48_000) == album.encoding.rate  # Opus is always 48 kHz
            lists = [values if isinstance(values, list) else [values] for values in dict(file.tags).values()]
            easy = {str(value) for values in lists for value in values}
            for wanted in (title, album.artist, album.title, album.genre, str(album.year)):
                assert wanted in easy, f"{path.name}: no {wanted}"
            raw = path.read_bytes()
            magic = {"png": b"\x89PNG\r\n", "mjpeg": b"\xff\xd8\xff", "bmp": b"BM", None: b""}[album.cover]
            if path.suffix in (".flac", ".m4a", ".mp3", ".aiff"):
                assert magic in raw
            elif album.cover and path.suffix in (".ogg", ".opus"):
                assert file.tags["metadata_block_picture"]
            seen.add(album.encoding)
    assert len(seen) == 9


def test_making_it_again_makes_the_same_bytes(small: Path, tmp_path: Path) -> None:
    album = next(a for a in library.ALBUMS if a.encoding is library.OPUS)._replace(bars=2)
    one, two = tmp_path / "one", tmp_path / "two"
    for folder in (one, two):
        library.make(folder, (album._replace(titles=album.titles[:1]),))
    files = [path.relative_to(one) for path in one.rglob("*") if path.is_file()]
    assert files
    assert all((one / name).read_bytes() == (two / name).read_bytes() for name in files)


def test_a_library_that_was_interrupted_is_made_anew(tmp_path: Path) -> None:
    album = library.ALBUMS[-1]._replace(bars=1, titles=("One",))
    half = tmp_path / "music.part"
    half.mkdir()
    (half / "left over").write_text("x")
    percents: list[int] = []
    library.make(tmp_path / "music", (album,), percents.append)
    assert percents == [100]
    assert not half.exists()
    assert not list(tmp_path.rglob("left over"))
    shutil.rmtree(tmp_path / "music" / album.artist)
    library.make(tmp_path / "music", (album,), percents.append)  # it is there, and so is left as it is
    assert percents == [100]


def test_covers_are_png_of_the_size_asked_for() -> None:
    picture = covers.png(64, (10, 20, 200), (0, 60, 0), seed=1)
    assert picture[16:24] == (64).to_bytes(4) * 2
    assert covers.mime(picture) == "image/png"
    assert covers.mime(covers.convert(picture, "mjpeg")) == "image/jpeg"
    assert covers.mime(covers.convert(picture, "bmp")) == "image/bmp"


def test_sound_is_told_from_silence(tmp_path: Path) -> None:
    pcm = tones.signal(44_100, 44_100)
    pcm[22_050:] = 0
    path = wavs.write(tmp_path / "a.wav", pcm, 44_100)
    sound = wav.inspect(path)
    assert (sound.rate, sound.channels, sound.bits, sound.samples) == (44_100, 2, 16, 44_100)
    assert sound.peak == pytest.approx(np.abs(wavs.as_float(pcm)).max())
    assert sound.audible == pytest.approx(0.5)
    assert wav.frames(path) == (44_100, 44_100)
    float_sound = wav.inspect(wavs.write(tmp_path / "f.wav", wavs.as_float(pcm).astype(np.float32), 44_100))
    assert float_sound.peak == pytest.approx(sound.peak, abs=1e-6)


@pytest.mark.parametrize("content", [b"", b"RIFF", b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0" + b"\0" * 40, b"ID3" * 100])
def test_what_is_no_wav_is_no_sound(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(content)
    assert wav.frames(path) == (0, 0)
    with pytest.raises(ValueError, match="WAV"):
        wav.inspect(path)
