"""P4, P6: bytes that come late, out of order, or not at all; seeks and orders while a read waits."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from appliance.engine import EntryEnded, EntryStarted, Position, ReadPosition
from tests.engine import material
from tests.engine.rig import FileStream, Rig, entry, read_wav

Split = Callable[[str], tuple[list[Path], np.ndarray]]


def _waits(stream: FileStream) -> Callable[[ReadPosition], bool]:
    return lambda e: e.stream == stream.id and e.waiting


async def test_bytes_that_come_slowly_out_of_order_and_with_stalls(tmp_path: Path, split: Split) -> None:
    files, samples = split("wav")
    async with Rig(f"wav:{tmp_path}/out.wav") as rig:
        stream = FileStream(files[0], copy=tmp_path / "sparse")
        rig.engine.add_stream(stream)
        rig.engine.load(entry(stream), paused=False)
        await rig.event(ReadPosition, lambda e: _waits(stream)(e) and e.offset == 0)
        blocks = list(range(0, stream.whole, 20_000))
        order = random.Random(3).sample(blocks, len(blocks))
        for number, start in enumerate(order):
            stream.fill(rig.engine, start, start + 20_000)
            await asyncio.sleep(0.2 if number % 5 == 4 else 0)
        end = await rig.event(EntryEnded)
        assert (end.reason, end.message) == ("eof", None)
    assert np.array_equal(read_wav(tmp_path / "out.wav")[1], samples[: material.CUTS[1]])


@pytest.mark.parametrize("codec", ["flac", "mp3", "opus"])
async def test_a_size_that_becomes_known_at_the_end(tmp_path: Path, split: Split, codec: str) -> None:
    files, samples = split(codec)
    async with Rig(f"wav:{tmp_path}/out.wav") as rig:
        stream = FileStream(files[0], copy=tmp_path / "sparse", size_known=False)
        rig.engine.add_stream(stream)
        count = material.lengths()[0]
        rig.engine.load(entry(stream, duration=count / material.RATE), paused=False)
        stream.fill(rig.engine, 0, stream.whole // 2)
        await rig.event(ReadPosition, lambda e: _waits(stream)(e) and e.offset == stream.whole // 2)
        stream.fill(rig.engine, stream.whole // 2, stream.whole)
        await rig.event(ReadPosition, lambda e: _waits(stream)(e) and e.offset == stream.whole)
        assert not rig.of(EntryEnded)
        rig.engine.stream_size(stream.id, stream.whole)
        assert (await rig.event(EntryEnded)).reason == "eof"
    out = read_wav(tmp_path / "out.wav")[1]
    if codec == "flac":
        assert np.array_equal(out, samples[: material.CUTS[1]])
    else:
        assert len(out) >= count


async def test_a_seek_ends_a_wait(tmp_path: Path, long_flac: Path) -> None:
    async with Rig("null") as rig:
        stream = FileStream(long_flac, copy=tmp_path / "sparse")
        rig.engine.add_stream(stream)
        stream.fill(rig.engine, 0, 200_000)
        stream.fill(rig.engine, stream.whole // 2, stream.whole)
        rig.engine.load(entry(stream, duration=60.0), paused=False)
        await rig.event(ReadPosition, lambda e: _waits(stream)(e) and e.offset == 200_000)
        await rig.event(Position, lambda e: e.seconds > 0.5)
        for target in (45.0, 33.0, 50.0):
            after, begin = len(rig.events), time.monotonic()
            rig.engine.seek(target)
            await rig.event(Position, lambda e, t=target: t < e.seconds < t + 2 and e.state == "playing", after=after)
            assert time.monotonic() - begin < 1.5
        assert not rig.of(EntryEnded)


async def test_a_seek_into_a_hole_asks_for_it_and_goes_on_when_it_is_filled(tmp_path: Path, long_flac: Path) -> None:
    async with Rig("null") as rig:
        stream = FileStream(long_flac, copy=tmp_path / "sparse")
        rig.engine.add_stream(stream)
        stream.fill(rig.engine, 0, 200_000)
        rig.engine.load(entry(stream, duration=60.0), paused=False)
        await rig.event(Position, lambda e: e.seconds > 0)
        rig.engine.seek(40.0)
        wanted = await rig.event(ReadPosition, lambda e: e.waiting and e.offset > 400_000)
        await rig.event(Position, lambda e: e.state == "buffering" and e.seconds == 40.0)

        def serve(event: object) -> None:  # as the fetcher does: what is asked for first
            if isinstance(event, ReadPosition) and event.waiting:
                stream.fill(rig.engine, event.offset, event.offset + 65_536)

        rig.hooks.append(serve)
        stream.fill(rig.engine, wanted.offset, wanted.offset + 65_536)
        await rig.event(Position, lambda e: 40 < e.seconds < 43 and e.state == "playing")
        assert not rig.of(EntryEnded)


async def test_a_storm_of_seeks_never_ends_the_track(tmp_path: Path, long_flac: Path) -> None:
    """Seeks into holes and back, faster than they can be done: no wait outlives them, no end is invented."""
    rng = random.Random(1)
    async with Rig("null") as rig:
        stream = FileStream(long_flac, copy=tmp_path / "sparse")
        rig.engine.add_stream(stream)
        for at in range(0, stream.whole, 400_000):
            stream.fill(rig.engine, at, at + 200_000)
        rig.engine.load(entry(stream, duration=60.0), paused=False)
        await rig.event(EntryStarted)
        for _ in range(60):
            rig.engine.seek(rng.uniform(0, 55))
            await asyncio.sleep(rng.choice((0, 0.002, 0.01, 0.05)))
        for at in range(0, stream.whole, 100_000):
            stream.fill(rig.engine, at, at + 100_000)
        after = len(rig.events)
        rig.engine.seek(20.0)
        await rig.event(Position, lambda e: 20 < e.seconds < 22 and e.state == "playing", after=after)
        assert not rig.of(EntryEnded)
        assert len(rig.of(EntryStarted)) == 1


async def test_load_stop_and_close_while_a_read_waits(tmp_path: Path, long_flac: Path) -> None:
    async with Rig("null") as rig:
        blocked = FileStream(long_flac, copy=tmp_path / "blocked")
        rig.engine.add_stream(blocked)
        whole = rig.add(long_flac)
        for _ in range(3):
            after = len(rig.events)
            rig.engine.load(entry(blocked), paused=False)
            await rig.event(ReadPosition, _waits(blocked), after=after)
            begin, after = time.monotonic(), len(rig.events)
            rig.engine.load(whole, paused=False)
            rig.engine.set_next(entry(blocked))  # a prefetch that hangs must not hold up anything either
            await rig.event(Position, lambda e: e.entry == whole and e.state == "playing", after=after)
            assert time.monotonic() - begin < 1.0
        after = len(rig.events)
        rig.engine.load(entry(blocked), paused=False)
        await rig.event(ReadPosition, _waits(blocked), after=after)
        rig.engine.stop()
        await rig.event(EntryEnded, lambda e: e.entry.stream == blocked.id and e.reason == "stop", after=after)
        after = len(rig.events)
        rig.engine.load(entry(blocked), paused=False)
        await rig.event(ReadPosition, _waits(blocked), after=after)
        begin = time.monotonic()
        await rig.engine.close()
        assert time.monotonic() - begin < 1.0


async def test_a_stream_that_fails_ends_in_error_and_the_next_plays(tmp_path: Path, long_flac: Path) -> None:
    async with Rig("null") as rig:
        stream = FileStream(long_flac, copy=tmp_path / "sparse")
        rig.engine.add_stream(stream)
        stream.fill(rig.engine, 0, 80_000)
        bad, good = entry(stream, duration=60.0), rig.add(long_flac)
        rig.engine.load(bad, paused=False)
        rig.engine.set_next(good)
        await rig.event(ReadPosition, _waits(stream))
        rig.engine.stream_failed(stream.id, "the server answers 404")
        end = await rig.event(EntryEnded, seconds=8)
        assert (end.entry, end.reason, end.message) == (bad, "error", "the server answers 404")
        assert 0.5 < end.position < 10
        assert (await rig.event(EntryStarted, lambda e: e.entry == good)).entry == good


async def test_a_failure_is_lifted_by_new_bytes(tmp_path: Path, split: Split) -> None:
    files, samples = split("flac")
    async with Rig(f"wav:{tmp_path}/out.wav") as rig:
        stream = FileStream(files[0], copy=tmp_path / "sparse")
        rig.engine.add_stream(stream)
        rig.engine.stream_failed(stream.id, "offline")
        rig.engine.load(entry(stream), paused=False)
        assert (await rig.event(EntryEnded)).message == "offline"
        stream.fill(rig.engine, 0, stream.whole)
        after = len(rig.events)
        rig.engine.load(entry(stream), paused=False)
        assert (await rig.event(EntryEnded, after=after)).reason == "eof"
    assert np.array_equal(read_wav(tmp_path / "out.wav")[1], samples[: material.CUTS[1]])


async def test_a_dropped_stream_ends_what_reads_it(tmp_path: Path, long_flac: Path) -> None:
    async with Rig("null") as rig:
        stream = FileStream(long_flac, copy=tmp_path / "sparse")
        rig.engine.add_stream(stream)
        rig.engine.load(entry(stream), paused=False)
        await rig.event(ReadPosition, _waits(stream))
        rig.engine.drop_stream(stream.id)
        end = await rig.event(EntryEnded)
        assert (end.reason, end.message) == ("error", "its data was taken away")


@pytest.mark.parametrize("codec", ["flac", "mp3"])
async def test_an_early_end_is_not_the_end(tmp_path: Path, long_flac: Path, long_mp3: Path, codec: str) -> None:
    """P4: half a file, complete by its size, is an error; the track after it plays."""
    source = long_flac if codec == "flac" else long_mp3
    half = tmp_path / source.name
    half.write_bytes(source.read_bytes()[: source.stat().st_size // 2])
    async with Rig(f"wav:{tmp_path}/out.wav") as rig:
        ends = await rig.play([rig.add(half, duration=60.0), rig.add(source, duration=60.0)])
        assert [e.reason for e in ends] == ["error", "eof"]
        assert "cut short" in (ends[0].message or "")
        assert 25 < ends[0].position < 35


_NOT_SOUND = {
    "text": b'{"error": {"code": "not_found"}}\n' * 50,
    "empty": b"",
    "noise": random.Random(5).randbytes(300_000),
    "playlist": b"#EXTM3U\n#EXTINF:1,x\nhttp://HOST/x.mp3\n/etc/passwd\n",
    "list.pls": b"[playlist]\nFile1=http://HOST/x.mp3\nNumberOfEntries=1\n",
    "hls.m3u8": b"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\nhttp://HOST/x.ts\n#EXT-X-ENDLIST\n",
    "concat": b"ffconcat version 1.0\nfile http://HOST/x.mp3\n",
    "edl": b"# mpv EDL v0\nhttp://HOST/x.mp3,0,10\n",
    "zeros": bytes(300_000),
}


async def test_what_is_not_sound_is_an_error_at_once(tmp_path: Path, split: Split) -> None:
    """Nor does anything that such a file names get opened: the engine has no network and reads no other file."""
    files, samples = split("flac")
    calls: list[object] = []
    server = await asyncio.start_server(lambda *peer: calls.append(peer), "127.0.0.1", 0)
    host = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    for name, content in _NOT_SOUND.items():
        (tmp_path / name).write_bytes(content.replace(b"HOST", host.encode()))
    async with Rig(f"wav:{tmp_path}/out.wav") as rig:
        begin = time.monotonic()
        ends = await rig.play([*(rig.add(tmp_path / name, duration=100.0) for name in _NOT_SOUND), rig.add(files[0])])
        assert time.monotonic() - begin < 5.0
        assert [e.reason for e in ends] == ["error"] * len(_NOT_SOUND) + ["eof"]
        for end in ends[:-1]:
            assert end.message
            assert "\n" not in end.message
    server.close()
    assert not calls
    assert np.array_equal(read_wav(tmp_path / "out.wav")[1], samples[: material.CUTS[1]])


async def test_a_missing_file_is_an_error(tmp_path: Path, split: Split) -> None:
    files, _ = split("flac")
    stream = FileStream(files[0], copy=tmp_path / "gone")
    stream.have = [(0, stream.whole)]
    stream.path.unlink()
    async with Rig("null") as rig:
        rig.engine.add_stream(stream)
        rig.engine.load(entry(stream), paused=False)
        assert (await rig.event(EntryEnded)).message == "No such file or directory"
