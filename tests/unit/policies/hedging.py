"""What the tests of hedging share: two keys of one model, traced, of which the first is asked first."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import Any

from stanchion.core.call import Call
from stanchion.core.clock import Clock
from stanchion.core.errors import NotYet, Refused
from stanchion.core.reply import Reply
from stanchion.core.service import Filter, stack
from stanchion.core.trail import Attempt
from stanchion.observe.metrics import Metrics
from stanchion.policies.balance import Balance, BalanceOptions, LineOptions, Room
from stanchion.policies.budget import Budget
from stanchion.policies.hedge import Hedge, HedgeOptions, Learned
from stanchion.policies.trace_attempt import TraceAttempt
from stanchion.testing import ScriptedProvider, chat_call, chat_stream
from stanchion.testing.scripted_provider import Script
from tests.unit.policies.reading import busy

STREAM = chat_stream("a", "b", usage=(5, 2))
USUAL_S = 0.1  # what is learned: nearly all begin so soon
LATE_S = 0.11  # by then a second attempt was made
ON = HedgeOptions(on=True)


class Key(ScriptedProvider):
    """An endpoint: a scripted provider whose attempts are traced."""

    def __init__(self, name: str, *script: Script, forever: Script | None = None) -> None:
        super().__init__(*script, forever=forever, name=name)
        self._traced = stack(TraceAttempt(name, "m", Metrics(), Clock()), service=self._play)
        self.sends_back: list[tuple[float, float]] = []  # refuses after so many seconds, for so many

    async def __call__(self, call: Call, /) -> Reply:
        if not self.sends_back:
            return await self._traced(call)
        refused_s = self.sends_back[0][1]
        try:
            return await self._traced(call)
        except Refused as error:  # as the limiter above an attempt does
            raise NotYet(refused_s) from error

    async def _play(self, call: Call, /) -> Reply:
        if not self.sends_back:
            return await super().__call__(call)
        self.calls.append(call)
        await asyncio.sleep(self.sends_back[0][0])
        self.sends_back.pop(0)
        raise busy()


class World:
    """Keys under a balancer under a hedge."""

    def __init__(
        self,
        group: asyncio.TaskGroup,
        keys: Sequence[ScriptedProvider],
        options: HedgeOptions,
        line: LineOptions,
        above: Sequence[Filter],
        budget: Budget | None,
    ) -> None:
        self.metrics, self.clock, self.learned = Metrics(), Clock(), Learned()
        self.tasks: list[asyncio.Task[None]] = []
        self._group = group
        self.room = Room(self.metrics, self.clock)
        self.room.configure(line)
        # the first is asked first, as long as both are ready
        weighted = [(key, 1000.0 if key is keys[0] else 1.0) for key in keys]
        self.balance = Balance(lambda _: weighted, BalanceOptions(), self.clock, room=self.room)
        hold = None if budget is None else budget.beside
        self.hedge = Hedge(
            options,
            self.balance.beside,
            self.spawn,
            self.clock,
            self.metrics,
            learned=self.learned,
            hold=hold,
        )
        self.service = stack(*above, self.hedge, service=self.balance)

    def spawn(self, job: Coroutine[object, object, None]) -> asyncio.Task[None]:
        self.tasks.append(self._group.create_task(job))
        return self.tasks[-1]

    def learn(self, *, stream: bool = True, operation: str = "chat/completions") -> None:
        """Know what is usual, and have some hedges saved."""
        latency = self.learned.of(("p/m", operation, stream), 0.0)
        for _ in range(200):
            latency.add(USUAL_S, 0.0)
            self.hedge.budget.call(0.05)

    def outcomes(self) -> dict[str, int]:
        """Count what became of the hedges, and of those that were not made."""
        return {
            labels[0]: int(tally.value)
            for family in (self.metrics.hedges, self.metrics.hedges_refused)
            for labels, tally in family._by_label.items()
        }

    async def __call__(self, call: Call) -> Reply:
        return await self.service(call)


@asynccontextmanager
async def hedging(
    *keys: ScriptedProvider,
    options: HedgeOptions = ON,
    line: LineOptions | None = None,
    above: Sequence[Filter] = (),
    budget: Budget | None = None,
    learned: bool = True,
) -> AsyncGenerator[World]:
    async with asyncio.TaskGroup() as group:
        world = World(group, keys, options, line or LineOptions(), above, budget)
        if learned:
            world.learn()
        yield world


def streamed(**fields: Any) -> Call:
    return chat_call(stream=True, **fields)


def shown(attempts: Sequence[Attempt]) -> list[tuple[str, str, str]]:
    """Say of each attempt where it was, how it ended, and its part in the race."""
    return [
        (each.endpoint[-1], each.outcome, " ".join(filter(None, ("hedge" * each.hedge, "lost" * each.lost))))
        for each in attempts
    ]
