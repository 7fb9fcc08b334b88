"""USB drives: news from udev, mounting by udisks2 over D-Bus (C6, C7).

Everything happens on one thread with an event loop of its own, so neither a slow drive nor a stuck bus reaches the
player. The player never mounts itself: its own mounts would not be seen outside its sandbox, nor outlive it.

    kernel --netlink--> udev --pyudev--> this thread --call_soon_threadsafe--> the player's loop
                                         this thread --D-Bus--> udisks2 --> mount, unmount, power off
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from hw.drives import DriveError, Found

if TYPE_CHECKING:
    from dbus_fast.aio import MessageBus

log = logging.getLogger(__name__)

T = TypeVar("T")
BUS = "org.freedesktop.UDisks2"
ROOT = "/org/freedesktop/UDisks2/block_devices/"
FILESYSTEM, BLOCK, DRIVE = f"{BUS}.Filesystem", f"{BUS}.Block", f"{BUS}.Drive"
GUARDED = "nosuid,nodev,noexec"
CALL = 30.0  # seconds that udisks may take; a full write-out of a slow drive takes long
UNMOUNT = 120.0
LEARN = 10.0  # seconds that udisks gets to take note of a drive: udev tells us and it at the same time
_ALREADY = "org.freedesktop.UDisks2.Error.AlreadyMounted"
_UNKNOWN = ("UnknownMethod", "UnknownObject", "UnknownInterface", "InvalidArgs")  # of an object that is still to come
_NOT_MOUNTED = "org.freedesktop.UDisks2.Error.NotMounted"


def found(properties: Mapping[str, str], node: str, sectors: str = "0") -> Found | None:
    """The file system that udev's `properties` of a block device describe; None when it is none on a USB drive."""
    if properties.get("ID_FS_USAGE") != "filesystem" or not node:
        return None
    if properties.get("ID_BUS") != "usb" and properties.get("ID_USB_DRIVER") is None:
        return None
    name = properties.get("ID_FS_LABEL_ENC") or ""
    uuid = properties.get("ID_FS_UUID") or ""
    if not uuid:  # there are such sticks: tell them apart by what they are
        serial = properties.get("ID_SERIAL", "unknown")
        uuid = f"{serial}-{properties.get('ID_PART_ENTRY_NUMBER', '0')}"
    size = int(sectors) * 512 if sectors.isdigit() else 0
    return Found(node, uuid, decoded(name) or uuid, properties.get("ID_FS_TYPE", ""), size)


def decoded(text: str) -> str:
    r"""udev's `\x20` and the like as characters."""
    raw, at = bytearray(), 0
    data = text.encode("utf-8", "surrogateescape")
    while at < len(data):
        code = data[at + 2 : at + 4]
        if data[at : at + 2] == b"\\x" and len(code) == 2 and all(c in b"0123456789abcdefABCDEF" for c in code):
            raw.append(int(code, 16))
            at += 4
            continue
        raw.append(data[at])
        at += 1
    return raw.decode("utf-8", "replace").strip()


