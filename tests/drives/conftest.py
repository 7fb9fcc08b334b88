"""A box with everything that has to do with drives, and an empty folder that stands for one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.drives.rig import Rig, rig


@pytest.fixture
async def box(tmp_path: Path) -> AsyncIterator[Rig]:
    async with rig(tmp_path / "box") as made:
        yield made


@pytest.fixture
def stick(tmp_path: Path) -> Path:
    path = tmp_path / "STICK"
    path.mkdir()
    return path
