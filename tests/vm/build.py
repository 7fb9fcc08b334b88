"""From package archives to a disk that boots into an installed chadbox. Needs root: a tree is configured by chroot."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support import tones
from tests.vm import kernel
from tests.vm.archives import KEYRING, SUITE, Archives, BuildError, proxies, run, unpack

ROOT = Path(__file__).resolve().parents[2]
GUEST = kernel.GUEST
PYTHON = "3.11"  # of the tree; wheels are fetched for it
PACKAGES = (
    "systemd", "systemd-sysv", "udev", "dbus", "kmod", "procps", "sudo", "python3", "python3-venv", "libmpv2", "ffmpeg",
    "alsa-utils", "unifont", "udisks2", "polkitd", "dosfstools", "exfatprogs", "e2fsprogs",
)  # fmt: skip
INSTALLED = ("appliance", "hw", "image", "dev", "pyproject.toml", "requirements.lock", "README.md", "LICENSE")
MUSIC_SECONDS = 24.0
FREE = 2048  # MiB, for the cache, which leaves half a gigabyte alone; what is never written takes no room on the host
AUDIO = 'output = "alsa:Loopback"\nloudness = "off"\nmax_startup_volume = 100'


@dataclass(frozen=True)
class Box:
    """What it takes to boot: QEMU's folder, a kernel with its RAM disk, and the root file system."""

    qemu: Path
    kernel: Path
    disk: Path


def music(folder: Path) -> tones.Album:
    """The album that lies in the box's /srv/music, made again below `folder`: 24 s in three tracks without a gap."""
    return tones.album(folder, "flac", tracks=3, seconds=MUSIC_SECONDS, title="Gapless")


def cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "chadbox-vm"


def build() -> Box:
    """The box of this source tree; what was built before is used again. Raises BuildError."""
    folder = cache()
    tree_key = _key([GUEST / name for name in ("init", "i2c-wire.c")], *kernel.MODULES)
    box = Box(
        folder / "qemu",
        folder / f"kernel-{tree_key}",
        folder / f"disk-{_key(_installed(), tree_key, *PACKAGES)}.ext4",
    )
    if all(path.exists() for path in (box.qemu, box.kernel, box.disk)):
        return box
    if os.geteuid() != 0:
        raise BuildError("building the box needs root: sudo ./dev vm build")
    folder.mkdir(parents=True, exist_ok=True)
    with _alone(folder / "lock"):
        archives = Archives(folder / "apt")
        archives.open()
        tree = folder / f"tree-{_key([], *PACKAGES)}"
        wheels = folder / f"wheels-{_key([ROOT / 'image/requirements.lock'])}"
        # two at once: one mostly waits for the network, the other for the processor
        with ThreadPoolExecutor(2) as pool:
            steps = [
                pool.submit(_step, path, work)
                for path, work in (
                    (tree, lambda into: _tree(archives, into)),
                    (box.kernel, lambda into: kernel.build(archives, into)),
                    (box.qemu, lambda into: unpack(archives.fetch("qemu-system-x86"), into)),
                    (wheels, _wheels),
                )
            ]
            for step in steps:
                step.result()
        _step(box.disk, lambda into: _disk(tree, box.kernel, wheels, into))
    return box


def clean() -> None:
    """Forget everything that was built or fetched."""
    shutil.rmtree(cache(), ignore_errors=True)


def _step(into: Path, work: Callable[[Path], None]) -> None:
    """Do `work` unless its result is there, and remove what it replaces."""
    if into.exists():
        return
    start = time.monotonic()
    work(into)
    kind = into.name.partition("-")[0]
    for old in into.parent.glob(f"{kind}-*"):
        if old != into:
            shutil.rmtree(old) if old.is_dir() else old.unlink()
    print(f"vm: {kind} in {time.monotonic() - start:.0f} s", file=sys.stderr)


