"""Which lane a job takes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stanchion.rules.lane_choice import BATCH_LEAST_S, LaneName, Offer, choose, rescue_s
from stanchion.rules.pricing import Price

HALF = Price(10, 40, variants={"batch": Price(5, 20), "flex": Price(6, 24)})
FLEX_ONLY = Price(10, 40, variants={"flex": Price(5, 20)})
PLAIN = Price(10, 40)
HOUR = 3600.0


@pytest.mark.parametrize(
    ("offer", "deadline_s", "lanes"),
    [
        (Offer(HALF, batches=True, flex=True), None, ("sync",)),
        (Offer(HALF, batches=True, flex=True), 24 * HOUR, ("batch", "sync")),
        (Offer(HALF, batches=True, flex=True), 2 * HOUR, ("batch", "sync")),
        (Offer(HALF, batches=True, flex=True), HOUR, ("flex", "sync")),
        (Offer(HALF, batches=True, flex=True), 60.0, ("sync",)),
        (Offer(HALF, batches=False, flex=True), 24 * HOUR, ("flex", "sync")),
        (Offer(FLEX_ONLY, batches=True, flex=True), 24 * HOUR, ("flex", "sync")),
        (Offer(PLAIN, batches=True, flex=True), 24 * HOUR, ("sync",)),
        (Offer(PLAIN, batches=True, batch_share=0.5), 24 * HOUR, ("batch", "sync")),
        (Offer(None, batches=True), 24 * HOUR, ("sync",)),
        (Offer(None, batches=True, batch_share=0.5), 24 * HOUR, ("batch", "sync")),
    ],
)
def test_the_cheapest_way_that_the_deadline_leaves_time_for_is_taken(
    offer: Offer, deadline_s: float | None, lanes: tuple[LaneName, ...]
) -> None:
    assert choose(offer, deadline_s) == lanes


prices = st.builds(
    lambda a, b, variants: Price(a, b, variants=variants),
    st.integers(0, 100),
    st.integers(0, 100),
    st.dictionaries(
        st.sampled_from(["batch", "flex"]), st.builds(Price, st.integers(0, 100), st.integers(0, 100))
    ),
)
offers = st.builds(
    Offer,
    st.none() | prices,
    st.booleans(),
    st.none() | st.floats(0.1, 2),
    st.booleans(),
)


@given(offers, st.none() | st.floats(0, 1e6))
def test_the_last_lane_can_do_every_row_and_no_lane_is_dearer_or_too_slow(
    offer: Offer, deadline_s: float | None
) -> None:
    lanes = choose(offer, deadline_s)
    assert lanes[-1] == "sync"
    assert len(set(lanes)) == len(lanes)
    if "batch" in lanes:
        assert offer.batches
        assert deadline_s is not None
        assert deadline_s >= BATCH_LEAST_S
    if "flex" in lanes:
        assert offer.flex
        assert offer.price is not None
        flex, standard = offer.price.variants["flex"], offer.price
        assert flex.input + flex.output < standard.input + standard.output


@given(st.floats(0, 1e7))
def test_the_rescue_begins_after_now_and_before_the_deadline(deadline_s: float) -> None:
    assert 0 <= rescue_s(deadline_s) <= deadline_s
