"""F1: no detent lost or invented, up to 1,000 transitions a second, with bounce and reversals in mid-detent."""

from __future__ import annotations

from itertools import accumulate
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hw.encoder import SETTLE_NS, TABLE, Acceleration, Knob, Quadrature, Turn, accelerate
from tests.hw import traces
from tests.hw.traces import GRAY, decode, edges, times, truth, walk

MS = 1_000_000
RATES = (20, 100, 400, 1000)


def test_table_is_the_gray_code_and_nothing_else() -> None:
    place = {a << 1 | b: n for n, (a, b) in enumerate(GRAY)}
    for old in range(4):
        for new in range(4):
            distance = (place[new] - place[old]) % 4
            assert TABLE[old << 2 | new] == {0: 0, 1: 1, 2: 2, 3: -1}[distance]


@pytest.mark.parametrize("per", [4, 2])
@pytest.mark.parametrize("kind", ["straight", "reversing", "wiggling"])
@pytest.mark.parametrize(
    ("name", "bounce", "gap", "pause"),
    [
        ("clean", 0, 2_000, 0),
        # At peace before the other line moves: decidable also when the hand turns round at full speed.
        ("bouncy", 8, 25_000, 0),
        # Up to 1 ms of chatter while the other line moves after 0.7 ms. Decidable as long as a contact has been at
        # peace for CHATTER_NS when the shaft really moves it again.
        ("overlapping", 2, 200_000, 3_000_000),
    ],
)
def test_loss_rate(
    per: int, kind: str, name: str, bounce: int, gap: int, pause: int, capsys: pytest.CaptureFixture[str]
) -> None:
    felt = wrong = 0
    for rate in RATES:
        random = Random(f"{per}{kind}{name}{rate}")
        path = walk(kind, 2000, per, random)
        trace = edges(path, times(path, rate, 0.3, random, pause=pause), random, bounce=bounce, gap=gap)
        expected = truth(path, per)
        found = decode(trace, Quadrature(True, True, transitions=per))
        felt += len(expected)
        wrong += sum(a != b for a, b in zip(expected, found, strict=False)) + abs(len(expected) - len(found))
    with capsys.disabled():
        what = f"{per} transitions a detent, {name}, {kind}"
        print(f"\nencoder: {what}: {felt} detents to {RATES[-1]}/s, wrong {wrong} = {wrong / max(1, felt):.2%}", end="")
    assert wrong == 0
    assert felt or kind == "wiggling"


@settings(max_examples=200, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    per=st.sampled_from([1, 2, 4]),
    runs=st.lists(st.integers(1, 12), min_size=1, max_size=20),
    rate=st.floats(5, 1000),
    bounce=st.integers(0, 2),
    gap=st.integers(1_000, 200_000),
    reverse=st.booleans(),
)
def test_any_turn_sums_up(
    seed: int, per: int, runs: list[int], rate: float, bounce: int, gap: int, reverse: bool
) -> None:
    random = Random(seed)
    steps = [way for n, run in enumerate(runs) for way in [1 if n % 2 == 0 else -1] * run]
    path = list(accumulate(steps))
    trace = edges(path, times(path, rate, 0.3, random, pause=5_000_000), random, bounce=bounce, gap=gap)
    found = decode(trace, Quadrature(True, True, transitions=per, reverse=reverse))
    sign = -1 if reverse else 1
    if per == 1:  # with one transition a detent a bounce IS a detent and back: only the sum can be right
        assert sign * sum(found) == path[-1]
    else:
        assert [sign * n for n in found] == truth(path, per)


@given(start=st.integers(0, 3), rests=st.integers(0, 3), way=st.sampled_from([1, -1]), clicks=st.integers(1, 20))
def test_starts_from_the_real_levels_wherever_the_part_rests(start: int, rests: int, way: int, clicks: int) -> None:
    """A part that rests low, or between: each click is still one detent, the first one included."""
    decoder = Quadrature(*map(bool, GRAY[rests]))
    path = [rests + way * n for n in range(1, 4 * clicks + 1)]
    trace = edges(path, [n * 1_000_000 for n in range(len(path))], Random(start), start=rests)
    found = decode(trace, decoder, start=rests)
    assert sum(found) == way * clicks or (rests % 2 and abs(sum(found) - way * clicks) <= 1)
    if rests % 2 == 0:
        assert found == [way] * clicks


@settings(max_examples=100)
@given(seed=st.integers(0, 2**32), way=st.sampled_from([1, -1]))
def test_one_missed_edge_in_a_detent_is_survived(seed: int, way: int) -> None:
    """Back ends that read the levels late miss edges; two legal quarter-steps still outvote one impossible jump."""
    random = Random(seed)
    decoder, found = Quadrature(True, True), []
    for click in range(50):
        missing = random.choice([0, 1, 2])  # of the four edges; the last one leads to rest
        for quarter in range(4):
            if quarter != missing:
                a, b = GRAY[way * (quarter + 1) % 4]
                found.append(decoder.feed((4 * click + quarter) * MS, bool(a), bool(b)))
    assert [n for n in found if n] == [way] * 50
    assert decoder.jumps == 50


