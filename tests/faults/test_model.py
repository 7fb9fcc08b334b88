"""Sparse file, cache and fetcher against a model: whatever happens, what is here is right (P4, P5, P8).

The model is a dict from the version to its bytes. Hypothesis seeks, breaks answers, pulls the plug, restarts, takes the
network away and replaces the file on the server; after each step every byte that the box calls its own is compared.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from appliance.cloud.timing import Timing
from appliance.demo.faultserver import Answer, FaultServer, Seen
from appliance.errors import StorageError
from appliance.stream import CacheEntry, Demand
from tests.faults.lab import ALL, PACE, Lab, covers, noise, once, song

SIZE = 700_001
PATH = "/music/song.flac"
QUICK_FAULTS = [n for n in ALL if n not in ("429", "503", "stall", "stall-early", "trickle", "trickle-headers")]


class Machine(RuleBasedStateMachine):
    """One box, one track, one server. `replaced` counts the versions, `cuts` the times the plug was pulled."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.root = Path(tempfile.mkdtemp(prefix="model-"))
        self.server = FaultServer({PATH: noise(SIZE)})
        self.contents = {self.server.etags[PATH]: noise(SIZE)}
        self.versions = 1
        self.lives = 0
        self.lossy = False  # something happened that may cost bytes a second time
        self.lab: Lab | None = None
        self.entry: CacheEntry | None = None
        self.demand: Demand | None = None
        self.faults: list[str] = []

    def run(self, work: Any) -> Any:
        return self.loop.run_until_complete(asyncio.wait_for(work, 30))

    @initialize()
    def power_on(self) -> None:
        self.run(self.server.listen())
        self.server.hook = self._hook
        self._start()

    async def _hook(self, seen: Seen, answer: Answer) -> Answer | None:
        if seen.path != PATH:
            return await once(self.server, "500", covers(0), times=0)(seen, answer)
        if not self.faults:
            return None
        return await once(self.server, self.faults.pop(), covers(0) if not seen.range else lambda s, a: True)(
            seen, answer
        )

    def _start(self) -> None:
        self.lab = Lab(self.root, self.server.url, timing=Timing().scaled(PACE))
        self.run(self.lab.__aenter__())
        self._want()

    def _want(self) -> None:
        assert self.lab
        self.entry, self.demand = self.run(self.lab.want(self._track()))

    def _track(self) -> Any:
        return song("song", self.server.files[PATH], etag=self.server.etags[PATH])

    async def _let_go(self) -> None:
        assert self.lab
        assert self.entry
        assert self.demand
        self.lab.fetcher.withdraw(self.demand)
        self.lab.cache.release(self.entry)
        self.entry = self.demand = None

    @rule(at=st.integers(0, SIZE - 1), waiting=st.booleans())
    def seek(self, at: int, waiting: bool) -> None:
        assert self.lab
        assert self.entry
        lab, entry = self.lab, self.entry

        async def read() -> None:
            lab.fetcher.read_at(entry, at, waiting=waiting)

        self.run(read())

    @rule(names=st.lists(st.sampled_from(QUICK_FAULTS), min_size=1, max_size=3))
    def spoil_what_comes_next(self, names: list[str]) -> None:
        self.faults = names

    @rule(turns=st.integers(1, 30))
    def let_it_run(self, turns: int) -> None:
        self.run(asyncio.sleep(turns / 1000))

    @rule()
    def another_track_and_back(self) -> None:
        self.run(self._let_go())
        self._want()

    @rule()
    def restart(self) -> None:
        assert self.lab
        self.run(self._let_go())
        self.run(self.lab.__aexit__())
        self._start()

    @rule()
    def pull_the_plug(self) -> None:
        """What was on the disk in this moment is what the next life begins with."""
        assert self.lab
        self.lives += 1
        self.lossy = True
        image = self.root.with_name(f"{self.root.name}-{self.lives}")
        shutil.copytree(self.root, image)
        self.entry = self.demand = None
        self.run(self.lab.__aexit__())
        shutil.rmtree(self.root)
        image.rename(self.root)
        self._start()

    @rule(seconds=st.floats(0, 0.05))
    def network_away(self, seconds: float) -> None:
        async def away() -> None:
            await self.server.away()
            await asyncio.sleep(seconds)
            await self.server.listen()

        self.run(away())

    @rule()
    def replaced_on_the_server(self) -> None:
        self.versions += 1
        self.lossy = True
        data, tag = noise(SIZE, seed=self.versions), f'"v{self.versions}"'
        self.server.files[PATH], self.server.etags[PATH] = data, tag
        self.contents[tag] = data

    @invariant()
    def what_is_here_is_right(self) -> None:
        if self.entry is None or not self.entry.have or self.entry.superseded:
            return
        expected = self.contents.get(self.entry.etag or "")
        if expected is None:  # bytes under the tag of a lie, which the next answers will undo
            return
        with self.entry.path.open("rb") as file:
            for start, stop in self.entry.available():
                file.seek(start)
                assert file.read(stop - start) == expected[start:stop], (start, stop)

    def teardown(self) -> None:
        try:
            if self.lab:
                self.faults = []
                self.run(self._finish())
        finally:
            if self.lab:
                self.run(self.lab.__aexit__())
            self.run(self.server.away())
            self.loop.close()
            shutil.rmtree(self.root, ignore_errors=True)

    async def _finish(self) -> None:
        """In quiet conditions the file becomes whole, each byte having come once."""
        assert self.lab
        if self.demand:
            await self._let_go()
        for _ in range(4):  # a version that changed is begun anew
            with contextlib.suppress(StorageError):
                entry = await self.lab.fetch(self._track())
                break
        else:
            raise AssertionError("the file does not become whole")
        assert entry.path.read_bytes() == self.server.files[PATH]
        if not self.lossy and not self.lab.replaced:
            assert self.lab.cache.counters.refetched_bytes == 0


@pytest.mark.timeout(900)
def test_whatever_happens(request: pytest.FixtureRequest) -> None:
    examples = 400 if request.config.getoption("--full") else 25
    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=examples, stateful_step_count=15, deadline=None, derandomize=True, print_blob=True,
            suppress_health_check=list(HealthCheck),
        ),
    )  # fmt: skip
