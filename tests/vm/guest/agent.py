"""Does in the box what the host asks for, over a virtio serial port: JSON lines both ways, bytes in base64.

{"id", "run": command, "timeout": s} -> {"id", "out": bytes}* {"id", "code"}
{"id", "put": path, "data", "append", "mode"} -> {"id", "code"}
{"id", "get": path} -> {"id", "out": bytes}* {"id", "code"}

Requests run side by side, each in a thread.
"""

import base64
import contextlib
import json
import os
import signal
import subprocess
import threading
import time
from pathlib import Path

PORT = "/dev/virtio-ports/agent"
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Agent:
    def __init__(self) -> None:
        while not os.path.exists(PORT):
            time.sleep(0.05)
        self.port = os.open(PORT, os.O_RDWR)
        self.lock = threading.Lock()

    def serve(self) -> None:
        rest = b""
        while True:
            data = os.read(self.port, 65536)
            if not data:  # nobody at the other end
                time.sleep(0.05)
                continue
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                threading.Thread(target=self.answer, args=(json.loads(line),), daemon=True).start()

    def answer(self, request: dict) -> None:
        try:
            code = self.do(request)
        except OSError as error:
            self.out(request, str(error).encode())
            code = 255
        self.send({"id": request["id"], "code": code})

    def do(self, request: dict) -> int:
        if "put" in request:
            path = Path(request["put"])
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("ab" if request["append"] else "wb") as file:
                file.write(base64.b64decode(request["data"]))
            path.chmod(request["mode"])
            return 0
        if "get" in request:
            with open(request["get"], "rb") as file:
                while data := file.read(48_000):
                    self.out(request, data)
            return 0
        return self.run(request)

    def run(self, request: dict) -> int:
        process = subprocess.Popen(
            ["/bin/sh", "-c", request["run"]], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, start_new_session=True, cwd="/root",
            env={"HOME": "/root", "PATH": PATH, "LANG": "C.UTF-8"},
        )  # fmt: skip

        def kill() -> None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)

        timer = threading.Timer(request["timeout"], kill)
        timer.start()
        while data := os.read(process.stdout.fileno(), 32_768):
            self.out(request, data)
        code = process.wait()
        timer.cancel()
        return code

    def out(self, request: dict, data: bytes) -> None:
        self.send({"id": request["id"], "out": base64.b64encode(data).decode()})

    def send(self, message: dict) -> None:
        data = json.dumps(message).encode() + b"\n"
        with self.lock:
            while data:
                data = data[os.write(self.port, data) :]


if __name__ == "__main__":
    Agent().serve()
