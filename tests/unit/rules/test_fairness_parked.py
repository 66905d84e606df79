"""Callers that are passed over for a while: their others wait, and nobody else does."""

# pyright: reportOptionalMemberAccess=false
from __future__ import annotations

import random

from stanchion.rules.fair_share import Entry
from stanchion.rules.fairness import FairQueue


def entry(caller: str, *, batch: bool, cost: float = 1.0) -> Entry:
    return Entry(caller, cost, 0.0, batch=batch)


def test_a_caller_that_was_parked_where_nothing_of_it_waited_can_be_parked_there_later() -> None:
    queue = FairQueue[Entry]()
    queue.push(entry("a", batch=True))
    for _ in range(6):
        queue.push(entry("b", batch=True, cost=3.0))
    assert queue.pop(0.0).caller == "a"  # and is remembered among batch, with nothing waiting
    queue.push(entry("a", batch=False))
    queue.park("a")
    assert [queue.pop(0.0).caller for _ in range(4)] == ["b"] * 4
    queue.push(entry("a", batch=True))
    queue.park("a")
    assert [queue.pop(0.0).caller, queue.pop(0.0).caller, queue.head(0.0)] == ["b", "b", None]
    queue.unpark("a")
    assert [(each.caller, each.batch) for each in (queue.pop(0.0), queue.pop(0.0))] == [
        ("a", False),
        ("a", True),
    ]


EVENTS = ["push", "push", "push", "front", "pop", "pop", "again", "remove", "park", "unpark"]


class World:
    """A queue that is used as the line does it: who is at the head and may not be served is parked then."""

    def __init__(self) -> None:
        self.queue = FairQueue[Entry]()
        self.waiting: list[Entry] = []
        self.at_most: set[str] = set()
        self.now = 0.0

    def head(self) -> Entry | None:
        for _ in "abc ":
            found = self.queue.head(self.now)
            if found is None or found.caller not in self.at_most:
                return found
            self.queue.park(found.caller)
        raise AssertionError("a caller that was parked is at the head")

    def push(self, caller: str, *, batch: bool, cost: float, front: bool) -> None:
        self.waiting.append(entry(caller, batch=batch, cost=cost))
        self.queue.push(self.waiting[-1], front=front)

    def pop(self, *, again: bool) -> None:
        found = self.head()
        if found is None:
            return
        assert self.queue.pop(self.now) is found
        if again:
            self.queue.put_back(found)
        else:
            self.waiting.remove(found)

    def remove(self) -> None:
        if self.waiting:
            assert self.queue.remove(self.waiting.pop(len(self.waiting) // 2))

    def unpark(self, caller: str) -> None:
        self.at_most.discard(caller)
        self.queue.unpark(caller)

    def look(self) -> None:
        found = self.head()
        assert found in self.waiting if found else all(each.caller in self.at_most for each in self.waiting)


def test_whatever_happens_the_head_can_be_passed_over_and_each_comes_out_once() -> None:
    dice = random.Random(1)
    for _ in range(1000):
        happens(dice, World())


def happens(dice: random.Random, world: World) -> None:
    for _ in range(60):
        what, caller = dice.choice(EVENTS), dice.choice("abc")
        world.now += dice.choice([0.0, 0.0, 0.0, 40.0])
        match what:
            case "push" | "front":
                cost, batch = dice.choice([0.5, 1.0, 3.0]), dice.random() < 0.5
                world.push(caller, batch=batch, cost=cost, front=what == "front")
            case "pop" | "again":
                world.pop(again=what == "again")
            case "remove":
                world.remove()
            case "park":
                world.at_most.add(caller)
            case _:
                world.unpark(caller)
        world.look()
    for caller in "abc":
        world.unpark(caller)
    while world.waiting:
        world.pop(again=False)
    assert (world.head(), len(world.queue)) == (None, 0)
