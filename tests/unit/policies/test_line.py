"""The line: fair, in time, woken by events; a turn that nobody takes is the next one's."""

from __future__ import annotations

import asyncio
import math
from collections import Counter

import pytest

from stanchion.core.call import Call
from stanchion.core.clock import Clock
from stanchion.core.errors import DeadlineExceeded, Unavailable
from stanchion.observe.metrics import Metrics
from stanchion.policies.balance import Balance, BalanceOptions, LineOptions, Room
from stanchion.testing import ScriptedProvider, chat_answer, chat_call, chat_stream, virtual_time
from tests.unit.policies.reading import now


class Place:
    """A balancer over providers, and who was answered when."""

    def __init__(self, *providers: ScriptedProvider, **options) -> None:
        clock = Clock()
        self.metrics = Metrics()
        self.room = Room(self.metrics, clock)
        self.room.options = LineOptions(**options)
        self.service = Balance(
            lambda target: [(each, 1.0) for each in providers], BalanceOptions(), clock, room=self.room
        )
        self.begun: list[tuple[float, str]] = []
        self.failed: list[tuple[float, str, str | None]] = []

    async def ask(self, name: str = "", *, call: Call | None = None, **known) -> None:
        known.setdefault("caller", name[:1])
        call = (call or chat_call()).having(**known)
        try:
            async with await self.service(call) as reply:
                self.begun.append((now(), name))
                await reply.read_whole()
        except (Unavailable, DeadlineExceeded) as error:
            self.failed.append((now(), name, error.code))

    def is_empty(self) -> bool:
        room = self.room
        waiting = sum(tally.value for tally in self.metrics.line_waiting._by_label.values())
        return (
            room.lines == {}
            and room.wanting == {}
            and room.handed == set()
            and (room.crowd.waiting, room.crowd.bytes, room.crowd.of) == (0, 0, {})
            and (room.open, room.open_of, room.parked) == (0, {}, {})
            and waiting == 0
            and room.clock._alarms == {}
        )


def slow(seconds: float = 1.0, most: int = 1, name: str = "p") -> ScriptedProvider:
    """Make a provider whose answers take so long, and of which so many may be open."""
    provider = ScriptedProvider(forever=lambda: [seconds, chat_answer()], name=name)
    provider.open_most = most
    return provider


class Metered(ScriptedProvider):
    """A provider with a bucket: so many calls a second, `burst` at once."""

    def __init__(self, per_s: float, burst: float = 1.0) -> None:
        super().__init__(forever=lambda: [chat_answer()], name="metered")
        self.per_s, self.burst, self.full_at = per_s, burst, 0.0

    def cost_s(self, call: Call) -> float:
        return (100.0 if call.caller == "L" else 1.0) / self.per_s

    def ready_in(self, now: float, call: Call | None = None) -> float:
        assert call is not None
        depth, cost = max(0.0, self.full_at - now), self.cost_s(call)
        return max(0.0, depth + min(0.0, cost - self.burst / self.per_s) - 1e-9) if depth else 0.0

    def __call__(self, call: Call, /):
        at = now()
        assert self.ready_in(at, call) == 0.0, "it was asked before it was ready"
        self.full_at = max(self.full_at, at) + self.cost_s(call)
        return super().__call__(call)


async def together(place: Place, *names: str, **known) -> None:
    async with asyncio.TaskGroup() as group:
        for name in names:
            group.create_task(place.ask(name, **known))


@virtual_time
async def test_a_stream_passes_through_and_its_place_is_held_until_it_ends() -> None:
    provider = ScriptedProvider(chat_stream("x"), [chat_answer()])
    provider.open_most = 1
    place = Place(provider)
    async with await place.service(chat_call(stream=True)) as reply:
        waits = asyncio.ensure_future(place.ask("b"))  # noqa: TID251 - awaited below
        await asyncio.sleep(3.0)
        assert len(provider.calls) == 1
        assert b"x" in await reply.read_whole()
    await waits
    assert (place.begun, place.is_empty()) == ([(3.0, "b")], True)


@virtual_time
async def test_callers_take_turns_whoever_came_first() -> None:
    place = Place(slow())
    await together(place, "a0", "a1", "a2", "a3", "b0", "b1", "c0")
    assert [name for _, name in place.begun] == ["a0", "a1", "b0", "c0", "a2", "b1", "a3"]
    assert place.is_empty()


@virtual_time
async def test_a_caller_with_more_weight_gets_more_turns() -> None:
    place = Place(slow(), weights={"a": 3.0})
    await together(place, *["a"] * 30, *["b"] * 30)
    assert abs(Counter(name for _, name in place.begun[1:21])["a"] - 15) <= 1


