"""One run of the demo: music, server, player, and what is played on it; built on the command line alone."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import itertools
import json
import os
import socket
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from appliance.demo import library, wav
from appliance.demo.faultproxy import FaultProxy
from appliance.demo.processes import Processes, ProcessFailed, chadbox

START = 30.0  # seconds that a server or a player may take to be ready, on a Raspberry Pi with other work to do


class Session:
    """Server and player below `home`; `private` gives the player fresh state that goes when the session ends."""

    def __init__(
        self, home: Path, processes: Processes, say: Callable[[str], None], *, music: Path | None, private: bool
    ) -> None:
        self.home, self.processes, self.say = home, processes, say
        self.music = music
        self._stack = contextlib.ExitStack()
        self.player_home = (
            Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="run-", dir=home)))
            if private
            else home / ("player" if music is None else f"player-{_key(music)}")
        )
        self.config, self.socket = self.player_home / "chadbox.toml", home / "control.sock"
        if len(os.fsencode(self.socket)) > 100:  # a Unix socket's path holds 107 bytes
            short = self._stack.enter_context(tempfile.TemporaryDirectory(prefix="chadbox-", dir="/tmp"))
            self.socket = Path(short) / "control.sock"
        self.token_file = home / "token"
        self.url = ""
        self.line: FaultProxy | None = None  # between server and player, with --faults
        self._lasting: dict[str, asyncio.subprocess.Process] = {}  # what must not end before we do

    def close(self) -> None:
        """Remove what was for this run only; end the processes first."""
        self._stack.close()

    async def make_music(self) -> Path:
        """The folder to serve: the user's, or our own, made now if need be."""
        if self.music:
            return self.music
        folder = self.home / "music"
        if not folder.exists():
            self.say("making music (once)")
            maker = await self.processes.start("music", sys.executable, "-m", "appliance.demo.library", str(folder))
            assert maker.stdout is not None  # noqa: S101
            async for line in maker.stdout:
                self.say(f"making music: {line.decode().strip()} %")
            if await maker.wait():
                await self.processes.ended("music", maker)
        return folder

    async def start_server(self, folder: Path) -> None:
        """Serve `folder` on a free port and wait until its tracks are known."""
        state = self.home / ("server" if self.music is None else f"server-{_key(folder)}")
        where = ["--music", str(folder), "--state", str(state), "--listen", "127.0.0.1:0"]
        server = await self.processes.start("server", *chadbox(), "serve", *where, "--token-file", str(self.token_file))
        self._lasting["server"] = server
        line = await self.processes.line("server", server, START)
        self.url = line.removeprefix("listening on ").strip()
        if not self.url.startswith("http://"):
            raise ProcessFailed(f"server: expected `listening on URL`, got `{line[:200]}`")
        expected = 1 if self.music else len(list(folder.glob("*/*/[0-9]*")))  # noqa: ASYNC240  (a few dozen files)
        deadline = time.monotonic() + START
        while (await self.ask("stats"))["tracks"] < expected:
            if time.monotonic() > deadline:
                raise ProcessFailed(f"the server found no music in {folder}; are there FLAC, M4A, MP3, Ogg, WAV files?")
            await asyncio.sleep(0.1)

    async def spoil_line(self, seed: int) -> None:
        """Give players that are started from now on a bad line to the server."""
        self.line = FaultProxy(self.url, seed)
        await self.line.listen()

    async def ask(self, route: str, **query: str | int) -> Any:
        """What the server answers to GET /api/v1/ROUTE."""
        url = f"{self.url}/api/v1/{route}?{urllib.parse.urlencode(query)}"
        token = self.token_file.read_text("ascii").strip()
        request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"})  # noqa: S310

        def fetch() -> Any:
            with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310  (our own server)
                return json.load(answer)

        try:
            return await asyncio.to_thread(fetch)
        except (urllib.error.URLError, ValueError) as error:
            raise ProcessFailed(f"the server did not answer {route}: {error}") from None

    async def start_player(self, output: str, startup_volume: int) -> None:
        """Start the player on `output` (as in [audio] output) and wait until it takes commands and has the library."""
        self.player_home.mkdir(parents=True, exist_ok=True)
        settings: dict[str, dict[str, str | int]] = {
            "server": {"url": self.line.url if self.line else self.url, "token_file": str(self.token_file)},
            "audio": {"output": output, "max_startup_volume": startup_volume},
            "state": {"dir": str(self.player_home / "state")},
            "cache": {"dir": str(self.player_home / "cache"), "max_bytes": "2 GiB", "min_free": "128 MiB"},
            "panel": {"wiring": "none"},
            "control": {"socket": str(self.socket)},
        }
        self.config.write_text(_toml(settings), "utf-8")
        player = await self.processes.start("player", *chadbox(), "--config", str(self.config), "run")
        self._lasting["player"] = player
        deadline = time.monotonic() + START
        while not _accepts(self.socket):
            if player.returncode is not None:
                await self.processes.ended("player", player)
            if time.monotonic() > deadline:
                raise ProcessFailed(f"the player took no command for {START:g} s; see {self.home / 'player.log'}")
            await asyncio.sleep(0.05)
        await self.command("sync")

    async def command(self, *arguments: str) -> str:
        """`chadbox ARGUMENTS` against this player. Raises ProcessFailed with its message when it fails."""
        where = ["--config", str(self.config), "--socket", str(self.socket)]
        return await self.processes.run("command", *chadbox(), *where, *arguments)

    async def albums(self) -> list[Any]:
        """Ids of the server's albums, the gapless one of the demo first."""
        items: list[dict[str, Any]] = (await self.ask("cat/album", limit=100))["items"]
        first = library.GAPLESS_ALBUM if self.music is None else None
        return [item["id"] for item in sorted(items, key=lambda item: item["name"] != first)]

    async def resume(self) -> None:
        """Go on where the last run of the demo stopped, or begin with the first album."""
        status = json.loads(await self.command("status", "--json"))
        await self.command("play", *([] if status["queue"]["length"] else [f"album:{(await self.albums())[0]}"]))

    async def show(self) -> None:
        """The front panel in this terminal until the person ends it; raises ProcessFailed when server or player end."""
        where = ["--config", str(self.config), "--socket", str(self.socket)]
        watcher = await self.processes.start("panel", *chadbox(), *where, "panel", terminal=True)
        ends: list[asyncio.Future[Any]] = [asyncio.ensure_future(watcher.wait())]
        ends += [asyncio.ensure_future(self.processes.ended(name, one)) for name, one in self._lasting.items()]
        try:
            done, _ = await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            for end in done:
                end.result()
        finally:
            for end in ends:
                end.cancel()

    async def hear(self, seconds: float, output: Path) -> dict[str, Any]:
        """Play albums for `seconds` of sound into the WAV file `output`, which needs no real time, and end the player.

        What came of it, with `ok` and, when that is false, `reason`; `played` are the titles that begin within the
        sound: tracks can go by faster than `status` tells of them.
        """
        seen = _Seen()
        before = await self._counters()
        following = asyncio.create_task(self._follow(seen))
        await seen.within(START)
        began = time.monotonic()
        tracks: list[dict[str, Any]] = []
        duration = 0.0
        for album in await self.albums():
            tracks += (await self.ask(f"album/{album}/tracks"))["tracks"]
            duration = sum(track["duration"] for track in tracks)
            await self._play_to_end(f"album:{album}", seen, output, seconds, began + seconds + START)
            if duration >= seconds:
                break
        await self.command("stop")
        after = await self._counters()
        following.cancel()
        code = await self._end_player()
        sound = await asyncio.to_thread(wav.inspect, output) if wav.frames(output)[0] else None
        reason = _fault(sound, seen, min(seconds, duration), code)
        return {
            "ok": reason is None,
            "reason": reason,
            "played": _begun(tracks, sound.seconds if sound else 0),
            "seconds": round(sound.seconds, 3) if sound else 0,
            "samples": sound.samples if sound else 0,
            "rate": sound.rate if sound else 0,
            "peak": round(sound.peak, 4) if sound else 0,
            "audible": round(sound.audible, 3) if sound else 0,
            "position": round(seen.position, 3),
            "track_bytes": sum(track.get("size") or 0 for track in tracks),
            **{name: after.get(name, 0) - before.get(name, 0) for name in after},
            "wall_seconds": round(time.monotonic() - began, 3),
            **({"faults": dict(sorted(self.line.struck.items()))} if self.line else {}),
        }

    async def _play_to_end(self, what: str, seen: _Seen, output: Path, seconds: float, deadline: float) -> None:
        """Until `output` holds `seconds`, `what` is over, or it is `deadline`."""
        seen.started = False
        asked = time.monotonic()
        await self.command("play", what)
        while time.monotonic() < deadline:
            for name, process in self._lasting.items():
                if process.returncode is not None:
                    await self.processes.ended(name, process)
            written, rate = wav.frames(output)  # a file tells nobody that it grows
            if rate and written >= seconds * rate:
                return
            if seen.state == "stopped" and (seen.started or time.monotonic() > asked + 2):
                seen.ended = True
                return
            await asyncio.sleep(0.1)

    async def _follow(self, seen: _Seen) -> None:
        where = ["--config", str(self.config), "--socket", str(self.socket)]
        watcher = await self.processes.start("watch", *chadbox(), *where, "status", "--watch", "--json")
        assert watcher.stdout is not None  # noqa: S101
        async for line in watcher.stdout:
            seen.take(json.loads(line))

    async def _counters(self) -> dict[str, int]:
        counters: dict[str, int] = json.loads(await self.command("status", "--json"))["counters"]
        return counters

    async def _end_player(self) -> int:
        """Ask the player to end, which completes the WAV file, and return its exit code."""
        player = self._lasting["player"]
        player.terminate()
        try:
            async with asyncio.timeout(5):
                return await player.wait()
        except TimeoutError:
            raise ProcessFailed("the player did not end within 5 s of being asked") from None


