"""The box's kernel: Debian's, with the few of its modules that the box needs, two more, and an initial RAM disk."""

from __future__ import annotations

import gzip
import lzma
import re
import shutil
import stat
from collections.abc import Iterable
from pathlib import Path

from tests.vm.archives import Archives, run, unpack

GUEST = Path(__file__).with_name("guest")
TO_ROOT = ("virtio_blk", "crc32c_generic", "ext4")  # what it takes to reach the root file system
MODULES = (
    *TO_ROOT, "virtio_console", "virtio_rng", "i2c_dev", "snd_aloop", "xhci_pci", "usb_storage", "uas", "sd_mod",
    "virtio_scsi", "vfat", "exfat", "ntfs3", "nls_cp437", "nls_ascii", "nls_utf8", "fuse", "loop", "overlay",
    "configfs", "autofs4", "af_packet", "i6300esb",
)  # fmt: skip


def build(archives: Archives, into: Path) -> None:
    """Make `into`: vmlinuz, initrd, lib/modules/RELEASE and the file `release`. Raises BuildError."""
    work = into.with_name(into.name + ".work")
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    image = archives.newest("linux-image-amd64")
    release = image.removeprefix("linux-image-")
    base = release.removesuffix("-amd64")
    unpack([archives.fetch_alone(image)], work / "image")
    unpack([archives.fetch_alone("busybox-static")], work / "busybox")
    headers = (f"linux-headers-{release}", f"linux-headers-{base}-common", f"linux-kbuild-{base}")
    unpack(map(archives.fetch_alone, headers), work / "headers")
    found = _modules(work / "image", release)
    kept = work / "kernel" / "lib/modules" / release
    for module in needed(MODULES, found):
        place = kept / found[module].relative_to(work / "image")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(found[module].read_bytes())
    for listing in ("modules.builtin", "modules.order"):
        shutil.copy(next((work / "image").rglob(f"{release}/{listing}")), kept / listing)
    _compile(_sources(archives, base), work / "headers" / "usr/src" / f"linux-headers-{release}", work / "own")
    for module in (work / "own").glob("*.ko"):
        run(["strip", "-g", str(module)])
        (kept / "updates").mkdir(exist_ok=True)
        shutil.copy(module, kept / "updates" / module.name)
    shutil.copy(work / "image" / "boot" / f"vmlinuz-{release}", work / "kernel" / "vmlinuz")
    _initial_disk(work / "busybox/bin/busybox", found, work / "kernel" / "initrd")
    (work / "kernel" / "release").write_text(release)
    (work / "kernel").rename(into)
    shutil.rmtree(work)


def needed(names: Iterable[str], found: dict[str, Path]) -> list[str]:
    """`names` and what they depend on, in an order in which they can be loaded. Unknown ones are built in."""
    order: list[str] = []

    def add(name: str) -> None:
        if name in order or name not in found:
            return
        for other in depends(_content(found[name])):
            add(other)
        order.append(name)

    for name in names:
        add(name)
    return order


def depends(module: bytes) -> list[str]:
    """The modules that a module names in its .modinfo section."""
    match = re.search(rb"\0depends=([^\0]*)\0", module)
    return [_name(part) for part in match[1].decode().split(",") if part] if match else []


def _modules(image: Path, release: str) -> dict[str, Path]:
    folder = next(path for path in image.rglob(release) if path.is_dir() and path.parent.name == "modules")
    return {_name(path.name.split(".ko")[0]): path for path in folder.rglob("*.ko*")}


def _name(name: str) -> str:
    return name.replace("-", "_")


def _content(module: Path) -> bytes:
    data = module.read_bytes()
    return lzma.decompress(data) if module.suffix == ".xz" else data


def _sources(archives: Archives, base: str) -> Path:
    """gpio-sim, which Debian does not build, and irq_sim, which it needs, out of the kernel's own source."""
    version = ".".join(base.split(".")[:2])
    folder = archives.root / f"source-{base}"
    if not folder.exists():
        package = archives.fetch_alone(f"linux-source-{version}")
        part = folder.with_name(folder.name + ".part")
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir()
        tree = f"linux-source-{version}"
        files = f"{tree}/drivers/gpio/gpio-sim.c {tree}/kernel/irq/irq_sim.c"
        # --occurrence ends the search when both were found: the archive is 1.5 GB unpacked
        run(
            ["sh", "-c", f'dpkg-deb --fsys-tarfile "$0" | tar -xO ./usr/src/{tree}.tar.xz 2>/dev/null |'
             f' tar -xJf - --occurrence=1 --strip-components=3 -C "$1" {files}', str(package), str(part)]
        )  # fmt: skip
        package.unlink()
        part.rename(folder)
    return folder


def _compile(sources: Path, headers: Path, into: Path) -> None:
    into.mkdir()
    shutil.copy(sources / "gpio-sim.c", into / "gpio-sim-main.c")
    shutil.copy(GUEST / "i2c-wire.c", into)
    # irq_to_desc is not exported; this does the same by the interrupt's number
    interrupts = (sources / "irq_sim.c").read_text()
    changed = interrupts.replace("handle_simple_irq(irq_to_desc(irqnum))", "generic_handle_irq(irqnum)")
    (into / "irq_sim.c").write_text(changed)
    (into / "Makefile").write_text("obj-m := gpio-sim.o i2c-wire.o\ngpio-sim-y := gpio-sim-main.o irq_sim.o\n")
    makefile = headers / "Makefile"
    makefile.write_text(makefile.read_text().replace("include /usr/src", f"include {headers.parent}"))
    (headers / "vmlinux").unlink(missing_ok=True)  # type information for BPF, which takes a tool more
    run(["make", "-s", "-C", str(headers), f"M={into}", "modules"])


def _initial_disk(busybox: Path, found: dict[str, Path], into: Path) -> None:
    order = needed(TO_ROOT, found)
    with gzip.open(into, "wb", compresslevel=1) as archive:
        number = 0

        def add(name: str, mode: int, data: bytes = b"") -> None:
            """One entry of cpio's newc format: 14 fields of 8 hex digits, name, data, each padded to 4 bytes."""
            nonlocal number
            number += 1
            fields = (number, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name) + 1, 0)
            head = b"070701" + b"".join(b"%08x" % field for field in fields) + name.encode() + b"\0"
            archive.write(head + bytes(-len(head) % 4) + data + bytes(-len(data) % 4))

        for folder in ("bin", "modules"):
            add(folder, stat.S_IFDIR | 0o755)
        add("init", stat.S_IFREG | 0o755, (GUEST / "init").read_bytes())
        add("bin/busybox", stat.S_IFREG | 0o755, busybox.read_bytes())
        add("modules/order", stat.S_IFREG | 0o644, "\n".join(f"{name}.ko" for name in order).encode())
        for name in order:
            add(f"modules/{name}.ko", stat.S_IFREG | 0o644, _content(found[name]))
        add("TRAILER!!!", 0)
