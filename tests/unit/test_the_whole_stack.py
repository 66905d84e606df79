"""Whatever providers do and whenever readers go: nothing stays open, and every call ends once and in time."""

from __future__ import annotations

import asyncio
import contextlib
import gc
from collections.abc import Coroutine, Sequence
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from stanchion.core.call import Call
from stanchion.core.clock import Clock
from stanchion.core.errors import Cut, Refused, Silent, StanchionError, Unreachable, Unusable
from stanchion.core.reply import End
from stanchion.core.service import Endpoint
from stanchion.engine.settings import ProviderSettings, Settings
from stanchion.engine.stack import EndpointStack, Shared, call_stack
from stanchion.observe.metrics import Metrics
from stanchion.policies.balance import Balance, BalanceOptions, LineOptions, Room
from stanchion.policies.budget import Account, Budget, BudgetOptions, BudgetSettings, Keeper
from stanchion.policies.gather import GatherOptions
from stanchion.policies.hedge import HedgeOptions
from stanchion.policies.idempotency import Idempotency, IdempotencyOptions
from stanchion.policies.resume import ResumeOptions
from stanchion.policies.retry import RetryOptions
from stanchion.rules.breaker import BreakerOptions
from stanchion.rules.pricing import MILLION, Price
from stanchion.stores.memory_budgets import MemoryBudgets
from stanchion.stores.memory_cache import MemoryCache
from stanchion.stores.tiers import TieredCache
from stanchion.testing import DONE, ScriptedProvider, VirtualTimeLoop, chat_answer, chat_call, chat_stream

SETTINGS = Settings(
    retry=RetryOptions(base_s=0.5),
    health=BreakerOptions(failures=2, rest_s=1.0, rest_most_s=4.0),
    resume=ResumeOptions(mode="verify"),
)
CROWDED = msgspec.structs.replace(  # nearly everything waits
    SETTINGS,
    line=LineOptions(caller_open_most=2, waiting_most=3, batch_wait_most_s=40.0),
    providers={name: ProviderSettings(open_most=1) for name in "abc"},
)

HEDGED = msgspec.structs.replace(  # nearly every call that waits for its first chunk gets a second attempt
    SETTINGS, hedge=HedgeOptions(on=True, quantile=0.01, extra_most=1.0, least_samples=1, whole=True)
)

PRICE = Price(MILLION, 2 * MILLION)

errors = st.sampled_from([
    lambda: Refused("busy", status=429, upstream_status=429, retry_after_s=2.0),
    lambda: Refused("down", status=503, upstream_status=503),
    lambda: Refused("dead", status=429, upstream_status=429, retryable=False, permanent=True),
    lambda: Refused("wrong", status=400, upstream_status=400, retryable=False, elsewhere=False),
    lambda: Silent("silent"),
    lambda: Unreachable("unreachable"),
    lambda: Unusable("unusable"),
    lambda: Cut("cut"),
    lambda: RuntimeError("ours"),
])  # fmt: skip
waits = st.sampled_from([0.0, 0.25, 3.0, 30.0, 500.0])


@st.composite
def answers(draw: st.DrawFn, stream: bool) -> list[bytes | float | Exception]:
    """Some or all of an answer, with waits in it, and perhaps an error."""
    steps: list[bytes | float | Exception] = list(
        chat_stream("a", "b", usage=(1, 2)) if stream else [chat_answer("ab")]
    )
    if draw(st.booleans()):
        steps[draw(st.integers(0, len(steps))) :] = [draw(errors)()]
    for _ in range(draw(st.integers(0, 2))):
        steps.insert(draw(st.integers(0, len(steps))), draw(waits))
    return steps


