"""The mirror before anything is known, and how it reads what is told: headers, their windows, words."""

from __future__ import annotations

import csv
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stanchion.core.rates import Kind, Rate, RateRefusal
from stanchion.rules.quota import Ceilings, Mirror, infer_window
from stanchion.simulator.quota import DAY_S, MINUTE_S, Limits, reset_s
from tests.unit.rules.limiter_world import Client, World, count

DATA = Path(__file__).parents[2] / "data" / "ratelimit_headers.csv"


def rows() -> list[dict[str, str]]:
    with DATA.open(newline="") as file:
        return list(csv.DictReader(file))


def rate(row: dict[str, str], kind: Kind) -> Rate:
    limit, remaining = int(row[f"limit_{kind}"]), int(row[f"remaining_{kind}"])
    return Rate(kind, limit, remaining, float(row[f"reset_{kind}_s"]))


def send(mirror: Mirror, now: float) -> int:
    """Take as much as is allowed now; says how many calls."""
    taken = 0
    while mirror.ready_in(now, 1) == 0:
        mirror.take(now, 1)
        taken += 1
    return taken


def test_until_the_first_answer_few_calls_pass_and_twice_as_many_every_second() -> None:
    mirror = Mirror(100.0)
    sent = [sum(send(mirror, 100.0 + second + tick / 50) for tick in range(50)) for second in range(7)]
    assert sent[0] <= 12
    for before, after in pairwise(sent[1:]):
        assert after / before == pytest.approx(2.0, rel=0.25)


def test_four_calls_pass_at_once_at_the_start() -> None:
    mirror = Mirror(5.0)
    assert send(mirror, 5.0) + send(mirror, 5.01) == 4
    assert mirror.ready_in(5.01, 1) > 0.2


def test_who_is_not_careful_or_knows_the_limits_starts_at_once() -> None:
    mirror = Mirror(0.0, careful=False)
    for _ in range(1000):
        assert mirror.ready_in(0.0, 1) == 0
        mirror.take(0.0, 1)
    known = Mirror(0.0, starts=Ceilings(requests_per_minute=6000))
    assert send(known, 0.0) == 100  # a second's worth, the rest as answers allow it


def test_the_first_answer_ends_the_careful_start() -> None:
    mirror = Mirror(0.0)
    ticket = mirror.take(0.0, 1)
    mirror.answered(0.0, ticket, [Rate("requests", 600, 599, 0.1)])
    assert [(gauge.kind, gauge.limit, gauge.window_s) for gauge in mirror.gauges] == [("requests", 600, 60.0)]
    assert mirror.text(0.0) == "requests 599/600 a minute"
    assert mirror.fill(0.0) == pytest.approx(1 / 600)


def test_the_window_of_every_recorded_limit_is_inferred() -> None:
    told: dict[Kind, int] = {"requests": 0, "tokens": 0}
    for row in rows():
        day = row["model"] == "gpt-4"
        windows: dict[Kind, float] = {"requests": DAY_S if day else MINUTE_S, "tokens": MINUTE_S}
        for kind, window_s in windows.items():
            found = infer_window(rate(row, kind))
            assert found in (window_s, None)
            told[kind] += found is not None
    assert told["tokens"] > 1370
    assert told["requests"] > 1290


def test_after_the_recorded_answers_of_a_model_its_limits_are_known() -> None:
    expected = {
        "gpt-4": {("requests", 10_000, DAY_S), ("tokens", 10_000, MINUTE_S)},
        "gpt-4o": {("requests", 500, MINUTE_S), ("tokens", 30_000, MINUTE_S)},
        "gpt-4o-audio-preview": {("requests", 500, MINUTE_S), ("tokens", 30_000, MINUTE_S)},
    }
    for model, limits in expected.items():
        mirror, now = Mirror(0.0), 0.0
        for row in [row for row in rows() if row["model"] == model]:
            now += 1.0
            ticket = mirror.take(now, 10)
            mirror.answered(now, ticket, [rate(row, "requests"), rate(row, "tokens")])
            mirror.ended(now, ticket, 0)
        assert {(gauge.kind, int(gauge.limit), gauge.window_s) for gauge in mirror.gauges} == limits


