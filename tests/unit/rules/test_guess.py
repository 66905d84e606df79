"""The guessed rate: what makes it, what makes it smaller, what shows that the rate was not the reason."""

from __future__ import annotations

import random
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from stanchion.rules.guess import Guess


def let_in(guess: Guess, since: float, seconds: float, per_s: float) -> float:
    """Let so many calls pass and return when that is over."""
    for call in range(round(seconds * per_s)):
        at = since + (call + 1) / per_s
        guess.let_in(at, at)
        guess.grow(at)
    return since + seconds


def made(per_s: float = 100.0) -> tuple[Guess, float]:
    guess = Guess(0.0)
    now = let_in(guess, 0.0, 5.0, per_s)
    for _ in range(4):
        guess.refused(now, now)
    assert guess.gauge is not None
    return guess, now


def limit(guess: Guess) -> float:
    assert guess.gauge is not None
    return guess.gauge.limit


def test_nine_tenths_of_what_was_let_in_lately_are_guessed_however_long_nothing_was_asked_before() -> None:
    guess = Guess(0.0)
    now = let_in(guess, 3600.0, 3.0, 100.0)
    for _ in range(4):
        guess.refused(now, now)
    assert 85.0 <= limit(guess) <= 95.0


def test_once_the_rate_was_the_reason_one_refusal_is_enough() -> None:
    guess, now = made()
    now = let_in(guess, now + 0.1, 8.0, 90.0)  # nothing is refused at the lower rate: it was the reason
    before = limit(guess)
    assert guess.refused(now, now)
    assert 0.88 * before <= limit(guess) <= 0.9 * before


def test_where_as_many_are_refused_at_the_lower_rate_it_was_not_the_reason() -> None:
    guess, now = made()
    now = let_in(guess, now + 0.1, 8.0, 90.0)
    guess.refused(now, now)
    before = limit(guess)
    for call in range(1000):  # one of a hundred, as before
        at = now + 0.01 + call / 80
        if call % 100 == 50:
            guess.refused(at, at)
        else:
            guess.let_in(at, at)
    assert limit(guess) > before


def test_a_guess_that_nothing_waits_for_does_not_grow() -> None:
    guess, now = made()
    before = limit(guess)
    let_in(guess, now + 0.1, 300.0, 1.0)
    assert limit(guess) == before


def test_the_longer_it_goes_well_the_faster_it_grows() -> None:
    guess, now = made()
    sizes = [limit(guess)]
    for _ in range(3):
        now = let_in(guess, now, 20.0, 1000.0)
        sizes.append(limit(guess))
    steps = [after / before for before, after in pairwise(sizes)]
    assert steps == sorted(steps)
    assert steps[-1] > 1.2 * steps[0]


@given(st.integers(0, 2**32), st.floats(0.0, 0.02), st.floats(20.0, 2000.0))
def test_a_share_that_is_refused_at_random_never_costs_more_than_half(
    seed: int, share: float, per_s: float
) -> None:
    lot, guess, now = random.Random(seed), Guess(0.0), 0.0
    let_in(guess, -1.0, 1.0, per_s)
    for _ in range(1500):
        now += 1 / per_s
        if lot.random() < share:
            guess.refused(now, now)
        else:
            guess.let_in(now, now)
            guess.grow(now)
    assert guess.gauge is None or guess.gauge.limit >= per_s / 2


@given(st.lists(st.booleans(), max_size=400))
def test_a_guess_stays_above_one_a_minute(answers: list[bool]) -> None:
    guess = Guess(0.0)
    for number, well in enumerate(answers):
        if well:
            guess.let_in(number, number)
        else:
            guess.refused(number, number)
        assert guess.gauge is None or guess.gauge.limit >= 1 / 60


def test_where_few_are_let_in_one_refusal_is_enough_and_where_many_are_it_is_not() -> None:
    for per_s, enough in ((2.0, True), (100.0, False)):
        guess = Guess(0.0)
        now = let_in(guess, 0.0, 30.0, per_s)
        assert guess.refused(now, now) is enough
        assert enough is (guess.gauge is not None and limit(guess) <= per_s)