class Plan:
    """One call, and what its reader does."""

    def __init__(self, draw: st.DrawFn) -> None:
        self.stream = draw(st.booleans())
        self.gather = not self.stream and draw(st.booleans())
        self.key = draw(st.sampled_from([None, None, None, "k"]))
        self.deadline = draw(st.sampled_from([1.0, 5.0, 60.0, 600.0]))
        self.starts_at = draw(st.sampled_from([0.0, 1.0, 40.0]))
        self.leaves_after = draw(st.sampled_from([None, None, 0.0, 0.5, 2.0, 31.0]))
        self.reads = draw(st.sampled_from([99, 99, 0, 1, 2]))  # chunks, before it closes
        self.caller = draw(st.sampled_from("xxy"))
        self.priority = draw(st.sampled_from(["interactive", "batch"]))
        self.over = False

    def call(self) -> Call:
        call = chat_call(stream=self.stream, idempotency_key=self.key, temperature=0)
        return call.having(
            caller=self.caller,
            priority=self.priority,
            options={GatherOptions: GatherOptions(whole_as_stream=self.gather)},
        )


@st.composite
def worlds(draw: st.DrawFn) -> tuple[list[list[Any]], list[Plan]]:
    plans = [Plan(draw) for _ in range(draw(st.integers(1, 4)))]
    entry = st.one_of(errors.map(lambda make: make()), st.booleans().flatmap(answers))
    scripts: list[list[Any]] = [draw(st.lists(entry, max_size=6)) for _ in range(3)]
    return scripts, plans


class World:
    """The real stacks over three scripted providers: a and b share a target, c is the fallback."""

    def __init__(
        self, scripts: Sequence[Sequence[Any]], group: asyncio.TaskGroup, settings: Settings = SETTINGS
    ) -> None:
        self.metrics, clock = Metrics(), Clock()
        self.room = Room(self.metrics, clock)
        self.jobs: list[asyncio.Task[None]] = []

        def spawn(job: Coroutine[object, object, None]) -> asyncio.Task[None]:
            self.jobs.append(group.create_task(quiet(job)))
            return self.jobs[-1]

        memory = MemoryCache(10_000, clock.now)
        store = TieredCache(memory, (), clock, later=lambda _: None, told=lambda *_: None)
        shared = Shared(self.metrics, clock, cache=store, spawn=spawn, room=self.room)
        self.providers = [
            ScriptedProvider(*script, forever=lambda: chat_stream("a", "b"), name=name)
            for name, script in zip("abc", scripts, strict=True)
        ]
        self.stacks = [EndpointStack(each.name, "m", each, settings, shared) for each in self.providers]
        a, b, c = self.stacks
        targets: dict[str, Sequence[tuple[Endpoint, float]]] = {
            "first": [(a, 1.0), (b, 2.0)],
            "last": [(c, 1.0)],
        }
        idempotency = Idempotency(IdempotencyOptions(), spawn)
        self.keeper = Keeper(MemoryBudgets(clock.now), lambda _: None, self.metrics)
        self.budget = Budget(
            [Account("small", BudgetSettings(dollars=4e-5, window="total"))],
            BudgetOptions(answer_tokens=1, least_tokens=1),  # few calls at once, and streams ask for more
            self.keeper,
            self.metrics,
            prices=lambda _: [PRICE],
            price_at=lambda *_: PRICE,
        )
        self.service = call_stack(
            settings,
            shared,
            idempotency,
            lambda call: ["first", "last"],
            lambda target: targets[target],
            self.budget if scripts[0] else None,
        )

    async def read(self, plan: Plan) -> None:
        """Read as planned; the call must be over by its deadline."""
        await asyncio.sleep(plan.starts_at)
        deadline = plan.starts_at + plan.deadline
        try:
            async with await self.service(plan.call().having(deadline=deadline)) as reply:
                got = [chunk.raw async for chunk in limited(reply, plan.reads)]
            if reply.end is End.COMPLETED:
                raw = b"".join(got)
                assert raw.endswith(DONE) if plan.stream else b'"finish_reason"' in raw
        except (StanchionError, RuntimeError):
            pass
        finally:
            plan.over = True
            assert asyncio.get_running_loop().time() <= deadline + 1e-6


async def limited(reply, most: int):
    count = 0
    while count < most:
        try:
            chunk = await anext(reply)
        except StopAsyncIteration:
            return
        count += 1
        yield chunk


async def quiet(job) -> None:
    with contextlib.suppress(RuntimeError):
        await job


