"""P10: volume by the DAC's own control, in dB, without delay; missing or lost hardware is said in one line."""

from __future__ import annotations

import os
import queue
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hw.alsa import Control
from hw.errors import MixerError
from hw.mixer import HardwareVolume, has_hardware_volume, to_db
from hw.wiring import Dac, preset

DAC = Dac(title="test", card="sndrpitest", control="Digital")


class FakeControl:
    """A control with PCM512x's range; each setting goes to `done`, and waits for `free`."""

    lowest, highest, mutes = -103.5, 24.0, True

    def __init__(self, device: str = "", name: str = "") -> None:
        self.opened = (device, name)
        self.done: queue.Queue[tuple[str, float]] = queue.Queue()
        self.free = threading.Event()
        self.free.set()
        self.gone = self.closed = False

    def set_db(self, db: float) -> None:
        self.free.wait()
        if self.gone:
            raise MixerError("gone")
        self.done.put(("db", round(db, 2)))

    def set_muted(self, muted: bool) -> None:
        self.done.put(("muted", muted))

    def close(self) -> None:
        self.closed = True


def make(**options: object) -> tuple[HardwareVolume, FakeControl]:
    control = FakeControl()

    def opening(device: str, name: str) -> FakeControl:
        control.opened = (device, name)
        return control

    return HardwareVolume(DAC, open_control=opening, **options), control  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("percent", "db"),
    [(100, 0), (90, -2.75), (75, -7.5), (50, -18.06), (25, -36.12), (10, -60), (5, -78.06), (0, -103.5)],
)
def test_the_curve_is_the_documented_one(percent: int, db: float) -> None:
    assert to_db(percent, -103.5) == pytest.approx(db, abs=0.005)


@given(st.floats(-10, 110), st.floats(-10, 110), st.floats(-120, -1), st.floats(-1, 24))
def test_louder_is_never_softer_and_nothing_amplifies(a: float, b: float, lowest: float, highest: float) -> None:
    quiet, loud = sorted((a, b))
    assert to_db(quiet, lowest, highest) <= to_db(loud, lowest, highest) <= min(0.0, highest)
    assert to_db(quiet, lowest, highest) >= lowest


def test_sets_the_newest_and_mutes_at_zero() -> None:
    volume, control = make()
    assert control.opened == ("hw:CARD=sndrpitest", "Digital")
    volume.set(50)
    assert control.done.get(timeout=5) == ("db", -18.06)
    assert control.done.get(timeout=5) == ("muted", False)
    control.free.clear()
    volume.set(60)
    for percent in range(100):  # a quick turn while the bus is busy
        began = time.perf_counter()
        volume.set(percent)
        assert time.perf_counter() - began < 0.05
    volume.set(0)
    control.free.set()
    last: list[tuple[str, float]] = []
    while not last or last[-1] != ("muted", True):
        last.append(control.done.get(timeout=5))
    assert ("db", -103.5) in last
    assert len(last) <= 4
    volume.close()
    assert control.closed


def test_a_lost_card_is_told_once() -> None:
    told: queue.Queue[str] = queue.Queue()
    volume, control = make(on_lost=told.put)
    control.gone = True
    volume.set(10)
    assert told.get(timeout=5) == "gone"
    volume.set(20)
    volume.close()
    assert (volume.lost, control.closed, told.empty()) == (True, True, True)


def test_close_does_not_wait_for_a_hanging_bus() -> None:
    volume, control = make()
    control.free.clear()
    volume.set(10)
    began = time.monotonic()
    volume.close()
    assert time.monotonic() - began < 2
    control.free.set()


def test_who_has_a_volume_control() -> None:
    assert has_hardware_volume(preset("hifiberry-dacplus").dac)
    assert not has_hardware_volume(preset("pcm5102a").dac)
    assert not has_hardware_volume(None)
    with pytest.raises(MixerError, match="set in software"):
        HardwareVolume(Dac(title="PCM5102A"))
    with pytest.raises(MixerError, match="no ALSA card id"):
        HardwareVolume(Dac(title="x", card="x,DEV=0 }", control="Digital"))


def test_no_card_is_one_line(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(MixerError, match=r"no sound card hw:CARD=sndrpitest: .*aplay -l") as caught:
        HardwareVolume(DAC)
    assert "\n" not in str(caught.value)
    assert capfd.readouterr().err == ""  # libasound's own chatter is kept off the terminal


@pytest.fixture(scope="module")
def card(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the real libasound has a sound card, made of tests/hw/fake_card.c."""
    folder = tmp_path_factory.mktemp("card")
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler")
    source = Path(__file__).with_name("fake_card.c")
    library = folder / "libasound_module_ctl_fake.so"
    built = subprocess.run(
        [compiler, "-shared", "-fPIC", "-DPIC", "-o", library, source, "-l:libasound.so.2"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    if built.returncode:
        pytest.skip(f"no C library or no libasound: {built.stderr[:200]}")
    (folder / "asoundrc").write_text(f'ctl_type.fake {{ lib "{library}" }}\nctl.box {{ type fake }}\n')
    return folder


def run_on(card: Path, code: str) -> tuple[str, list[str]]:
    """`code` in a process of its own, because libasound reads its configuration once; what it said and what was set."""
    log = card / "log"
    log.unlink(missing_ok=True)
    env = {**os.environ, "FAKE_CARD_LOG": str(log), "PYTHONPATH": str(Path(__file__).parents[2])}
    env["ALSA_CONFIG_PATH"] = f"{card / 'asoundrc'}"
    out = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=30)
    assert out.returncode == 0, out.stderr
    return out.stdout.strip(), log.read_text().splitlines() if log.exists() else []


def test_the_real_library_sets_half_decibels(card: Path) -> None:
    said, log = run_on(
        card,
        "from hw.alsa import Control\nc = Control('box', 'Digital')\nprint(c.lowest, c.highest, c.mutes)\n"
        "c.set_db(-18.06); c.set_muted(True); c.set_db(0); c.set_muted(False); c.close(); c.close()",
    )
    assert said == "-103.5 0.0 True"
    assert log[0].startswith("volume 17")  # 207 - 18.06 / 0.5 = 170.9
    assert log[-2:] == ["volume 207 207", "switch 1 1"]
    assert "switch 0 0" in log


def attempt(code: str) -> str:
    return f"from hw.alsa import Control\ntry:\n    {code}\nexcept Exception as error:\n    print(error)"


def test_the_real_library_names_the_controls_there_are(card: Path) -> None:
    said, _ = run_on(card, attempt("Control('box', 'Master')"))
    assert said == 'box has no volume control "Master"; it has: Digital; set dac.control in panel.wiring'


def test_the_real_library_reports_a_pulled_card(card: Path) -> None:
    gone = card / "log.gone"
    gone.touch()
    said, _ = run_on(card, attempt("Control('box', 'Digital').set_db(-3)"))
    gone.unlink()
    assert 'control "Digital" of box cannot be set: No such device' in said


def test_control_needs_a_card() -> None:
    with pytest.raises(MixerError):
        Control("hw:CARD=nosuchcard", "Digital")
