"""Which value of a key is used, and when a key that rests may be tried."""

from __future__ import annotations

import math

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from stanchion.rules.key_state import KeyState, Quarantine, Stage, rest_s
from stanchion.rules.refusals import Scope

LONGEST_S = 600.0


class Values(RuleBasedStateMachine):
    """Any order of events: never two active values, and no call ever begins on one that is retired."""

    def __init__(self) -> None:
        super().__init__()
        self.state = KeyState()
        self.now = 0.0
        self.found = list[int]()
        self.held: dict[int, int] = {}
        self.retired = set[int]()

    @rule()
    def find(self) -> None:
        self.found.append(self.state.found())

    @rule()
    def verify(self) -> None:
        candidate, before = self.state.candidate, self.state.active
        self.state.verified(self.now, LONGEST_S)
        assert self.state.active == (candidate or before)

    @rule()
    def drop(self) -> None:
        self.state.dropped()

    @precondition(lambda self: self.state.active)
    @rule()
    def lease(self) -> None:
        number = self.state.active
        assert number not in self.retired
        self.held[number] = self.held.get(number, 0) + 1

    @precondition(lambda self: any(self.held.values()))
    @rule(data=st.data())
    def give_back(self, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from([each for each, count in self.held.items() if count]))
        self.held[number] -= 1
        self.state.ended(number, self.held[number])

    @rule(seconds=st.floats(0.0, LONGEST_S))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.state.late(self.now)

    @invariant()
    def one_active_and_what_is_retired_stays_so(self) -> None:
        stages = [self.state.stage(number) for number in self.found]
        assert stages.count(Stage.ACTIVE) <= 1
        assert stages.count(Stage.RETIRING) <= 1
        assert stages.count(Stage.CANDIDATE) <= 1
        gone = {n for n, stage in zip(self.found, stages, strict=True) if stage is Stage.RETIRED}
        assert self.retired <= gone
        self.retired = gone


TestValues = Values.TestCase


def test_the_old_value_is_retired_with_its_last_call() -> None:
    state = KeyState()
    old = state.found()
    state.verified(0.0, LONGEST_S)
    new = state.found()
    assert (state.stage(old), state.stage(new)) == (Stage.ACTIVE, Stage.CANDIDATE)
    state.verified(1.0, LONGEST_S)
    assert (state.stage(old), state.stage(new)) == (Stage.RETIRING, Stage.ACTIVE)
    state.ended(old, 1)
    assert state.stage(old) is Stage.RETIRING
    state.ended(old, 0)
    assert (state.stage(old), state.stage(new)) == (Stage.RETIRED, Stage.ACTIVE)


def test_the_old_value_is_retired_when_the_longest_call_must_have_ended() -> None:
    state = KeyState()
    old = state.found()
    state.verified(0.0, LONGEST_S)
    state.found()
    state.verified(1.0, LONGEST_S)
    state.late(600.9)
    assert state.stage(old) is Stage.RETIRING
    state.late(601.0)
    assert state.stage(old) is Stage.RETIRED


def test_a_refused_candidate_leaves_the_active_value_alone() -> None:
    state = KeyState()
    old = state.found()
    state.verified(0.0, LONGEST_S)
    new = state.found()
    state.dropped()
    state.verified(1.0, LONGEST_S)
    assert (state.stage(old), state.stage(new)) == (Stage.ACTIVE, Stage.RETIRED)


def test_a_quarantine_lets_one_call_through_when_its_rest_is_over() -> None:
    resting = Quarantine("credit_balance_exhausted", Scope.ORGANIZATION, 10.0, 300.0, by_call=True)
    assert (resting.ready_in(20.0), resting.probe_in(20.0)) == (290.0, math.inf)
    assert not resting.begin(309.9)
    assert resting.begin(310.0)
    assert not resting.begin(310.0)
    assert resting.ready_in(310.0) > 0
    resting.unknown()
    assert (resting.ready_in(310.0), resting.begin(310.0)) == (0.0, True)


def test_a_quarantine_that_the_list_of_models_can_end_lets_no_call_through() -> None:
    resting = Quarantine("invalid_api_key", Scope.KEY, 10.0, 300.0, by_call=False)
    assert (resting.ready_in(20.0), resting.probe_in(20.0)) == (290.0, 290.0)
    assert resting.probe_in(310.0) == 0.0
    assert resting.ready_in(310.0) > 0
    assert resting.begin(310.0)
    assert resting.probe_in(310.0) == math.inf
    resting.again_in(310.0, 60.0)
    assert resting.probe_in(310.0) == 60.0


def test_a_rest_doubles_up_to_its_bound() -> None:
    assert [rest_s(n, 300.0, 900.0) for n in (1, 2, 3, 1000)] == [300.0, 600.0, 900.0, 900.0]
