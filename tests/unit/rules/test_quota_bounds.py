"""What the mirror never does: exceed a ceiling, lose count, wait for ever, or starve a large call."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from stanchion.core.rates import Rate, RateRefusal
from stanchion.rules.quota import Ceilings, Mirror, Ticket
from stanchion.simulator.quota import DAY_S, MINUTE_S

LONG_S = 10 * DAY_S
pauses = st.floats(0.0, 40.0)


def tokens_known(limit: int, *, now: float = 0.0) -> Mirror:
    return Mirror(now, starts=Ceilings(tokens_per_minute=limit))


@given(st.lists(st.tuples(pauses, st.integers(1, 4)), max_size=80), st.integers(1, 12))
def test_a_ceiling_is_exceeded_in_no_window(arrivals: list[tuple[float, int]], ceiling: int) -> None:
    mirror, now, taken = Mirror(0.0, Ceilings(requests_per_minute=ceiling), careful=False), 0.0, list[float]()
    for pause_s, many in arrivals:
        now += pause_s
        for _ in range(many):
            if mirror.ready_in(now, 1) == 0:
                ticket = mirror.take(now, 1)
                mirror.answered(now, ticket, ())
                mirror.ended(now, ticket, 0)
                taken.append(now)
    for start in taken:
        assert sum(start <= each < start + MINUTE_S for each in taken) <= ceiling


@given(
    st.lists(st.tuples(pauses, st.integers(1, 400), st.integers(0, 400)), max_size=60),
    st.integers(500, 2000),
)
def test_a_ceiling_of_tokens_lets_in_no_call_above_it(
    calls: list[tuple[float, int, int]], ceiling: int
) -> None:
    """An answer may be longer than anyone knew; nothing is let in on top of it."""
    mirror, now = Mirror(0.0, Ceilings(tokens_per_minute=ceiling), careful=False), 0.0
    booked = list[tuple[float, int]]()
    for pause_s, size, output in calls:
        now += pause_s
        if mirror.ready_in(now, size) == 0:
            used = sum(amount for at, amount in booked if at > now - MINUTE_S)
            assert used + size <= ceiling
            mirror.ended(now, mirror.take(now, size), output)
            booked += [(now, size), (now, output)]


def test_of_a_thousand_at_once_a_ceiling_of_ten_lets_in_ten_in_each_window() -> None:
    mirror = Mirror(0.0, Ceilings(requests_per_minute=10), careful=False)
    now, taken = 0.0, list[float]()
    while len(taken) < 100:  # of the thousand that wait
        wait_s = mirror.ready_in(now, 1)
        if wait_s > 0:
            now += wait_s
        else:
            mirror.take(now, 1)
            taken.append(now)
    assert sum(each == 0.0 for each in taken) == 10
    assert [sum(60 * n <= each < 60 * n + 60 for each in taken) for n in range(9)] == [10] * 9


def test_attempts_without_a_pause_do_not_pass() -> None:
    """200 attempts at a limit of 30 a minute: four pass at once, as before the first answer of any endpoint."""
    mirror = Mirror(0.0, starts=Ceilings(requests_per_minute=30))
    passed = 0
    for _ in range(200):
        if mirror.ready_in(0.0, 1) == 0:
            mirror.take(0.0, 1)
            passed += 1
    assert passed == 4


@pytest.mark.parametrize("told", ["headers", "words", "ceiling", "start"])
def test_a_call_above_the_limit_is_too_large_from_the_first_moment_that_it_is_known(told: str) -> None:
    if told == "ceiling":
        mirror = Mirror(0.0, Ceilings(tokens_per_minute=1000))
    elif told == "start":
        mirror = Mirror(0.0, starts=Ceilings(tokens_per_minute=1000))
    else:
        mirror = Mirror(0.0)
        ticket = mirror.take(0.0, 1)
        assert mirror.too_large(10**9) is None
        if told == "headers":
            mirror.answered(0.0, ticket, [Rate("tokens", 1000, 1000, 0.0)])
        else:
            mirror.refused(0.0, ticket, RateRefusal("tokens", 60.0, 1000, None, 1001), (), None)
    found = mirror.too_large(1001)
    assert found is not None
    assert (found.limit, found.window_s) == (1000, 60.0)
    assert mirror.too_large(1000) is None


def test_a_burst_of_a_second_makes_no_call_too_large() -> None:
    mirror = Mirror(0.0)
    words = RateRefusal("tokens", 1.0, 1000, 900, 500)
    mirror.refused(0.1, mirror.take(0.0, 500), words, (), 0.4)
    assert mirror.too_large(1500) is None


def test_a_large_call_is_not_starved() -> None:
    """Nearly the whole limit fits as soon as the bucket is full: who waits so long as told gets in."""
    mirror, now = tokens_known(10_000), 0.0
    for _ in range(200):  # small calls make it as deep as it gets
        now += mirror.ready_in(now, 500)
        ticket = mirror.take(now, 500)
        mirror.answered(now, ticket, ())
        mirror.ended(now, ticket, 0)
    wait_s = mirror.ready_in(now, 9_900)
    assert 0 < wait_s <= MINUTE_S
    now += wait_s
    assert mirror.ready_in(now, 9_900) == 0
    mirror.take(now, 9_900)
    assert mirror.ready_in(now, 100) <= MINUTE_S


@given(st.lists(st.tuples(pauses, st.integers(1, 10_000), st.integers(0, 5000)), max_size=60))
def test_who_waits_as_long_as_told_gets_in(calls: list[tuple[float, int, int]]) -> None:
    mirror, now = tokens_known(10_000), 0.0
    for pause_s, size, output in calls:
        now += pause_s
        for _ in range(3):  # what ended meanwhile is learned; nothing is under way here
            wait_s = mirror.ready_in(now, size)
            assert 0 <= wait_s < 30 * MINUTE_S
            now += wait_s
        assert mirror.ready_in(now, size) <= 1e-6
        ticket = mirror.take(now, size)
        mirror.answered(now, ticket, ())
        mirror.ended(now, ticket, output)


@given(st.lists(st.tuples(st.floats(0.0, 3.0), st.integers(1, 50)), min_size=1, max_size=12))
def test_what_was_not_sent_is_given_back_exactly(calls: list[tuple[float, int]]) -> None:
    mirror = Mirror(0.0, Ceilings(requests_per_minute=2), Ceilings(tokens_per_minute=600))
    base = mirror.take(0.0, 300)
    asked = [(later, size) for later in (40.0, 50.0) for size in (1, 100, 400)]
    waits = [mirror.ready_in(later, size) for later, size in asked]
    now, tickets = 0.0, list[Ticket]()
    for pause_s, size in calls:
        now += pause_s
        tickets.append(mirror.take(now, size))
    for ticket in tickets:
        mirror.unsent(ticket)
    assert [mirror.ready_in(later, size) for later, size in asked] == pytest.approx(waits)
    mirror.ended(now, base, 0)
    assert mirror.ready_in(LONG_S, 1) == 0


@settings(max_examples=60, stateful_step_count=40)
class AnyOrder(RuleBasedStateMachine):
    """Calls that begin, are answered, refused, given back and end in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.mirror = Mirror(0.0, Ceilings(tokens_per_day=10**7))
        self.sent: list[Ticket] = []
        self.begun: list[Ticket] = []

    @rule(pause_s=pauses)
    def wait(self, pause_s: float) -> None:
        self.now += pause_s

    @rule(size=st.integers(1, 3000))
    def send(self, size: int) -> None:
        self.mirror.ready_in(self.now, size)
        self.sent.append(self.mirror.take(self.now, size))

    @precondition(lambda self: bool(self.sent))
    @rule(
        data=st.data(),
        limit=st.sampled_from([3, 60, 500]),
        left=st.integers(0, 500),
        reset=st.floats(0.0, 90000.0),
        tells=st.booleans(),
    )
    def answer(self, data: st.DataObject, limit: int, left: int, reset: float, tells: bool) -> None:
        ticket = self._pick(data, self.sent)
        rates = [Rate("requests", limit, min(left, limit), reset), Rate("tokens", 100 * limit, left, None)]
        self.mirror.answered(self.now, ticket, rates if tells else ())
        self.begun.append(ticket)

    @precondition(lambda self: bool(self.begun))
    @rule(data=st.data(), output=st.integers(0, 5000))
    def end(self, data: st.DataObject, output: int) -> None:
        self.mirror.ended(self.now, self._pick(data, self.begun), output)

    @precondition(lambda self: bool(self.sent))
    @rule(data=st.data(), wait_s=st.one_of(st.none(), st.floats(0.0, 100.0)), used=st.integers(0, 900))
    def refuse(self, data: st.DataObject, wait_s: float | None, used: int) -> None:
        ticket = self._pick(data, self.sent)
        words = data.draw(
            st.sampled_from(
                [
                    None,
                    RateRefusal("requests", 60.0, 500, used, 1),
                    RateRefusal("requests", 1.0, 8, 8, 1),
                    RateRefusal("tokens", DAY_S, 200_000, 200 * used, 500),
                    RateRefusal("requests", 60.0, 3),
                ]
            )
        )
        self.mirror.refused(self.now, ticket, words, (), wait_s)

    @precondition(lambda self: bool(self.sent))
    @rule(data=st.data())
    def give_back(self, data: st.DataObject) -> None:
        self.mirror.unsent(self._pick(data, self.sent))

    def _pick(self, data: st.DataObject, tickets: list[Ticket]) -> Ticket:
        return tickets.pop(data.draw(st.integers(0, len(tickets) - 1)))

    @invariant()
    def it_counts_what_is_open(self) -> None:
        open_tickets = [*self.sent, *self.begun]
        for gauge in self.mirror.gauges:
            marks = sum(mark.gauge is gauge for ticket in open_tickets for mark in ticket.marks)
            assert vars_of(gauge, "_open") == marks

    @invariant()
    def every_wait_is_finite(self) -> None:
        for size in (1, 300, 10**6):
            wait_s = self.mirror.ready_in(self.now, size)
            assert 0 <= wait_s < math.inf
        assert 0.0 <= self.mirror.fill(self.now) <= 1.0
        assert "nan" not in self.mirror.text(self.now)

    def teardown(self) -> None:
        for ticket in self.sent:
            self.mirror.unsent(ticket)
        for ticket in self.begun:
            self.mirror.ended(self.now, ticket, 0)
        assert self.mirror.ready_in(self.now + LONG_S, 1) == 0


def vars_of(gauge: object, name: str) -> object:
    return getattr(gauge, name)


TestAnyOrder = AnyOrder.TestCase