class _Seen:
    """What `status --watch` has told so far."""

    def __init__(self) -> None:
        self.tracks: set[Any] = set()
        self.position = 0.0  # furthest in any track, seconds
        self.state = ""
        self.started = self.ended = False
        self._first = asyncio.Event()

    async def within(self, seconds: float) -> None:
        """Wait for the first document. Raises ProcessFailed after `seconds`."""
        try:
            async with asyncio.timeout(seconds):
                await self._first.wait()
        except TimeoutError:
            raise ProcessFailed(f"`chadbox status --watch --json` told nothing for {seconds:g} s") from None

    def take(self, status: dict[str, Any]) -> None:
        """One more document."""
        self._first.set()
        self.state = status["state"]
        self.started |= self.state in ("playing", "buffering")
        self.position = max(self.position, status["position"])
        if status["track"]:
            self.tracks.add(status["track"]["id"])


def _begun(tracks: list[dict[str, Any]], seconds: float) -> list[str]:
    """Titles of those of `tracks`, played one after the other, that begin within the first `seconds`."""
    starts = itertools.accumulate((track["duration"] for track in tracks), initial=0.0)
    return [track["title"] for track, start in zip(tracks, starts, strict=False) if start < seconds]


def _fault(sound: wav.Sound | None, seen: _Seen, seconds: float, code: int) -> str | None:
    """Why this does not count as having played for `seconds`; None when it does."""
    if sound is None:
        return "the player wrote no sound"
    if sound.seconds < seconds - 0.5:
        return f"only {sound.seconds:.1f} of {seconds:.1f} s were played"
    if sound.peak < 0.01 or sound.audible < 0.5:
        return f"it is silent: peak {sound.peak:.4f}, audible for {sound.audible:.0%} of the time"
    if (
        seen.position <= 0 and len(seen.tracks) < 2 and not seen.ended
    ):  # what is decoded at once leaves only the end to see
        return "the position never moved"
    if code:
        return f"the player ended with {code} when it was asked to stop"
    return None


def _accepts(path: Path) -> bool:
    """Whether a Unix socket is there and somebody listens."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(1)
        return client.connect_ex(str(path)) == 0


def _key(folder: Path) -> str:
    return hashlib.sha256(str(folder).encode("utf-8", "surrogateescape")).hexdigest()[:12]


def _toml(tables: dict[str, dict[str, str | int]]) -> str:
    """TOML of flat tables; JSON writes strings and numbers as TOML reads them."""
    lines = []
    for table, keys in tables.items():
        lines += [f"[{table}]", *(f"{key} = {json.dumps(value)}" for key, value in keys.items()), ""]
    return "\n".join(lines)
