"""F1, F2, F6: the glue between gpiozero's pins and the pure parts, on gpiozero's own MockFactory."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from gpiozero.pins.mock import MockFactory, MockPin

from hw import backend as backends
from hw.backend import Backend, open_backend
from hw.errors import GpioError
from hw.gpio import GpioPanel, open_panel
from hw.inputs import Input, Inputs
from hw.wiring import load
from tests.hw.clock import Clock
from tests.hw.traces import GRAY

WIRING = load("default")
assert WIRING is not None


class HeldLow(MockPin):
    """A line that a closed contact holds low against any pull-up."""

    def _set_pull(self, value: str) -> None:
        self._pull = value


class Bench:
    """A panel on mock pins; `post` runs at once, as the test is the loop."""

    def __init__(self, factory: MockFactory, change: dict[str, Any] | None = None) -> None:
        wiring = load(change or "default")
        assert wiring is not None
        self.wiring, self.clock, self.seen = wiring, Clock(), list[Input]()
        self.inputs = Inputs(wiring, self.clock, self.seen.append)
        self.factory = factory
        self.panel = self.open(lambda callback, *args: callback(*args))

    def open(self, post: Callable[..., object]) -> GpioPanel:
        return open_panel(self.wiring, self.inputs, self.clock, post, Backend("mock", "a test", self.factory))

    def drive(self, gpio: int, level: bool | int) -> None:
        pin = self.factory.pin(f"GPIO{gpio}")
        pin.drive_high() if level else pin.drive_low()

    def turn(self, detents: int) -> None:
        assert self.wiring.encoder
        for n in range(1, 4 * abs(detents) + 1):
            a, b = GRAY[(n if detents > 0 else -n) % 4]
            self.drive(self.wiring.encoder.a, a)
            self.drive(self.wiring.encoder.b, b)

    def tap(self, name: str, hold: float = 0.1) -> None:
        self.drive(self.wiring.all_buttons[name], False)
        self.clock.run(hold)
        self.drive(self.wiring.all_buttons[name], True)
        self.clock.run(0.1)

    def took(self) -> list[str]:
        out = [f"{event.gesture}={event.action}" for event in self.seen]
        self.seen.clear()
        return out


@pytest.fixture
def factory() -> Iterator[MockFactory]:
    factory = MockFactory()
    yield factory
    factory.reset()


def test_a_turn_and_each_gesture_reach_their_action(factory: MockFactory) -> None:
    bench = Bench(factory)
    bench.turn(10)
    assert sum(event.detents for event in bench.seen) == 10
    assert {event.action for event in bench.seen} == {"scroll"}
    bench.seen.clear()
    bench.turn(-3)
    assert [event.detents for event in bench.seen] == [-1] * 3
    bench.seen.clear()
    bench.tap("play")
    bench.tap("back", hold=1)
    bench.tap("push")
    assert bench.took() == ["play=play_pause", "back.long=home", "push=select"]
    bench.drive(27, False)
    bench.clock.run(0.1)
    bench.turn(2)
    bench.drive(27, True)
    bench.clock.run(0.1)
    assert bench.took() == ["push+turn=skip"] * 2
    bench.drive(26, False)
    bench.clock.run(0.05)
    bench.drive(5, False)
    bench.clock.run(1)
    assert bench.took() == ["back+favourite=display_off"]
    bench.panel.close()


def test_starts_from_the_levels_that_are_there(factory: MockFactory) -> None:
    """gpiozero's own RotaryEncoder assumes low lines; here a part that rests low loses no first click."""
    for gpio in ("GPIO23", "GPIO24"):
        factory.pin(gpio, pin_class=HeldLow).drive_low()
    bench = Bench(factory)
    for n in range(1, 5):
        a, b = GRAY[(2 + n) % 4]
        bench.drive(23, a)
        bench.drive(24, b)
    assert [event.detents for event in bench.seen] == [1]


class Slipping(MockPin):
    """A line that moves just before it is watched."""

    def _enable_event_detect(self) -> None:
        self._state = False


def test_what_moves_while_opening_is_no_jump(factory: MockFactory) -> None:
    factory.pin("GPIO23", pin_class=Slipping)
    bench = Bench(factory)
    for n in range(2, 5):
        bench.drive(23, GRAY[n % 4][0])
        bench.drive(24, GRAY[n % 4][1])
    assert bench.panel.knob is not None
    assert bench.panel.knob.decoder.jumps == 0
    assert [event.detents for event in bench.seen] == [1]
    bench.panel.close()


