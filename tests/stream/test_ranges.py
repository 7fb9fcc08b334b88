"""IntervalSet against a plain set of integers (P5)."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.stream.ranges import IntervalSet

edges = st.integers(0, 60)
operations = st.lists(st.tuples(st.booleans(), edges, edges), max_size=40)


@given(operations, edges, edges)
def test_behaves_like_a_set_of_integers(ops: list[tuple[bool, int, int]], a: int, b: int) -> None:
    ours, model = IntervalSet(), set[int]()
    for add, start, stop in ops:
        if add:
            ours.add(start, stop)
            model |= set(range(start, stop))
        else:
            ours.remove(start, stop)
            model -= set(range(start, stop))
    assert {i for start, stop in ours for i in range(start, stop)} == model
    assert ours.total() == len(model)
    assert ours.covers(a, b) == (set(range(a, b)) <= model)
    assert {i for start, stop in ours.gaps(a, b) for i in range(start, stop)} == set(range(a, b)) - model
    assert ours.run_end(a) == next(i for i in range(a, 200) if i not in model)
    parts = list(ours)
    assert all(x[1] < y[0] for x, y in pairwise(parts)), "disjoint and never adjacent"
    assert IntervalSet.from_bytes(ours.to_bytes()) == ours


@pytest.mark.parametrize("data", [b"x" * 8, b"x" * 17, IntervalSet([(5, 9)]).to_bytes()[::-1]])
def test_refuses_what_it_did_not_write(data: bytes) -> None:
    with pytest.raises(ValueError, match="ranges"):
        IntervalSet.from_bytes(data)
