from pathlib import Path

import pytest

from appliance.demo import library


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's albums, shortened: two tracks of each encoding."""
    folder = tmp_path_factory.mktemp("demo") / "music"
    library.make(folder, tuple(album._replace(bars=2, titles=album.titles[:2]) for album in library.ALBUMS))
    return folder
