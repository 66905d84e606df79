"""The fair queue: shares by weight, order within a caller, people before machines, and nobody starves."""

# pyright: reportOptionalMemberAccess=false, reportArgumentType=false, reportIncompatibleMethodOverride=false
from __future__ import annotations

import random
from collections import Counter, defaultdict
from typing import Generic, TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stanchion.rules.fair_share import Entry
from stanchion.rules.fairness import FairQueue

T = TypeVar("T")
costs = st.sampled_from([0.5, 1.0, 1.0, 3.0, 40.0])
# who comes with what; a None is a pop
arrivals = st.lists(st.one_of(st.none(), st.tuples(st.sampled_from("abc"), costs)), max_size=60)


class Item(Entry, Generic[T]):
    """What waits in these tests."""

    def __init__(self, item: T, caller: str, cost: float, at: float, *, batch: bool) -> None:
        super().__init__(caller, cost, at, batch=batch)
        self.item = item


class Queue(FairQueue[Item[T]], Generic[T]):
    def push(self, item: T, *, caller, now, cost=1.0, batch=False, front=False) -> Item[T]:
        entry = Item(item, caller, cost, now, batch=batch)
        super().push(entry, front=front)
        return entry


def drain(queue: Queue[str], now: float = 0.0) -> list[str]:
    found = list[str]()
    while (entry := queue.pop(now)) is not None:
        found.append(entry.item)
    return found


def test_a_caller_that_floods_stands_behind_each_other_once() -> None:
    queue = Queue[str]()
    for number in range(100):
        queue.push(f"a{number}", caller="a", now=0.0)
    assert [queue.pop(0.0).item for _ in range(10)] == [f"a{number}" for number in range(10)]
    queue.push("b0", caller="b", now=0.0)
    queue.push("b1", caller="b", now=0.0)
    turns = drain(queue)
    assert turns.index("b0") <= 1
    assert turns.index("b1") <= 3
    assert len(turns) == 92


def test_what_a_caller_did_not_use_while_idle_is_not_kept_for_it() -> None:
    queue = Queue[str]()
    queue.push("b0", caller="b", now=0.0)
    for _ in range(100):
        queue.push("a", caller="a", now=0.0)
    for _ in range(50):
        queue.pop(0.0)
    for _ in range(10):
        queue.push("b", caller="b", now=0.0)
    assert Counter(queue.pop(0.0).item for _ in range(10)) == {"a": 5, "b": 5}


@given(st.dictionaries(st.sampled_from("abcd"), st.sampled_from([0.5, 1.0, 2.0, 5.0]), min_size=2))
def test_backlogged_callers_share_by_weight(weights: dict[str, float]) -> None:
    queue = Queue[str](weights=weights)
    for caller in weights:
        for _ in range(400):
            queue.push(caller, caller=caller, now=0.0)
    served = Counter(queue.pop(0.0).item for _ in range(200))
    whole = sum(weights.values())
    for caller, weight in weights.items():
        assert abs(served[caller] - 200 * weight / whole) <= 1 + len(weights) * weight / min(weights.values())


@given(
    st.lists(st.tuples(st.sampled_from("ab"), costs), min_size=10, max_size=80), st.sampled_from([1.0, 2.0])
)
def test_the_service_of_two_that_wait_differs_by_one_call_of_each(
    calls: list[tuple[str, float]], weight: float
) -> None:
    queue = Queue[tuple[str, float]](weights={"a": weight})
    left: Counter[str] = Counter()
    largest: defaultdict[str, float] = defaultdict(float)
    for caller, cost in calls:
        queue.push((caller, cost), caller=caller, now=0.0, cost=cost)
        left[caller] += 1
        largest[caller] = max(largest[caller], cost)
    got = {"a": 0.0, "b": 0.0}
    bound = largest["a"] / weight + largest["b"]
    while left["a"] and left["b"]:
        caller, cost = queue.pop(0.0).item
        left[caller] -= 1
        got[caller] += cost
        if left["a"] and left["b"]:
            assert abs(got["a"] / weight - got["b"]) <= bound + 1e-9