class UdisksDrives:
    """A source of drives. Its methods are called on the player's loop and wait there without blocking it."""

    def __init__(self) -> None:
        self._home: asyncio.AbstractEventLoop | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._bus: MessageBus | None = None
        self._there: dict[str, Found] = {}  # by device node: a `remove` may come without properties
        self._added: Callable[[Found], None] = lambda found: None
        self._removed: Callable[[str], None] = lambda node: None

    def start(self, added: Callable[[Found], None], removed: Callable[[str], None]) -> None:
        """Raises DriveError when a library for it is missing."""
        try:
            import dbus_fast  # noqa: F401
            import pyudev  # noqa: F401
        except ImportError as error:
            raise DriveError(f"no USB drives: the package {error.name} is not installed") from None
        self._added, self._removed = added, removed
        self._home = asyncio.get_running_loop()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="drives", daemon=True)
        self._thread.start()

    async def mount(self, node: str, *, writable: bool) -> Path:
        """Mount `node`, or find where it is mounted rightly already. Raises DriveError."""
        return await self._there_do(self._mount(node, writable), CALL)

    async def unmount(self, node: str, *, power_off: bool) -> None:
        """Write everything out and unmount; with `power_off` also switch the drive off where it can be."""
        await self._there_do(self._unmount(node, power_off), UNMOUNT)

    async def close(self) -> None:
        if self._loop is not None and self._thread is not None:
            self._loop.call_soon_threadsafe(self._loop.stop)
            await asyncio.to_thread(self._thread.join, 1.0)

    # On the thread ----------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        assert self._loop is not None  # noqa: S101 - start made it
        asyncio.set_event_loop(self._loop)
        try:
            self._watch()
            self._loop.run_forever()
            if self._bus is not None:
                self._bus.disconnect()
        except Exception as error:
            log.error("USB drives cannot be watched: %s", error)

    def _watch(self) -> None:
        import pyudev

        assert self._loop is not None  # noqa: S101
        context = pyudev.Context()
        monitor = pyudev.Monitor.from_netlink(context)
        monitor.filter_by("block")
        monitor.start()

        def news() -> None:
            while (device := monitor.poll(timeout=0)) is not None:
                self._changed(str(device.action), device)

        self._loop.add_reader(monitor.fileno(), news)
        for device in context.list_devices(subsystem="block"):
            self._changed("add", device)

    def _changed(self, action: str, device: Any) -> None:
        node = device.device_node or ""
        try:
            now = (
                None
                if action == "remove"
                else found(device.properties, node, device.attributes.get("size", b"0").decode())
            )
        except (KeyError, UnicodeDecodeError, OSError):
            now = None
        before = self._there.get(node)
        if before is not None and now != before:
            del self._there[node]
            self._tell(self._removed, node)
        if now is not None and now != before:
            self._there[node] = now
            self._tell(self._added, now)

    def _tell(self, whom: Callable[[Any], None], what: Any) -> None:
        assert self._home is not None  # noqa: S101
        with contextlib.suppress(RuntimeError):  # the player has ended
            self._home.call_soon_threadsafe(whom, what)

    async def _mount(self, node: str, writable: bool) -> Path:
        if node not in self._there:
            raise DriveError(f"{node} is not there any more; plug it in again")
        path = await self._learned(node)
        if path is not None and await asyncio.to_thread(_as_wanted, path, writable):
            return path
        if path is not None:
            await self._call(_object(node), FILESYSTEM, "Unmount", "a{sv}", [{}])
        kind = self._there[node].kind
        options = [GUARDED, "rw" if writable else "ro"] + (["flush"] if writable and kind == "vfat" else [])
        (where,) = await self._call(
            _object(node), FILESYSTEM, "Mount", "a{sv}", [_dictionary(options=",".join(options))]
        )
        if writable and kind not in ("vfat", "exfat", "ntfs", "ntfs3"):
            await self._own(node, Path(where))
        return Path(where)

    async def _own(self, node: str, path: Path) -> None:
        """File systems with owners: the root folder has to be ours, or nothing can be put into it."""
        import os

        if not await asyncio.to_thread(os.access, path, os.W_OK):
            try:
                await self._call(_object(node), FILESYSTEM, "TakeOwnership", "a{sv}", [{}])
            except DriveError as error:
                log.warning("%s: its root folder stays somebody else's: %s", node, error)

    async def _unmount(self, node: str, power_off: bool) -> None:
        if node not in self._there:
            return
        try:
            await self._call(_object(node), FILESYSTEM, "Unmount", "a{sv}", [{}])
        except DriveError as error:
            if _NOT_MOUNTED not in str(error.__cause__):
                raise
        if not power_off:
            return
        try:
            drive = await self._property(_object(node), BLOCK, "Drive")
            if await self._property(drive, DRIVE, "CanPowerOff"):
                await self._call(drive, DRIVE, "PowerOff", "a{sv}", [{}])
            elif await self._property(drive, DRIVE, "Ejectable"):
                await self._call(drive, DRIVE, "Eject", "a{sv}", [{}])
        except DriveError as error:
            log.info("%s is unmounted but not switched off: %s", node, error)

    async def _learned(self, node: str) -> Path | None:
        """Where a drive is mounted that udisks may have yet to hear of."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + LEARN
        while True:
            try:
                return await self._mounted_at(node)
            except DriveError as error:
                unknown = str(error.__cause__).rpartition(".")[2] in _UNKNOWN
                if not unknown or node not in self._there or loop.time() > deadline:
                    raise
            await asyncio.sleep(0.1)

    async def _mounted_at(self, node: str) -> Path | None:
        points = await self._property(_object(node), FILESYSTEM, "MountPoints")
        return Path(bytes(points[0]).rstrip(b"\0").decode("utf-8", "surrogateescape")) if points else None

    async def _property(self, path: str, interface: str, name: str) -> Any:
        (value,) = await self._call(path, "org.freedesktop.DBus.Properties", "Get", "ss", [interface, name])
        return value.value

    async def _call(self, path: str, interface: str, member: str, signature: str, body: list[Any]) -> list[Any]:
        from dbus_fast import BusType, Message, MessageType
        from dbus_fast.aio import MessageBus

        try:
            if self._bus is None or not self._bus.connected:
                self._bus = await MessageBus(bus_type=BusType.SYSTEM).connect()
            reply = await self._bus.call(
                Message(destination=BUS, path=path, interface=interface, member=member, signature=signature, body=body)
            )
        except (OSError, EOFError, ValueError) as error:
            raise DriveError(f"udisks cannot be reached: {error}; is udisks2 installed and D-Bus running?") from error
        if reply is None or reply.message_type is MessageType.ERROR:
            name = reply.error_name if reply is not None else "no answer"
            text = str(reply.body[0]) if reply is not None and reply.body else ""
            raise DriveError(_explain(str(name), text)) from RuntimeError(name)
        return list(reply.body)

    # On the player's loop ---------------------------------------------------------------------------------------------

    async def _there_do(self, work: Coroutine[Any, Any, T], seconds: float) -> T:
        if self._loop is None or not self._loop.is_running():
            work.close()
            raise DriveError("USB drives are not being watched; see the log")
        running = asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self._loop))
        try:
            return await asyncio.wait_for(running, seconds)
        except TimeoutError:
            raise DriveError("the drive does not answer; pull it out and plug it in again") from None


def _object(node: str) -> str:
    """The D-Bus path of a device node, by the rule of udisks: what is not a letter or digit becomes _xx."""
    name = node.removeprefix("/dev/")
    return ROOT + "".join(c if c.isascii() and c.isalnum() else f"_{ord(c):02x}" for c in name)


def _dictionary(**texts: str) -> dict[str, Any]:
    from dbus_fast import Variant

    return {name: Variant("s", text) for name, text in texts.items()}


def _as_wanted(path: Path, writable: bool) -> bool:
    """Whether what is mounted there has the guards, and can be written or not as wanted."""
    import os

    try:
        flags = os.statvfs(path).f_flag
    except OSError:
        return False
    guards = os.ST_NOSUID | os.ST_NODEV | os.ST_NOEXEC
    return flags & guards == guards and bool(flags & os.ST_RDONLY) is not writable


def _explain(name: str, text: str) -> str:
    kind = name.rpartition(".")[2]
    if kind in ("NotAuthorized", "NotAuthorizedCanObtain", "NotAuthorizedDismissed"):
        return "udisks does not let the player mount drives; its polkit rule is missing (image/polkit)"
    if kind == "DeviceBusy":
        return "the drive is in use by another program; close its files and try again"
    if kind in ("ServiceUnknown", "UnknownMethod", "UnknownObject", "UnknownInterface"):
        return "udisks does not know the drive; is udisks2 installed and running?"
    return f"udisks cannot do that: {' '.join(text.split())[:200] or kind}"
