"""One limit: how deep one may go, what is learned of its kind, and what is held back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stanchion.core.rates import RateRefusal
from stanchion.rules.gauge import Gauge, Mark, News

LIMIT = 600  # ten a second


def gauge(*, ours: bool = False, window_s: float = 60.0, limit: float = LIMIT) -> Gauge:
    return Gauge("requests", window_s, limit, now=0.0, ours=ours)


def burst(one: Gauge, now: float) -> list[Mark]:
    """Take as many calls as pass at once."""
    marks = list[Mark]()
    while one.wait_s(now, 1) == 0:
        marks.append(one.take(now, 1))
    return marks


def end(one: Gauge, marks: list[Mark], *, let_in: bool = True) -> None:
    for mark in marks:
        if let_in:
            one.accepted(mark)
        one.ended()


def test_a_second_is_taken_for_granted_and_the_room_doubles_from_answer_to_answer() -> None:
    one, sizes = gauge(), list[int]()
    for round_ in range(7):
        marks = burst(one, round_ * 100.0)
        end(one, marks)
        sizes.append(len(marks))
    assert sizes[0] == 10
    assert sizes == sorted(sizes)
    assert sizes[-1] > 4 * sizes[0]


def test_it_never_goes_deeper_than_the_window() -> None:
    one = gauge()
    for round_ in range(40):
        marks = burst(one, round_ * 100.0)
        end(one, marks)
        assert len(marks) <= LIMIT
    assert len(burst(one, 5000.0)) == pytest.approx(LIMIT * 0.998, abs=1)


def test_without_an_answer_it_goes_no_deeper() -> None:
    one = gauge()
    end(one, burst(one, 0.0), let_in=False)
    assert len(burst(one, 100.0)) == 10


def test_a_refusal_at_the_edge_ends_the_trying_for_ten_minutes() -> None:
    one = gauge()
    end(one, burst(one, 0.0))
    deeper = burst(one, 100.0)
    for mark in deeper[:-1]:
        one.give_back(mark)
    one.give_back(deeper[-1])
    one.hold(100.0, 1.0, deeper[-1])
    assert one.wait_s(100.5, 1) == pytest.approx(0.5)
    again = burst(one, 200.0)
    end(one, again, let_in=False)
    assert len(again) == 10
    assert len(burst(one, 701.0)) <= 11  # what is tried is built up anew


def test_what_others_used_is_no_burst_of_ours() -> None:
    """Half of the bucket is used by somebody else; a second's worth of ours is still granted on top."""
    one = gauge()
    mark = one.take(0.0, 1)
    one.heard(0.1, 0.0, mark, LIMIT / 2)
    end(one, [mark], let_in=False)
    assert len(burst(one, 1.0)) == 10
    assert one.left(1.0) == pytest.approx(LIMIT / 2, abs=25)


def test_a_full_bucket_lets_nobody_in_whoever_used_it() -> None:
    one = gauge()
    one.heard(0.0, 0.0, one.take(0.0, 1), 0)
    assert one.wait_s(0.0, 1) == pytest.approx(0.2, abs=0.15)
    assert one.left(0.0) == 0
    assert one.fill(0.0) == 1.0


def test_what_open_calls_will_still_use_is_held_back_by_half_at_most() -> None:
    one = Gauge("tokens", 60.0, 6000, now=0.0)
    room = one.room_s(0.0)
    for _ in range(50):
        one.debit(0.0, 10)
    one.take(100.0, 1)
    assert one.room_s(200.0) == pytest.approx(room - one.cost_s(10), rel=0.05)
    for _ in range(100):
        one.take(200.0, 1)
    assert one.room_s(300.0) == pytest.approx(room / 2)


def test_a_limit_of_one_a_second_leaves_time_for_a_call_that_overtakes() -> None:
    one = gauge(window_s=1.0, limit=1)
    assert one.wait_s(0.0, 1) == 0
    one.take(0.0, 1)
    assert one.wait_s(0.0, 1) == pytest.approx(1.002)
    assert one.wait_s(1.001, 1) > 0
    assert one.wait_s(1.003, 1) == 0


def sliding(seconds: int, *, told: str) -> Gauge:
    """A gauge after so many seconds of a call in each, all counted by the provider or given back steadily."""
    one = gauge(limit=60)
    for second in range(seconds):
        now = second / 4
        mark = one.take(now, 1)
        used = second + 1 if told == "window" else max(1.0, second + 1 - now)
        one.heard(now + 0.1, now, mark, 60 - used)
        end(one, [mark])
    return one