@virtual_time
async def test_people_go_first_and_batch_gets_its_share_when_it_is_aged() -> None:
    place = Place(slow(), ageing_s=10.0, batch_share=0.25, interactive_wait_most_s=1000.0)
    async with asyncio.TaskGroup() as group:
        for _ in range(40):
            group.create_task(place.ask("person"))
            group.create_task(place.ask("job", priority="batch"))
    names = [name for _, name in place.begun]
    assert set(names[:11]) == {"person"}
    assert names[11:31].count("job") == 5
    assert (len(names), place.is_empty()) == (80, True)


@virtual_time
async def test_one_caller_that_floods_does_not_make_others_wait() -> None:
    place = Place(slow(0.1), caller_waiting_most=5000, interactive_wait_most_s=1000.0)
    waited = list[float]()

    async def other() -> None:
        for number in range(20):
            await asyncio.sleep(1.0)
            asked_at = now()
            await place.ask(f"b{number}")
            waited.append(now() - asked_at)

    async with asyncio.TaskGroup() as group:
        flood = [group.create_task(place.ask(f"a{number}")) for number in range(2000)]
        await other()
        for task in flood:
            task.cancel()
    assert max(waited) < 0.1 + 0.2 + 1e-6  # its own time, and at most a call that runs and one turn
    assert place.is_empty()


@virtual_time
async def test_a_large_call_is_not_overtaken_by_small_ones() -> None:
    provider = Metered(per_s=100.0, burst=100.0)
    place = Place(provider)

    async def small() -> None:
        for _ in range(300):
            await asyncio.sleep(0.01)
            group.create_task(place.ask("small"))

    async with asyncio.TaskGroup() as group:
        for _ in range(50):
            group.create_task(place.ask("first"))
        await asyncio.sleep(0)
        group.create_task(place.ask("Large"))
        group.create_task(small())
    at = next(at for at, name in place.begun if name == "Large")
    assert at <= 1.0
    assert (len(place.begun), place.is_empty()) == (351, True)


@virtual_time
async def test_several_endpoints_fill_like_water() -> None:
    a, b = slow(1.0, most=100, name="a"), slow(1.0, most=100, name="b")
    a.filled = 0.5
    place = Place(a, b)
    await together(place, *["x"] * 10)
    assert (len(a.calls), len(b.calls)) == (0, 10)
    a.filled, b.filled = 0.31, 0.39  # about the same: the load decides
    await together(place, *["x"] * 10)
    assert (len(a.calls), len(b.calls)) == (5, 15)


@virtual_time
async def test_the_head_goes_to_whichever_is_ready_first() -> None:
    a, b = slow(1.0, name="a"), slow(1.0, name="b")
    a.full_until, b.full_until = 3.0, 2.0
    place = Place(a, b)
    await together(place, "x", "y", "z")
    assert [at for at, _ in place.begun] == [3.0, 4.0, 4.0]  # when their answers are there
    assert (len(a.calls), len(b.calls)) == (1, 2)


@virtual_time
async def test_who_comes_later_does_not_pass_who_waits() -> None:
    provider = slow(1.0)
    place = Place(provider)
    async with asyncio.TaskGroup() as group:
        for number in range(3):
            group.create_task(place.ask("a", call=chat_call(user=f"a{number}")))
        await asyncio.sleep(1.0)  # the first ends in this very moment
        group.create_task(place.ask("z"))
    assert [name for _, name in place.begun] == ["a", "a", "z", "a"]


@virtual_time
async def test_an_endpoint_that_wakes_is_asked_at_once() -> None:
    provider = slow(0.0, most=0)
    provider.full_until = math.inf
    place = Place(provider)
    async with asyncio.TaskGroup() as group:
        group.create_task(place.ask("a"))
        await asyncio.sleep(7.0)
        provider.full_until = 0.0
        provider.wake()
    assert place.begun == [(7.0, "a")]


@virtual_time
async def test_a_wait_is_bounded_also_where_nobody_knows_when_it_ends() -> None:
    provider = slow(0.0, most=0)
    provider.full_until = math.inf
    place = Place(provider, interactive_wait_most_s=30.0)
    await together(place, "a")
    await place.ask("b", deadline=now() + 4.0)
    await place.ask("c", call=chat_call().having(last_target=False))
    assert place.failed == [
        (30.0, "a", "line_wait_over"),
        (34.0, "b", "deadline_exceeded"),
        (39.0, "c", "line_wait_over"),
    ]
    assert (provider.calls, place.is_empty()) == ([], True)


