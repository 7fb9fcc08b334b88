from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.engine import material

pytest.importorskip("mpv", reason="libmpv is not installed", exc_type=OSError)


@pytest.fixture(scope="session")
def split(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[list[Path], np.ndarray]]:
    """`split(codec)`: five tracks of one signal, and the signal; made once a session."""
    if shutil.which("ffmpeg") is None:
        pytest.skip("ffmpeg is not installed")
    folder = tmp_path_factory.mktemp("material")
    made: dict[str, tuple[list[Path], np.ndarray]] = {}

    def get(codec: str) -> tuple[list[Path], np.ndarray]:
        if codec not in made:
            made[codec] = material.split(folder, codec)
        return made[codec]

    return get


@pytest.fixture(scope="session")
def long_flac(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A minute of FLAC, some 2 MiB."""
    return material.write(tmp_path_factory.mktemp("long") / "long", material.signal(60 * material.RATE), "flac")


@pytest.fixture(scope="session")
def long_mp3(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return material.write(tmp_path_factory.mktemp("long") / "long", material.signal(60 * material.RATE), "mp3")
