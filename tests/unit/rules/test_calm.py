"""Far from every limit calls are counted together, and nothing is lost of them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from stanchion.core.rates import Rate, RateRefusal
from stanchion.rules.calm import Calm
from stanchion.rules.quota import Mirror


def known(limit: int) -> Mirror:
    """A mirror that learned a limit of requests a minute, and that all of it may be used at once."""
    mirror = Mirror(0.0)
    for call in range(200):
        now = call * 2.0
        mirror.ready_in(now, 1)
        ticket = mirror.take(now, 1)
        mirror.answered(now, ticket, [Rate("requests", limit, limit - 1, 60 / limit)])
        mirror.ended(now, ticket, 0)
    return mirror


def open_calls(mirror: Mirror) -> list[int]:
    return [getattr(gauge, "_open") for gauge in mirror.gauges]  # noqa: B009 - nobody else needs to know


def test_what_was_taken_in_a_calm_is_booked_at_its_end() -> None:
    mirror = known(60_000)
    calm = Calm(mirror)
    calm.begin(1000.0)
    taken = 0
    while calm.has(1000.0, 10):
        calm.take(10)
        taken += 1
    assert 32 <= taken <= 1000  # half of what is free at once
    (gauge,) = mirror.gauges
    assert gauge.left(1000.0) == 60_000 - taken
    assert open_calls(mirror) == [taken]


def test_a_calm_is_short() -> None:
    calm = Calm(known(60_000))
    calm.begin(1000.0)
    assert calm.has(1000.2, 10)
    assert not calm.has(1000.3, 10)


def test_near_a_limit_there_is_no_calm() -> None:
    calm = Calm(known(60))
    calm.begin(1000.0)
    assert not calm.has(1000.0, 10)


@given(st.lists(st.booleans(), min_size=1, max_size=60))
def test_no_limit_that_is_learned_after_a_calm_counts_its_calls_out(ends_early: list[bool]) -> None:
    """Or it would believe that fewer calls than none are open, and let more in than the limit."""
    mirror = known(60_000)
    calm = Calm(mirror)
    calm.begin(1000.0)
    turns = [calm.take(10) for _ in ends_early if calm.has(1000.0, 10)]
    for turn, early in zip(turns, ends_early, strict=True):
        if early:
            calm.ended(1000.1, turn, 5)
    calm.end(1000.2)
    words = RateRefusal("tokens", 86_400.0, 200_000, 1000, 5)
    mirror.refused(1000.3, mirror.take(1000.2, 5), words, (), 1.0)
    for turn, early in zip(turns, ends_early, strict=True):
        if not early:
            calm.ended(1000.4, turn, 5)
    assert open_calls(mirror) == [0, 0]
