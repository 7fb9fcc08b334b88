"""`./dev vm`: build the virtual box, and use it by hand or for the tests."""

from __future__ import annotations

import os
import sys
import termios
import time
import tty
from typing import NoReturn

from tests.vm.archives import BuildError
from tests.vm.build import build, clean
from tests.vm.guest import Guest, GuestFailed

SMOKE = "boots or ten_detents or press or ten_seconds or protected or (yanks and vfat)"
USAGE = """usage: ./dev vm COMMAND

  build        build what is missing (root or sudo; about 2 GB in ~/.cache/chadbox-vm)
  run CMD      boot, run a shell command in the box as root, show what it says, end with its exit code
  shell        boot and give this terminal to the box; `poweroff` ends it
  test [ARGS]  run the tests that need the box; ARGS go to pytest
  smoke [ARGS] the few of them that .ci/run runs: boot, knob, display, sound, a drive that is pulled out
  clean        remove all that was built
"""


def main(arguments: list[str]) -> int:
    match arguments:
        case ["build"]:
            start = time.monotonic()
            print(f"{build().disk} ({time.monotonic() - start:.0f} s)")
        case ["run", *words] if words:
            with Guest(build()) as guest:
                guest.until("systemctl is-active -q multi-user.target", 180)
                print(guest.run(f"{{ {' '.join(words)}\n}}; echo :$?", timeout=3600), end="")
        case ["shell"]:
            shell()
        case ["test", *rest]:
            test(rest)
        case ["smoke", *rest]:
            os.environ.setdefault("CHADBOX_VM_YANKS", "3")
            test(["-k", SMOKE, *rest])
        case ["clean"]:
            clean()
        case ["-h" | "--help" | "help"]:
            print(USAGE, end="")
        case _:
            print(USAGE, end="", file=sys.stderr)
            return 2
    return 0


def test(arguments: list[str]) -> NoReturn:
    build()
    os.environ["CHADBOX_VM"] = "1"
    command = [sys.executable, "-m", "pytest", "tests/vm", *arguments]
    os.execv(command[0], command)  # noqa: S606


def shell() -> None:
    """The box's serial console on this terminal, key by key."""
    if not sys.stdin.isatty():
        raise BuildError("shell needs a terminal; for one command: ./dev vm run CMD")
    box = build()
    before = termios.tcgetattr(sys.stdin)
    try:
        tty.setraw(sys.stdin)
        with Guest(box, console=True) as guest:
            guest.wait()
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except (BuildError, GuestFailed) as error:
        print(f"vm: {error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