def test_an_exception_never_ends_input(factory: MockFactory, caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench(factory)
    bench.panel.close()
    broken = [True]

    def post(callback: Callable[..., object], *args: Any) -> None:
        if broken[0]:
            raise RuntimeError("loop is closed")
        callback(*args)

    panel = bench.open(post)
    bench.turn(2)
    bench.tap("play")
    assert "loop is closed" in caplog.text
    broken[0] = False
    bench.turn(1)
    bench.tap("play")
    assert bench.took() == ["turn=scroll", "play=play_pause"]
    panel.close()


def test_a_broken_tap_is_guarded_too(factory: MockFactory) -> None:
    bench = Bench(factory)
    edges: list[tuple[str, int, bool]] = []
    bench.panel.tap = lambda *edge: edges.append(edge)
    bench.turn(1)
    assert [name[-1] for name, *_ in edges] == ["a", "b", "a", "b"]
    assert [when for _, when, _ in edges] == sorted(when for _, when, _ in edges)
    bench.panel.close()


def test_a_taken_pin_costs_only_its_own_part(factory: MockFactory) -> None:
    from gpiozero import InputDevice

    other = InputDevice(16, pull_up=True, pin_factory=factory)
    bench = Bench(factory)
    (problem,) = bench.panel.problems
    assert str(problem).startswith("GPIO 16 (pin 36) for button next is already used")
    assert "choose another pin" in str(problem)
    bench.tap("play")
    bench.turn(1)
    assert bench.took() == ["play=play_pause", "turn=scroll"]
    bench.panel.close()
    other.close()


def test_all_pins_taken_is_an_error_and_frees_what_was_opened(factory: MockFactory) -> None:
    from gpiozero import InputDevice

    change = {"buttons": dict.fromkeys(("play", "previous", "next", "back", "favourite"), -1), "encoder": False}
    other = InputDevice(12, pull_up=True, pin_factory=factory)
    with pytest.raises(GpioError, match=r"GPIO 12 .* already used"):
        Bench(factory, change | {"buttons": change["buttons"] | {"play": 12}})
    other.close()


def test_close_frees_the_pins_and_stops_events(factory: MockFactory) -> None:
    bench = Bench(factory)
    bench.panel.close()
    bench.panel.close()
    bench.turn(3)
    assert bench.seen == []
    again = Bench(factory)
    again.turn(1)
    assert again.took() == ["turn=scroll"]
    again.panel.close()


def test_single_transition_part_settles_by_timer(factory: MockFactory) -> None:
    bench = Bench(factory, {"encoder": {"transitions": 1}})
    bench.drive(23, False)
    bench.drive(23, True)  # at once: bounce, or so it seems
    assert [event.detents for event in bench.seen] == [1]
    bench.clock.run(0.1)
    assert [event.detents for event in bench.seen] == [1, -1]
    bench.panel.close()


async def test_edges_of_another_thread_arrive_on_the_loop(factory: MockFactory) -> None:
    """As it is in the player: gpiozero's thread, `call_soon_threadsafe`, the loop's own timers."""
    loop = asyncio.get_running_loop()
    seen: list[tuple[str, int]] = []
    done = asyncio.Event()

    def emit(event: Input) -> None:
        seen.append((event.action, threading.get_ident()))
        if event.action == "play_pause":
            done.set()

    wiring = load("default")
    assert wiring is not None
    inputs = Inputs(wiring, loop, emit)
    panel = open_panel(wiring, inputs, loop, loop.call_soon_threadsafe, Backend("mock", "a test", factory))

    def hands() -> None:
        for n in range(1, 9):
            factory.pin("GPIO23").drive_high() if GRAY[n % 4][0] else factory.pin("GPIO23").drive_low()
            factory.pin("GPIO24").drive_high() if GRAY[n % 4][1] else factory.pin("GPIO24").drive_low()
        factory.pin("GPIO12").drive_low()

    thread = threading.Thread(target=hands)
    thread.start()
    await asyncio.wait_for(done.wait(), 5)
    thread.join()
    assert [action for action, _ in seen] == ["scroll", "scroll", "play_pause"]
    assert {ident for _, ident in seen} == {threading.get_ident()}
    panel.close()
    inputs.close()


def test_no_chip_is_one_line_that_says_so() -> None:
    if list(Path("/dev").glob("gpiochip*")):
        pytest.skip("this machine has a GPIO chip")
    with pytest.raises(GpioError) as caught:
        open_backend()
    assert "no /dev/gpiochip0" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_advice_on_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chip = tmp_path / "gpiochip0"
    chip.touch()
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert "group gpio" in backends._advice(lambda: [chip])


@pytest.mark.skipif(sys.platform != "linux", reason="lgpio is for Linux")
def test_lgpio_litters_no_directory_and_moves_nobody(tmp_path: Path) -> None:
    """The real library: its FIFO stays out of the working directory (it may be read-only), LG_WD is not obeyed."""
    pytest.importorskip("lgpio")
    code = (
        "import os; from hw.backend import _elsewhere\n"
        "with _elsewhere():\n    import lgpio\n"
        "assert lgpio._notify_thread.is_alive()\n"
        "print(os.getcwd(), os.listdir('.'), os.environ['LG_WD'])"
    )
    root = Path(__file__).parents[2]
    env = {**os.environ, "PYTHONPATH": str(root), "LG_WD": str(tmp_path)}
    work = tmp_path / "work"
    work.mkdir()
    out = subprocess.run([sys.executable, "-c", code], cwd=work, env=env, capture_output=True, text=True, timeout=30)
    assert out.stdout.split(" ", 1) == [str(work), f"[] {tmp_path}\n"], out.stderr
    assert not list(tmp_path.glob(".lgd*"))
