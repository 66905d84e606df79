"""The learned quantile: right to a bucket, quick to forget, and bounded whatever it is told."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stanchion.rules.latency import Latencies, Latency

times = st.floats(0.002, 3000.0)


def learned(seconds: list[float], *, every_s: float = 0.0) -> Latency:
    latency = Latency(0.0)
    for number, each in enumerate(seconds):
        latency.add(each, number * every_s)
    return latency


def test_nothing_is_late_where_nothing_was_seen() -> None:
    assert Latency(0.0).quantile(0.95) == math.inf
    assert Latency(0.0).samples(10.0) == 0


@given(st.lists(times, min_size=1, max_size=60), st.sampled_from([0.5, 0.9, 0.95, 0.99]))
def test_a_quantile_is_right_to_a_twentieth(seconds: list[float], part: float) -> None:
    # weights differ by 2 ** (60 / 500) here, so the true one lies between two neighbours of it
    found, ordered = learned(seconds).quantile(part), sorted(seconds)
    within = sum(each <= found * 1.0001 for each in ordered) / len(ordered)
    below = sum(each < found / 1.0501 for each in ordered) / len(ordered)
    left_open = 2 * math.sqrt(part * (1 - part) / len(ordered))
    assert within >= part - 0.05 - left_open * 1.1
    assert below <= part + 0.05


def test_one_in_twenty_that_is_slow_does_not_make_slowness_usual() -> None:
    latency = learned([1.0 if number % 25 == 24 else 0.1 for number in range(500)])
    assert latency.quantile(0.95) == pytest.approx(0.1, rel=0.06)
    assert latency.quantile(0.99) == pytest.approx(1.0, rel=0.06)


@pytest.mark.parametrize(("slow", "usual"), [(20, True), (18, True), (16, True), (14, False), (10, False)])
def test_stragglers_about_as_many_as_are_left_over_are_no_matter_of_chance(slow: int, usual: bool) -> None:
    found = list[float]()
    latency = Latency(0.0)
    for number in range(4000):
        latency.add(1.0 if number % slow == 0 else 0.1 + number % 7 / 100, 0.0)
        if number > 1000:
            found.append(latency.quantile(0.95))
    assert {each < 0.2 for each in found} == {usual}


def test_where_nothing_is_far_apart_the_quantile_is_no_earlier() -> None:
    latency = learned([0.1 + number * 37 % 100 / 1000 for number in range(3000)])
    assert latency.quantile(0.95) == pytest.approx(0.195, rel=0.05)


def test_what_was_too_long_to_be_waited_for_is_longer_than_all() -> None:
    latency = learned([0.1] * 30 + [math.inf] * 20)
    assert latency.quantile(0.5) == pytest.approx(0.1, rel=0.06)
    assert latency.quantile(0.95) == pytest.approx(3600.0, rel=0.06)


def test_what_was_usual_once_is_forgotten() -> None:
    latency = learned([0.1] * 2000)
    for _ in range(1000):
        latency.add(2.0, 0.0)
    assert latency.quantile(0.5) == pytest.approx(2.0, rel=0.06)
    assert latency.quantile(0.1) == pytest.approx(0.1, rel=0.06)
    for _ in range(3000):
        latency.add(2.0, 0.0)
    assert latency.quantile(0.05) == pytest.approx(2.0, rel=0.06)


def test_samples_weigh_half_after_an_hour_and_never_more_than_the_last_700() -> None:
    latency = learned([0.1] * 100)
    before = latency.samples(0.0)
    assert 90 < before < 100
    assert latency.samples(3600.0) == pytest.approx(before / 2)
    assert learned([0.1] * 100_000).samples(0.0) == pytest.approx(721, abs=2)


def test_the_weights_stay_finite_over_many_samples_and_long_silences() -> None:
    latency = Latency(0.0)
    for number in range(300):
        latency.add(random.Random(number).uniform(0.1, 0.2), number * 86_400.0)
    latency.add(0.1, 3e9)
    assert latency.samples(3e9) == pytest.approx(1.0)
    assert latency.quantile(0.95) == pytest.approx(0.1, rel=0.06)
    assert latency.samples(1e12) == 0.0 or latency.samples(1e12) < 1e-9


@pytest.mark.parametrize(("told", "bound"), [(0.0, 0.001), (1e-9, 0.001), (1e9, 3600.0)])
def test_times_beyond_the_buckets_fall_into_the_outermost(told: float, bound: float) -> None:
    assert learned([told] * 10).quantile(0.95) == pytest.approx(bound, rel=0.06)


def test_of_kinds_that_are_too_many_the_least_lately_asked_for_is_forgotten() -> None:
    known = Latencies[int]()
    known.of(0, 0.0).add(0.1, 0.0)
    known.of(1, 0.0).add(0.1, 0.0)
    for kind in range(2, 1001):
        known.of(0, 0.0)
        known.of(kind, 0.0)
    assert known.of(0, 0.0).samples(0.0) > 0
    assert known.of(1, 0.0).samples(0.0) == 0
