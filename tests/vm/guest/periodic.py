"""Listens to the sound card until SIGTERM, while one album is played over and over, and prints what it heard as JSON.

periodic.py FRAMES: the album's length. Without a gap each frame is the one that came FRAMES before it, bit for bit;
silence counts as a gap as well. {"seconds", "gaps": [second at which each began], "overruns": of this recording itself}
"""

import json
import signal
import subprocess
import sys

FRAME = 8  # bytes: two channels, 32 bits
RATE = 44_100
BLOCK = 4096 * FRAME
SILENCE = bytes(32 * FRAME)  # music is never silent for so long; a block that is missing is


def main(frames: int) -> None:
    recorder = subprocess.Popen(
        ["arecord", "-D", "hw:Loopback,1,0", "-f", "FLOAT_LE", "-c", "2", "-r", str(RATE), "-t", "raw",
         "--buffer-time=2000000"], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    signal.signal(signal.SIGTERM, lambda *_: recorder.terminate())
    assert recorder.stdout is not None
    assert recorder.stderr is not None
    period = frames * FRAME
    heard = bytearray()  # the last period and more
    at, trusted, started = 0, 0, False  # bytes: heard in all; the place from which on a period can be compared
    gaps: list[float] = []
    print("ready", flush=True)
    while data := recorder.stdout.read(BLOCK):
        if not started:  # silence before the first sample
            skipped = len(data) - len(data.lstrip(b"\0"))
            skipped -= skipped % FRAME
            data = data[skipped:]
            started = bool(data)
        wrong = SILENCE in data
        if at - trusted >= period:
            wrong = wrong or data != heard[len(heard) - period :][: len(data)]
        if wrong:
            gaps.append(round(at / FRAME / RATE, 2))
            trusted = at + len(data)  # one gap is told once: compare again when a whole period came
        heard += data
        at += len(data)
        if len(heard) > 2 * period:
            del heard[: len(heard) - period]
    overruns = recorder.stderr.read().count(b"overrun")
    print(json.dumps({"seconds": round(at / FRAME / RATE, 1), "gaps": gaps, "overruns": overruns}), flush=True)


main(int(sys.argv[1]))