@settings(max_examples=150, deadline=None)
@given(worlds(), st.sampled_from([SETTINGS, CROWDED, HEDGED]))
def test_nothing_stays_open_and_every_call_ends_once_and_in_time(
    world: tuple[list[list[Any]], list[Plan]], configured: Settings
) -> None:
    scripts, plans = world

    async def run() -> None:
        async with asyncio.TaskGroup() as group:
            made = World(scripts, group, configured)
            async with asyncio.TaskGroup() as readers:
                for plan in plans:
                    task = readers.create_task(made.read(plan))
                    if plan.leaves_after is not None:
                        asyncio.get_running_loop().call_at(plan.starts_at + plan.leaves_after, task.cancel)
            await asyncio.sleep(700.0)  # a recording outlives its readers, and no deadline
            assert all(job.done() for job in made.jobs)
        for provider, each in zip(made.providers, made.stacks, strict=True):
            assert (provider.open, each.in_flight) == (0, 0)
        await made.keeper.flush()
        small = (await made.keeper.budgets.spent(["small total"]))[0]
        assert (made.keeper.holding, made.budget.running, small.held) == (0, {}, 0)
        room = made.room
        assert (room.open, room.crowd.waiting, room.lines, room.wanting) == (0, 0, {}, {})
        assert (room.handed, room.parked, room.clock._alarms) == (set(), {}, {})
        began = sum(plan.over for plan in plans)
        counted = sum(tally.value for tally in made.metrics.calls._by_label.values())
        assert made.metrics.calls_open.of().value == 0
        assert counted == began
        attempts = sum(tally.value for tally in made.metrics.attempts._by_label.values())
        assert attempts == sum(len(provider.calls) for provider in made.providers)

    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        runner.run(run())
    gc.collect(0)


def outage(calls: int, per_second: int) -> tuple[int, int]:
    """Run calls against providers that are down; return the tries per provider target."""

    async def run() -> tuple[int, int]:
        async with asyncio.TaskGroup() as group:
            made = World([[], [], []], group)
            for provider in made.providers:
                provider._forever = lambda: Refused("down", status=500, upstream_status=500)
            async with asyncio.TaskGroup() as readers:
                for number in range(calls):
                    readers.create_task(failing(made, number / per_second))
        return (
            len(made.providers[0].calls) + len(made.providers[1].calls),
            len(made.providers[2].calls),
        )

    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(run())


async def failing(made: World, at: float) -> None:
    await asyncio.sleep(at)
    try:
        await (await made.service(chat_call())).aclose()
    except StanchionError:
        return
    raise AssertionError("a provider that is down answered")


def test_an_outage_costs_a_tenth_more_at_most() -> None:
    tries, fallbacks = outage(400, 100)
    assert tries + fallbacks <= 2 * 400 * 1.1
    tries, fallbacks = outage(5, 100)
    assert tries + fallbacks <= 2 * 5 + 10


def test_a_provider_that_is_busy_is_waited_for_longer_than_one_that_failed() -> None:
    async def run() -> None:
        async with asyncio.TaskGroup() as group:
            busy = Refused("busy", status=429, upstream_status=429, retry_after_s=20.0)
            made = World([[busy], [busy], []], group)
            call = chat_call(stream=True)
            for each in made.stacks[:2]:
                with contextlib.suppress(Refused):
                    await each(call)
                assert (each.last_failure, each.ready_in(0.0, call)) == ("", 20.0)
            balance = Balance(
                lambda _: [(each, 1.0) for each in made.stacks[:2]], BalanceOptions(), Clock(), room=made.room
            )
            async with await balance(call) as reply:
                await reply.read_whole()
            assert asyncio.get_running_loop().time() == 20.0

    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        runner.run(run())


def test_a_silent_provider_is_not_asked_twice_while_another_exists() -> None:
    async def run() -> None:
        async with asyncio.TaskGroup() as group:
            made = World([[Silent("silent")], [Silent("silent")], [[chat_answer("ab")]]], group)
            async with await made.service(chat_call()) as reply:
                await reply.read_whole()
            assert [len(provider.calls) for provider in made.providers] == [1, 1, 1]

    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        runner.run(run())
