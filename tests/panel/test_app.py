"""F3, F6, R10: the player builds its panel from the wiring; what is missing is named and stops nothing."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from gpiozero.pins.mock import MockFactory

import hw.display
import hw.gpio
from appliance.app import App
from appliance.config import Audio as AudioSettings
from appliance.config import Cache, Control, Panel, Server, Settings, State
from appliance.control.client import Client
from hw.backend import Backend
from hw.sim import SimulatedOled
from hw.wiring import preset
from tests.panel.support import until
from tests.support import tones
from tests.support.box import Box

WIRING = preset("default")


class Parts:
    """A player in this process, its hardware simulated down to the I2C messages and the pins' levels."""

    def __init__(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        assert WIRING.display is not None
        self.oled = SimulatedOled(WIRING.display)
        self.pins = MockFactory()
        self.asked: list[str] = []
        monkeypatch.setattr("appliance.app.hardware._present", lambda *_: True)
        monkeypatch.setattr(hw.display, "SmbusBus", lambda _: self.oled)
        monkeypatch.setattr(hw.gpio, "open_backend", lambda: Backend("mock", "a test", self.pins))
        self.app = App(
            Settings(
                server=Server(url="http://127.0.0.1:9"), audio=AudioSettings(output="null"), panel=Panel(),
                state=State(str(tmp_path / "state")), cache=Cache(str(tmp_path / "cache")),
                control=Control(str(tmp_path / "s")),
            )
        )  # fmt: skip

    @property
    def player(self) -> Any:
        return self.app.player

    def drive(self, gpio: int, level: bool) -> None:
        pin = self.pins.pin(f"GPIO{gpio}")
        pin.drive_high() if level else pin.drive_low()

    def turn(self, detents: int) -> None:
        encoder = WIRING.encoder
        assert encoder is not None
        cycle = [(0, 1), (0, 0), (1, 0), (1, 1)] if detents > 0 else [(1, 0), (0, 0), (0, 1), (1, 1)]
        for _ in range(abs(detents)):
            for a, b in cycle:
                self.drive(encoder.a, bool(a))
                self.drive(encoder.b, bool(b))


@pytest.fixture
async def parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Parts]:
    parts = Parts(tmp_path, monkeypatch)
    await parts.app.open()
    await until(lambda: parts.app.hardware and len(parts.app.hardware.closing) == 2)  # display and inputs are there
    yield parts
    await parts.app.close()
    parts.pins.reset()


async def test_knob_to_volume_to_display(parts: Parts) -> None:
    await until(lambda: any(parts.oled.picture()))
    before = parts.oled.picture()
    assert parts.player.volume == 40
    parts.turn(1)
    await until(lambda: parts.player.volume == 41)
    await until(lambda: parts.oled.picture() != before)  # the overlay
    parts.turn(-1)
    await until(lambda: parts.player.volume == 40)


async def test_a_lost_display_is_a_word_and_comes_back(parts: Parts) -> None:
    await until(lambda: any(parts.oled.picture()))
    parts.oled.unplug()
    parts.turn(1)
    await until(lambda: "display-lost" in parts.app.health)
    assert "check" in parts.app.health.details["display-lost"]
    assert parts.player.volume == 41
    parts.oled.plug()
    began = time.monotonic()
    await until(lambda: "display-lost" not in parts.app.health and any(parts.oled.picture()))
    assert time.monotonic() - began < 5


async def test_a_wedged_bus_delays_neither_knob_nor_end(parts: Parts) -> None:
    await until(lambda: any(parts.oled.picture()))
    parts.oled.wedge()
    parts.turn(1)
    began = time.monotonic()
    await until(lambda: parts.player.volume == 41)
    assert time.monotonic() - began < 0.5
    began = time.monotonic()
    await parts.app.close()
    assert time.monotonic() - began < 2
    parts.oled.plug()


async def test_display_goes_dark_at_the_end(parts: Parts) -> None:
    await until(lambda: any(parts.oled.picture()))
    await parts.app.close()
    assert not any(parts.oled.picture())


def test_without_any_hardware_the_player_runs_and_says_what_to_do(tmp_path: Path) -> None:
    with Box(tmp_path, settings={"panel": {"wiring": "default"}}, server=False) as box:
        box.cli("volume", "30")
        log = box.log("player")
        assert "dtparam=i2c_arm=on" in log
        assert "no knob and no buttons" in log
        assert not {"display-lost", "input-lost"} & set(box.status()["health"]), "absent is not lost"
        assert box.status()["volume"] == 30
        assert "Traceback" not in box.log("player")
        assert box.stop_player() == 0


def test_a_wiring_that_makes_no_sense_is_named_and_the_player_runs(tmp_path: Path) -> None:
    with Box(tmp_path, settings={"panel": {"wiring": "no-such-preset"}}, server=False) as box:
        status = box.status()
        assert "no-such-preset" in status["health_details"]["input-lost"]
        assert box.cli("config", "check", code=1).stderr.startswith(f"chadbox: {box.config}: [panel] wiring:")


