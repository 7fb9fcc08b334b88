"""C10: music found on a drive is uploaded once, whatever the line, the server and the drive do."""

from __future__ import annotations

import asyncio
import json
import random
from pathlib import Path

import pytest

from appliance.cloud.upload import PIECE
from tests.drives.import_rig import Importer, importer, noise, songs, tagged, tone
from tests.support.proxy import Exchange
from tests.support.webthread import Ask, Reply, WebThread

COUNT = 100


class Cuts:
    """Cuts a share of all uploads, seeded: inside the body, or after it and before the answer."""

    def __init__(self, seed: int, share: float = 0.3) -> None:
        self.random, self.share = random.Random(seed), share
        self.made = {"body": 0, "answer": 0}

    def __call__(self, exchange: Exchange, place: str, sent: int) -> bool:
        if not exchange.path.startswith("/api/v1/upload") or exchange.method == "HEAD":
            return False
        cut = self.random.random() < self.share / 2
        self.made[place] += cut
        return cut


def once(box: Importer, count: int = COUNT) -> None:
    assert box.titles() == sorted(f"Song {n}" for n in range(count))
    assert len(box.on_disk()) == count, "a file lies there twice, or was left over"


async def test_c10_a_hundred_files_over_a_line_that_breaks(tmp_path: Path) -> None:
    async with importer(tmp_path) as box:
        songs(box.stick, tone(tmp_path), COUNT)
        cuts = Cuts(7)
        assert box.proxy is not None
        box.proxy.saboteur = cuts
        await box.plug()
        info, result = await box.run()
        assert info.state == "done", info.error
        assert min(cuts.made.values()) >= 5, cuts.made
        assert (result.uploaded + result.known, result.failed) == (COUNT, [])
        assert result.uploaded >= COUNT - cuts.made["answer"]
        once(box)
        before = len(box.proxy.exchanges)
        info, result = await box.run()
        assert (result.uploaded, result.known, result.bytes) == (0, COUNT, 0)
        assert {e.path for e in box.proxy.exchanges[before:]} == {"/api/v1/exists"}, "sent again"


async def test_c10_s4_the_server_is_killed_in_the_middle(tmp_path: Path) -> None:
    async with importer(tmp_path) as box:
        songs(box.stick, tone(tmp_path), COUNT)
        await box.plug()
        job = await box.ingest.start("STICK")
        for n in (20, 25, 30):
            seen: set[str] = set()

            def enough(event: object, seen: set[str] = seen, n: int = n) -> bool:
                seen.add(getattr(event, "path", "") if getattr(event, "state", "") == "done" else "")
                return len(seen - {""}) >= n

            await box.until(enough)
            assert box.box.server_process is not None
            box.box.server_process.kill()
            await asyncio.to_thread(box.box.server_process.wait)
            await asyncio.to_thread(box.box.start_server)
        info, result = await box.ended(job)
        assert info.state == "done", info.error
        assert (result.uploaded + result.known, result.failed) == (COUNT, [])
        once(box)


async def test_c10_s3_what_is_known_by_hash_or_by_tags_is_not_sent(tmp_path: Path) -> None:
    async with importer(tmp_path) as box:
        audio = tone(tmp_path)
        tagged(box.stick / "a.flac", audio, title="Same", artist="Both", album="X")
        tagged(box.box.music / "there.flac", audio, title="Here", artist="Server", album="Y")
        await asyncio.to_thread(box.box.stop_server, 5)
        await asyncio.to_thread(box.box.start_server)
        await asyncio.to_thread(box.box.wait_for_scan)
        (box.stick / "copy.flac").write_bytes((box.box.music / "there.flac").read_bytes())
        tagged(box.stick / "other.flac", audio, title="HERE", artist="server", album="Another", comment="x" * 99)
        await box.plug()
        info, result = await box.run()
        assert info.state == "done", info.error
        assert (result.uploaded, result.known) == (1, 2)
        assert box.titles() == ["Here", "Same"]
        assert box.proxy is not None
        assert sum(e.method == "POST" and e.path == "/api/v1/upload" for e in box.proxy.exchanges) == 1


