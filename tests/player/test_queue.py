"""The queue (P7): order, shuffle, repeat, and that the database can rebuild it from the changes alone."""

import random
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.errors import NotFound
from appliance.player.queue import Item, Queue


def queue(count: int) -> Queue:
    q = Queue()
    q.replace([f"t{n}" for n in range(count)])
    return q


def ids(q: Queue) -> list[str]:
    return [i.track_id for i in q.items]


def play_through(q: Queue, steps: int) -> list[str]:
    """Let tracks end by themselves, `steps` times."""
    heard = []
    for _ in range(steps):
        item = q.following(q.current, automatic=True)
        if item is None:
            break
        q.set_current(item)
        heard.append(item.track_id)
    return heard


def test_plays_in_order_and_ends() -> None:
    assert play_through(queue(3), 9) == ["t0", "t1", "t2"]


def test_repeat_all_begins_again() -> None:
    q = queue(2)
    q.repeat = "all"
    assert play_through(q, 5) == ["t0", "t1", "t0", "t1", "t0"]


def test_repeat_one_only_when_the_track_ends_by_itself() -> None:
    q = queue(2)
    q.repeat = "one"
    assert play_through(q, 3) == ["t0", "t0", "t0"]
    q.set_current(q.items[0])
    following = q.following(q.current, automatic=False)
    assert following is q.items[1]


@pytest.mark.parametrize("count", [1, 2, 3, 10])
def test_shuffle_plays_all_before_it_repeats_any(count: int) -> None:
    random.seed(count)
    q = queue(count)
    q.repeat = "all"
    q.set_shuffle(True)
    heard = play_through(q, count * 50)
    rounds = [heard[n : n + count] for n in range(0, len(heard), count)]
    assert len(rounds) == 50
    assert all(sorted(r) == sorted(ids(q)) for r in rounds)
    if count > 3:
        assert all(a[-1] != b[0] for a, b in pairwise(rounds)), "no track twice in a row"
        assert len({tuple(r) for r in rounds}) > 40, "each round is drawn anew"
        assert len({r[0] for r in rounds}) > 3
        assert len({r[-1] for r in rounds}) > 3


def test_shuffle_starts_with_what_plays() -> None:
    q = queue(10)
    q.set_current(q.items[4])
    q.set_shuffle(True)
    assert "t4" not in play_through(q, 20)
    assert len(set(play_through(q, 20))) == 0, "all were played once"


def test_insert_next_comes_next_shuffled_or_not() -> None:
    for shuffle in (False, True):
        q = queue(6)
        q.set_current(q.items[2])
        q.set_shuffle(shuffle)
        q.insert_next(["x", "y"])
        assert ids(q) == ["t0", "t1", "t2", "x", "y", "t3", "t4", "t5"]
        assert play_through(q, 2) == ["x", "y"]


@pytest.mark.parametrize("index", [-1, 3])
def test_a_place_that_is_not_there(index: int) -> None:
    with pytest.raises(NotFound, match="has 3 tracks"):
        queue(3).remove(index)


edit = st.tuples(
    st.sampled_from(["append", "next", "remove", "move", "current", "shuffle"]), st.integers(0, 9), st.integers(0, 9)
)


@given(st.lists(edit, max_size=60))
def test_the_database_can_rebuild_it(edits: list[tuple[str, int, int]]) -> None:
    q, model, rows = queue(3), ["t0", "t1", "t2"], dict[int, Item]()
    for n, (what, a, b) in enumerate(edits):
        size = len(model)
        if what == "append":
            q.append([f"a{n}"])
            model.append(f"a{n}")
        elif what == "next":
            at = q.index
            q.insert_next([f"n{n}", f"m{n}"])
            place = size if at is None else at + 1
            model[place:place] = [f"n{n}", f"m{n}"]
        elif what == "remove" and a < size:
            q.remove(a)
            model.pop(a)
        elif what == "move" and a < size and b < size:
            q.move(a, b)
            model.insert(b, model.pop(a))
        elif what == "current" and a < size:
            q.set_current(q.at(a))
        elif what == "shuffle":
            q.set_shuffle(a % 2 == 0)
        changes = q.take_changes()
        if changes.clear:
            rows.clear()
        for i in changes.delete:
            rows.pop(i, None)
        rows.update({i: Item(x.id, x.track_id, x.ord, x.rnd) for i, x in changes.upsert.items()})
        assert ids(q) == model
        twin = Queue()
        twin.restore(rows.values(), q.current.id if q.current else None, shuffle=q.shuffle, repeat="off")
        assert ids(twin) == model
        assert twin.index == q.index
        for item, other in zip(q.items, twin.items, strict=True):
            ours, theirs = q.following(item, automatic=False), twin.following(other, automatic=False)
            assert (ours.id if ours else None) == (theirs.id if theirs else None)


def test_a_hundred_moves_to_the_same_place() -> None:
    q = queue(4)
    for _ in range(200):
        q.move(3, 1)
    assert sorted(ids(q)) == ["t0", "t1", "t2", "t3"]
    assert ids(q)[0] == "t0"


def test_previous_goes_back_to_what_was_heard_also_from_the_last_of_a_round() -> None:
    for _ in range(20):
        queue = Queue()
        queue.append([str(n) for n in range(6)])
        queue.repeat = "all"
        queue.set_shuffle(True)
        heard = []
        item = queue.following(None, automatic=True)
        for _ in range(6):
            assert item is not None
            queue.set_current(item)
            heard.append(item)
            item = queue.following(item, automatic=True)
        assert len({i.id for i in heard}) == 6
        assert queue.preceding(heard[-1]) is heard[-2]


def test_begin_with_goes_on_from_a_place() -> None:
    q = queue(5)
    q.begin_with(3)
    assert play_through(q, 9) == ["t4"]
    with pytest.raises(NotFound):
        q.begin_with(5)


def test_begin_with_starts_a_shuffle_anew() -> None:
    q = queue(30)
    q.set_shuffle(True)
    q.begin_with(7)
    assert sorted(["t7", *play_through(q, 99)]) == sorted(ids(q))
