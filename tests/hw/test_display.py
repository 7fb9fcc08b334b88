"""F3: a missing, wedged, slow or noisy bus delays nobody, and the picture is back within 5 s of the bus."""

from __future__ import annotations

import errno
import queue
import threading
import time
from collections.abc import Iterator
from random import Random

import pytest

from hw.display import DisplayDriver
from hw.errors import BusError, bus_error
from hw.sim import SimulatedOled
from hw.wiring import Display

ONE = bytes([0x11]) * 1024
TWO = bytes([0x22]) * 1024
QUICK = (0.01, 0.02)


class Desk:
    """A driver on a simulated bus; `wait` returns when the display shows a frame, told by the bus, not by the clock."""

    def __init__(self, bus: SimulatedOled, **options: object) -> None:
        self.bus, self.moved = bus, threading.Condition()
        self.states: queue.Queue[tuple[str, str]] = queue.Queue()
        bus.on_change = self.poke
        options.setdefault("retry_s", QUICK)
        options.setdefault("open_bus", lambda: bus)
        self.driver = DisplayDriver(bus.display, lambda *state: self.states.put(state), **options)  # type: ignore[arg-type]

    def poke(self) -> None:
        with self.moved:
            self.moved.notify_all()

    def wait(self, frame: bytes, seconds: float = 5) -> bool:
        until = time.monotonic() + seconds
        with self.moved:
            while self.bus.picture() != frame:
                left = until - time.monotonic()
                if left <= 0:
                    return False
                self.moved.wait(left)
        return True

    def state(self) -> tuple[str, str]:
        return self.states.get(timeout=5)


@pytest.fixture
def desk() -> Iterator[Desk]:
    desk = Desk(SimulatedOled())
    desk.driver.start()
    yield desk
    desk.bus.plug()
    desk.driver.close()
    assert not desk.driver._thread.is_alive()


def quick(call: object, *args: object) -> None:
    began = time.perf_counter()
    call(*args)  # type: ignore[operator]
    assert time.perf_counter() - began < 0.05


def test_shows_the_newest_frame(desk: Desk) -> None:
    desk.driver.show(ONE)
    assert desk.wait(ONE)
    assert desk.state() == ("ok", "ssd1306 at 0x3C")
    desk.driver.show(TWO)
    assert desk.wait(TWO)


@pytest.mark.parametrize("error", [errno.EREMOTEIO, errno.ETIMEDOUT, errno.EIO])
def test_unplugged_and_back(desk: Desk, error: int) -> None:
    desk.driver.show(ONE)
    assert desk.wait(ONE)
    assert desk.state()[0] == "ok"
    desk.bus.unplug(error)
    quick(desk.driver.show, TWO)
    word, advice = desk.state()
    assert word == "error"
    assert "check" in advice
    desk.bus.plug()  # its RAM is noise again, its registers are at their defaults
    assert desk.wait(TWO)
    assert desk.state()[0] == "ok"


def test_back_within_five_seconds_with_the_real_delays() -> None:
    """A bus that fails for longer than the back-off grows, each attempt taking the kernel's time-out."""
    desk = Desk(SimulatedOled(delay_s=0.05), retry_s=(0.25, 0.5, 1.0, 2.0))
    desk.bus.unplug(errno.ETIMEDOUT)
    desk.driver.start()
    desk.driver.show(ONE)
    assert desk.state()[0] == "error"
    time.sleep(2.5)
    desk.bus.plug()
    began = time.monotonic()
    assert desk.wait(ONE, 5)
    assert time.monotonic() - began < 5
    desk.driver.close()


def test_a_missing_bus_is_an_error_once_and_costs_the_caller_nothing() -> None:
    def absent() -> SimulatedOled:
        raise bus_error(FileNotFoundError(errno.ENOENT, "no"), "/dev/i2c-1")

    desk = Desk(SimulatedOled(), open_bus=absent)
    quick(desk.driver.start)
    for n in range(50):
        quick(desk.driver.show, bytes([n]) * 1024)
    word, advice = desk.state()
    assert (word, "dtparam=i2c_arm=on" in advice) == ("error", True)
    quick(desk.driver.close)
    assert desk.states.empty()


