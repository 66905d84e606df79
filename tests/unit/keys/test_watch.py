"""Keys are looked after: sources read anew, new values verified, keys that rest probed."""

from __future__ import annotations

import asyncio
import logging

import pytest

from stanchion.core.errors import NotYet, SettingsError
from stanchion.core.reply import End
from stanchion.testing import virtual_time
from tests.unit.keys.ringed import (
    NEVER,
    NEW,
    OLD,
    Place,
    Ringed,
    fail,
    held,
    now,
    refused,
    running,
    spec,
    work,
)


@virtual_time
async def test_a_new_value_is_used_when_the_provider_knows_it() -> None:
    place = Place(OLD)
    async with running(ONE=place) as at:
        await asyncio.sleep(5.0)
        place.value = NEW
        await asyncio.sleep(4.0)
        assert held(at.slots["ONE"]) == OLD
        await asyncio.sleep(2.0)  # 10 s to the look, 0.5 to read, 0.25 to verify
        assert held(at.slots["ONE"]) == NEW
        assert at.known.asked == [(10.5, NEW)]
        assert at.metrics.key_rotations.of("a#ONE", "taken").value == 1


@virtual_time
async def test_a_new_value_that_the_provider_refuses_is_asked_again_later_and_the_old_one_stays() -> None:
    place = Place(OLD)
    async with running(ONE=place) as at:
        at.known.refused.add(NEW)
        place.value = NEW
        await asyncio.sleep(60.0)
        assert held(at.slots["ONE"]) == OLD
        assert [when for when, _ in at.known.asked] == [10.5, 21.0, 41.25]  # 10 s, then 20: doubling
        at.known.refused.clear()
        await asyncio.sleep(60.0)
        assert held(at.slots["ONE"]) == NEW
        assert at.metrics.key_rotations.of("a#ONE", "refused").value == 1


@virtual_time
async def test_a_new_value_waits_while_the_provider_cannot_be_reached() -> None:
    place = Place(OLD)
    async with running(ONE=place) as at:
        at.known.away = True
        place.value = NEW
        await asyncio.sleep(25.0)
        assert held(at.slots["ONE"]) == OLD
        at.known.away = False
        await asyncio.sleep(15.0)
        assert held(at.slots["ONE"]) == NEW


@virtual_time
async def test_a_source_that_fails_keeps_the_old_value_and_is_told_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    place = Place(OLD)
    async with running(ONE=place) as at:
        place.failing = "missing"
        await asyncio.sleep(60.0)
        assert held(at.slots["ONE"]) == OLD
        assert [record.message for record in caplog.records].count("key.source_failed") == 1
        assert at.slots["ONE"].last_error == "missing"
        place.failing, place.value = "", NEW
        await asyncio.sleep(15.0)
        assert held(at.slots["ONE"]) == NEW


@virtual_time
async def test_a_key_that_expires_is_read_before_it_does() -> None:
    place = Place(OLD, every_s=300.0)
    place.good_for_s = 100.0
    async with running(ONE=place):
        assert place.reads == 1
        await asyncio.sleep(89.0)
        assert place.reads == 1
        await asyncio.sleep(2.0)
        assert place.reads == 2


@virtual_time
async def test_a_variable_is_never_read_again_and_sets_no_timer() -> None:
    place = Place(OLD, every_s=NEVER)
    async with running(ONE=place):
        await asyncio.sleep(100_000.0)
        assert place.reads == 1


@virtual_time
async def test_a_key_that_was_refused_comes_back_by_itself(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with running(ONE=Place(OLD, every_s=NEVER)) as at:
        slot = at.slots["ONE"]
        at.known.refused.add(OLD)
        fail(slot, refused())
        assert (at.state("ONE", "quarantined"), at.state("ONE", "active")) == (1, 0)
        await asyncio.sleep(1000.0)
        # 300 s, then 600, then 900: doubling, bounded
        assert [when for when, _ in at.known.asked] == [300.0, 900.25]
        at.known.refused.clear()
        await asyncio.sleep(900.0)
        assert slot.word == "active"
        assert at.state("ONE", "active") == 1
        work(slot)
        assert slot.strikes == 0
        said = [record.message for record in caplog.records]
        assert said.count("key.quarantined") == 3
        assert said.count("key.released") == 1


@virtual_time
async def test_a_refusal_makes_the_source_be_read_at_once() -> None:
    place = Place(OLD, every_s=300.0)
    async with running(ONE=place) as at:
        await asyncio.sleep(5.0)
        place.value = NEW
        fail(at.slots["ONE"], refused())
        await asyncio.sleep(1.0)
        assert held(at.slots["ONE"]) == NEW
        assert at.slots["ONE"].word == "active"


@virtual_time
async def test_a_key_without_money_gets_one_call_after_its_rest_and_works_on_if_that_is_answered() -> None:
    async with running(ONE=Place(OLD, every_s=NEVER)) as at:
        slot = at.slots["ONE"]
        fail(slot, refused("credit_balance_exhausted", 429))
        await asyncio.sleep(299.0)
        assert slot.ready_in(now()) == 1.0
        await asyncio.sleep(1.0)
        assert slot.ready_in(now()) == 0.0
        fail(slot, refused("credit_balance_exhausted", 429))  # still none
        assert slot.ready_in(now()) == 600.0
        await asyncio.sleep(600.0)
        lease = slot.lease(now())
        with pytest.raises(NotYet):
            slot.lease(now())  # one probe at a time
        slot.give_back(lease, End.COMPLETED)
        assert slot.word == "active"
        assert at.known.asked == []  # the list of models does not show money


@virtual_time
async def test_a_key_without_a_value_is_read_at_the_start_and_told_by_name_if_it_cannot() -> None:
    at = Ringed()
    place = Place(OLD)
    slot = at.ring.slot(spec("a#SLOW"), place)
    at.ring.use([(slot, None)])
    assert slot.word == "waiting"
    place.failing = "exit_code"
    with pytest.raises(SettingsError, match="a#SLOW: the place gives nothing"):
        await at.watch.first()
    place.failing = ""
    await at.watch.first()
    assert (held(slot), slot.word) == (OLD, "active")


@virtual_time
async def test_one_source_that_hangs_does_not_hold_up_the_others() -> None:
    class Hanging(Place):
        async def read(self):
            await asyncio.sleep(10_000.0)
            return await super().read()

    place = Place(OLD)
    async with running(HANGS=Hanging(OLD), ONE=place) as at:
        place.value = NEW
        await asyncio.sleep(15.0)
        assert held(at.slots["ONE"]) == NEW