@given(arrivals, st.data())
def test_each_comes_out_once_in_its_callers_order_and_one_that_left_never(
    happened: list[tuple[str, float] | None], data: st.DataObject
) -> None:
    queue, waiting = Queue[int](), dict[int, Item[int]]()
    came: defaultdict[str, list[int]] = defaultdict(list)
    went: defaultdict[str, list[int]] = defaultdict(list)
    for number, event in enumerate(happened):
        if event is not None:
            waiting[number] = queue.push(number, caller=event[0], now=0.0, cost=event[1])
            came[event[0]].append(number)
        elif waiting and data.draw(st.booleans()):
            gone = data.draw(st.sampled_from(sorted(waiting)))
            entry = waiting.pop(gone)
            assert queue.remove(entry)
            assert not queue.remove(entry)
            came[entry.caller].remove(gone)
        elif (popped := queue.pop(0.0)) is not None:
            if data.draw(st.booleans()):
                queue.put_back(popped)
                assert queue.pop(0.0) is popped
            waiting.pop(popped.item)
            went[popped.caller].append(popped.item)
        assert len(queue) == len(waiting)
        assert queue._interactive.cost == pytest.approx(sum(each.cost for each in waiting.values()))
    while (popped := queue.pop(0.0)) is not None:
        went[popped.caller].append(popped.item)
    assert {caller: order for caller, order in came.items() if order} == dict(went)
    assert (len(queue), queue._interactive._flows, queue._interactive._heap) == (0, {}, [])


def test_one_that_is_put_back_is_the_head_and_costs_its_caller_nothing() -> None:
    queue = Queue[str]()
    for caller in "aabb":
        queue.push(caller, caller=caller, now=0.0)
    first = queue.pop(0.0)
    queue.put_back(first)
    assert queue.head(0.0) is first
    assert drain(queue) == ["a", "b", "a", "b"]


def test_a_call_that_goes_to_the_front_stands_before_its_callers_others_only() -> None:
    queue = Queue[str]()
    for item in ("a0", "b0", "a1"):
        queue.push(item, caller=item[0], now=0.0)
    queue.push("a9", caller="a", now=0.0, front=True)
    assert drain(queue) == ["a9", "b0", "a0", "a1"]


def test_a_large_call_is_not_overtaken_for_ever_by_small_ones_of_new_callers() -> None:
    queue = Queue[str]()
    queue.push("a", caller="a", now=0.0, cost=40.0)
    queue.push("large", caller="a", now=0.0, cost=40.0)
    queue.pop(0.0)
    for number in range(200):  # each with a caller made up for it
        queue.push("small", caller=f"b{number}", now=0.0)
        if queue.pop(0.0).item == "large":
            return
    raise AssertionError("it starved")


def test_a_call_that_left_costs_its_caller_nothing() -> None:
    queue = Queue[str]()
    gone = [queue.push("a", caller="a", now=0.0, cost=100.0) for _ in range(10)]
    queue.push("b", caller="b", now=0.0)
    queue.push("a", caller="a", now=0.0)
    for entry in gone:
        queue.remove(entry)
    assert drain(queue) == ["a", "b"]


def test_people_go_first_and_a_batch_call_that_is_aged_gets_its_share_and_no_more() -> None:
    queue = Queue[str](ageing_s=30.0, batch_share=0.1)
    for _ in range(100):
        queue.push("batch", caller="b", now=0.0, batch=True)
        queue.push("person", caller="a", now=0.0)
    assert {queue.pop(29.9).item for _ in range(20)} == {"person"}
    turns = [queue.pop(30.0).item for _ in range(80)]
    assert Counter(turns) == {"person": 72, "batch": 8}
    assert turns.index("batch") == 9
    assert queue.pop(30.0).item == "person"


def test_the_share_of_batch_is_of_the_work_not_of_the_calls() -> None:
    queue = Queue[str](ageing_s=0.0, batch_share=0.2)
    for _ in range(40):
        queue.push("batch", caller="b", now=0.0, batch=True)
        queue.push("person", caller="a", now=0.0, cost=8.0)
    turns = Counter(queue.pop(0.0).item for _ in range(30))
    assert turns == {"person": 10, "batch": 20}  # 80 to 20