async def test_c10_r6_what_is_no_music_fails_alone_and_names_are_harmless(tmp_path: Path) -> None:
    async with importer(tmp_path) as box:
        audio, stick = tone(tmp_path), box.stick
        songs(stick, audio, 3)
        (stick / "empty.mp3").touch()
        (stick / "text.flac").write_text("no music at all\n" * 50)
        (stick / "broken.mp3").write_bytes(b"ID3\x04\x00\x00\x00\x00\x00\x0f" + bytes(300))
        long = "x" * 230 + ".flac"
        tagged(stick / "a..\n\x1b[31m..\\b.flac", audio, title="../../up", artist="../..", album="/etc")
        tagged(stick / long, audio, title="L" * 300, artist="A", album="B")
        outside = tagged(tmp_path / "outside.flac", audio, title="Outside", artist="O", album="O")
        (stick / "link.flac").symlink_to(outside)
        (stick / "folder").symlink_to(tmp_path)
        tagged(stick / ".hidden" / "h.flac", audio, title="Hidden", artist="H", album="H")
        tagged(stick / ".chadbox" / "c.flac", audio, title="Ours", artist="H", album="H")
        tagged(stick / "Music" / "owned.flac", audio, title="Owned", artist="H", album="H")
        owned = {"id": 1, "path": "Music/owned.flac", "size": 1, "sha256": "", "etag": None}
        (stick / ".chadbox" / "manifest.json").write_text(json.dumps({"files": [owned]}))
        before = {p: p.lstat().st_mtime_ns for p in stick.rglob("*")}
        await box.plug()
        info, result = await box.run()
        assert info.state == "done", info.error
        assert result.uploaded == 5
        reasons = {f.path: f.reason for f in result.failed}
        assert set(reasons) == {"empty.mp3", "text.flac", "broken.mp3"}
        assert reasons["empty.mp3"] == "the file is empty"
        assert "415" in reasons["text.flac"]
        assert "415" in reasons["broken.mp3"]
        assert not {"Outside", "Hidden", "Ours", "Owned"} & set(box.titles())
        music = box.box.music.resolve()
        assert len([p for p in music.rglob("*.flac") if p.is_file()]) == 5
        assert not list(tmp_path.glob("up*"))
        assert {p: p.lstat().st_mtime_ns for p in stick.rglob("*")} == before, "the drive was written to"


async def test_c10_a_large_file_goes_on_where_it_was_cut(tmp_path: Path) -> None:
    async with importer(tmp_path) as box:
        size = 14 << 20
        noise(box.stick / "Large.wav", size)
        sent = {"bytes": 0, "cuts": 0}
        last = {"request": None, "sent": 0}

        def cut(exchange: Exchange, place: str, count: int) -> bool:
            if exchange.method != "PATCH" or place != "body":
                return False
            fresh = last["request"] is not exchange
            sent["bytes"] += count - (0 if fresh else last["sent"])  # type: ignore[operator]
            last.update(request=exchange, sent=count)  # type: ignore[dict-item]
            if count > 3 << 20 and sent["cuts"] < 3:
                sent["cuts"] += 1
                return True
            return False

        assert box.proxy is not None
        box.proxy.saboteur = cut
        await box.plug()
        info, result = await box.run()
        assert info.state == "done", info.error
        assert (result.uploaded, result.failed, sent["cuts"]) == (1, [], 3)
        assert sent["bytes"] < size + 3 * PIECE + (64 << 10), "cuts cost more than the pieces they cut"
        (track,) = box.tracks()
        assert track["size"] == (box.stick / "Large.wav").stat().st_size
        assert len(box.on_disk()) == 1