@virtual_time
async def test_a_batch_call_waits_until_its_deadline() -> None:
    provider = slow(0.0, most=0)
    provider.full_until = 400.0
    place = Place(provider)
    async with asyncio.TaskGroup() as group:
        group.create_task(place.ask("a", priority="batch", deadline=500.0))
        group.create_task(place.ask("b", priority="batch", deadline=300.0))
        group.create_task(place.ask("c"))
    assert place.begun == [(400.0, "a")]
    assert place.failed == [(0.0, "b", "deadline_too_near"), (0.0, "c", "line_too_long")]


@virtual_time
async def test_a_deadline_that_cannot_be_met_is_refused_at_once_and_asks_nobody() -> None:
    provider = Metered(per_s=10.0)
    place = Place(provider, interactive_wait_most_s=1000.0)
    async with asyncio.TaskGroup() as group:
        for _ in range(200):
            group.create_task(place.ask("a"))
        await asyncio.sleep(5.0)  # the pace is known by now: ten in a second
        asked = len(provider.calls)
        for deadline in (1.0, 10.0, 20.0):
            await place.ask(f"a{deadline}", deadline=now() + deadline) if deadline < 15 else None
        group.create_task(place.ask("a20", deadline=now() + 20.0))
        assert (now(), len(provider.calls)) == (5.0, asked)
    assert place.failed == [(5.0, "a1.0", "deadline_too_near"), (5.0, "a10.0", "deadline_too_near")]
    at = next(at for at, name in place.begun if name == "a20")
    assert 19.0 < at < 21.0
    assert place.metrics.line_refused.of("deadline_too_near").value == 2


@virtual_time
async def test_another_caller_is_not_refused_for_the_length_of_someones_queue() -> None:
    place = Place(Metered(per_s=10.0), interactive_wait_most_s=1000.0)
    async with asyncio.TaskGroup() as group:
        for _ in range(200):
            group.create_task(place.ask("a"))
        await asyncio.sleep(5.0)
        group.create_task(place.ask("b", deadline=6.0))
    assert place.failed == []


@virtual_time
async def test_too_many_are_refused_each_for_its_reason() -> None:
    size = len(chat_call().body.raw)
    place = Place(slow(), waiting_most=3, caller_waiting_most=2, bytes_most=3 * size)
    await together(place, "a0", "a1", "a2", "a3", "b0", "c0")
    assert place.failed == [(0.0, "a3", "caller_line_full"), (0.0, "c0", "line_full")]
    place = Place(slow(), bytes_most=2 * size)
    await together(place, "a0", "a1", "a2", "a3")
    assert place.failed == [(4.0, "a3", "line_bytes_full")]
    place = Place(slow(), open_most=2)
    await together(place, "a0", "a1", "a2")
    assert place.failed == [(7.0, "a2", "too_many_open")]
    assert place.is_empty()


@virtual_time
async def test_a_caller_with_too_many_waiting_is_told_429_and_the_rest_503() -> None:
    place = Place(slow(), waiting_most=2, caller_waiting_most=1)
    async with asyncio.TaskGroup() as group:
        for name in ("a0", "a1", "b0"):
            group.create_task(place.ask(name))
        await asyncio.sleep(0)
        for caller, status in (("a", 429), ("c", 503)):
            with pytest.raises(Unavailable) as raised:
                await place.service(chat_call().having(caller=caller))
            assert (raised.value.status, raised.value.retry_after_s) == (status, 1.0)


@virtual_time
async def test_a_caller_has_only_so_many_open_and_others_pass() -> None:
    place = Place(slow(1.0, most=0), caller_open_most=2)
    await together(place, "a0", "a1", "a2", "a3", "a4", "b0", "b1", "b2")
    assert sorted(place.begun) == [
        (1.0, "a0"), (1.0, "a1"), (1.0, "b0"), (1.0, "b1"), (2.0, "a2"), (2.0, "a3"), (2.0, "b2"), (3.0, "a4"),
    ]  # fmt: skip
    assert place.is_empty()


@virtual_time
async def test_twenty_thousand_wait_and_each_is_served_once() -> None:
    place = Place(
        slow(0.001), waiting_most=20_000, caller_waiting_most=20_000, interactive_wait_most_s=1000.0
    )
    await together(place, *[f"{number % 50:02}" for number in range(20_001)])
    assert Counter(Counter(name for _, name in place.begun).values()) == {400: 49, 401: 1}
    assert (place.failed, place.is_empty()) == ([], True)