def test_batch_alone_is_served_at_once() -> None:
    queue = Queue[str]()
    queue.push("batch", caller="b", now=0.0, batch=True)
    queue.push("person", caller="a", now=0.0)
    assert drain(queue) == ["person", "batch"]


@given(st.integers(1, 30), st.sampled_from([1.0, 5.0]), st.sampled_from([0.05, 0.1, 0.5]))
def test_no_batch_call_starves_while_people_keep_coming(behind: int, cost: float, share: float) -> None:
    queue = Queue[str](ageing_s=10.0, batch_share=share)
    for _ in range(behind):
        queue.push("batch", caller="b", now=0.0, cost=cost, batch=True)
    work, served = 0.0, 0
    while served < behind:
        queue.push("person", caller="a", now=10.0)
        entry = queue.pop(10.0)
        work += entry.cost
        served += entry.batch
        assert served * cost <= share * work + cost
        assert work <= (served + 1) * cost / share + 2


def test_a_caller_that_is_parked_is_passed_over_and_keeps_its_place() -> None:
    queue = Queue[str]()
    for item in ("a0", "a1", "b0", "b1"):
        queue.push(item, caller=item[0], now=0.0)
    queue.park("a")
    assert [queue.pop(0.0).item, queue.pop(0.0).item, queue.pop(0.0)] == ["b0", "b1", None]
    assert len(queue) == 2
    queue.unpark("a")
    assert drain(queue) == ["a0", "a1"]


def test_the_estimate_of_the_work_ahead_is_about_what_is_served_before() -> None:
    dice = random.Random(1)
    for _ in range(200):
        queue = Queue[str](weights={"a": 2.0})
        for _ in range(dice.randrange(1, 60)):
            queue.push("x", caller=dice.choice("aabcde"), now=0.0, cost=dice.choice([1.0, 2.0]))
        for _ in range(dice.randrange(len(queue))):
            queue.pop(0.0)
        caller = dice.choice("abcz")
        told = queue.ahead(caller)
        queue.push("new", caller=caller, now=0.0)
        before = 0.0
        while (entry := queue.pop(0.0)).item != "new":
            before += entry.cost
        assert abs(told - before) <= 2.0 * 6  # a call of each caller


def test_the_estimate_counts_all_where_it_looks_at_some() -> None:
    queue = Queue[str]()
    for number in range(2000):
        queue.push("x", caller=f"c{number}", now=0.0)
    assert queue.ahead("new") == pytest.approx(2000.0)
    assert queue.ahead("new", batch=True) == 2000.0
    queue.push("batch", caller="b", now=0.0, batch=True)
    assert queue.ahead("new") == pytest.approx(2001.0)


def test_memory_is_given_back_as_calls_leave() -> None:
    queue = Queue[int](ageing_s=1e9)
    for batch in (False, True):
        queue.push(-1, caller="stays", now=0.0, batch=batch)
    for number in range(5000):  # each leaves; the head never moves
        for batch in (False, True):
            queue.remove(queue.push(number, caller=f"c{number}", now=0.0, batch=batch))
            queue.remove(queue.push(number, caller="stays", now=0.0, batch=batch))
    for part in (queue._interactive, queue._batch):
        assert len(part._flows) < 200
        assert len(part._heap) < 200
        assert len(part._flows["stays"].entries) < 100
    assert len(queue._oldest) < 100


@pytest.mark.parametrize("callers", [1, 20_000])
def test_twenty_thousand_come_and_go_in_order(callers: int) -> None:
    queue = Queue[int]()
    entries = [queue.push(number, caller=f"c{number % callers}", now=0.0) for number in range(20_000)]
    for entry in entries[::3]:
        queue.remove(entry)
    assert [queue.pop(0.0).item for _ in range(len(queue))] == [n for n in range(20_000) if n % 3]