def test_a_limiter_that_gives_nothing_back_within_its_window_is_found_out() -> None:
    assert sliding(55, told="window").sliding
    assert not sliding(10, told="window").sliding  # too little to tell
    assert not sliding(55, told="bucket").sliding


def test_what_was_used_before_we_began_is_not_taken_for_a_window() -> None:
    """While a bucket gives it back, what it tells passes by the sum of our window."""
    one = gauge(limit=600)
    for call in range(600):
        now = call / 12
        mark = one.take(now, 1)
        used = max(0.0, 300 + call + 1 - now * 10)
        one.heard(now + 0.1, now, mark, 600 - used)
        end(one, [mark])
    assert not one.sliding


def test_words_that_name_a_longer_wait_than_a_bucket_has_are_those_of_a_window() -> None:
    words = RateRefusal("requests", 60.0, LIMIT, LIMIT, 1)
    bucket, window = gauge(), gauge()
    bucket.refused(0.1, 0.0, None, words, 0.1)
    window.refused(0.1, 0.0, None, words, 25.0)
    assert (bucket.sliding, window.sliding) == (False, True)
    assert bucket.wait_s(0.1, 1) < 2.0
    assert window.wait_s(0.1, 1) >= 25.0


def test_a_distance_that_is_kept_after_a_refusal_does_not_grow_with_what_others_used() -> None:
    """Somebody else filled the bucket.  After the wait that was told one call passes, not only when it is empty."""
    one, now = gauge(limit=60), 0.0
    for _ in range(5):
        mark = one.take(now, 1)
        one.give_back(mark)
        one.refused(now + 0.01, now, mark, RateRefusal("requests", 60.0, 60, 60, 1), 1.0)
        wait_s = one.wait_s(now + 0.01, 1)
        assert 0.9 < wait_s < 3.0
        now += 0.01 + wait_s + 1e-6
        assert one.wait_s(now, 1) == 0


def test_what_others_used_of_a_sliding_window_is_booked_once_words_tell_it() -> None:
    """Or all who wait here would be sent in vain when the wait is over."""
    one = gauge()
    words = RateRefusal("requests", 60.0, LIMIT, LIMIT, 1)
    one.refused(0.1, 0.0, None, words, 25.0)
    assert one.left(0.1) == 0
    assert one.wait_s(25.2, 1) > 30.0


def test_what_several_answers_saw_of_others_is_booked_in_a_sliding_window() -> None:
    one = gauge()
    one.sliding = True
    for call in range(5):
        mark = one.take(float(call), 1)
        one.heard(call + 0.5, float(call), mark, LIMIT - 200)
    assert one.left(5.0) == pytest.approx(LIMIT - 200, abs=6)


def test_a_ceiling_of_our_own_learns_nothing() -> None:
    one = gauge(ours=True, limit=10)
    mark = one.take(0.0, 1)
    one.heard(0.1, 0.0, mark, 0)
    assert one.left(0.1) == 9
    assert len(burst(one, 0.2)) == 9
    assert one.wait_s(0.2, 1) == pytest.approx(60.0, abs=0.5)


def test_a_limit_that_changed_counts_from_then_on() -> None:
    one = gauge()
    one.limit = 60
    assert one.cost_s(1) == 1.0
    one.take(0.0, 6)
    assert one.left(0.0) == 54


def test_news_tells_others_what_was_used_and_given_back() -> None:
    one = gauge()
    one.news = list[News]()
    mark = one.take(0.0, 3)
    one.booked_in_store(0.0, mark, 1000.0, 7.5, 2.0)
    assert one.meter.full_at == 2.0
    one.debit(0.5, 5)
    one.heard(1.0, 0.0, mark, LIMIT - 50)
    one.give_back(mark)
    assert [each.cost_s for each in one.news] == pytest.approx([0.5, 0.0, -0.3])
    assert [each.seen for each in one.news] == [None, (1000.0, 7.5, 5.0, 0.3), None]


@given(st.lists(st.tuples(st.floats(0.0, 20.0), st.integers(1, 100)), max_size=50), st.booleans())
def test_what_is_given_back_was_never_there(calls: list[tuple[float, int]], ours: bool) -> None:
    one, other, now = gauge(ours=ours), gauge(ours=ours), 0.0
    for pause_s, amount in calls:
        now += pause_s
        mark = one.take(now, amount)
        if amount % 2:
            one.give_back(mark)
        else:
            other.take(now, amount)
    assert one.meter.booked_s == pytest.approx(other.meter.booked_s)
    assert one.fill(now + 61.0) <= other.fill(now + 61.0) + 0.2
    assert one.fill(now + 10_000.0) == 0.0
