"""Starts the engine process; early, if wanted, before anything else of the player is loaded.

Loading libmpv takes as long as loading the player: `launch_early` lets both happen at the same time. The child needs to
know nothing until its first order comes, and it ends by itself when the other end of its socket is closed.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys

# What ALSA and the loader may need. Nothing else of the player's surroundings is the child's business.
_PASS = ("PATH", "HOME", "LANG", "XDG_RUNTIME_DIR", "LD_LIBRARY_PATH", "PYTHONHOME", "VIRTUAL_ENV", "TMPDIR")
_ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
_early: list[tuple[subprocess.Popen[bytes], socket.socket]] = []


def launch() -> tuple[subprocess.Popen[bytes], socket.socket]:
    """A child process and our end of its socket: the one that was launched early, else a new one. Raises OSError."""
    return _early.pop() if _early else _launch()


def launch_early() -> None:
    """Launch a child for the next `launch`; one that fails is left for that to report."""
    try:
        _early.append(_launch())
    except OSError:
        return


def _launch() -> tuple[subprocess.Popen[bytes], socket.socket]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        process = subprocess.Popen(  # noqa: S603  our own interpreter and module
            [sys.executable, "-m", "appliance.engine.child", str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,  # ALSA and FFmpeg write there, over the panel's screen
            env=_environment(),
            start_new_session=True,  # Ctrl-C in the terminal is for the player alone
        )
    except BaseException:
        ours.close()
        raise
    finally:
        theirs.close()
    ours.setblocking(False)
    return process, ours


def _environment() -> dict[str, str]:
    chosen = {k: v for k, v in os.environ.items() if k in _PASS or k.startswith(("ALSA_", "LC_"))}
    python_path = [_ROOT, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    chosen["PYTHONPATH"] = os.pathsep.join(python_path)
    # libmpv's short-lived threads would each keep an arena, and glibc stops giving memory back once it has seen a large
    # block freed: 11 MB more after ten tracks, against none with fixed thresholds.
    chosen |= {"MALLOC_ARENA_MAX": "1", "MALLOC_TRIM_THRESHOLD_": "131072"}
    return chosen
