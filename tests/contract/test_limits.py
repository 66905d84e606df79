"""What every backend's limits do."""

from __future__ import annotations

import asyncio
import math

import pytest

from stanchion.stores.protocols import Change, Limits, Seen, Slot, Take, Taken
from tests.contract.conftest import Place
from tests.contract.waiting import until

pytestmark = pytest.mark.timeout(120)  # the first of them starts a server

HOUR = 3600.0  # a cost or a room: so large that the time which passes meanwhile does not matter


async def take(limits: Limits, cost_s: float, room_s: float, meter: str = "m") -> Taken:
    return await limits.take([Take(meter, cost_s, room_s)], (), "h")


async def depth(limits: Limits, meter: str = "m") -> float:
    """Ask how deep a meter is, booking nothing."""
    return (await limits.take([Take(meter, 1e9, -1e9)], [Slot("nobody", 0, 1.0)], "h")).depth_s[0]


async def test_exactly_the_room_is_admitted(place: Place) -> None:
    limits = place.limits()
    answers = [await take(limits, HOUR, 10 * HOUR) for _ in range(12)]
    assert [each.wait_s == 0 for each in answers] == [True] * 10 + [False] * 2
    assert answers[-1].wait_s == pytest.approx(HOUR, abs=120)
    assert answers[9].depth_s[0] == pytest.approx(10 * HOUR, abs=120)
    assert answers[9].booked_s == answers[11].booked_s == (10 * HOUR,)


async def test_of_a_thousand_at_once_exactly_the_room_is_admitted(place: Place) -> None:
    some = [place.limits() for _ in range(3)]
    async with asyncio.TaskGroup() as group:
        asked = [group.create_task(take(some[n % 3], HOUR, 10 * HOUR)) for n in range(1000)]
    assert sum(each.result().wait_s == 0 for each in asked) == 10


async def test_of_those_who_race_for_one_place_exactly_one_gets_it(place: Place) -> None:
    some = [place.limits() for _ in range(3)]

    async def race(client: Limits, holder: str, number: int) -> bool:
        meter, slot = Take(f"m{number}", HOUR, HOUR), Slot(f"s{number}", 1, HOUR)
        wants = ((meter,), ()) if number % 2 else ((), (slot,))
        return (await client.take(*wants, holder)).wait_s == 0

    for number in range(60):
        async with asyncio.TaskGroup() as group:
            racing = [group.create_task(race(some[n % 3], f"h{n}", number)) for n in range(12)]
        assert sum(each.result() for each in racing) == 1


async def test_a_call_larger_than_the_room_passes_when_the_bucket_is_full(place: Place) -> None:
    limits = place.limits()
    assert (await take(limits, 3 * HOUR, HOUR)).wait_s == 0
    assert (await take(limits, 3 * HOUR, HOUR)).wait_s == pytest.approx(3 * HOUR, abs=120)
    assert (await take(limits, 3 * HOUR, HOUR, "another")).wait_s == 0


async def test_time_gives_back_what_was_taken(place: Place) -> None:
    limits = place.limits()
    first = await take(limits, 0.05, 0.05)
    assert first.wait_s == 0
    again = await until(lambda it: it.wait_s == 0, lambda: take(limits, 0.05, 0.05))
    assert again.at - first.at >= 0.05 - 1e-5


async def test_nothing_is_taken_when_one_of_several_does_not_fit(place: Place) -> None:
    limits = place.limits()
    await take(limits, HOUR, HOUR, "full")
    both = [Take("free", HOUR, 2 * HOUR), Take("full", HOUR, HOUR)]
    refused = await limits.take(both, [Slot("s", 1, HOUR)], "h")
    assert refused.wait_s == pytest.approx(HOUR, abs=120)
    assert refused.depth_s[0] == 0.0
    assert refused.booked_s == (0.0, HOUR)
    assert (await limits.take((), [Slot("s", 1, HOUR)], "another")).wait_s == 0


async def test_the_longest_wait_is_told(place: Place) -> None:
    limits = place.limits()
    await limits.take([Take("a", HOUR, HOUR), Take("b", 3 * HOUR, 3 * HOUR)], (), "h")
    both = [Take("a", HOUR, HOUR), Take("b", 3 * HOUR, 3 * HOUR)]
    assert (await limits.take(both, (), "h")).wait_s == pytest.approx(3 * HOUR, abs=120)