def test_jumps_alone_move_nothing() -> None:
    decoder = Quadrature(True, True)
    for n in range(100):
        assert decoder.feed(n * MS, n % 2 == 1, n % 2 == 1) == 0
    assert decoder.jumps == 100
    spike = [(0, 1), (1, 0), (0, 1), (0, 0), (1, 0), (1, 1)]  # noise on both lines in mid-turn
    assert [decoder.feed((n + 200) * MS, bool(a), bool(b)) for n, (a, b) in enumerate(spike)] == [0, 0, 0, 0, 0, 1]


def test_single_transition_parts_hold_a_bounce_back() -> None:
    decoder = Quadrature(True, True, transitions=1)
    assert decoder.feed(0, False, True) == 1
    assert decoder.feed(100_000, True, True) == 0
    assert decoder.pending
    assert decoder.feed(200_000, False, True) == 0
    assert decoder.settle(SETTLE_NS) == 0
    assert not decoder.pending
    assert decoder.feed(SETTLE_NS * 3, True, True) == -1  # a real turn back
    assert decoder.feed(SETTLE_NS * 3 + 1000, False, True) == 0
    assert decoder.settle(SETTLE_NS * 9) == 1


def test_a_burst_with_squeezed_times_is_whole_after_settling() -> None:
    """Edges that a late thread stamps all alike look like chatter; nothing of the last click is lost for that."""
    decoder = Quadrature(True, True)
    assert [decoder.feed(n, *map(bool, GRAY[n % 4])) for n in range(1, 5)] == [0, 0, 0, 0]
    assert decoder.pending
    assert decoder.settle(SETTLE_NS) == 1
    unfiltered = Quadrature(True, True, chatter_ns=0)
    assert sum(unfiltered.feed(n, *map(bool, GRAY[n % 4])) for n in range(1, 41)) == 10


@pytest.mark.parametrize(("start", "steps"), [(1, [0]), (3, [0]), (2, [1, 0]), (2, [3, 0])])
def test_falling_back_into_rest_from_between_two_detents_is_none(start: int, steps: list[int]) -> None:
    """A knob that stood between two detents at the start; from the middle either way is as good as a detent."""
    decoder = Quadrature(*map(bool, GRAY[start]))
    found = [decoder.feed((n + 1) * MS, *map(bool, GRAY[step])) for n, step in enumerate(steps)]
    assert sum(map(abs, found)) == (start == 2)


def test_resync_is_no_movement() -> None:
    decoder = Quadrature(True, True)
    decoder.resync(False, False)
    assert decoder.feed(1, True, False) == 0
    assert decoder.jumps == 0


def test_nonsense_parts_are_refused() -> None:
    with pytest.raises(ValueError, match="1, 2 or 4"):
        Quadrature(True, True, transitions=3)


@given(st.integers(-3, 3), st.integers(1, 10**10), st.integers(1, 20))
def test_acceleration_keeps_the_direction_and_its_bounds(detents: int, interval: int, most: int) -> None:
    steps = accelerate(detents, interval, Acceleration(most=most))
    assert abs(detents) <= abs(steps) <= abs(detents) * most
    assert steps * detents >= 0
    faster = accelerate(detents, max(1, interval // 2), Acceleration(most=most))
    assert abs(faster) >= abs(steps)


def test_knob_accelerates_steps_never_detents() -> None:
    knob = Knob(Quadrature(True, True), Acceleration(start=12, per=6, most=6))
    slow, fast = [], []
    for out, quarter_ns in ((slow, 100_000_000), (fast, 1_000_000)):
        for n in range(1, 41):
            a, b = GRAY[n % 4]
            out.append(knob.feed(len(slow) * 100_000_000 + n * quarter_ns, bool(a), bool(b)))
    assert [turn for turn in slow if turn] == [Turn(1, 1)] * 10
    quick = [turn for turn in fast if turn]
    assert [turn.detents for turn in quick] == [1] * 10
    assert quick[-1].steps == 6
    turned = len(slow) * 100 * MS + 40 * MS
    back = [knob.feed(turned + n * MS, *map(bool, GRAY[-n % 4])) for n in range(1, 5)]
    assert [turn for turn in back if turn] == [Turn(-1, -1)]  # a turn back starts slow: no overshoot


def test_traces_are_what_they_say() -> None:
    """The yardstick itself: chatter ends where the shaft stands, and really is there."""
    random = Random(1)
    path = walk("reversing", 400, 4, random)
    trace = edges(path, times(path, 1000, 0.5, random), random, bounce=6)
    assert len(trace) > 3 * len(path)
    levels = [1, 1]
    for edge in trace:
        assert levels[edge.line] != edge.level
        levels[edge.line] = edge.level
    assert tuple(levels) == traces.GRAY[path[-1] % 4]
