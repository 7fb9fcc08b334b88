"""F3: whatever frames come in whatever order, the controller's RAM ends up with the last one, for few bytes."""

from __future__ import annotations

import errno
from itertools import pairwise
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from hw import regions
from hw.controllers import Name
from hw.errors import BusError, bus_error
from hw.frame import pack, unpack
from hw.i2c import SmbusBus
from hw.oled import Oled, find
from hw.regions import PAGE_SETUP, SAME_WINDOW, WINDOW_SETUP, Region
from hw.sim import Garbled, SimulatedOled
from hw.wiring import Display

CONTROLLERS = get_args(Name)


def frames(height: int) -> st.SearchStrategy[bytes]:
    """Frames as screens make them: mostly alike, with rectangles changed; sometimes anything."""
    size = 16 * height
    box = st.tuples(st.integers(0, 127), st.integers(0, 127), st.integers(0, height // 8 - 1), st.binary(max_size=40))

    def paint(boxes: list[tuple[int, int, int, bytes]]) -> bytes:
        out = bytearray(size)
        for left, width, page, pattern in boxes:
            for x in range(left, min(128, left + width)):
                out[page * 128 + x] = pattern[x % len(pattern)] if pattern else 0xFF
        return bytes(out)

    return st.lists(box, max_size=6).map(paint) | st.binary(min_size=size, max_size=size)


@settings(max_examples=150, deadline=None)
@given(
    data=st.data(), name=st.sampled_from(CONTROLLERS), height=st.sampled_from([32, 64]), turn=st.sampled_from([0, 180])
)
def test_any_sequence_of_frames_ends_in_the_last_picture(
    data: st.DataObject, name: Name, height: int, turn: int
) -> None:
    display = Display(controller=name, height=height, rotation=turn)  # type: ignore[arg-type]
    bus = SimulatedOled(display)
    oled = Oled(bus, display, 0x3C)
    wanted = data.draw(st.lists(frames(height), min_size=1, max_size=8))
    oled.start(wanted[0], contrast=0x8F, on=True)
    for frame in wanted:
        before = oled.sent
        oled.draw(frame)
        seen = unpack(bus.picture()).rotate(turn)
        assert pack(seen) == frame
        assert oled.sent - before <= 8 * (WINDOW_SETUP + 128)
    assert oled.sent == bus.bytes
    before = oled.sent
    oled.draw(wanted[-1])
    assert oled.sent == before  # nothing changed, nothing sent


@settings(max_examples=150, deadline=None)
@given(st.lists(frames(64), min_size=2, max_size=6))
def test_regions_hold_every_change_and_are_never_dearer_than_single_runs(wanted: list[bytes]) -> None:
    window = None
    for old, new in pairwise(wanted):
        found = regions.windows(old, new, 128, window)
        covered = bytearray(old)
        for region in found:
            part = region.cut(new, 128)
            assert len(part) == region.area
            span = region.right - region.left + 1
            for n, page in enumerate(range(region.top, region.bottom + 1)):
                covered[page * 128 + region.left : page * 128 + region.right + 1] = part[n * span : (n + 1) * span]
        assert bytes(covered) == new
        single = sum(WINDOW_SETUP + run.area for run in regions.runs(old, new, 128))
        assert sum(WINDOW_SETUP + region.area for region in found) <= single or found == [window]
        window = found[-1] if found else window


@pytest.mark.parametrize("name", CONTROLLERS)
def test_start_shows_nothing_before_the_frame_is_there(name: Name) -> None:
    bus = SimulatedOled(Display(controller=name), keep_log=True)
    oled = Oled(bus, bus.display, 0x3C)
    oled.start(bytes([0x55]) * 1024, contrast=10, on=True)
    assert bus.log[0] == b"\x00\xae"
    assert bus.log[-1] == b"\x00\xaf"
    assert bus.state.contrast == 10
    assert bus.picture() == bytes([0x55]) * 1024


def test_golden_bytes() -> None:
    """What goes over the wires, spelled out once."""
    bus = SimulatedOled(Display(), keep_log=True)
    oled = Oled(bus, bus.display, 0x3C)
    blank = bytes(1024)
    oled.start(blank, contrast=0x8F, on=True)
    setup = "d5808d142000d9f1db40a83fda12d30040a1c8818fa4a62e"
    assert [message.hex() for message in bus.log[:2]] == ["00ae", "00" + setup]
    assert [message.hex() for message in bus.log[2:]] == ["0021007f220007", "40" + blank.hex(), "00af"]
    bus.log.clear()

    def draw(page: int, column: int, data: bytes) -> list[str]:
        nonlocal blank
        frame = bytearray(blank)
        frame[page * 128 + column : page * 128 + column + len(data)] = data
        blank = bytes(frame)
        bus.log.clear()
        oled.draw(blank)
        return [message.hex() for message in bus.log]

    assert draw(3, 10, b"\x01\x02") == ["00210a0b220303", "400102"]
    assert draw(3, 10, b"\x03\x04") == ["400304"]  # the window is still there: no command at all
    assert draw(5, 10, b"\x05\x06") == ["00220505", "400506"]
    assert draw(5, 20, b"\x07") == ["00211414", "4007"]


def test_golden_bytes_sh1106() -> None:
    bus = SimulatedOled(Display(controller="sh1106"), keep_log=True)
    oled = Oled(bus, bus.display, 0x3C)
    oled.start(bytes(1024), contrast=0x8F, on=True)
    bus.log.clear()
    frame = bytearray(1024)
    frame[3 * 128 + 30] = 0x81
    oled.draw(bytes(frame))
    assert [message.hex() for message in bus.log] == ["00b30012", "4081"]  # 30 + 2 = 0x20


def test_close_runs_are_sent_as_one_and_distant_ones_apart() -> None:
    new = bytearray(1024)
    new[0] = new[PAGE_SETUP + 1] = 1
    assert regions.runs(bytes(1024), bytes(new), 128) == [Region(0, 0, 0, PAGE_SETUP + 1)]
    new[PAGE_SETUP + 1] = 0
    new[PAGE_SETUP + 2] = 1
    assert len(regions.runs(bytes(1024), bytes(new), 128)) == 2


def test_a_title_over_two_pages_is_one_window() -> None:
    new = bytearray(1024)
    new[128:384] = bytes(range(1, 257 - 1)) + b"\x01"
    found = regions.windows(bytes(1024), bytes(new), 128, None)
    assert found == [Region(1, 2, 0, 127)]


def test_a_failed_transfer_forgets_the_window_and_start_mends_all() -> None:
    bus = SimulatedOled(Display())
    oled = Oled(bus, bus.display, 0x3C)
    oled.start(bytes(1024), contrast=1, on=True)
    bus.unplug()
    with pytest.raises(BusError) as caught:
        oled.draw(bytes([1]) * 1024)
    assert caught.value.errno == errno.EREMOTEIO
    bus.plug()
    oled.start(bytes([2]) * 1024, contrast=1, on=True)
    assert bus.picture() == bytes([2]) * 1024


@pytest.mark.parametrize("fails", range(4))
def test_a_draw_cut_short_anywhere_is_made_good_by_the_next(fails: int) -> None:
    """The display keeps its power; nothing may be taken for shown that perhaps is not."""
    bus = SimulatedOled(Display())
    oled = Oled(bus, bus.display, 0x3C)
    oled.start(bytes(1024), contrast=1, on=True)
    frame = bytearray(1024)
    frame[200:206] = frame[900:906] = bytes([0xAA] * 6)
    real, left = bus.write, [fails]

    def write(address: int, payload: bytes) -> None:
        left[0] -= 1
        if left[0] < 0:
            if payload[0] == 0x40:
                real(address, payload[:4])
            raise BusError("cut short", errno.EIO)
        real(address, payload)

    bus.write = write  # type: ignore[method-assign]
    with pytest.raises(BusError):
        oled.draw(bytes(frame))
    bus.write = real  # type: ignore[method-assign]
    frame[200:206] = bytes(6)
    frame[900:906] = b"abcdef"
    oled.draw(bytes(frame))
    assert bus.picture() == bytes(frame)
    frame[0] = 1
    oled.draw(bytes(frame))
    assert bus.picture() == bytes(frame)


def test_a_whole_frame_cut_short_is_aimed_anew() -> None:
    """The window is the same the second time, but nobody knows where in it the controller stands."""
    bus = SimulatedOled(Display())
    oled = Oled(bus, bus.display, 0x3C)
    oled.start(bytes(1024), contrast=1, on=True)
    real = bus.write

    def write(address: int, payload: bytes) -> None:
        real(address, payload[:100])
        if payload[0] == 0x40:
            raise BusError("cut short", errno.EIO)

    bus.write = write  # type: ignore[method-assign]
    with pytest.raises(BusError):
        oled.draw(bytes([1]) * 1024)
    bus.write = real  # type: ignore[method-assign]
    frame = bytes(range(256)) * 4
    oled.draw(frame)
    assert bus.picture() == frame


def test_find_looks_at_both_addresses() -> None:
    bus = SimulatedOled(Display(), address=0x3D)
    assert find(bus) == 0x3D
    bus.unplug()
    with pytest.raises(BusError, match="address 0x3D: nothing answers"):
        find(bus)


@pytest.mark.parametrize(
    ("number", "says"),
    [
        (errno.ENXIO, "wires"),
        (errno.EREMOTEIO, "0x3C or 0x3D"),
        (errno.ETIMEDOUT, "stuck"),
        (errno.EACCES, "usermod -aG i2c"),
        (errno.ENOENT, "dtparam=i2c_arm=on"),
        (errno.EBUSY, "overlay"),
        (errno.ENOTTY, "check the wires"),
    ],
)
def test_errno_becomes_advice(number: int, says: str) -> None:
    error = bus_error(OSError(number, "whatever"), "/dev/i2c-1", 0x3C)
    assert says in str(error)
    assert str(error).startswith("/dev/i2c-1, address 0x3C: ")
    assert "\n" not in str(error)
    assert error.errno == number


def test_the_real_bus_says_what_is_missing() -> None:
    with pytest.raises(BusError, match="dtparam") as caught:
        SmbusBus(29)
    assert caught.value.errno == errno.ENOENT


def test_wrong_sizes_and_nonsense_are_refused() -> None:
    bus = SimulatedOled(Display())
    with pytest.raises(ValueError, match="128x64 has 1024 bytes"):
        Oled(bus, bus.display, 0x3C).draw(b"")
    for nonsense in ("00e1", "0021", "01ae", "00210500"):
        with pytest.raises(Garbled):
            bus.write(0x3C, bytes.fromhex(nonsense))
    with pytest.raises(Garbled, match="sh1106"):
        SimulatedOled(Display(controller="sh1106")).write(0x3C, b"\x00\x21\x00\x7f")


def test_mixed_messages_are_understood_too() -> None:
    """Control bytes with the continuation bit, as other drivers send them."""
    bus = SimulatedOled(Display())
    bus.write(0x3C, bytes.fromhex("00 8d14 20 00 a1 c8 af 21 00 7f 22 00 07".replace(" ", "")))
    bus.write(0x3C, bytes.fromhex("8021800580068022800180014007"))
    assert bus.picture()[128 + 5] == 7


@given(st.binary(min_size=512, max_size=512))
def test_pack_is_the_page_form(raw: bytes) -> None:
    image = Image.frombytes("1", (128, 32), raw)
    frame = pack(image)
    for x in (0, 1, 63, 127):
        for y in (0, 7, 8, 31):
            assert bool(frame[y // 8 * 128 + x] >> y % 8 & 1) == bool(image.getpixel((x, y)))
    assert unpack(frame).tobytes() == image.tobytes()
    assert len(frame) + SAME_WINDOW == 514
