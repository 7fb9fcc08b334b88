"""Albums and facets after any deltas equal those computed from the tracks, by a model that shares no code."""

from __future__ import annotations

import asyncio
import tempfile
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.events import Bus
from appliance.library import Library, apply
from appliance.library.albums import settle
from appliance.store import Store
from tests.library.support import HttpCloud, Model, PageServer

NAMES = ("ABBA", "Abba", "The Who", "Björk", "")
SONG = st.fixed_dictionaries(
    {
        "id": st.integers(0, 12), "album_id": st.sampled_from([1, 2, "x", None]), "title": st.sampled_from(NAMES),
        "artist": st.sampled_from(NAMES), "album": st.sampled_from(("One", "Two", "")), "no": st.integers(1, 3),
    },
    optional={
        "album_artist": st.sampled_from(NAMES), "year": st.sampled_from([1999, 2000]), "genre": st.sampled_from(NAMES),
        "type": st.just("live"), "disc": st.integers(1, 2), "lufs": st.floats(-20, 0),
    },
)  # fmt: skip
STEP = st.tuples(st.lists(SONG, max_size=6), st.sets(st.integers(0, 12), max_size=4), st.booleans())


def expected(tracks: list[dict[str, Any]]) -> tuple[set[Any], set[Any]]:
    """(category, value, tracks, albums) and (album id, name, artist, tracks) of `tracks`."""
    groups: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for t in tracks:
        key = t["album_id"]
        groups[str(key) if key is not None else f"~{t.get('album_artist') or t['artist']}/{t['album']}"].append(t)
    counts: Counter[tuple[str, str]] = Counter()
    albums: Counter[tuple[str, str]] = Counter()
    rows = set()
    for key, songs in groups.items():
        in_album: Counter[tuple[str, str]] = Counter()
        for t in songs:
            facets = {("artist", t["artist"]), ("artist", t.get("album_artist"))}
            facets |= {(c, t.get(c)) for c in ("genre", "type")} | {("year", str(t["year"]) if "year" in t else "")}
            in_album.update(f for f in facets if f[1])
        counts.update(in_album)
        albums.update(in_album.keys())
        rows.add((key, len(songs)))
    return {(*f, n, albums[f]) for f, n in counts.items()}, rows


async def actual(store: Store) -> tuple[set[Any], set[Any]]:
    facets = await store.read(lambda c: c.execute("SELECT category, value, tracks, albums FROM facet").fetchall())
    albums = await store.read(lambda c: c.execute("SELECT album_id, tracks FROM album").fetchall())
    return set(facets), set(albums)


async def everything(library: Library) -> dict[str, Any]:
    """What people see: all lists, and every name found by searching for it."""
    seen: dict[str, Any] = {c: await library.browse(c) for c in ("artist", "album", "genre", "year", "type")}
    for name in ("abba", "who", "bjork", "one", "two"):
        found = await library.search(name, 200)
        seen["search " + name] = {k: sorted(map(repr, v)) for k, v in found.items()}
    return seen


@given(st.lists(STEP, min_size=1, max_size=6))
@settings(max_examples=40, deadline=None)
def test_deltas_equal_a_rebuild(steps: list[tuple[list[dict[str, Any]], set[int], bool]]) -> None:
    asyncio.run(_deltas_equal_a_rebuild(steps))


async def _deltas_equal_a_rebuild(steps: list[tuple[list[dict[str, Any]], set[int], bool]]) -> None:
    model = Model()
    with tempfile.TemporaryDirectory() as folder:
        async with PageServer(model) as server:
            store = await Store.open(Path(folder) / "x.db")
            cloud = HttpCloud(server.port)
            library = Library(store, cloud, Bus())
            await library.open()
            try:
                for put, removed, full in steps:
                    model.put(*put)
                    model.remove(*(i for i in removed if i in model.tracks))
                    await library.sync(full=full)
                    assert await actual(store) == expected(list(model.tracks.values()))
                before = await everything(library)
                await store.write(apply.begin_reindex)
                while await store.write(apply.reindex):
                    pass
                while await store.write(settle):
                    pass
                assert await everything(library) == before
            finally:
                await library.close()
                await store.close()
                cloud.close()


async def test_an_album_in_random_order_is_settled_once(tmp_path: Path) -> None:
    """A page that touches more albums than are settled with it leaves them to the end."""
    model = Model()
    for n in range(2700):
        model.put({"id": n, "album_id": n % 900, "title": f"T{n}", "artist": f"A{n % 90}", "album": f"L{n % 900}"})
    async with PageServer(model) as server:
        store = await Store.open(tmp_path / "x.db")
        cloud = HttpCloud(server.port)
        library = Library(store, cloud, Bus())
        await library.open()
        await library.sync()
        found = await library.browse("artist", "A1")
        assert (found["total"], {i.tracks for i in found["items"]}) == (10, {3})
        assert (await library.browse("album"))["total"] == 900
        await library.close()
        await store.close()
        cloud.close()