@pytest.mark.parametrize(("status", "word"), [(413, "at most 7 bytes"), (507, "the disk is full")])
async def test_c10_a_refusal_has_a_clear_reason(tmp_path: Path, status: int, word: str) -> None:
    def answer(ask: Ask) -> Reply:
        if ask.path == "/api/v1/exists":
            return Reply(200, json.dumps({"files": [{"sha256": "", "track_id": None}] * 5}).encode())
        return Reply(status, json.dumps({"error": {"code": "x", "message": word}}).encode())

    with WebThread(answer) as web:
        async with importer(tmp_path, url=web.url) as box:
            songs(box.stick, tone(tmp_path), 5)
            await box.plug()
            info, result = await box.run()
            assert info.state == "done", info.error
            assert (result.uploaded, len(result.failed)) == (0, 5)
            assert all(str(status) in f.reason for f in result.failed)
            assert word in result.failed[0].reason
            asked = web.paths("/api/v1/upload")
            assert len(asked) == (5 if status == 413 else 3), "a full server is not asked for ever"


async def test_c10_an_older_server_gets_each_file_once(tmp_path: Path) -> None:
    got: list[str] = []

    def answer(ask: Ask) -> Reply:
        if (ask.method, ask.path) != ("PUT", "/api/upload"):
            return Reply(404)
        got.append(ask.headers["x-filename"])
        if len(got) == 1:
            return Reply(409, b'{"status": "error", "message": "known"}')
        return Reply(200, b'{"status": "imported", "tracks_added": 1, "albums_updated": 1}')

    with WebThread(answer) as web:
        async with importer(tmp_path, url=web.url) as box:
            songs(box.stick, tone(tmp_path), 3)
            await box.plug()
            info, result = await box.run()
            assert info.state == "done", info.error
            assert (result.uploaded, result.known, len(got)) == (2, 1, 3)
            assert "song%20" in got[0]
            info, result = await box.run()
            assert (result.uploaded, result.known, len(got)) == (0, 3, 3)


async def test_c10_a_yank_ends_it_and_the_next_plug_in_goes_on(tmp_path: Path) -> None:
    async with importer(tmp_path) as box:
        songs(box.stick, tone(tmp_path), 12)
        await box.plug()
        job = await box.ingest.start("STICK")
        await box.until(lambda e: e.state == "done")
        box.plugs.pull()
        info, result = await box.ended(job)
        assert info.state == "failed"
        assert "pulled out" in (info.error or "")
        assert result.uploaded < 12
        await box.plug()  # nobody asks again
        async with asyncio.timeout(60):
            while len(await asyncio.to_thread(box.titles)) < 12:
                await asyncio.sleep(0.1)
        once(box, 12)


async def test_c10_off_by_default_and_by_itself_when_set(tmp_path: Path) -> None:
    async with importer(tmp_path / "off") as box:
        songs(box.stick, tone(tmp_path), 1)
        await box.plug()
        assert await box.jobs.list() == []
    async with importer(tmp_path / "on", automatic=True) as box:
        songs(box.stick, tone(tmp_path), 2)
        await box.plug()
        async with asyncio.timeout(10):
            while not (jobs := await box.jobs.list()):
                await asyncio.sleep(0.01)
        info, result = await box.ended(jobs[0].id)
        assert (info.kind, info.state, result.uploaded) == ("import", "done", 2)
        assert [line.state for line in await box.ingest.queue("STICK")] == ["done", "done"]


async def test_c10_a_restart_of_the_player_goes_on_and_cancelling_ends_it(tmp_path: Path) -> None:
    async with importer(tmp_path) as box:
        songs(box.stick, tone(tmp_path), 12)
        await box.plug()
        job = await box.ingest.start("STICK")
        await box.until(lambda e: e.state == "done")
        await box.close()
        await box.open()
        assert (await box.jobs.get(job)).state in ("queued", "running")
        await box.plug()
        info, result = await box.ended(job)
        assert (info.state, result.uploaded, result.failed) == ("done", 12, [])
        once(box, 12)
        assert box.proxy is not None
        box.proxy.refuse()
        (box.stick / "new.wav").unlink(missing_ok=True)
        noise(box.stick / "new.wav", 1000)
        job = await box.ingest.start("STICK")
        await box.until(lambda e: e.path == "new.wav")
        assert (await box.jobs.cancel(job)).state == "cancelled"
        box.proxy.accept()
        box.plugs.pull()
        await box.plug()
        assert [j.state for j in await box.jobs.list()].count("queued") == 0, "cancelled, and yet it goes on"
