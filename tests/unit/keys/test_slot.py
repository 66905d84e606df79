"""One key: leases of its values, and what a refusal does to it."""

from __future__ import annotations

import pytest

from stanchion.core.errors import NotYet, Refused, Silent
from stanchion.core.reply import End
from stanchion.core.secret import Secret
from stanchion.keys.slot import COOL_S, KeySlot
from stanchion.testing import virtual_time
from tests.unit.keys.ringed import NEW, OLD, Place, fail, held, now, refused, spec, work


def slot_with(value: str = OLD, name: str = "a#ONE") -> KeySlot:
    slot = KeySlot(spec(name), Place(value))
    slot.offer(Secret(value), 0.0)
    return slot


@virtual_time
async def test_the_first_value_is_used_at_once_and_a_second_waits_until_it_is_verified() -> None:
    slot = slot_with()
    assert (held(slot), slot.ready_in(now())) == (OLD, 0.0)
    candidate = slot.offer(Secret(NEW), now())
    assert candidate is not None
    assert held(slot) == OLD
    assert slot.offer(Secret(NEW), now()) is candidate
    slot.promote(now(), 600.0)
    assert held(slot) == NEW


@virtual_time
async def test_a_call_in_flight_finishes_on_the_old_value_and_the_secret_leaves_with_it() -> None:
    slot = slot_with()
    lease = slot.lease(now())
    slot.offer(Secret(NEW), now())
    slot.promote(now(), 600.0)
    assert lease.version.secret.reveal() == OLD
    assert slot.lease(now()).version.secret.reveal() == NEW
    assert [each.secret.reveal() for each in slot.versions.values()] == [OLD, NEW]
    slot.give_back(lease, End.COMPLETED)
    assert [each.secret.reveal() for each in slot.versions.values()] == [NEW]


@virtual_time
async def test_a_source_that_went_back_to_the_old_value_has_no_candidate() -> None:
    slot = slot_with()
    slot.offer(Secret(NEW), now())
    assert slot.offer(Secret(OLD), now()) is None
    assert slot.candidate is None


@virtual_time
async def test_a_candidate_that_a_newer_one_replaced_is_forgotten() -> None:
    slot = slot_with()
    slot.offer(Secret(NEW), now())
    slot.offer(Secret("sk-newest"), now())
    assert [each.secret.reveal() for each in slot.versions.values()] == [OLD, "sk-newest"]


@virtual_time
async def test_a_key_without_a_value_gives_no_lease() -> None:
    slot = KeySlot(spec(), Place(OLD))
    assert slot.ready_in(now()) > 0
    assert slot.word == "waiting"
    with pytest.raises(NotYet):
        slot.lease(now())


@virtual_time
async def test_a_dead_key_gets_no_second_call() -> None:
    slot = slot_with()
    fail(slot, refused())
    assert (slot.word, slot.last_error, slot.in_flight) == ("quarantined", "invalid_api_key", 0)
    assert slot.ready_in(now()) > 0
    with pytest.raises(NotYet):
        slot.lease(now())


@virtual_time
async def test_stragglers_that_fail_for_the_same_reason_do_not_make_the_rest_longer() -> None:
    slot = slot_with()
    leases = [slot.lease(now()) for _ in range(3)]
    for lease in leases:
        slot.failed(lease, refused(), "m", now())
        slot.give_back(lease, End.FAILED)
    assert slot.strikes == 1


@virtual_time
async def test_a_refusal_of_the_old_value_says_nothing_of_the_new_one_and_may_be_tried_again() -> None:
    slot = slot_with()
    lease = slot.lease(now())
    slot.offer(Secret(NEW), now())
    slot.promote(now(), 600.0)
    error = refused()
    slot.failed(lease, error, "m", now())
    slot.give_back(lease, End.FAILED)
    assert slot.quarantine is None
    assert (error.permanent, error.retryable) == (False, True)


@pytest.mark.parametrize(
    "error",
    [
        Refused("busy", status=429, upstream_status=429, code="rate_limit_exceeded"),
        Refused("down", status=503, upstream_status=503),
        Refused("wrong", status=400, upstream_status=400, retryable=False, elsewhere=False),
        Silent("nothing"),
    ],
)
def test_an_error_that_is_not_about_the_key_leaves_it_alone(error) -> None:
    @virtual_time
    async def run() -> None:
        slot = slot_with()
        fail(slot, error)
        assert (slot.quarantine, slot.ready_in(now(), "m")) == (None, 0.0)

    run()


@virtual_time
async def test_a_new_value_begins_without_the_old_ones_quarantine() -> None:
    slot = slot_with()
    fail(slot, refused())
    slot.offer(Secret(NEW), now())
    slot.promote(now(), 600.0)
    assert (slot.word, slot.strikes, slot.ready_in(now())) == ("active", 0, 0.0)
    work(slot)


def not_mine() -> Refused:
    return Refused("no", status=404, upstream_status=404, code="model_not_found", retryable=False)


@virtual_time
async def test_a_model_that_one_key_may_not_ask_is_left_to_the_other_for_a_while() -> None:
    one, two = slot_with(), slot_with(NEW, "a#TWO")
    one.siblings, two.siblings = (two,), (one,)
    fail(one, not_mine(), "m")
    assert one.ready_in(now(), "m") == COOL_S
    assert (one.ready_in(now(), "other"), two.ready_in(now(), "m")) == (0.0, 0.0)
    fail(two, not_mine(), "m")
    assert (one.ready_in(now(), "m"), two.ready_in(now(), "m")) == (
        0.0,
        0.0,
    )  # the answer says more than we could


@virtual_time
async def test_with_one_key_no_model_is_left_out() -> None:
    slot = slot_with()
    fail(slot, not_mine(), "m")
    assert slot.ready_in(now(), "m") == 0.0


@virtual_time
async def test_who_waits_is_woken_and_a_waiter_that_is_gone_is_forgotten() -> None:
    class Waiter:
        woken = 0

        def wake(self) -> None:
            self.woken += 1

    slot, waiter = slot_with(), Waiter()
    slot.watch(waiter.wake)
    slot.release(now())
    assert waiter.woken == 1
    del waiter
    slot.release(now())


@virtual_time
async def test_nothing_of_a_slot_shows_its_key() -> None:
    slot = slot_with()
    lease = slot.lease(now())
    shown = [slot, lease, lease.version, slot.versions, slot.spec, vars(slot)]
    assert "canary" not in repr(shown)
    slot.give_back(lease, End.COMPLETED)
