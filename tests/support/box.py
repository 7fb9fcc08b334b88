"""A real server and a real player as subprocesses below one directory, driven by the `chadbox` command.

    with Box(tmp_path, music) as box:
        box.cli("play", "album:1")
        box.wait(lambda s: s["state"] == "playing")
        box.kill9_engine()

`wait` looks at what `status --watch --json` tells, so a test waits for events and never for seconds. When a test fails
inside the `with`, the ends of both logs are printed.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import tomllib
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from appliance.demo.processes import chadbox, die_with_parent
from tests.support.processes import Alarm, descendants, end, wait_gone
from tests.support.watch import Status, Watch

START = 30.0  # seconds; a shared machine under load starts slowly
ENGINE = "appliance.engine"  # what the engine's command line contains


class CommandFailed(AssertionError):
    """`chadbox` ended with another exit code than expected."""


class Box:
    """`settings` are tables of the settings file that replace ours key by key, None drops one; by default output goes
    to `box.wav`.

    `url` makes the player use another address than the box's own server (a proxy, say); `server=False` starts none.
    """

    def __init__(
        self,
        root: Path,
        music: Path | None = None,
        *,
        settings: Mapping[str, Mapping[str, Any]] | None = None,
        url: str | None = None,
        server: bool = True,
        player: bool = True,
    ) -> None:
        self.root = root
        self.music = music or root / "music"
        self.settings = {table: dict(keys) for table, keys in (settings or {}).items()}
        self.player_url = url
        self.token_file = root / "token"
        self.config = root / "chadbox.toml"
        self.wav = root / "out.wav"
        self._short = tempfile.TemporaryDirectory(prefix="box-", dir="/tmp")
        self.socket = Path(self._short.name) / "control.sock"
        self._wanted = server, player
        self.server_process: subprocess.Popen[bytes] | None = None
        self.player_process: subprocess.Popen[bytes] | None = None
        self.server_url = ""
        self._watch: Watch | None = None

    # -- life

    def __enter__(self) -> Self:
        try:
            if self._wanted[0]:
                self.start_server()
            if self._wanted[1]:
                self.start_player()
        except BaseException:
            self._report()
            self.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if kind is not None:
            self._report()
        self.close()

    def close(self) -> None:
        """End everything that was started; nothing outlives it."""
        try:
            for process in (self.player_process, self.server_process):
                if process is not None:
                    end(process, 3)
        finally:
            if self._watch:
                self._watch.close()
            self._short.cleanup()

    def start_server(self, *arguments: str, port: int = 0) -> str:
        """Start `chadbox serve` and wait until it listens; its URL. A restart takes the port that it had."""
        self.music.mkdir(parents=True, exist_ok=True)
        port = port or (int(self.server_url.rsplit(":", 1)[1]) if self.server_url else 0)
        where = ["--music", str(self.music), "--state", str(self.root / "server"), "--listen", f"127.0.0.1:{port}"]
        self.server_process = self._popen(
            "server", "serve", *where, "--token-file", str(self.token_file), *arguments, stdout=subprocess.PIPE
        )
        assert self.server_process.stdout is not None
        with Alarm(self.server_process, START):
            line = self.server_process.stdout.readline().decode()
        assert line.startswith("listening on "), f"the server said {line!r}\n{self.log('server')}"
        self.server_url = line.removeprefix("listening on ").strip()
        return self.server_url

    def start_player(self, *, sync: bool = True) -> None:
        """Start `chadbox run` and wait until it takes commands; with `sync` until it has the server's library."""
        if self._watch:  # of an earlier life
            self._watch.close()
            self._watch = None
        self.config.write_text(self.toml(), "utf-8")
        self.player_process = self._popen("player", "--config", str(self.config), "run")
        deadline = time.monotonic() + START
        while not self._accepts():  # READY=1 would tell too, but this is what a user's command needs
            if self.player_process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"the player is not ready: {self.player_process.poll()}\n{self.log('player')}")
            time.sleep(0.02)
        if sync and self.server_process is not None:
            self.wait_for_scan()
            self.cli("sync")

    def stop_player(self, seconds: float = 2.0) -> int:
        """SIGTERM; its exit code. AssertionError when it takes longer than `seconds`, as nothing may."""
        return self._stop("player", self.player_process, seconds)

    def stop_server(self, seconds: float = 2.0) -> int:
        """SIGTERM to the server, as `stop_player`."""
        return self._stop("server", self.server_process, seconds)

    def kill9_player(self) -> None:
        """Kill player and engine at once with SIGKILL, as a pulled plug does, and wait until they are gone."""
        assert self.player_process is not None
        tree = [self.player_process.pid, *descendants(self.player_process.pid)]
        for pid in tree:  # stopped first, so that none sees the other die
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
        for pid in tree:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.player_process.wait(5)
        for pid in tree[1:]:
            wait_gone(pid, 5)

    def kill9_engine(self) -> int:
        """Kill the engine alone with SIGKILL; the process id it had."""
        pid = self.engine_pid()
        assert pid is not None, "no engine is running"
        os.kill(pid, signal.SIGKILL)
        return pid

    def engine_pid(self) -> int | None:
        """Process id of the engine; None while there is none."""
        assert self.player_process is not None
        for pid in descendants(self.player_process.pid):
            with contextlib.suppress(OSError):
                if ENGINE in Path(f"/proc/{pid}/cmdline").read_bytes().decode("utf-8", "replace"):
                    return pid
        return None

    # -- commands

    def command(self, *arguments: str) -> list[str]:
        """The command line of `chadbox ARGUMENTS` against this player."""
        return [*chadbox(), "--config", str(self.config), "--socket", str(self.socket), *arguments]

    def cli(self, *arguments: str, code: int | None = 0, seconds: float = 60) -> subprocess.CompletedProcess[str]:
        """Run `chadbox ARGUMENTS` against this player. CommandFailed on another exit code than `code` (None: any)."""
        done = subprocess.run(self.command(*arguments), capture_output=True, text=True, timeout=seconds, check=False)
        if code is not None and done.returncode != code:
            said = f"{done.stdout[-2000:]}{done.stderr[-2000:]}"
            raise CommandFailed(f"chadbox {' '.join(arguments)} ended with {done.returncode}, not {code}: {said}")
        return done

    def json(self, *arguments: str, seconds: float = 60) -> Any:
        """The document that `chadbox ARGUMENTS --json` prints."""
        return json.loads(self.cli(*arguments, "--json", seconds=seconds).stdout)

    def status(self) -> Status:
        status: Status = self.json("status")
        return status

    def wait(self, condition: Callable[[Status], object], seconds: float = 20.0, what: str = "") -> Status:
        """The first status, from now on, that `condition` holds for; AssertionError with the last one otherwise."""
        if self._watch is None or not self._watch.alive:
            self._watch = Watch(self.command("status", "--watch", "--json"))
        now = self.status()
        if condition(now):
            return now
        try:  # what the watch told last may be older than the last command
            return self._watch.wait(lambda s: s["uptime"] >= now["uptime"] and condition(s), seconds)
        except TimeoutError as error:
            raise AssertionError(
                f"{what or 'the status waited for'} did not come within {seconds:g} s; {error}"
            ) from None

    def seen(self) -> list[Status]:
        """Every status that has come in since the first `wait` of this player's life."""
        return self._watch.documents() if self._watch else []

    def api(self, route: str) -> Any:
        """What the box's own server answers to GET /api/v1/ROUTE, past any proxy."""
        token = self.token_file.read_text("ascii").strip()
        url, headers = f"{self.server_url}/api/v1/{route}", {"Authorization": f"Bearer {token}"}
        request = urllib.request.Request(url, headers=headers)  # noqa: S310
        with urllib.request.urlopen(request, timeout=20) as answer:  # noqa: S310
            return json.load(answer)

    def album_id(self, title: str) -> str:
        """The server's id of the album with exactly this title."""
        items = self.api("cat/album?limit=1000")["items"]
        ids = [str(item["id"]) for item in items if item["name"] == title]
        assert len(ids) == 1, f"{len(ids)} albums named {title!r} among {[item['name'] for item in items]}"
        return ids[0]

    def wait_for_scan(self, seconds: float = START) -> None:
        """Until the server knows as many tracks as there are sound files in the music folder."""
        kinds = {".flac", ".m4a", ".mp4", ".wav", ".aiff", ".aif", ".mp3", ".ogg", ".oga", ".opus", ".aac"}
        there = sum(path.suffix.lower() in kinds for path in self.music.rglob("*"))
        deadline = time.monotonic() + seconds
        while (known := self.api("stats")["tracks"]) < there:  # the server has no events to wait for
            assert time.monotonic() < deadline, f"{known} of {there} tracks scanned\n{self.log('server')}"
            time.sleep(0.05)

    # -- what there is

    def toml(self) -> str:
        """The settings file: ours, with `settings` on top."""
        url = self.player_url or self.server_url or "http://127.0.0.1:9"
        tables: dict[str, dict[str, Any]] = {
            "server": {"url": url, "token_file": str(self.token_file)},
            "audio": {"output": f"wav:{self.wav}", "loudness": "off", "max_startup_volume": 100},
            "state": {"dir": str(self.root / "state")},
            "cache": {"dir": str(self.root / "cache"), "min_free": "16 MiB"},
            "panel": {"wiring": "none"},
            "control": {"socket": str(self.socket)},
        }
        for table, keys in self.settings.items():
            tables[table] = {k: v for k, v in {**tables.get(table, {}), **keys}.items() if v is not None}
        lines = [
            line
            for table, keys in tables.items()
            for line in (f"[{table}]", *(f"{key} = {json.dumps(value)}" for key, value in keys.items()))
        ]
        text = "\n".join(lines) + "\n"
        tomllib.loads(text)
        return text

    def log(self, name: str, lines: int = 60) -> str:
        """The end of what `server` or `player` said on standard error, over all its lives."""
        with contextlib.suppress(OSError):
            return "\n".join((self.root / f"{name}.log").read_text("utf-8", "replace").splitlines()[-lines:])
        return ""

    # -- helpers

    def _popen(self, name: str, *arguments: str, stdout: int | None = None) -> subprocess.Popen[bytes]:
        self.root.mkdir(parents=True, exist_ok=True)
        with (self.root / f"{name}.log").open("ab") as log:
            return subprocess.Popen(
                [*chadbox(), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=stdout if stdout is not None else log,
                stderr=log,
                start_new_session=True,
                preexec_fn=die_with_parent,
            )

    def _accepts(self) -> bool:
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(1)
            return client.connect_ex(str(self.socket)) == 0

    def _stop(self, name: str, process: subprocess.Popen[bytes] | None, seconds: float) -> int:
        assert process is not None, f"no {name} was started"
        process.terminate()
        try:
            return process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"the {name} still runs {seconds:g} s after SIGTERM\n{self.log(name)}") from None

    def _report(self) -> None:
        for name in ("server", "player"):
            print(f"--- end of {name}.log ---\n{self.log(name)}", file=sys.stderr)
