"""Random steps on each backend and on rules/meter.py side by side: they decide alike."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

from stanchion.core.clock import Clock
from stanchion.rules.meter import Meter
from stanchion.stores.memory import apply
from stanchion.stores.opening import open_limits
from stanchion.stores.protocols import Change, Limits, Seen, Slot, Take, Taken

pytestmark = pytest.mark.timeout(300)

HOUR = 3600.0  # amounts are hours, so that the milliseconds between a step and its twin decide nothing
NEAR_S = 60.0
METERS, SLOTS, HOLDERS = ("m", "n"), ("s", "t"), ("x", "y", "z")
hours = st.integers(0, 8).map(lambda number: number * HOUR)
some_meters = st.lists(st.sampled_from(METERS), unique=True)
some_slots = st.lists(st.sampled_from(SLOTS), unique=True)
holders = st.sampled_from(HOLDERS)
words = st.tuples(  # cost, hold, depth, gain
    st.integers(-4, 4).map(lambda number: number * HOUR),
    st.sampled_from([0.0, 0.0, 2 * HOUR, 6 * HOUR]),
    hours,
    st.sampled_from([1.0, 1.0, 0.5]),
)
_number = itertools.count()


class Twins(RuleBasedStateMachine):
    """A store, and what its state should be."""

    runner: asyncio.Runner
    limits: Limits

    def __init__(self) -> None:
        super().__init__()
        self.name = f"{next(_number)}"  # each run has meters of its own
        self.meters = dict[str, Meter]()
        self.held: dict[str, set[str]] = {name: set() for name in SLOTS}
        self.taken: list[tuple[str, float, float]] = []  # meter, at, booked

    def ask(self, takes: list[Take], slots: list[Slot], holder: str) -> Taken:
        named = [Take(f"{self.name}/{each.meter}", each.cost_s, each.room_s) for each in takes]
        places = [Slot(f"{self.name}/{each.name}", each.most, each.ttl_s) for each in slots]
        return self.runner.run(self.limits.take(named, places, holder))

    @rule(
        names=some_meters,
        cost_s=hours,
        room_s=hours,
        slots=some_slots,
        most=st.integers(0, 2),
        holder=holders,
    )
    def take(
        self, names: list[str], cost_s: float, room_s: float, slots: list[str], most: int, holder: str
    ) -> None:
        takes = [Take(name, cost_s + n * HOUR, room_s) for n, name in enumerate(names)]
        answer = self.ask(takes, [Slot(name, most, 24 * HOUR) for name in slots], holder)
        now = answer.at
        meters = [self.meters.get(name) or Meter(born_at=now) for name in names]
        waits = [
            meter.wait_s(now, take.cost_s, take.room_s) for meter, take in zip(meters, takes, strict=True)
        ]
        full = [
            len(self.held[name]) >= most and (holder not in self.held[name] or not most) for name in slots
        ]
        fits = not any(waits) and not any(full)
        assert (answer.wait_s == 0) == fits
        if not any(full):
            assert answer.wait_s == pytest.approx(max(waits, default=0.0), abs=NEAR_S)
        if fits:
            for meter, one in zip(meters, takes, strict=True):
                meter.book(now, one.cost_s)
                self.meters[one.meter] = meter
            for name in slots:
                self.held[name].add(holder)
        assert answer.booked_s == pytest.approx([meter.booked_s for meter in meters])
        assert answer.depth_s == pytest.approx([meter.depth_s(now) for meter in meters], abs=NEAR_S)
        self.taken += [(name, now, booked) for name, booked in zip(names, answer.booked_s, strict=True)]

    @rule(names=some_meters, told=words, data=st.data(), free=some_slots, holder=holders)
    def change(
        self,
        names: list[str],
        told: tuple[float, float, float, float],
        data: st.DataObject,
        free: list[str],
        holder: str,
    ) -> None:
        cost_s, hold_s, depth_s, gain = told
        now = self.ask([], [], "nobody").at
        changes = list[Change]()
        for name in names:
            known = [(at, booked) for meter, at, booked in self.taken if meter == name]
            about = data.draw(st.none() | st.sampled_from(known)) if known else None
            seen = Seen(*about, depth_s, gain) if about is not None else None
            changes.append(Change(name, cost_s, seen, hold_s))
            meter = self.meters.setdefault(name, Meter(born_at=now))
            apply(changes[-1], meter, now)
        for name in free:
            self.held[name].discard(holder)
        named = [Change(f"{self.name}/{each.meter}", each.cost_s, each.seen, each.hold_s) for each in changes]
        self.runner.run(self.limits.change(named, [f"{self.name}/{name}" for name in free], holder))


@pytest.fixture
def store(backend: str, url: str) -> Iterator[type[Twins]]:
    del backend
    with asyncio.Runner() as runner:
        limits = open_limits(url, Clock())
        yield type("Twins", (Twins,), {"runner": runner, "limits": limits})
        runner.run(limits.aclose())


def test_a_store_and_the_rule_decide_alike(store: type[Twins]) -> None:
    run_state_machine_as_test(
        store, settings=settings(max_examples=60, stateful_step_count=20, deadline=None)
    )  # type: ignore[no-untyped-call]
