from __future__ import annotations

import asyncio
import sqlite3
import threading
from pathlib import Path

import pytest

from appliance.errors import StorageError
from appliance.store import Store, meta


async def test_a_transaction_is_whole_or_not_at_all(tmp_path: Path) -> None:
    store = await Store.open(tmp_path / "deep" / "x.db")

    def half(con: sqlite3.Connection) -> None:
        meta.put(con, "a", 1)
        raise LookupError("no")

    with pytest.raises(LookupError):
        await store.write(half)
    assert await store.read(lambda con: meta.get(con, "a")) is None
    await store.write(lambda con: meta.put(con, "a", {"b": [1, None, "é"]}))
    await store.close()
    store = await Store.open(tmp_path / "deep" / "x.db")
    assert await store.read(lambda con: meta.get(con, "a")) == {"b": [1, None, "é"]}
    await store.write(lambda con: meta.drop(con, "a"))
    assert await store.read(lambda con: meta.get(con, "a", 7)) == 7
    await store.close()


async def test_readers_cannot_write_and_do_not_wait_for_the_writer(tmp_path: Path) -> None:
    store = await Store.open(tmp_path / "x.db")
    with pytest.raises(StorageError, match="readonly"):
        await store.read(lambda con: meta.put(con, "a", 1))
    inside, go = threading.Event(), threading.Event()

    def slow(con: sqlite3.Connection) -> None:
        meta.put(con, "a", 1)
        inside.set()
        go.wait(10)

    writing = asyncio.create_task(store.write(slow))
    await asyncio.to_thread(inside.wait, 10)
    assert await store.read(lambda con: meta.get(con, "a")) is None
    go.set()
    await writing
    assert await store.read(lambda con: meta.get(con, "a")) == 1
    await store.close()


async def test_a_damaged_database_is_set_aside(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    path.write_bytes(b"this is no database" * 500)
    store = await Store.open(path)
    await store.write(lambda con: meta.put(con, "a", 1))
    await store.close()
    assert (tmp_path / "x.db.damaged").read_bytes().startswith(b"this is no database")


async def test_a_place_that_cannot_hold_it_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError) as error:
        await Store.open(tmp_path / "file" / "x.db")
    assert "\n" not in str(error.value)
