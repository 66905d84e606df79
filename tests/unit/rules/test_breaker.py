"""A breaker rests, lets exactly one probe through, and closes when it succeeds."""

from __future__ import annotations

import math

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from stanchion.rules.breaker import Breaker, BreakerOptions, State

OPTIONS = BreakerOptions(failures=3, rest_s=1.0, rest_most_s=8.0, told_most_s=300.0)


def failed(breaker: Breaker, now: float, *, at_once: bool = False) -> None:
    ticket = breaker.enter(now)
    assert ticket is not None
    breaker.left_badly(now, ticket, at_once=at_once)


def opened(at: float = 0.0) -> Breaker:
    breaker = Breaker(OPTIONS)
    for _ in range(OPTIONS.failures):
        failed(breaker, at)
    return breaker


def test_failures_in_a_row_open_it_and_a_success_between_them_does_not() -> None:
    breaker = Breaker(OPTIONS)
    for _ in range(10):
        failed(breaker, 0.0)
        failed(breaker, 0.0)
        assert breaker.enter(0.0) == 0
        breaker.left_well(0.0)
    assert breaker.state is State.CLOSED
    assert opened().state is State.OPEN
    assert opened().ready_in(0.25) == 0.75


def test_one_failure_that_proves_enough_opens_it_for_the_longest_rest() -> None:
    breaker = Breaker(OPTIONS)
    failed(breaker, 0.0, at_once=True)
    assert (breaker.state, breaker.ready_in(0.0)) == (State.OPEN, 8.0)


def test_after_the_rest_one_probe_passes() -> None:
    breaker = opened()
    assert breaker.enter(0.999) is None
    assert breaker.ready_in(1.0) == 0.0
    probe = breaker.enter(1.0)
    assert probe
    assert (breaker.state, breaker.ready_in(1.0), breaker.enter(5.0)) == (State.HALF_OPEN, math.inf, None)


def test_a_failed_probe_doubles_the_rest_up_to_the_most() -> None:
    breaker, now, rests = opened(), 0.0, list[float]()
    for _ in range(6):
        rests.append(breaker.ready_in(now))
        now += rests[-1]
        failed(breaker, now)
    assert rests == [1.0, 2.0, 4.0, 8.0, 8.0, 8.0]


def test_a_probe_that_fails_once_is_enough_however_few_failed_before() -> None:
    breaker = Breaker(OPTIONS)
    failed(breaker, 0.0, at_once=True)
    failed(breaker, 8.0)
    assert (breaker.state, breaker.ready_in(8.0)) == (State.OPEN, 8.0)


def test_a_probe_that_fails_after_a_straggler_closed_it_is_a_failure_as_any_other() -> None:
    breaker = opened()
    probe = breaker.enter(1.0)
    assert probe
    breaker.left_well(1.0)
    breaker.left_badly(1.0, probe)
    for _ in range(OPTIONS.failures - 1):
        failed(breaker, 1.0)
    assert breaker.state is State.OPEN


def test_a_good_probe_closes_it_and_the_next_rest_is_short_again() -> None:
    breaker = opened()
    failed(breaker, 1.0)
    assert breaker.enter(3.0)
    breaker.left_well(3.0)
    assert (breaker.state, breaker.ready_in(3.0), breaker.enter(3.0)) == (State.CLOSED, 0.0, 0)
    breaker.left_unknown(0)
    for _ in range(OPTIONS.failures):
        failed(breaker, 4.0)
    assert breaker.ready_in(4.0) == 1.0


def test_a_probe_that_proved_nothing_is_given_back() -> None:
    breaker = opened()
    probe = breaker.enter(1.0)
    assert probe
    breaker.left_unknown(probe)
    assert breaker.ready_in(1.0) == 0.0
    assert breaker.enter(1.0) not in (None, 0, probe)


def test_a_straggler_neither_gives_the_probe_back_nor_ends_it() -> None:
    breaker = Breaker(OPTIONS)
    stragglers = [breaker.enter(0.0) for _ in range(2)]
    assert stragglers == [0, 0]
    for _ in range(OPTIONS.failures):
        failed(breaker, 0.0)
    assert breaker.enter(1.0)
    breaker.left_unknown(0)  # it began before the rest: that its caller left says nothing of the probe
    assert breaker.enter(1.0) is None
    breaker.left_badly(1.0, 0)
    assert (breaker.state, breaker.enter(1.0)) == (State.HALF_OPEN, None)


def test_a_straggler_that_succeeds_closes_it() -> None:
    breaker = opened()
    breaker.left_well(0.5)
    assert (breaker.state, breaker.enter(0.5)) == (State.CLOSED, 0)