async def test_a_full_slot_refuses_what_the_meters_would_admit(place: Place) -> None:
    limits = place.limits()
    assert (await limits.take((), [Slot("s", 1, HOUR)], "a")).wait_s == 0
    refused = await limits.take([Take("m", 1.0, HOUR)], [Slot("s", 1, HOUR)], "b")
    assert refused.wait_s == pytest.approx(HOUR, abs=120)
    assert (refused.depth_s, refused.booked_s) == ((0.0,), (0.0,))


async def test_what_is_given_back_can_be_taken_again(place: Place) -> None:
    limits = place.limits()
    await take(limits, HOUR, HOUR)
    await limits.change([Change("m", cost_s=-HOUR)], (), "h")
    again = await take(limits, HOUR, HOUR)
    assert (again.wait_s, again.booked_s) == (0.0, (HOUR,))


async def test_what_was_used_beyond_is_booked(place: Place) -> None:
    limits = place.limits()
    await take(limits, HOUR, 9 * HOUR)
    await limits.change([Change("m", cost_s=2 * HOUR), Change("new", cost_s=HOUR)], (), "h")
    assert await depth(limits) == pytest.approx(3 * HOUR, abs=120)
    assert await depth(limits, "new") == pytest.approx(HOUR, abs=120)


async def test_a_hold_makes_the_meter_at_least_so_deep(place: Place) -> None:
    limits = place.limits()
    await take(limits, HOUR, 9 * HOUR)
    await limits.change([Change("m", hold_s=3 * HOUR)], (), "h")
    assert await depth(limits) == pytest.approx(3 * HOUR, abs=120)
    await limits.change([Change("m", hold_s=HOUR)], (), "h")
    assert await depth(limits) == pytest.approx(3 * HOUR, abs=120)


async def test_the_providers_word_replaces_ours_and_what_was_booked_since_is_added(place: Place) -> None:
    limits = place.limits()
    first = await take(limits, HOUR, 99 * HOUR)
    await take(limits, 2 * HOUR, 99 * HOUR)
    await limits.change([Change("m", seen=Seen(first.at, first.booked_s[0], 5 * HOUR))], (), "h")
    assert await depth(limits) == pytest.approx(7 * HOUR, abs=120)
    await limits.change([Change("m", seen=Seen(first.at, first.booked_s[0], 0.5 * HOUR))], (), "h")
    assert await depth(limits) == pytest.approx(2.5 * HOUR, abs=120)


async def test_an_older_word_of_the_provider_is_ignored(place: Place) -> None:
    limits = place.limits()
    first = await take(limits, HOUR, 99 * HOUR)
    second = await take(limits, HOUR, 99 * HOUR)
    assert second.at > first.at
    await limits.change([Change("m", seen=Seen(second.at, second.booked_s[0], 9 * HOUR))], (), "h")
    await limits.change([Change("m", seen=Seen(first.at, first.booked_s[0], HOUR))], (), "h")
    assert await depth(limits) == pytest.approx(9 * HOUR, abs=120)


async def test_a_word_from_before_a_hold_does_not_end_it(place: Place) -> None:
    limits = place.limits()
    first = await take(limits, HOUR, 99 * HOUR)
    await limits.change([Change("m", hold_s=5 * HOUR)], (), "h")
    await limits.change([Change("m", seen=Seen(first.at, first.booked_s[0], HOUR))], (), "h")
    assert await depth(limits) == pytest.approx(5 * HOUR, abs=120)


async def test_a_word_that_knows_nothing_of_an_idle_time_is_ignored(place: Place) -> None:
    limits = place.limits()
    first = await take(limits, 0.001, 99 * HOUR)
    await until(lambda it: it == 0, lambda: depth(limits))
    await take(limits, HOUR, 99 * HOUR)  # on a full bucket
    await limits.change([Change("m", seen=Seen(first.at, first.booked_s[0] + HOUR, 0.0))], (), "h")
    assert await depth(limits) == pytest.approx(HOUR, abs=120)
    await limits.change([Change("m", seen=Seen(first.at, first.booked_s[0], 2 * HOUR))], (), "h")
    assert await depth(limits) == pytest.approx(3 * HOUR, abs=120)  # more than we think is believed


