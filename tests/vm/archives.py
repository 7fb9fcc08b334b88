"""Debian packages for the box, by the building machine's own apt settings: its mirror, its proxy, its keys."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

SUITE = "bookworm"
NEWER = (
    "bookworm-backports"  # a kernel that has gpio's, sound's and drives' drivers, and a QEMU that runs two processors
)
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
FRESH = 24 * 3600  # seconds for which package lists are good


class BuildError(Exception):
    """The box cannot be built; the text says why, in words for the person at the terminal."""


class Archives:
    """A package archive with lists and settings of its own below `root`; the machine's packages are not touched.

    `architecture` is amd64: the box runs on any machine that QEMU runs on, but its modules are compiled there.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.mirror = _mirror()
        self.packages = root / "archives"

    def lines(self) -> list[str]:
        """sources.list lines of the release itself and its updates, for building a tree of it."""
        signed = f"deb [arch=amd64 signed-by={KEYRING}] {self.mirror}"
        return [f"{signed} {suite} main" for suite in (SUITE, f"{SUITE}-updates")]

    def open(self) -> None:
        """Make the settings and get the package lists where there are none, or old ones. Raises BuildError."""
        for folder in ("lists/partial", "archives/partial", "preferences"):
            (self.root / folder).mkdir(parents=True, exist_ok=True)
        (self.root / "status").touch()
        newer = f"deb [arch=amd64 signed-by={KEYRING}] {self.mirror} {NEWER} main"
        (self.root / "sources.list").write_text("\n".join([*self.lines(), newer]) + "\n")
        (self.root / "apt.conf").write_text(
            f'''
            APT::Architecture "amd64"; APT::Architectures {{ "amd64"; }}; APT::Sandbox::User "root";
            APT::Install-Recommends "false"; APT::Default-Release "{NEWER}"; Acquire::Languages "none";
            Dir::Etc::sourcelist "{self.root}/sources.list"; Dir::Etc::sourceparts "-";
            Dir::Etc::preferences "{self.root}/none"; Dir::Etc::preferencesparts "{self.root}/preferences";
            Dir::State::status "{self.root}/status"; Dir::State::lists "{self.root}/lists";
            Dir::Cache::archives "{self.packages}";
            Dir::Cache::pkgcache ""; Dir::Cache::srcpkgcache "";
            '''
        )
        stamp = self.root / "updated"
        if not stamp.exists() or time.time() - stamp.stat().st_mtime > FRESH:
            self._apt("apt-get", "update")
            stamp.touch()

    def newest(self, package: str) -> str:
        """The package that a package without contents of its own, such as linux-image-amd64, stands for."""
        for line in self._apt("apt-cache", "depends", package).splitlines():
            word, _, name = line.strip().partition(": ")
            if word == "Depends":
                return name
        raise BuildError(f"{self.mirror} has no {package} in {NEWER}")

    def fetch(self, package: str) -> list[Path]:
        """The .deb files of a package and of all that it needs. Raises BuildError."""
        listed = self._apt("apt-get", "-y", "--print-uris", "install", package)
        self._apt("apt-get", "-y", "--download-only", "install", package)
        return [self.packages / line.split()[1] for line in listed.splitlines() if line.startswith("'")]

    def fetch_alone(self, package: str) -> Path:
        """The .deb file of one package. Raises BuildError."""
        listed = self._apt("apt-get", "--print-uris", "download", package)
        file = self.packages / next(line.split()[1] for line in listed.splitlines() if line.startswith("'"))
        if not file.exists():
            self._apt("apt-get", "download", package, cwd=self.packages)
        return file

    def _apt(self, *command: str, cwd: Path | None = None) -> str:
        return run([command[0], "-q", *command[1:]], env={"APT_CONFIG": str(self.root / "apt.conf")}, cwd=cwd)


def unpack(packages: Iterable[Path], into: Path) -> None:
    """The contents of packages, without running anything of theirs; `into` is there whole or not at all."""
    part = into.with_name(into.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    for package in packages:
        run(["dpkg-deb", "-x", str(package), str(part)])
    part.rename(into)


def run(command: list[str], *, env: Mapping[str, str] | None = None, cwd: Path | None = None) -> str:
    """Run a step of the build at low priority; its standard output. Raises BuildError with the end of what it said."""
    done = subprocess.run(
        ["nice", *command], env={**os.environ, "LC_ALL": "C.UTF-8", **(env or {})}, cwd=cwd, text=True,
        stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=1200,
    )  # fmt: skip
    if done.returncode:
        said = (done.stderr or done.stdout).strip()[-1500:]
        raise BuildError(f"{' '.join(command)[:200]}: ended with {done.returncode}\n{said}")
    return done.stdout


def proxies() -> list[str]:
    """What the machine's own apt is told about reaching archives, as settings for another apt."""
    kept = ("Acquire::http", "Acquire::Check-")
    return [line for line in run(["apt-config", "dump"]).splitlines() if line.startswith(kept) and '""' not in line]


def _mirror() -> str:
    """The address of a Debian archive: CHADBOX_VM_MIRROR, else the one that this machine's apt uses."""
    if named := os.environ.get("CHADBOX_VM_MIRROR"):
        return named.rstrip("/")
    targets = run(["apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages"])
    for address in targets.split():
        if address.rstrip("/").endswith("/debian"):
            return address.rstrip("/")
    raise BuildError("this machine's apt knows no Debian archive; name one: CHADBOX_VM_MIRROR=http://HOST/debian")