def test_a_straggler_that_fails_does_not_lengthen_the_rest() -> None:
    breaker = opened()
    breaker.left_badly(0.9, 0)
    assert breaker.ready_in(0.9) == pytest.approx(0.1)


def test_a_time_that_the_provider_named_makes_it_rest_in_any_state() -> None:
    breaker = Breaker(OPTIONS)
    breaker.told(0.0, 0.0, 20.0)
    assert (breaker.state, breaker.ready_in(5.0), breaker.enter(19.9)) == (State.CLOSED, 15.0, None)
    assert breaker.enter(20.0) == 0
    breaker = opened()
    breaker.told(0.0, 0.0, 20.0)
    assert breaker.ready_in(1.0) == 19.0
    breaker.told(1.0, 1.0, 1.0)  # a shorter one does not end the longer
    assert breaker.ready_in(1.0) == 19.0
    breaker.told(0.0, 0.0, 86_400.0)
    assert breaker.ready_in(0.0) == 300.0


class BreakerMachine(RuleBasedStateMachine):
    """Whatever happens in whatever order: one probe at a time, rests are kept, nothing is lost for ever."""

    @initialize(failures=st.integers(1, 4))
    def begin(self, failures: int) -> None:
        self.options = BreakerOptions(failures=failures, rest_s=1.0, rest_most_s=4.0, told_most_s=10.0)
        self.breaker = Breaker(self.options)
        self.now = 0.0
        self.inside: list[int] = []  # tickets
        self.probe: int | None = None
        self.rests_until = 0.0

    @rule(seconds=st.sampled_from([0.125, 1.0, 4.0, 20.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def a_call_comes(self) -> None:
        state, ready_in = self.breaker.state, self.breaker.ready_in(self.now)
        ticket = self.breaker.enter(self.now)
        assert (ticket is None) == (ready_in > 0)
        if ticket is None:
            return
        assert self.now >= self.rests_until
        assert (ticket != 0) == (state is not State.CLOSED)
        if ticket:
            assert self.probe is None, "a second probe while one is out"
            self.probe = ticket
        self.inside.append(ticket)

    def _leave(self, data: st.DataObject) -> int:
        ticket = self.inside.pop(data.draw(st.integers(0, len(self.inside) - 1)))
        if ticket == self.probe:
            self.probe = None
        return ticket

    @precondition(lambda self: self.inside)
    @rule(data=st.data())
    def it_succeeds(self, data: st.DataObject) -> None:
        self._leave(data)
        self.breaker.left_well(self.now)
        self.probe = None  # closed: what was a probe is a call as any other
        self.rests_until = min(self.rests_until, self.told_until)
        assert self.breaker.state is State.CLOSED

    @precondition(lambda self: self.inside)
    @rule(data=st.data())
    def it_proves_nothing(self, data: st.DataObject) -> None:
        before = self.breaker.state
        self.breaker.left_unknown(self._leave(data))
        assert self.breaker.state is before

    @precondition(lambda self: self.inside)
    @rule(data=st.data(), at_once=st.booleans())
    def it_fails(self, data: st.DataObject, at_once: bool) -> None:
        before = self.breaker.state
        self.breaker.left_badly(self.now, self._leave(data), at_once=at_once)
        if before is not State.OPEN and self.breaker.state is State.OPEN:
            rest_s = self.breaker.ready_in(self.now)
            assert 1.0 <= rest_s <= 10.0
            self.rests_until = max(self.told_until, self.now + 1.0)
        assert not at_once or before is not State.CLOSED or self.breaker.state is State.OPEN

    @rule(seconds=st.sampled_from([0.0, 0.5, 3.0, 10.0, 86_400.0]))
    def the_provider_names_a_time(self, seconds: float) -> None:
        self.breaker.told(self.now, self.now, seconds)
        self.told_until = max(self.told_until, self.now + min(seconds, 10.0))
        self.rests_until = max(self.rests_until, self.told_until)

    told_until = 0.0

    @invariant()
    def it_is_ready_again_some_time(self) -> None:
        ready_in = self.breaker.ready_in(self.now)
        assert ready_in >= 0.0
        if math.isinf(ready_in):
            assert self.probe is not None, "it waits for a probe that nobody holds"
        else:
            assert ready_in <= 10.0
            assert self.breaker.ready_in(self.now + ready_in + 1e-9) == 0.0


BreakerMachine.TestCase.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)
TestBreaker = BreakerMachine.TestCase
