"""The terminal while a command has it for itself; whatever happens it is given back as it was."""

from __future__ import annotations

import os
import select
import signal
import sys
import termios
import tty

from appliance.errors import ChadboxError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType
    from typing import Any

    Handler = Callable[[int, FrameType | None], None]


class Terminal:
    """Keys one by one, and with `full` a screen of our own; all of it is taken back at the end."""

    def __init__(self, *, full: bool) -> None:
        self._full = full
        self._saved: list[Any] | None = None
        self._handlers: dict[int, Any] = {}
        self._resized = False
        self.keys: int | None = None
        self.wake, self._bell = os.pipe()
        os.set_blocking(self._bell, False)
        os.set_blocking(self.wake, False)

    def __enter__(self) -> Terminal:
        handlers: dict[int, Handler] = {
            signal.SIGTERM: _end,
            signal.SIGHUP: _end,
            signal.SIGTSTP: self._stop,
            signal.SIGWINCH: self._size,
        }
        self._handlers = {number: signal.signal(number, handler) for number, handler in handlers.items()}
        if sys.stdin is not None and sys.stdin.isatty():
            self.keys = sys.stdin.fileno()
            self._saved = termios.tcgetattr(self.keys)
        self._take()
        return self

    def __exit__(self, *_: object) -> None:
        self._give_back()
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def ring(self) -> None:
        """Wake the main loop; from any thread and from signal handlers."""
        try:  # noqa: SIM105 - contextlib is not loaded on this path
            os.write(self._bell, b"!")
        except BlockingIOError:
            pass  # it rings already

    def rest(self) -> None:
        try:
            while os.read(self.wake, 4096):
                pass
        except BlockingIOError:
            pass

    def resized(self) -> bool:
        """Whether the window has another size than at the last call."""
        was, self._resized = self._resized, False
        return was

    def typed(self) -> str:
        """What was typed since; empty at the end of input."""
        assert self.keys is not None  # noqa: S101 - select has named it
        data = os.read(self.keys, 1024)
        if data.endswith((b"\x1b", b"\x1b[")) and select.select([self.keys], [], [], 0.05)[0]:
            data += os.read(self.keys, 1024)  # an arrow that came in two pieces
        return data.decode("utf-8", "replace")

    def _take(self) -> None:
        if self._saved is not None and self.keys is not None:
            tty.setcbreak(self.keys)
        if self._full:
            sys.stdout.write("\x1b[?1049h\x1b[?25l\x1b[2J")
            sys.stdout.flush()

    def _give_back(self) -> None:
        try:
            if self._full:
                sys.stdout.write("\x1b[0m\x1b[?25h\x1b[?1049l")
                sys.stdout.flush()
            if self._saved is not None and self.keys is not None:
                termios.tcsetattr(self.keys, termios.TCSADRAIN, self._saved)
        except (OSError, termios.error):
            pass  # the terminal itself is gone

    def _size(self, *_: object) -> None:
        self._resized = True
        self.ring()

    def _stop(self, *_: object) -> None:
        """Ctrl-Z: leave the terminal as a shell wants it, and come back with `fg`."""
        self._give_back()
        os.kill(os.getpid(), signal.SIGSTOP)
        self._take()
        self._size()


class _Ended(ChadboxError):
    """A signal asked for the end."""


def _end(number: int, _: FrameType | None) -> None:
    error = _Ended("ended")
    error.exit_code = 128 + number
    raise error
