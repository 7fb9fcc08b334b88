"""The running box: start it, run commands in it, move its lines, plug drives, hear it; ends with the `with`."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from appliance.demo.processes import die_with_parent
from tests.vm.build import Box

BOOT = 180.0  # seconds; an idle machine needs a tenth
MEMORY = 512  # MiB, as the smallest board has
CHUNK = 1 << 19
STARVED = 0.03  # share of the time; the sound card's buffer bridges some tenths of a second


class GuestFailed(AssertionError):
    """The box did not boot, or a command in it ended with another exit code than 0."""


class Guest:
    """One boot of `box`; its disk is thrown away afterwards. `console` gives the terminal to the box instead."""

    def __init__(self, box: Box, *, processors: int = 2, console: bool = False) -> None:
        self.box, self.processors, self.console = box, processors, console
        self.boot_seconds = 0.0  # from power to the first command that it could take
        self.waited = 0.0  # see `steady`
        self.overruns = 0  # see `record`
        self._folder = Path(tempfile.mkdtemp(prefix="chadbox-vm-"))
        self._answers: dict[int, SimpleQueue[dict[str, Any]]] = {}
        self._number = 0
        self._lock, self._asking = threading.Lock(), threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._agent = socket.socket(socket.AF_UNIX)
        self._monitor = socket.socket(socket.AF_UNIX)

    # -- life

    def __enter__(self) -> Self:
        start = time.monotonic()
        try:
            self._start()
            self.run("true", timeout=BOOT)
        except BaseException:
            print(self.log(), file=sys.stderr)
            self.close()
            raise
        self.boot_seconds = time.monotonic() - start
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if kind is not None:
            print(self.log(), file=sys.stderr)
        self.close()

    def close(self) -> None:
        """Power off, as pulling the plug does."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self._agent.close()
        self._monitor.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def wait(self) -> None:
        """Until the box powers itself off."""
        if self._process is not None:
            self._process.wait()

    def log(self, lines: int = 40) -> str:
        """The end of what the kernel and QEMU said."""
        text = ""
        for name in ("console", "qemu"):
            with contextlib.suppress(OSError):
                text += (self._folder / name).read_text("utf-8", "replace")
        return "\n".join(text.splitlines()[-lines:])

    # -- commands

    def run(self, command: str, *, timeout: float = 60.0, code: int | None = 0) -> str:
        """What a shell command said, both streams. GuestFailed on another exit code than `code` (None: any)."""
        out, ended = self._ask({"run": command, "timeout": timeout}, timeout + 5)
        text = out.decode("utf-8", "replace")
        if code is not None and ended != code:
            raise GuestFailed(f"{command!r} ended with {ended} in the box:\n{text[-3000:]}")
        return text

    def chadbox(self, *arguments: str, timeout: float = 60.0, user: str = "pi") -> str:
        """What `chadbox ARGUMENTS` says to a person who is in the group chadbox."""
        return self.run(f"su {user} -c {shlex.quote(shlex.join(['chadbox', *arguments]))}", timeout=timeout)

    def status(self) -> dict[str, Any]:
        """The document of `chadbox status --json`."""
        status: dict[str, Any] = json.loads(self.chadbox("status", "--json"))
        return status

    def becomes(self, condition: Callable[[dict[str, Any]], bool], seconds: float = 60) -> dict[str, Any]:
        """The first status that `condition` holds for."""
        deadline = time.monotonic() + seconds
        while not condition(status := self.status()):
            if time.monotonic() > deadline:
                raise GuestFailed(f"after {seconds:g} s the status still is {status}")
        return status

    def pid(self) -> int:
        """The player's process id in the box."""
        return int(self.run("systemctl show -P MainPID chadbox"))

    def play_the_album(self) -> None:
        """Play the album of `build.music` from its first sample, as soon as the server has found it."""
        self.until("""su pi -c 'chadbox sync && chadbox search Gapless' | grep -q 'Part 3'""", 120)
        found = json.loads(self.chadbox("search", "Gapless", "--json"))
        self.chadbox("play", f"album:{found['albums'][0]['id']}")

    def until(self, condition: str, timeout: float = 60.0) -> None:
        """Wait in the box until a shell condition holds. GuestFailed."""
        try:
            self.run(f"until {condition}; do sleep 0.5; done >/dev/null 2>&1", timeout=timeout)
        except GuestFailed:
            raise GuestFailed(f"{condition!r} does not hold after {timeout:g} s") from None

    def put(self, path: str, data: bytes, mode: int = 0o644) -> None:
        for start in range(0, max(len(data), 1), CHUNK):
            part = base64.b64encode(data[start : start + CHUNK]).decode()
            _, code = self._ask({"put": path, "data": part, "append": start > 0, "mode": mode}, 60)
            if code:
                raise GuestFailed(f"{path} could not be written in the box")

    def get(self, path: str) -> bytes:
        data, code = self._ask({"get": path}, 60)
        if code:
            raise GuestFailed(f"{path}: {data.decode('utf-8', 'replace')}")
        return data

    # -- the header

    def turn(self, a: int, b: int, detents: int, rate: float = 100.0) -> float:
        """Turn a knob on GPIO `a` and `b`, negative detents the other way; transitions a second as reached."""
        said = self.run(f"python3 /usr/lib/chadbox-vm/lines.py turn {a} {b} {detents} {rate}")
        return float(said)

    def press(self, pin: int, seconds: float = 0.15) -> None:
        """Pull a GPIO line to ground for a while."""
        self.run(f"python3 /usr/lib/chadbox-vm/lines.py press {pin} {seconds}")

    # -- the display's bus

    def i2c_log(self) -> list[tuple[int, str, bytes]]:
        """(address, "R" or "W", bytes) of each message since boot or `i2c_clear`."""
        lines = self.run("cat /dev/i2c-wire-log").splitlines()
        return [(int(at, 16), way, bytes.fromhex(data)) for _, at, way, _, data in (line.split(" ") for line in lines)]

    def i2c_clear(self) -> None:
        self.run("echo >/dev/i2c-wire-log")

    def i2c_set(self, **parameters: int | str) -> None:
        """Parameters of the bus, see guest/i2c-wire.c: `fail=110, stall_ms=1000` wedges it, `acks=0` unplugs it."""
        folder = "/sys/module/i2c_wire/parameters"
        self.run("; ".join(f"echo {value} >{folder}/{name}" for name, value in parameters.items()))

    # -- drives

    def plug(self, name: str, image: Path, *, usb: bool = True, protected: bool = False) -> None:
        """Put in a USB stick that holds a file of the host; what the box writes is written there.

        Without `usb` the same as a fixed disk, which the player takes no notice of. `protected` has the switch of old
        sticks set that forbids writing.
        """
        file = {"driver": "file", "filename": str(image), "read-only": protected}
        self.qmp("blockdev-add", {"driver": "raw", "node-name": f"file-{name}", "file": file, "read-only": protected})
        how = {"driver": "usb-storage", "bus": "usb.0"} if usb else {"driver": "scsi-hd", "bus": "scsi.0"}
        self.qmp("device_add", {**how, "id": name, "serial": name, "drive": f"file-{name}"})

    def pull(self, name: str) -> None:
        """Pull it out, without a word before."""
        self.qmp("device_del", {"id": name})
        deadline = time.monotonic() + 10
        while True:
            try:
                self.qmp("blockdev-del", {"node-name": f"file-{name}"})
            except GuestFailed:  # still being let go of
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
            else:
                return

    def qmp(self, command: str, arguments: dict[str, Any] | None = None) -> Any:
        """A command to QEMU; its answer. GuestFailed."""
        with self._asking:
            self._monitor.sendall(json.dumps({"execute": command, "arguments": arguments or {}}).encode() + b"\n")
            while True:
                answer = json.loads(self._replies.readline())
                if "error" in answer:
                    raise GuestFailed(f"QEMU: {command}: {answer['error']['desc']}")
                if "return" in answer:
                    return answer["return"]

    @contextmanager
    def steady(self) -> Iterator[None]:
        """For what has to be in time: the box goes before other work of this machine, where that is allowed (root).

        Afterwards `waited` is the share of the time (0-1) that a processor of the box was ready to run and this
        machine ran something else: sound that stumbled then says nothing about the player.
        """
        before, start = self._waiting(), time.monotonic()
        nice = self._prioritise(-10)
        try:
            yield
        finally:
            self._prioritise(nice)
            spent = [now - was for now, was in zip(self._waiting(), before, strict=True)]
            self.waited = max(spent) / (time.monotonic() - start)

    # -- sound

    def heard(self, seconds: float, rate: int = 44_100) -> None:
        """While recording: until so much more was recorded, by the sound card's clock."""
        size = "stat -c %s /run/sound.raw"
        goal = int(self.run(size)) + int(seconds * rate) * 8
        self.until(f"[ $({size}) -ge {goal} ]", timeout=seconds * 10)

    @contextmanager
    def record(self, rate: int = 44_100) -> Iterator[Sequence[NDArray[np.float32]]]:
        """Record what the sound card is given inside the `with`; afterwards the list holds it, (frames, 2).

        `overruns` is how often the recording itself was too slow then and has lost something.
        """
        command = f"arecord -D hw:Loopback,1,0 -f FLOAT_LE -c 2 -r {rate} -t raw --buffer-time=2000000 /run/sound.raw"
        self.run(f"systemd-run -q --unit=record -p StandardError=truncate:/run/record.log {command}")
        self.until("[ -s /run/sound.raw ]")
        heard: list[NDArray[np.float32]] = []
        with self.steady():
            yield heard
        self.run("systemctl stop record")
        self.overruns = self.get("/run/record.log").count(b"overrun")
        heard.append(np.frombuffer(self.get("/run/sound.raw"), "<f4").reshape(-1, 2))

    # -- helpers

    def _start(self) -> None:
        files = self._folder
        options = [
            "-M", "q35", "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", str(self.processors), "-m", str(MEMORY),
            "-nodefaults", "-display", "none", "-no-reboot", "-kernel", str(self.box.kernel / "vmlinuz"),
            "-initrd", str(self.box.kernel / "initrd"),
            "-append", "console=ttyS0 quiet loglevel=4 panic=-1 mitigations=off audit=0 nokaslr 8250.nr_uarts=1"
            " usb_storage.delay_use=0",
            "-drive", f"file={self.box.disk},format=raw,if=virtio,snapshot=on,cache=unsafe",
            "-device", "virtio-rng-pci", "-device", "qemu-xhci,id=usb",
            "-device", "virtio-scsi-pci,id=scsi",
            "-device", "virtio-serial-pci", "-chardev", f"socket,id=agent,path={files}/agent,server=on,wait=off",
            "-device", "virtserialport,chardev=agent,name=agent", "-qmp", f"unix:{files}/qmp,server=on,wait=off",
            "-serial", "stdio" if self.console else f"file:{files}/console",
        ]  # fmt: skip
        with (files / "qemu").open("wb") as log:
            self._process = subprocess.Popen(
                [*_qemu(self.box.qemu), *options],
                stdin=None if self.console else subprocess.DEVNULL,
                stdout=None if self.console else log,
                stderr=None if self.console else log,
                env={**os.environ, "TMPDIR": str(files)},  # what the box writes to its disk
                preexec_fn=die_with_parent,
            )
        for connection, name in ((self._monitor, "qmp"), (self._agent, "agent")):
            self._connect(connection, str(files / name))
        self._replies = self._monitor.makefile("rb")
        self._replies.readline()  # the greeting
        self.qmp("qmp_capabilities")
        threading.Thread(target=self._listen, daemon=True).start()

    def _prioritise(self, nice: int) -> int:
        """Returns what it was before."""
        assert self._process is not None
        before = os.getpriority(os.PRIO_PROCESS, self._process.pid)
        for thread in os.listdir(f"/proc/{self._process.pid}/task"):
            with contextlib.suppress(PermissionError, ProcessLookupError):
                os.setpriority(os.PRIO_PROCESS, int(thread), nice)
        return before

    def _waiting(self) -> list[float]:
        """Seconds that each processor of the box has waited for one of this machine."""
        assert self._process is not None
        threads = self.qmp("query-cpus-fast")
        stats = [Path(f"/proc/{self._process.pid}/task/{cpu['thread-id']}/schedstat") for cpu in threads]
        return [int(path.read_text().split()[1]) / 1e9 for path in stats]

    def _connect(self, connection: socket.socket, path: str) -> None:
        assert self._process is not None
        deadline = time.monotonic() + 20
        while connection.connect_ex(path):
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise GuestFailed(f"QEMU does not run: {self.log()}")
            time.sleep(0.02)

    def _ask(self, request: dict[str, Any], timeout: float) -> tuple[bytes, int]:
        assert self._process is not None
        with self._lock:
            self._number += 1
            number = self._number
            answers = self._answers[number] = SimpleQueue()
            self._agent.sendall(json.dumps({"id": number, **request}).encode() + b"\n")
        out = []
        deadline = time.monotonic() + timeout
        while True:
            try:
                answer = answers.get(timeout=min(1.0, max(deadline - time.monotonic(), 0.01)))
            except Empty:
                if self._process.poll() is not None:
                    raise GuestFailed(f"the box went off during {str(request)[:200]}") from None
                if time.monotonic() > deadline:
                    raise GuestFailed(f"no answer within {timeout:g} s to {str(request)[:200]}") from None
                continue
            if "out" in answer:
                out.append(base64.b64decode(answer["out"]))
            else:
                del self._answers[number]
                return b"".join(out), int(answer["code"])

    def _listen(self) -> None:
        with contextlib.suppress(OSError, ValueError), self._agent.makefile("rb") as lines:
            for line in lines:
                answer = json.loads(line)
                if queue := self._answers.get(answer["id"]):
                    queue.put(answer)


def _qemu(folder: Path) -> list[str]:
    """QEMU out of its unpacked packages, with the libraries that came with it."""
    libraries = [folder / "lib/x86_64-linux-gnu", folder / "usr/lib/x86_64-linux-gnu"]
    data = [folder / "usr/share/qemu", folder / "usr/share/seabios", folder / "usr/lib/ipxe/qemu"]
    return [
        str(folder / "lib64/ld-linux-x86-64.so.2"), "--library-path", ":".join(map(str, libraries)),
        str(folder / "usr/bin/qemu-system-x86_64"), *(option for path in data for option in ("-L", str(path))),
    ]  # fmt: skip
