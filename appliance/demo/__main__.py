"""`./dev demo`: see `--help`."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import fcntl
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from appliance.demo.processes import Processes, ProcessFailed, chadbox
from appliance.demo.session import Session

MAX_SECONDS = 3600


def main(arguments: list[str] | None = None) -> int:
    """Run the demo; exit code 0 done, 1 failed (one line on standard error), 2 usage, 128+n ended by signal n."""
    options = _parse(arguments)
    ended_by: list[int] = []
    try:
        with _home(options.dir) as home:
            return asyncio.run(_supervised(options, home, ended_by))
    except asyncio.CancelledError:
        # without --headless, Ctrl-C is the way to end it
        return 0 if ended_by == [signal.SIGINT] and not options.headless else 128 + ended_by[0]
    except (ProcessFailed, OSError, subprocess.SubprocessError) as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="./dev demo", description="A music server and the player, with a small library made for it or your own."
    )
    parser.add_argument("--music", type=Path, metavar="DIR", help="serve this music instead of the demo's own")
    parser.add_argument("--headless", action="store_true", help="without a terminal: play to a file, report")
    parser.add_argument("--seconds", type=float, metavar="N", help="how much sound --headless is to produce (20)")
    parser.add_argument(
        "--faults", type=int, nargs="?", const=1, metavar="SEED",
        help="a bad line: spoil a quarter of the answers that bring audio; the same SEED (1) spoils the same way",
    )  # fmt: skip
    parser.add_argument("--wav", type=Path, metavar="FILE", help="keep what --headless has played")
    parser.add_argument(
        "--dir",
        type=Path,
        metavar="DIR",
        default=_default_dir(),
        help="where music, state and cache are kept (%(default)s)",
    )
    options = parser.parse_args(arguments)
    if not options.headless and (options.seconds is not None or options.wav):
        parser.error("--seconds and --wav go with --headless")
    options.seconds = 20.0 if options.seconds is None else options.seconds
    if not 0 < options.seconds <= MAX_SECONDS:
        parser.error(f"--seconds: from more than 0 to {MAX_SECONDS}")
    if options.music:
        options.music = options.music.resolve()
        if not options.music.is_dir():
            parser.error(f"--music: {options.music} is not a directory")
    options.dir = options.dir.absolute()
    return options


def _default_dir() -> Path:
    """`demo/` beside the sources when this runs from a checkout, else in the user's cache."""
    root = Path(__file__).parents[2]
    if (root / "pyproject.toml").exists() and os.access(root, os.W_OK):
        return root / "demo"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "chadbox-demo"


@contextlib.contextmanager
def _home(path: Path) -> Iterator[Path]:
    """The directory `path`, for this process alone; raises ProcessFailed when another demo has it."""
    path.mkdir(parents=True, exist_ok=True)
    with (path / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ProcessFailed(
                f"another demo is running in {path}; end it, or name another place with --dir"
            ) from None
        for left in path.glob("run-*"):  # of a run that was killed
            shutil.rmtree(left, ignore_errors=True)
        yield path


async def _supervised(options: argparse.Namespace, home: Path, ended_by: list[int]) -> int:
    """Run until done, a signal comes or a process dies, and leave nothing behind."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None  # noqa: S101

    def stop(number: int) -> None:
        if not ended_by:  # a second Ctrl-C does not disturb the clearing up, which takes 2 s at most
            ended_by.append(number)
            task.cancel()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, stop, number)
    processes = Processes(home)
    session = Session(home, processes, _say, music=options.music, private=options.headless)
    try:
        return await _run(session, options)
    finally:
        await processes.close()
        if session.line:
            await session.line.away()
        session.close()


async def _run(session: Session, options: argparse.Namespace) -> int:
    await session.start_server(await session.make_music())
    if options.faults is not None:
        await session.spoil_line(options.faults)
    if options.headless:
        output = options.wav.absolute() if options.wav else session.player_home / "out.wav"
        await session.start_player(f"wav:{output}", startup_volume=100)
        result = await session.hear(options.seconds, output)
        print(json.dumps(result, ensure_ascii=False), flush=True)
        if not result["ok"]:
            _say(result["reason"])
        return 0 if result["ok"] else 1
    card = _has_sound_card()
    await session.start_player("alsa" if card else "null", startup_volume=40)
    await session.resume()
    _say(f"music server {session.url}, player's socket {session.socket}, everything else in {session.home}")
    _say("no sound card here, so the music plays into nothing" if not card else "playing on the default sound card")
    _say(f"from another terminal: CHADBOX_SOCKET={session.socket} {shlex.join(chadbox())} next; here: Ctrl-C ends it")
    await session.show()
    return 0


def _has_sound_card() -> bool:
    with contextlib.suppress(OSError):
        return "[" in Path("/proc/asound/cards").read_text("ascii", "replace")
    return False


def _say(text: str) -> None:
    print(f"demo: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