@given(
    st.integers(1, 10**7),
    st.integers(1, 10**6),
    st.sampled_from([60.0, 3600.0, 86400.0]),
    st.floats(-0.005, 0.005),
)
def test_an_exact_reset_tells_its_window_or_nothing(
    limit: int, used: int, window_s: float, off_s: float
) -> None:
    remaining = max(0, limit - used)
    reset = max(0.0, reset_s(limit, remaining, window_s) + off_s)
    assert infer_window(Rate("tokens", limit, remaining, reset)) in (window_s, None)


def test_what_tells_no_window() -> None:
    assert infer_window(Rate("tokens", 100, 100, 0.0)) is None  # nothing is used
    assert infer_window(Rate("tokens", 100, 50)) is None  # no reset
    assert infer_window(Rate("tokens", 100, 50, 7.0)) is None  # until the next whole minute, perhaps
    assert infer_window(Rate("tokens", 100, 100, None, 1.0)) == 1.0  # said outright


def test_a_window_that_was_only_assumed_is_put_right_by_the_next_answer() -> None:
    mirror = Mirror(0.0)
    for now, remaining, reset in ((0.0, 10_000, 0.0), (1.0, 9_000, 8640.0)):
        ticket = mirror.take(now, 1)
        mirror.answered(now, ticket, [Rate("requests", 10_000, remaining, reset)])
    assert [(gauge.kind, gauge.window_s) for gauge in mirror.gauges] == [("requests", DAY_S)]


def test_words_name_a_limit_that_headers_do_not() -> None:
    mirror = Mirror(0.0)
    first = mirror.take(0.0, 100)
    mirror.answered(0.1, first, [Rate("tokens", 8000, 7900, 0.75)])
    ticket = mirror.take(1.0, 500)
    words = RateRefusal("tokens", DAY_S, 200_000, 199_900, 500)
    wait_s = 400 / 200_000 * DAY_S
    mirror.refused(1.2, ticket, words, [Rate("tokens", 8000, 8000, 0.0)], wait_s)
    assert {gauge.window_s for gauge in mirror.gauges} == {60.0, DAY_S}
    distance_s = DAY_S * 0.01  # that is kept from the brim
    assert wait_s <= mirror.ready_in(1.2, 500) <= wait_s + distance_s
    assert mirror.ready_in(1.2, 50) < mirror.ready_in(1.2, 500)


def test_words_without_figures_are_kept_as_a_wait() -> None:
    """ "Limit: 3 / min. Please try again in 20s.": nothing passes before that, and the limit is known."""
    mirror = Mirror(0.0, careful=False)
    ticket = mirror.take(0.0, 1)
    mirror.refused(0.1, ticket, RateRefusal("requests", 60.0, 3), (), 20.0)
    assert mirror.ready_in(0.1, 1) == pytest.approx(20.0, abs=0.1)
    assert mirror.text(0.1).endswith("/3 a minute")


def ten_a_second(mirror: Mirror) -> None:
    for call in range(100):
        mirror.answered(call / 10, mirror.take(call / 10, 1), ())


def test_a_refusal_among_many_answers_makes_no_guess_and_lets_nobody_wait() -> None:
    mirror = Mirror(0.0, careful=False)
    ten_a_second(mirror)
    mirror.refused(10.0, mirror.take(10.0, 1), None, (), 30.0)
    assert mirror.gauges == []
    assert mirror.ready_in(10.0, 1) == 0.0


def test_refusals_that_tell_nothing_make_a_guess_that_grows_again() -> None:
    mirror = Mirror(0.0, careful=False)
    ten_a_second(mirror)
    for _ in range(4):
        mirror.refused(10.0, mirror.take(10.0, 1), None, (), None)
    (guess,) = mirror.gauges
    assert guess.limit == pytest.approx(9.0, rel=0.02)  # nine tenths of ten a second
    for call in range(100):
        now = 10.2 + call / 8
        mirror.answered(now, mirror.take(now, 1), ())
    assert guess.limit > 9.0