def _tree(archives: Archives, into: Path) -> None:
    part = into.with_name(into.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    left_out = [f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in ("man", "locale", "doc")]
    left_out.append("--dpkgopt=force-unsafe-io")  # what an interruption leaves is thrown away
    settings = [f"--aptopt={line.rstrip(';')}" for line in ['APT::Install-Recommends "false"', *proxies()]]
    run(
        ["mmdebstrap", "--mode=root", "--variant=minbase", "--architectures=amd64", "--format=directory",
         f"--keyring={KEYRING}", f"--include={','.join(PACKAGES)}", *left_out, *settings,
         SUITE, str(part), *archives.lines()]
    )  # fmt: skip
    part.rename(into)


def _wheels(into: Path) -> None:
    part = into.with_name(into.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    # pip does not know by itself that a system with glibc 2.36 takes what was made for older ones
    platforms = [f"--platform=manylinux_2_{minor}_x86_64" for minor in range(36, 16, -1)]
    run(
        [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "-q", "--require-hashes",
         "--only-binary=:all:", f"--python-version={PYTHON}", *platforms, "--platform=manylinux2014_x86_64",
         "--dest", str(part), "-r", str(ROOT / "image/requirements.lock")]
    )  # fmt: skip
    part.rename(into)


def _disk(tree: Path, kernel_folder: Path, wheels: Path, into: Path) -> None:
    """The tree, prepared as a machine that somebody has unpacked chadbox on, who then calls `./dev install`."""
    work = into.with_name("work")
    shutil.rmtree(work, ignore_errors=True)
    run(["cp", "-a", str(tree), str(work)])
    run(["cp", "-a", str(kernel_folder / "lib/modules"), str(work / "usr/lib/")])
    home = work / "home/pi/chadbox"
    home.mkdir(parents=True)
    for name in INSTALLED:
        run(["cp", "-a", str(ROOT / name), str(home / name)])
    run(["cp", "-a", str(wheels), str(work / "tmp/wheels")])
    music(work / "srv/music")
    _prepare(work, (kernel_folder / "release").read_text())
    install = "cd ~/chadbox && ./dev install --serve /srv/music --wheels /tmp/wheels"
    _chroot(work, f"su pi -c '{install}'")
    settings = work / "etc/chadbox/chadbox.toml"
    settings.write_text(settings.read_text().replace('output = "alsa"', AUDIO))
    shutil.rmtree(work / "tmp/wheels")
    part = into.with_name(into.name + ".part")
    size = int(run(["du", "-sm", str(work)]).split()[0]) * 11 // 10 + FREE
    run(["/sbin/mke2fs", "-q", "-F", "-t", "ext4", "-m", "0", "-d", str(work), str(part), f"{size}M"])
    part.rename(into)
    shutil.rmtree(work)


def _prepare(tree: Path, release: str) -> None:
    files = {
        "etc/hostname": "box\n",
        "etc/hosts": "127.0.0.1 localhost box\n",
        "etc/fstab": "",
        "etc/machine-id": "0123456789abcdef0123456789abcdef\n",
        "etc/sudoers.d/pi": "pi ALL=(ALL) NOPASSWD: ALL\n",
        "etc/modules-load.d/vm.conf": "virtio_console\nsnd-aloop\ngpio-sim\ni2c-wire\n",
        "etc/modprobe.d/vm.conf": "options snd-aloop index=0 id=Loopback\n",
        # the terminal of `./dev vm shell`
        "etc/systemd/system/serial-getty@ttyS0.service.d/vm.conf":
            "[Service]\nExecStart=\nExecStart=-/sbin/agetty --autologin root --keep-baud 115200 - $TERM\n",
    }  # fmt: skip
    for name, text in files.items():
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text(text)
    places = {"service": "etc/systemd/system", "conf": "etc/systemd/system/chadbox.service.d"}
    for file in GUEST.iterdir():
        place = tree / places.get(file.suffix[1:], "usr/lib/chadbox-vm") / file.name
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, place)
    idle = "apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service"
    unused = "systemd-binfmt.service proc-sys-fs-binfmt_misc.automount systemd-logind.service"
    units = f"systemctl -q enable vm-agent vm-header; systemctl -q mask {idle} {unused}"
    _chroot(tree, f"depmod {release}; useradd --create-home --shell /bin/bash pi; chown -R pi: /home/pi; {units}")


def _chroot(tree: Path, script: str) -> None:
    """Run a script in the tree, with /proc and /dev that are gone afterwards. Raises BuildError."""
    mounts = 'mount -t proc proc "$0/proc" && mount --rbind /dev "$0/dev"'
    run(["unshare", "--mount", "--fork", "sh", "-c", f'{mounts} && exec env -i PATH=/usr/sbin:/usr/bin chroot "$0" '
         'sh -ec "$1"', str(tree), script])  # fmt: skip


def _installed() -> Iterator[Path]:
    for name in INSTALLED:
        path = ROOT / name
        yield from sorted(p for p in path.rglob("*") if p.is_file() and p.suffix != ".pyc") if path.is_dir() else [path]
    yield from sorted(GUEST.iterdir())
    yield Path(__file__)


def _key(files: Iterable[Path], *words: str) -> str:
    """Short, and another one whenever the contents of a file or a word changes."""
    digest = hashlib.sha256("\n".join(words).encode())
    for file in files:
        digest.update(f"\n{file.relative_to(ROOT)}\n".encode() + file.read_bytes())
    return digest.hexdigest()[:12]


@contextmanager
def _alone(lock: Path) -> Iterator[None]:
    with lock.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("vm: waiting for another build", file=sys.stderr)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