async def test_a_word_about_a_meter_that_began_anew_is_ignored(place: Place) -> None:
    limits = place.limits()
    taken = await take(limits, HOUR, 99 * HOUR)
    await limits.change([Change("m", seen=Seen(taken.at - 1.0, 0.5 * HOUR, 4 * HOUR))], (), "h")
    assert await depth(limits) == pytest.approx(HOUR, abs=120)
    await limits.change([Change("m", seen=Seen(taken.at - 1.0, 0.0, 4 * HOUR))], (), "h")
    assert await depth(limits) == pytest.approx(5 * HOUR, abs=120)


async def test_a_meter_can_begin_with_the_providers_word(place: Place) -> None:
    limits = place.limits()
    at = (await limits.take((), (), "h")).at
    await limits.change([Change("m", seen=Seen(at, 0.0, HOUR))], (), "h")
    assert await depth(limits) == pytest.approx(HOUR, abs=120)
    await limits.change([Change("m", seen=Seen(at + 1e-3, 0.0, 2 * HOUR))], (), "h")
    assert await depth(limits) == pytest.approx(2 * HOUR, abs=120)


async def test_news_are_followed_in_order_seen_cost_hold(place: Place) -> None:
    limits = place.limits()
    first = await take(limits, HOUR, 99 * HOUR)
    seen = Seen(first.at, first.booked_s[0], 2 * HOUR)
    await limits.change([Change("m", seen=seen, cost_s=HOUR, hold_s=0.5 * HOUR)], (), "h")
    assert await depth(limits) == pytest.approx(3 * HOUR, abs=120)
    await limits.change([Change("m", seen=seen, cost_s=HOUR, hold_s=9 * HOUR)], (), "h")
    assert await depth(limits) == pytest.approx(9 * HOUR, abs=120)


async def test_a_meter_may_be_named_often_in_one_change(place: Place) -> None:
    limits = place.limits()
    first = await take(limits, HOUR, 99 * HOUR)
    seen = Seen(first.at, first.booked_s[0], 5 * HOUR)
    news = [
        Change("m", cost_s=HOUR),
        Change("m", seen=seen),
        Change("m", cost_s=-2 * HOUR),
        Change("n", HOUR),
    ]
    await limits.change(news, (), "h")
    assert await depth(limits) == pytest.approx(4 * HOUR, abs=120)
    assert await depth(limits, "n") == pytest.approx(HOUR, abs=120)


async def test_two_clients_share_one_meter_and_the_sum_only_rises(place: Place) -> None:
    one, two = place.limits(), place.limits()
    booked = list[float]()
    for number in range(40):
        booked.append((await take((one, two)[number % 2], 1.0, 1000 * HOUR)).booked_s[0])
    assert booked == [float(number) for number in range(1, 41)]


async def test_a_beat_counts_those_alive_in_the_group(place: Place) -> None:
    one, two = place.limits(), place.limits()
    assert await one.beat("g", "a", HOUR) == 1
    assert await two.beat("g", "b", HOUR) == 2
    assert await two.beat("another", "b", HOUR) == 1
    assert await one.beat("g", "a", HOUR) == 2
    assert await one.beat("g", "c", 0.02) == 3
    await until(lambda alive: alive == 2, lambda: one.beat("g", "a", HOUR))
    assert await two.beat("g", "b", HOUR) == 2


async def test_a_slot_for_nobody_is_never_free(place: Place) -> None:
    assert (await place.limits().take((), [Slot("s", 0, HOUR)], "a")).wait_s == math.inf


async def test_a_meter_and_a_holder_may_have_any_name(place: Place) -> None:
    limits = place.limits()
    name = "anbieter/größe 'x'; \"y\" {z} 模型\n%s"
    assert (await limits.take([Take(name, 1.0, HOUR)], [Slot(name, 1, HOUR)], name)).wait_s == 0
    assert (await limits.take((), [Slot(name, 1, HOUR)], "b")).wait_s > 0
    await limits.change((), [name], name)
    assert (await limits.take((), [Slot(name, 1, HOUR)], "b")).wait_s == 0