class Hands:
    """Keys on the control socket and the words of the panel, as `chadbox panel` has them."""

    def __init__(self, box: Box) -> None:
        self._client = Client(str(box.socket))
        self._frames = Client(str(box.socket)).watch(tick=0.2, cmd="panel")
        self.words: list[str] = []

    def press(self, action: str, detents: int = 0) -> None:
        self._client.call("panel_key", {"action": action, "detents": detents, "steps": detents})

    def until(self, text: str, seconds: float = 20.0) -> None:
        deadline = time.monotonic() + seconds
        while not any(text in word for word in self.words):
            assert time.monotonic() < deadline, f"{text} did not come: {self.words}"
            if (frame := next(self._frames)) is not None:
                self.words = frame["words"]

    def turn_until(self, text: str, detents: int) -> None:
        """Turn on until it stands there: the panel takes no answer in the first moment of a question."""
        deadline = time.monotonic() + 20
        while not any(word.startswith(text) for word in self.words):
            assert time.monotonic() < deadline, self.words
            self.press("scroll", detents)
            if (frame := next(self._frames)) is not None:
                self.words = frame["words"]

    def choose(self, text: str) -> None:
        for _ in range(30):
            if any(word.startswith(f"> {text}") for word in self.words):
                return self.press("select")
            before = self.words
            self.press("scroll", 1)
            deadline = time.monotonic() + 10
            while self.words == before and time.monotonic() < deadline:
                if (frame := next(self._frames)) is not None:
                    self.words = frame["words"]
        raise AssertionError(f"there is no row {text}: {self.words}")


@pytest.mark.parametrize("shuffle", ["off", "on"])
def test_from_the_menu_to_sound_on_a_real_player(tmp_path: Path, shuffle: str) -> None:
    """Albums, the album, its third track: that one plays, the rest of the album follows, and the queue is jumped in."""
    tones.album(tmp_path / "music", "flac", tracks=5, seconds=60.0, title="Шум", artist="Ж")
    with Box(tmp_path, settings={"audio": {"output": "null"}}) as box:
        box.cli("queue", "shuffle", shuffle)
        hands = Hands(box)
        hands.press("menu")
        hands.until("Queue")
        hands.choose("Albums")
        hands.until("Шум · Ж")
        hands.press("select")
        hands.until("> Play all")
        hands.choose("3 Part 3")
        status = box.wait(lambda s: s["state"] == "playing" and s["track"]["title"] == "Part 3")
        assert status["queue"]["length"] == 5
        assert status["queue"]["index"] == 2
        hands.until("Part 3")
        hands.press("menu")
        hands.until("> Queue (5)")
        hands.press("select")
        hands.until("Part 1")
        hands.choose("Part 1")
        box.wait(lambda s: s["state"] == "playing" and s["track"]["title"] == "Part 1")
        hands.press("play_pause")
        box.wait(lambda s: s["state"] == "paused")
        hands.press("scroll", 1)
        hands.until("volume 100")
        hands.press("favourite")
        hands.until("added")
        box.kill9_player()  # P8: what the panel did survives the plug
        box.start_player(sync=False)
        status = box.wait(lambda s: s["track"] is not None)
        assert (status["track"]["title"], status["queue"]["length"], status["state"]) == ("Part 1", 5, "paused")


def test_a_drive_is_adopted_filled_and_ejected_by_knob_alone(tmp_path: Path) -> None:
    """C6, C7, F5: nothing is written before the Yes; the eject button leaves a stick that may be pulled."""
    tones.album(tmp_path / "music", "flac", tracks=2, seconds=2.0, title="Шум", artist="Ж")
    stick = tmp_path / "CAR"
    settings = {"audio": {"output": "null"}, "drives": {"folders": [str(stick)]}}
    with Box(tmp_path, settings=settings) as box:
        hands = Hands(box)
        hands.press("menu")
        hands.until("Queue")
        hands.press("home")
        stick.mkdir()
        hands.until("Let this box write to CAR?")
        hands.press("home")
        box.wait(lambda s: s["drives"] and s["drives"][0]["state"] == "not-adopted")
        assert not list(stick.iterdir()), "written without consent"
        stick.rename(tmp_path / "away")
        box.wait(lambda s: not s["drives"])
        (tmp_path / "away").rename(stick)
        hands.until("Let this box write to CAR?")
        hands.turn_until("> Yes", 1)
        hands.press("select")
        box.wait(lambda s: s["drives"] and s["drives"][0]["adopted"] and s["drives"][0]["state"] == "ready")
        assert (stick / ".chadbox" / "adopted").exists()
        hands.until("The box may write to it")
        hands.press("back")
        hands.press("menu")
        hands.until("Queue")
        hands.choose("Drive")
        hands.until("> CAR (ready)")
        hands.press("eject")
        hands.until("Safe to remove")
        assert box.status()["drives"][0]["state"] == "safe-to-remove"
        assert "Traceback" not in box.log("player")
