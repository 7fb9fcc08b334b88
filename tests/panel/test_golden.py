"""F4: every screen as a picture, in three scripts and both sizes, as the display shows it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from PIL import Image

from hw.frame import unpack
from tests.panel.samples import SCREENS, SCRIPTS
from tests.panel.support import check_golden, needs_unifont, shown, through_the_bus

NOW = 10.5
DOCS = Path(__file__).parents[2] / "docs" / "panel"


@pytest.fixture(autouse=True)
def _utc(monkeypatch: pytest.MonkeyPatch) -> None:
    import time

    monkeypatch.setenv("TZ", "UTC")
    time.tzset()


@needs_unifont
@pytest.mark.parametrize("height", [64, 32])
@pytest.mark.parametrize("script", SCRIPTS)
@pytest.mark.parametrize("screen", SCREENS)
def test_screen(screen: str, script: str, height: int) -> None:
    """Rebuilt from the I2C bytes, and drawn over another screen, as it is in use."""
    before = shown(SCREENS["playing"](SCRIPTS["latin"], height), NOW).picture.pages()
    frame = shown(SCREENS[screen](SCRIPTS[script], height), NOW).picture.pages()
    assert len(frame) == 128 * height // 8
    for controller in ("ssd1306", "sh1106"):
        assert through_the_bus([before, frame], height, controller) == frame
    check_golden(f"{screen}-{script}-128x{height}", frame)


@needs_unifont
@pytest.mark.parametrize("screen", SCREENS)
@pytest.mark.parametrize("height", [64, 32])
def test_screens_say_when_they_change(screen: str, height: int) -> None:
    """Until the time that a screen names, its picture stays as it is: the panel may sleep."""
    state = SCREENS[screen](SCRIPTS["cyrillic"], height)
    now = NOW
    for _ in range(60):
        picture = shown(state, now)
        if picture.until is None:
            break
        assert picture.until > now
        for part in (0.25, 0.5, 0.98):
            between = now + (picture.until - now) * part
            wall = 1_700_000_000.0 + between - now
            if screen.startswith("clock"):
                continue
            assert shown(state, between, wall).picture.pages() == picture.picture.pages(), (now, between)
        now = picture.until + 1e-6


@needs_unifont
def test_words_say_what_is_seen() -> None:
    state = SCREENS["wrong"](SCRIPTS["japanese"], 64)
    assert shown(state, NOW).words == (
        "夜に駆ける", "久石譲", "千と千尋の神隠し", "Offline", "playing, from network, 70% on the box, favourite",
    )  # fmt: skip
    assert shown(SCREENS["list"](SCRIPTS["latin"], 32), NOW).words == (
        "Ágætis byrjun:", "Flugufrelsarinn (2)", "> Hjartað hamast (bamm bamm bamm) (3)",
    )  # fmt: skip
    assert shown(SCREENS["sign-in"](SCRIPTS["latin"], 64), NOW).words[-1] == "and enter WDJB-MJHT"


README = {
    "playing": ("playing", "japanese"), "menu": ("list", "cyrillic"), "letter": ("letter", "latin"),
    "volume": ("volume", "latin"), "trouble": ("notice", "latin"), "sign-in": ("sign-in", "latin"),
    "question": ("ask", "latin"), "drive": ("drive", "japanese"),
}  # fmt: skip


@needs_unifont
@pytest.mark.parametrize("name", README)
def test_pictures_for_readers_are_current(name: str) -> None:
    """docs/panel/*.png are four times as large, with the display's dark rim."""
    screen, script = README[name]
    frame = shown(SCREENS[screen](SCRIPTS[script], 64), NOW).picture.pages()
    picture = Image.new("1", (128 * 4 + 32, 64 * 4 + 32))
    picture.paste(unpack(frame).resize((128 * 4, 64 * 4), Image.Resampling.NEAREST), (16, 16))
    path = DOCS / f"{name}.png"
    if os.environ.get("CHADBOX_GOLDEN") == "write":
        path.parent.mkdir(parents=True, exist_ok=True)
        picture.save(path, optimize=True)
    with Image.open(path) as there:
        assert there.convert("1").tobytes() == picture.tobytes(), "CHADBOX_GOLDEN=write makes it anew"


@needs_unifont
def test_the_sheet_of_all_screens_is_current() -> None:
    """docs/panel/screens.png: every screen, in Latin, Cyrillic and Japanese, rebuilt from the I2C bytes."""
    width, height, gap = 128 * 2, 64 * 2, 12
    across, down = len(SCRIPTS), len(SCREENS)
    sheet = Image.new("L", (across * (width + gap) + gap, down * (height + gap) + gap), 110)
    for row, screen in enumerate(SCREENS):
        for column, script in enumerate(SCRIPTS):
            frame = through_the_bus([shown(SCREENS[screen](SCRIPTS[script], 64), NOW).picture.pages()], 64)
            large = unpack(frame).resize((width, height), Image.Resampling.NEAREST)
            sheet.paste(large, (gap + column * (width + gap), gap + row * (height + gap)))
    path = DOCS / "screens.png"
    if os.environ.get("CHADBOX_GOLDEN") == "write":
        sheet.save(path, optimize=True)
    with Image.open(path) as there:
        assert there.convert("L").tobytes() == sheet.tobytes(), "CHADBOX_GOLDEN=write makes it anew"
