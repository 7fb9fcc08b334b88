"""F4, F5, P10: the panel at work on a real library of 50,000 albums."""

from __future__ import annotations

import asyncio
import time
from itertools import pairwise
from typing import Any

import pytest

from appliance.errors import StorageError
from appliance.events import HealthChanged, JobChanged, LibraryChanged, SignIn, StatusChanged
from appliance.panel import Care, Frame, Key, panel
from tests.panel.conftest import ENTRIES, Stage

FRAME_MS = 50.0


async def open_albums(stage: Stage) -> None:
    stage.press("menu")
    await stage.until(lambda: any("Queue" in word for word in stage.words))
    await stage.choose("Albums")
    await stage.until(lambda: stage.words[0] == "Albums:" and len(stage.words) > 1)


async def test_fifty_thousand_entries_scroll_without_a_late_frame(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Slow, fast, by letters and back: each picture is drawn in time, and only windows are read."""
    stage.open()
    await open_albums(stage)
    drawn: list[float] = []
    asked: list[int] = []
    read, frame = stage.library.browse, stage.panel._frame

    async def browse(*args: object, **kwargs: object) -> object:
        asked.append(int(args[3]))  # type: ignore[call-overload]
        return await read(*args, **kwargs)  # type: ignore[arg-type]

    def timed(*args: object) -> object:
        began = time.perf_counter()
        result = frame(*args)  # type: ignore[arg-type]
        drawn.append((time.perf_counter() - began) * 1e3)
        return result

    monkeypatch.setattr(stage.library, "browse", browse)
    monkeypatch.setattr(stage.panel, "_frame", timed)
    await stage.until(lambda: stage.panel.state.pages[-1].letters)
    seen: list[float] = []
    for detents, steps in [(1, 1)] * 40 + [(1, 2)] * 30 + [(1, 6)] * 30 + [(-1, -1)] * 20 + [(-1, -6)] * 30:
        began = time.perf_counter()
        stage.press("scroll", detents, steps)
        page = stage.panel.state.pages[-1]
        await stage.until(lambda: stage.panel.state.pages[-1].row(stage.panel.state.pages[-1].cursor))
        row = stage.panel.state.pages[-1].row(page.cursor)
        assert row is not None
        await stage.until(lambda row=row: any(w.startswith(f"> {row.text}") for w in stage.words))  # type: ignore[misc]
        seen.append((time.perf_counter() - began) * 1e3)
    assert stage.panel.state.pages[-1].total == ENTRIES
    assert max(asked, default=0) <= 64
    drawn.sort()
    seen.sort()
    print(f"\ndrawn: median {drawn[len(drawn) // 2]:.2f} ms, worst {drawn[-1]:.2f} ms; "
          f"detent to full picture: median {seen[len(seen) // 2]:.1f} ms, worst {seen[-1]:.1f} ms")  # fmt: skip
    assert drawn[-1] < FRAME_MS
    assert len(stage.panel.state.pages[-1].chunks) <= 6


async def test_the_rows_are_those_of_the_library(stage: Stage) -> None:
    stage.open()
    await open_albums(stage)
    await stage.until(lambda: stage.panel.state.pages[-1].letters)
    for _ in range(7):
        stage.press("skip", 1)
    page = stage.panel.state.pages[-1]
    await stage.until(lambda: stage.panel.state.pages[-1].row(page.cursor))
    answer = await stage.library.browse("album", None, page.cursor, 1)
    item = answer["items"][0]
    assert stage.panel.state.pages[-1].row(page.cursor).text == f"{item.name} · {item.artist}"  # type: ignore[union-attr]
    letters = await stage.library.letters("album")
    assert page.cursor == letters[7][1]


async def test_from_artist_to_sound(stage: Stage) -> None:
    stage.open()
    stage.press("menu")
    await stage.until(lambda: any("Queue" in word for word in stage.words))
    await stage.choose("Artists")
    await stage.until(lambda: "> Artist 0 (10)" in stage.words)
    stage.press("select")
    await stage.until(lambda: "> Play all" in stage.words)
    await stage.choose("Ab")  # the first album by name
    await stage.until(lambda: stage.words[0].startswith("Ab") and "> Play all" in stage.words)
    await stage.choose("1 Song")
    await stage.until(lambda: any(word.startswith("playing") for word in stage.words))
    kind, ids, first = stage.player.done[-1]
    assert (kind, len(ids), first) == ("play_list", 1, 0)
    assert stage.panel.state.pages == ()


async def test_play_all_and_add_to_queue(stage: Stage) -> None:
    stage.open()
    await open_albums(stage)
    stage.press("select")
    await stage.until(lambda: "> Play all" in stage.words)
    await stage.choose("Add to queue")
    await stage.until(lambda: stage.words == ("Queue", "1 track added"))
    stage.press("select")
    await stage.until(lambda: "> Add to queue" in stage.words)
    stage.press("scroll", -1)
    stage.press("select")
    await stage.until(lambda: any(word.startswith("playing") for word in stage.words))
    assert [what[0] for what in stage.player.done] == ["enqueue", "play"]


async def test_playlists_favourites_recent_and_queue(stage: Stage) -> None:
    await stage.library.set_playlist("Утро", ["3", "1", "2", "gone"])
    await stage.library.record_play("7", 170.0, False)
    await stage.player.play_list(["5", "6", "7"], 1)
    stage.player.done.clear()
    stage.open()
    await stage.until(lambda: "Song 6" in stage.words)
    stage.press("favourite")
    await stage.until(lambda: stage.words == ("Favourites", "added"))
    for name, row in (("Playlists", "Утро (4)"), ("Favourites", "Song 6"), ("Recently", "Song 7"), ("Queue", "Song 5")):
        stage.press("home")
        stage.press("menu")
        await stage.until(lambda: any("Queue" in word for word in stage.words))
        await stage.choose(name)
        await stage.until(lambda row=row: any(row in word for word in stage.words))  # type: ignore[misc]
    assert any(word.startswith("Song 6") and word.endswith("(>)") for word in stage.words)  # what plays is marked
    await stage.choose("Song 7")
    await stage.until(lambda: stage.panel.state.pages == ())
    await asyncio.sleep(0)
    assert stage.player.done[-1] == ("play_at", 2)


async def test_what_is_highlighted_is_looked_at_ahead(stage: Stage) -> None:
    stage.open()
    await open_albums(stage)
    assert stage.looked[-1].startswith("album:")
    stage.press("select")
    await stage.until(lambda: "> Play all" in stage.words)
    assert stage.looked[-1].startswith("track:")
    stage.press("home")
    assert stage.looked[-1] == ""


async def test_volume_reaches_the_player_before_key_returns(stage: Stage) -> None:
    stage.open()
    took = []
    for n in range(300):
        began = time.perf_counter()
        stage.panel.key(Key("volume", 1 if n % 20 < 10 else -1, 1 if n % 20 < 10 else -1))
        took.append((time.perf_counter() - began) * 1e3)
        assert stage.player.volume == stage.panel.state.now.volume
        if n % 10 == 0:
            await asyncio.sleep(0)
    took.sort()
    print(f"\nkey to volume: median {took[150]:.3f} ms, p99 {took[297]:.3f} ms")
    assert took[297] < 10
    await stage.until(lambda: any(word.startswith("volume") for word in stage.words))


async def test_at_most_twenty_pictures_a_second_and_only_when_something_changes(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    await stage.player.play("track:1")
    stage.open()
    drawn: list[float] = []
    frame = stage.panel._frame

    def counted(now: float, level: Any) -> Any:
        drawn.append(now)
        return frame(now, level)

    monkeypatch.setattr(stage.panel, "_frame", counted)
    at: list[float] = []
    stage.panel.attach(lambda _: at.append(time.monotonic()))
    await asyncio.sleep(0.02)
    count, began = len(drawn), time.monotonic()
    for _ in range(20):  # the engine tells its position ten times a second
        stage.player.position = stage.panel.state.now.position_at(stage.panel._loop.time())
        stage.bus.publish(StatusChanged())
        await asyncio.sleep(0.01)
    assert len(drawn) - count <= 1 + int(time.monotonic() - began)  # the seconds that went by
    for n in range(100):
        stage.press("volume", 1 if n % 2 else -1)
        await asyncio.sleep(0.003)
    assert all(b - a > panel.FRAME_S * 0.9 for a, b in pairwise(at[1:]))


async def test_nobody_looks_nothing_runs_and_keys_work(stage: Stage) -> None:
    await stage.player.play("track:1")
    stage.open(look=False)
    stage.press("volume", 1)
    assert stage.player.volume == 41
    stage.press("play_pause")
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert stage.player.done[-1] == ("toggle",)
    assert stage.panel._timer is None
    detach = stage.panel.attach(stage.frames.append)
    assert stage.frames
    detach()
    assert stage.panel._timer is None


async def test_dark_means_no_wakeups_and_a_key_lights_it(stage: Stage) -> None:
    stage.player.health = {"offline": "no route"}
    await stage.player.play("track:1")
    stage.open(care=Care(dim_after=1, blank_after=1, blank_playing_after=1))
    stage.panel.state = type(stage.panel.state)(now=stage.panel.state.now, touched=stage.panel._loop.time() - 2)
    stage.bus.publish(LibraryChanged(seq=1))
    await stage.until(lambda: stage.frames[-1].level == "off")
    assert stage.frames[-1] == Frame(128, 64, "off", bytes(1024), ())
    count = len(stage.frames)
    for _ in range(20):
        stage.player.position += 5
        stage.bus.publish(StatusChanged())
        stage.bus.publish(JobChanged(id=1, kind="fetch", state="running", progress=40, error=None))
        await asyncio.sleep(0)
    assert stage.panel._timer is None
    assert len(stage.frames) == count
    stage.press("menu")
    await stage.until(lambda: stage.frames[-1].level == "on")
    assert stage.panel.state.pages == ()  # that key was for waking it


async def test_display_off_by_key_and_a_sign_in_lights_it(stage: Stage) -> None:
    stage.open()
    stage.press("display_off")
    await stage.until(lambda: stage.frames[-1].level == "off")
    stage.bus.publish(SignIn(code="WDJB-MJHT", url="http://box/device", expires_in=600))
    stage.press("none")
    await stage.until(lambda: "and enter WDJB-MJHT" in stage.words)
    stage.bus.publish(SignIn(code=""))
    await stage.until(lambda: "and enter WDJB-MJHT" not in stage.words)


async def test_trouble_is_told_with_what_to_do(stage: Stage) -> None:
    stage.open()
    stage.player.health = {"output-lost": "ENODEV"}
    stage.bus.publish(HealthChanged(("output-lost",)))
    await stage.until(lambda: stage.words[0] == "Output lost")
    assert "sound card is gone" in stage.words[1]
    stage.press("menu")
    await stage.until(lambda: any("Queue" in word for word in stage.words))
    await stage.choose("State")
    await stage.until(lambda: "> Output lost" in stage.words)
    stage.press("select")
    await stage.until(lambda: stage.words[0] == "What to do")


async def test_what_the_player_refuses_is_shown(stage: Stage) -> None:
    stage.open()
    stage.press("play_pause")
    await stage.until(lambda: stage.words == ("Not possible", "the queue is empty; say what to play"))


@pytest.mark.parametrize("error", [StorageError("the disk is broken"), RuntimeError("a defect")])
async def test_a_list_that_cannot_be_read_closes_and_says_why(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    stage.open()
    await open_albums(stage)

    async def broken(*_: object) -> object:
        raise error

    monkeypatch.setattr(stage.library, "resolve", broken)
    stage.press("select")
    await stage.until(lambda: stage.words[0] == "Not possible")
    assert [page.node.kind for page in stage.panel.state.pages] == ["menu", "category"]


async def test_jobs_show_on_the_playing_screen(stage: Stage) -> None:
    await stage.player.play("track:1")
    stage.open()
    await stage.until(lambda: "Song 1" in stage.words)
    before = stage.frames[-1].pages
    stage.bus.publish(JobChanged(id=1, kind="fetch", state="running", progress=40, error=None))
    await stage.until(lambda: stage.frames[-1].pages != before)
    assert stage.panel.state.job == ("fetch", 40)
    stage.bus.publish(JobChanged(id=1, kind="fetch", state="done", progress=100, error=None))
    assert stage.panel.state.job is None


async def test_a_broken_display_does_not_darken_the_others(stage: Stage) -> None:
    stage.open()

    def broken(_: Frame) -> None:
        raise RuntimeError("boom")

    stage.panel._sinks.insert(0, broken)
    stage.press("menu")
    await stage.until(lambda: any("Queue" in word for word in stage.words))