def test_refusals_that_come_in_a_bunch_make_the_guess_smaller_once() -> None:
    mirror = Mirror(0.0, careful=False)
    ten_a_second(mirror)
    tickets = [mirror.take(10.0, 1) for _ in range(20)]
    for ticket in tickets:
        mirror.refused(10.1, ticket, None, (), None)
    (guess,) = mirror.gauges
    assert guess.limit == pytest.approx(9.0, rel=0.05)
    for _ in range(3):
        mirror.refused(10.3, mirror.take(10.2, 1), None, (), None)
    assert guess.limit == pytest.approx(6.3, rel=0.05)  # and some sent later, so soon, more


def test_headers_that_show_room_are_no_reason_to_wait_and_those_that_show_none_are() -> None:
    for left, waits in ((900, False), (10, True)):
        mirror = Mirror(0.0, careful=False)
        ten_a_second(mirror)
        rates = [Rate("requests", 1000, left, (1000 - left) * 0.06)]
        known = mirror.refused(10.0, mirror.take(10.0, 1), None, rates, 5.0)
        assert known is waits
        assert (mirror.ready_in(10.0, 1) >= 5.0) is waits


def test_retry_after_alone_is_kept() -> None:
    mirror = Mirror(0.0, careful=False)
    mirror.refused(1.0, mirror.take(0.5, 1), None, (), 30.0)
    assert mirror.ready_in(1.0, 1) == pytest.approx(30.0)
    assert mirror.ready_in(31.1, 1) == 0.0


def test_a_refusal_costs_nothing() -> None:
    mirror = Mirror(0.0)
    mirror.answered(0.0, mirror.take(0.0, 1), [Rate("requests", 60, 59, 1.0)])
    (gauge,) = mirror.gauges
    before = gauge.meter.depth_s(1.0)
    mirror.refused(1.0, mirror.take(1.0, 1), RateRefusal("tokens", 60.0, 1000, 900, 200), (), 6.0)
    assert gauge.meter.depth_s(1.0) == pytest.approx(before)


def test_a_second_answer_to_the_same_call_changes_nothing() -> None:
    mirror = Mirror(0.0)
    ticket = mirror.take(0.0, 1)
    mirror.answered(0.0, ticket, [Rate("requests", 60, 59, 1.0)])
    mirror.answered(0.0, ticket, [Rate("requests", 6, 0, 1.0)])
    assert [gauge.limit for gauge in mirror.gauges] == [60]


def test_the_first_minute_of_an_unknown_provider_meets_few_refusals() -> None:
    world = World(limits=Limits(rpm=10, tpm=10**9))
    client = Client(world)
    world.run(60)
    assert count(client.let_in) >= 18
    assert len(client.refused) <= 10


def test_a_limit_that_only_a_refusal_told_of_is_tried_upwards_when_nothing_spoke_of_it_for_long() -> None:
    mirror = Mirror(0.0, careful=False)
    mirror.refused(1.0, mirror.take(1.0, 10), RateRefusal("requests", 1.0, 20, used=20, requested=1), (), 0.5)
    for now in (300.0, 700.0, 800.0, 1_400.0):
        mirror.answered(now, mirror.take(now, 10), ())
    assert [round(gauge.limit, 6) for gauge in mirror.gauges] == [24.2]
    mirror.refused(
        1_401.0, mirror.take(1_401.0, 10), RateRefusal("requests", 1.0, 20, used=20, requested=1), (), 0.5
    )
    assert [gauge.limit for gauge in mirror.gauges] == [20]


def test_a_limit_that_headers_tell_of_is_what_they_tell() -> None:
    mirror = Mirror(0.0, careful=False)
    mirror.answered(1.0, mirror.take(1.0, 10), [Rate("requests", 100, 90, 6.0)])
    mirror.refused(
        2.0, mirror.take(2.0, 10), RateRefusal("requests", 60.0, 100, used=100, requested=1), (), 0.6
    )
    mirror.answered(9_000.0, mirror.take(9_000.0, 10), ())
    assert [(gauge.kind, gauge.limit) for gauge in mirror.gauges] == [("requests", 100)]