def test_a_wedged_bus_holds_up_nobody(desk: Desk) -> None:
    desk.driver._hang_s = 0.05
    desk.driver.show(ONE)
    assert desk.wait(ONE)
    assert desk.state()[0] == "ok"
    desk.bus.wedge()
    desk.driver.show(TWO)
    time.sleep(0.1)  # longer than hang_s
    for n in range(20):
        quick(desk.driver.show, bytes([n]) * 1024)
    word, advice = desk.state()
    assert (word, "hangs" in advice) == ("error", True)
    desk.bus.plug()
    assert desk.wait(bytes([19]) * 1024)
    assert desk.state()[0] == "ok"


def test_close_within_two_seconds_while_a_transfer_hangs() -> None:
    desk = Desk(SimulatedOled())
    desk.driver.start()
    desk.driver.show(ONE)
    assert desk.wait(ONE)
    desk.bus.wedge()
    desk.driver.show(TWO)
    began = time.monotonic()
    desk.driver.close()
    assert time.monotonic() - began < 2
    assert desk.driver._thread.daemon
    desk.bus.plug()


def test_a_slow_bus_drops_frames_and_ends_with_the_newest() -> None:
    desk = Desk(SimulatedOled(delay_s=0.02))
    desk.driver.start()
    assert desk.wait(bytes(1024))
    last = b""
    for n in range(200):
        last = bytes([n]) * 1024
        quick(desk.driver.show, last)
    assert desk.wait(last)
    assert desk.driver.dropped > 150
    assert desk.driver.shown < 50
    desk.driver.close()


def test_contrast_and_power_survive_a_loss(desk: Desk) -> None:
    desk.driver.contrast(7)
    desk.driver.show(ONE)
    assert desk.wait(ONE)
    assert desk.state()[0] == "ok"
    desk.driver.power(False)
    assert desk.wait(bytes(1024))
    desk.driver.show(TWO)  # drawn in the dark
    desk.bus.unplug()
    desk.driver.contrast(9)
    assert desk.state()[0] == "error"
    desk.bus.plug()
    assert desk.state()[0] == "ok"
    assert (desk.bus.state.on, desk.bus.state.contrast) == (False, 9)
    desk.driver.power(True)
    assert desk.wait(TWO)


def test_a_disturbance_is_mended_by_the_refresh() -> None:
    desk = Desk(SimulatedOled(), refresh_s=0.1)
    desk.driver.start()
    desk.driver.show(ONE)
    assert desk.wait(ONE)
    random = Random(3)
    for page in desk.bus.state.ram:
        page[random.randrange(128)] ^= 0xFF
    desk.bus.state.flipped_rows = False
    desk.bus.state.on = False
    assert desk.wait(ONE)
    desk.driver.close()


def test_an_idle_display_that_comes_off_is_noticed() -> None:
    desk = Desk(SimulatedOled(), probe_s=0.02)
    desk.driver.start()
    desk.driver.show(ONE)
    assert desk.wait(ONE)
    assert desk.state()[0] == "ok"
    desk.bus.unplug()
    assert desk.state()[0] == "error"  # nothing was shown meanwhile
    desk.bus.plug()
    assert desk.wait(ONE)
    assert desk.state()[0] == "ok"
    desk.driver.close()


def test_close_darkens_and_frees(desk: Desk) -> None:
    desk.driver.show(ONE)
    assert desk.wait(ONE)
    desk.driver.close()
    assert not desk.bus.state.on


def test_a_broken_listener_and_a_broken_bus_do_not_end_the_thread() -> None:
    calls = 0

    def listener(*_: str) -> None:
        raise RuntimeError("broken listener")

    bus = SimulatedOled()

    def opening() -> SimulatedOled:
        nonlocal calls
        calls += 1
        if calls < 3:
            raise RuntimeError("a bug") if calls == 1 else BusError("no")
        return bus

    desk = Desk(bus, open_bus=opening)
    desk.driver._on_state = listener
    desk.driver.start()
    desk.driver.show(ONE)
    assert desk.wait(ONE)
    desk.driver.close()


def test_address_is_found_again_after_a_swap() -> None:
    bus = SimulatedOled(Display(), address=0x3C)
    desk = Desk(bus)
    desk.driver.start()
    desk.driver.show(ONE)
    assert desk.wait(ONE)
    bus.unplug()
    desk.driver.show(TWO)
    assert [desk.state()[0] for _ in range(2)] == ["ok", "error"]
    bus.address = 0x3D
    bus.plug()
    assert desk.wait(TWO)
    assert desk.state() == ("ok", "ssd1306 at 0x3D")
    desk.driver.close()


def test_wrong_size_is_refused_at_once(desk: Desk) -> None:
    with pytest.raises(ValueError, match="1024"):
        desk.driver.show(b"short")
