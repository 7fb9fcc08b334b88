"""The queue: what plays, in which order (P7). Pure data; it knows tracks by id only, never by URL.

Every item has two places: `ord` in the list as people see it, `rnd` in the order of a shuffle. Both are numbers with
room between them, so that inserting or moving an item rewrites one row and not the whole table.
"""

from __future__ import annotations

import random
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import Literal

from msgspec import Struct

from appliance.errors import NotFound, UsageError

Repeat = Literal["off", "one", "all"]


class Item(Struct, gc=False):
    """One entry; the same track may be in the queue many times."""

    id: int
    track_id: str
    ord: float
    rnd: float


class Changes(Struct):
    """What the database does not know yet; `clear` comes before the rest."""

    clear: bool = False
    upsert: dict[int, Item] = {}
    delete: set[int] = set()

    def __bool__(self) -> bool:
        return self.clear or bool(self.upsert) or bool(self.delete)


def _by_ord(item: Item) -> float:
    return item.ord


def _by_rnd(item: Item) -> float:
    return item.rnd


class Queue:
    """Items in list order, the current one, shuffle and repeat."""

    def __init__(self) -> None:
        self.items: list[Item] = []
        self.current: Item | None = None
        self.shuffle = False
        self.repeat: Repeat = "off"
        self._shuffled: list[Item] = []
        self._next_id = 1
        self._changes = Changes()

    def __len__(self) -> int:
        return len(self.items)

    def restore(self, items: Iterable[Item], current: int | None, *, shuffle: bool, repeat: Repeat) -> None:
        """Take over what the database holds."""
        self.items = sorted(items, key=_by_ord)
        self.shuffle, self.repeat = shuffle, repeat
        self._shuffled = sorted(self.items, key=_by_rnd) if shuffle else []
        self._next_id = max((i.id for i in self.items), default=0) + 1
        self.current = next((i for i in self.items if i.id == current), None)

    def take_changes(self) -> Changes:
        """What has changed since the last call; the caller writes it."""
        changes, self._changes = self._changes, Changes()
        return changes

    def all_changed(self) -> None:
        """What `take_changes` gave was not written: the next one gives everything."""
        self._changes = Changes(clear=True, upsert={i.id: i for i in self.items})

    @property
    def index(self) -> int | None:
        """Place of the current item in the list, from 0."""
        return self.index_of(self.current) if self.current else None

    def index_of(self, item: Item) -> int:
        return bisect_left(self.items, item.ord, key=_by_ord)

    # Editing ----------------------------------------------------------------------------------------------------------

    def replace(self, track_ids: Sequence[str]) -> None:
        """Drop everything and take `track_ids`; nothing is current afterwards."""
        self.clear()
        self.append(track_ids)

    def append(self, track_ids: Sequence[str]) -> None:
        start = self.items[-1].ord + 1 if self.items else 0.0
        low = self.current.rnd if self.current else 0.0
        new = [self._new(t, start + n, random.uniform(low, 1.0)) for n, t in enumerate(track_ids)]  # noqa: S311
        self._insert(new)

    def insert_next(self, track_ids: Sequence[str]) -> None:
        """Put `track_ids` right after the current item, in the list and in the order of play."""
        if self.current is None or not track_ids:
            self.append(track_ids)
            return
        count = len(track_ids)
        ords = self._between(self.items, self.current, count, _by_ord, self._renumber_list)
        rnds = self._between(self._shuffled, self.current, count, _by_rnd, self._renumber_shuffle)
        self._insert([self._new(t, o, r) for t, o, r in zip(track_ids, ords, rnds, strict=True)])

    def remove(self, index: int) -> Item:
        """Take out the item at `index`; when it is the current one, nothing is current. Raises NotFound."""
        item = self.at(index)
        self.items.pop(index)
        if self.shuffle:
            self._shuffled.remove(item)
        self._changes.upsert.pop(item.id, None)
        self._changes.delete.add(item.id)
        if self.current is item:
            self.current = None
        return item

    def move(self, source: int, target: int) -> None:
        """Take the item at `source` out and put it in so that it stands at `target`. Raises NotFound."""
        item = self.at(source)
        self.at(target)
        self.items.pop(source)
        before = self.items[target - 1].ord if target else None
        after = self.items[target].ord if target < len(self.items) else None
        place = _middle(before, after)
        if place is None:
            self.items.insert(target, item)
            self._renumber_list()
        else:
            item.ord = place
            self.items.insert(target, item)
        self._changes.upsert[item.id] = item

    def clear(self) -> None:
        self.items, self._shuffled, self.current = [], [], None
        self._changes = Changes(clear=True)

    def set_shuffle(self, on: bool) -> None:
        """Shuffling starts with the current item and plays each other one once."""
        if on == self.shuffle:
            return
        self.shuffle = on
        self._shuffled = []
        if on:
            self._reshuffle(first=self.current)

    def begin_with(self, index: int) -> None:
        """Make place `index` the current one; a shuffle starts anew from there. Raises NotFound."""
        self.current = self.at(index)
        if self.shuffle:
            self._reshuffle(first=self.current)

    def at(self, index: int) -> Item:
        if not 0 <= index < len(self.items):
            raise NotFound(f"the queue has no place {index}; it has {len(self.items)} tracks")
        return self.items[index]

    # Order of play ----------------------------------------------------------------------------------------------------

    def following(self, item: Item | None, *, automatic: bool) -> Item | None:
        """What comes after `item` (None: the first). `automatic`: the track ended by itself, so repeat-one counts."""
        if item is not None and automatic and self.repeat == "one":
            return item
        order, at = self._order(item)
        if item is not None and at + 1 >= len(order):
            return order[0] if self.repeat == "all" else None
        return order[at + 1] if order else None

    def preceding(self, item: Item) -> Item | None:
        order, at = self._order(item)
        if at > 0:
            return order[at - 1]
        return order[-1] if self.repeat == "all" else None

    def set_current(self, item: Item) -> None:
        """`item` plays now. A shuffled queue that repeats draws a new order for every round.

        It does so in two steps, because the next track is prepared while the last of a round still plays: when that
        last one begins, what comes before the two is drawn anew; when the new round begins, the last one is mixed in.
        """
        previous, self.current = self.current, item
        if not self.shuffle or self.repeat != "all" or len(self._shuffled) < 3:
            return
        if item is self._shuffled[-1]:
            *others, before, _ = self._shuffled
            random.shuffle(others)
            self._shuffled = [*others, before, item]  # "previous" still finds the one that was heard
            self._renumber_shuffle()
        elif item is self._shuffled[0] and previous is self._shuffled[-1]:
            self._reshuffle(first=item)

    def plays_in_order(self, first: Item, second: Item) -> bool:
        """Whether `second` comes straight after `first`."""
        return self.following(first, automatic=False) is second

    def _order(self, item: Item | None) -> tuple[list[Item], int]:
        order, key = (self._shuffled, _by_rnd) if self.shuffle else (self.items, _by_ord)
        return order, (bisect_left(order, key(item), key=key) if item is not None else -1)

    def _reshuffle(self, *, first: Item | None) -> None:
        order = [i for i in self.items if i is not first]
        random.shuffle(order)
        self._shuffled = [first, *order] if first is not None else order
        self._renumber_shuffle()

    # Places -----------------------------------------------------------------------------------------------------------

    def _new(self, track_id: str, place: float, shuffled: float) -> Item:
        self._next_id += 1
        return Item(self._next_id - 1, track_id, place, shuffled)

    def _insert(self, new: list[Item]) -> None:
        self.items.extend(new)
        self.items.sort(key=_by_ord)  # nearly sorted already: linear
        if self.shuffle:
            self._shuffled.extend(new)
            self._shuffled.sort(key=_by_rnd)
            if any(a.rnd == b.rnd for a, b in pairwise(self._shuffled)):
                self._renumber_shuffle()
        self._changes.upsert.update((i.id, i) for i in new)

    def _between(
        self, order: list[Item], item: Item, count: int, key: Callable[[Item], float], renumber: Callable[[], None]
    ) -> list[float]:
        """`count` places after `item` and before its successor in `order`."""
        for _ in range(2):
            at = bisect_right(order, key(item), key=key)
            low, high = key(item), key(order[at]) if at < len(order) else key(item) + 1.0
            places = [low + (high - low) * (n + 1) / (count + 1) for n in range(count)]
            if all(a < b for a, b in pairwise([low, *places, high])):
                return places
            renumber()
        raise UsageError("too many tracks for one place in the queue")

    def _renumber_list(self) -> None:
        for n, item in enumerate(self.items):
            item.ord = float(n)
        self._changes.upsert.update((i.id, i) for i in self.items)

    def _renumber_shuffle(self) -> None:
        count = len(self._shuffled) + 1
        for n, item in enumerate(self._shuffled):
            item.rnd = n / count
        self._changes.upsert.update((i.id, i) for i in self._shuffled)


def _middle(low: float | None, high: float | None) -> float | None:
    """A number between two neighbours; None when no float is left there."""
    if low is None:
        return (high or 0.0) - 1.0
    if high is None:
        return low + 1.0
    middle = (low + high) / 2
    return middle if low < middle < high else None
