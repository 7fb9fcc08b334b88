"""USB drives: a small udisks on a message bus of our own, and what udev tells of a stick."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from hw.drives import DriveError, FolderDrives, Found
from hw.udisks import UdisksDrives, _object, decoded, found

dbus = pytest.importorskip("dbus_fast")

from dbus_fast import BusType, Message, MessageType, Variant  # noqa: E402
from dbus_fast.aio import MessageBus  # noqa: E402

STICK = {
    "ID_FS_USAGE": "filesystem", "ID_BUS": "usb", "ID_FS_TYPE": "vfat", "ID_FS_UUID": "1234-ABCD",
    "ID_FS_LABEL": "MY_STICK", "ID_FS_LABEL_ENC": "MY\\x20STICK\\xc3\\xa9",
}  # fmt: skip


def test_what_udev_tells_of_a_stick() -> None:
    assert found(STICK, "/dev/sda1", "2048") == Found("/dev/sda1", "1234-ABCD", "MY STICKé", "vfat", 1 << 20)
    assert found({**STICK, "ID_FS_USAGE": "raid"}, "/dev/sda1") is None
    assert found({**STICK, "ID_BUS": "ata"}, "/dev/sda1") is None
    assert found({"ID_BUS": "usb"}, "/dev/sda") is None
    bare = {"ID_FS_USAGE": "filesystem", "ID_BUS": "usb", "ID_SERIAL": "Kingston_1", "ID_PART_ENTRY_NUMBER": "1"}
    assert found(bare, "/dev/sda1", "x") == Found("/dev/sda1", "Kingston_1-1", "Kingston_1-1", "", 0)
    assert decoded("bad\\xzz\\x1") == "bad\\xzz\\x1"
    assert _object("/dev/mmcblk0p1") == "/org/freedesktop/UDisks2/block_devices/mmcblk0p1"
    assert _object("/dev/dm-0") == "/org/freedesktop/UDisks2/block_devices/dm_2d0"


class Udisks:
    """Answers on the bus as udisks2 does; `calls` are (member, options)."""

    def __init__(self, mount: Path) -> None:
        self.mount = mount
        self.mounted: list[bytes] = []
        self.calls: list[tuple[str, str]] = []
        self.refuse = ""

    def answer(self, message: Message) -> Message | None:
        if message.message_type is not MessageType.METHOD_CALL or not (message.path or "").startswith(
            "/org/freedesktop"
        ):
            return None
        member, body = message.member, message.body
        if member == "Get":
            value = {
                "MountPoints": Variant("aay", self.mounted), "Drive": Variant("o", "/org/freedesktop/UDisks2/drives/x"),
                "CanPowerOff": Variant("b", True), "Ejectable": Variant("b", False),
            }[body[1]]  # fmt: skip
            return Message.new_method_return(message, "v", [value])
        options = body[0].get("options") if body else None
        self.calls.append((member, options.value if options else ""))
        if self.refuse:
            return Message.new_error(message, f"org.freedesktop.UDisks2.Error.{self.refuse}", "target is busy")
        if member == "Mount":
            self.mounted = [str(self.mount).encode() + b"\0"]
            return Message.new_method_return(message, "s", [str(self.mount)])
        if member == "Unmount":
            self.mounted = []
        return Message.new_method_return(message)


@pytest.fixture
async def udisks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[Udisks, UdisksDrives]]:
    if not shutil.which("dbus-daemon"):
        pytest.skip("no dbus-daemon")
    pytest.importorskip("pyudev")
    daemon = subprocess.Popen(  # noqa: ASYNC220
        ["dbus-daemon", "--session", "--nofork", "--print-address=1"], stdout=subprocess.PIPE, text=True
    )
    assert daemon.stdout is not None
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", daemon.stdout.readline().strip())
    service = Udisks(tmp_path)
    bus = await MessageBus(bus_type=BusType.SYSTEM).connect()
    bus.add_message_handler(service.answer)
    await bus.request_name("org.freedesktop.UDisks2")
    drives = UdisksDrives()
    monkeypatch.setattr(drives, "_watch", lambda: None)  # the machine's own block devices are no part of this
    drives.start(lambda found: None, lambda node: None)
    drives._there["/dev/sda1"] = Found("/dev/sda1", "1", "STICK", "vfat", 0)
    try:
        yield service, drives
    finally:
        await drives.close()
        bus.disconnect()
        daemon.terminate()
        daemon.wait(5)


async def test_strangers_are_mounted_read_only_and_guarded(udisks: tuple[Udisks, UdisksDrives], tmp_path: Path) -> None:
    service, drives = udisks
    assert await drives.mount("/dev/sda1", writable=False) == tmp_path
    assert service.calls == [("Mount", "nosuid,nodev,noexec,ro")]


async def test_adopted_ones_are_remounted_to_be_written(udisks: tuple[Udisks, UdisksDrives], tmp_path: Path) -> None:
    service, drives = udisks
    await drives.mount("/dev/sda1", writable=False)
    service.calls.clear()
    assert await drives.mount("/dev/sda1", writable=True) == tmp_path
    assert service.calls == [("Unmount", ""), ("Mount", "nosuid,nodev,noexec,rw,flush")]
    service.calls.clear()
    await drives.unmount("/dev/sda1", power_off=True)
    assert service.calls == [("Unmount", ""), ("PowerOff", "")]


@pytest.mark.parametrize(
    ("error", "message"), [("DeviceBusy", "in use by another program"), ("NotAuthorized", "polkit rule is missing")]
)
async def test_what_udisks_refuses_is_one_clear_line(
    udisks: tuple[Udisks, UdisksDrives], error: str, message: str
) -> None:
    service, drives = udisks
    service.refuse = error
    with pytest.raises(DriveError, match=message):
        await drives.mount("/dev/sda1", writable=False)
    with pytest.raises(DriveError, match="not there any more"):
        await drives.mount("/dev/sdz9", writable=False)


async def test_no_bus_is_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pyudev")
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/nonexistent")
    drives = UdisksDrives()
    monkeypatch.setattr(drives, "_watch", lambda: None)
    drives.start(lambda found: None, lambda node: None)
    drives._there["/dev/sda1"] = Found("/dev/sda1", "1", "STICK", "vfat", 0)
    with pytest.raises(DriveError, match="udisks cannot be reached"):
        await drives.mount("/dev/sda1", writable=False)
    await drives.close()


class Device:
    """As pyudev shows a block device; a `remove` comes without properties."""

    def __init__(self, node: str, properties: dict[str, str]) -> None:
        self.device_node, self.properties = node, properties
        self.attributes: dict[str, bytes] = {"size": b"2048"}


async def test_a_table_by_node_knows_what_was_pulled() -> None:
    told: list[Any] = []
    drives = UdisksDrives()
    drives._home = asyncio.get_running_loop()
    drives._added = drives._removed = told.append
    drives._changed("add", Device("/dev/sda1", STICK))
    drives._changed("change", Device("/dev/sda1", STICK))
    drives._changed("add", Device("/dev/sdb", {"ID_BUS": "usb"}))
    drives._changed("remove", Device("/dev/sda1", {}))
    drives._changed("remove", Device("/dev/sda1", {}))
    await asyncio.sleep(0.01)
    assert [t if isinstance(t, str) else t.name for t in told] == ["MY STICKé", "/dev/sda1"]


async def test_folders_come_and_go(tmp_path: Path) -> None:
    stick = tmp_path / "STICK"
    news: asyncio.Queue[Any] = asyncio.Queue()
    drives = FolderDrives([str(stick)], look=0.01)
    drives.start(news.put_nowait, news.put_nowait)
    stick.mkdir()
    came = await asyncio.wait_for(news.get(), 5)
    assert (came.name, came.kind, came.node) == ("STICK", "folder", str(stick))
    assert list(stick.iterdir()) == []
    assert await drives.mount(came.node, writable=False) == stick
    assert list(stick.iterdir()) == []
    await drives.mount(came.node, writable=True)
    stick.rename(tmp_path / "away")
    assert await asyncio.wait_for(news.get(), 5) == str(stick)
    with pytest.raises(DriveError, match="not there"):
        await drives.mount(came.node, writable=False)
    (tmp_path / "away").rename(stick)
    assert (await asyncio.wait_for(news.get(), 5)).uuid == came.uuid
    await drives.close()
