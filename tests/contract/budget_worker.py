"""One process that spends a budget as fast as it may: many calls at once, to an endpoint inside it that sends bills.

Arguments: the store's address, the cap in micro-dollars, the file of bills, how many calls, and whether limits of callers
are kept too: then they are asked for in one step with the money.  A bill is written when a call is sent, as a provider counts it
then, and not when it is answered.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys

from stanchion.core.call import Body, Call, Operation
from stanchion.core.caller import Level, Limit, Standing
from stanchion.core.chunk import Chunk
from stanchion.core.clock import Clock
from stanchion.core.errors import BudgetExceeded
from stanchion.core.reply import Head, Reply
from stanchion.core.service import Filter, Service, stack
from stanchion.core.usage import Usage
from stanchion.engine.common_limits import CommonLimits
from stanchion.engine.outbox import Outbox
from stanchion.observe.metrics import Metrics
from stanchion.policies.budget import Account, Again, Budget, BudgetOptions, BudgetSettings, Keeper
from stanchion.policies.caller_limits import CallerLimits
from stanchion.policies.trace_attempt import TraceAttempt
from stanchion.rules.pricing import MILLION, Price, cost_micro_usd
from stanchion.stores.dues import paid
from stanchion.stores.leased_budgets import LeasedBudgets

LEASE_S = 3.0
PRICE = Price(MILLION, 2 * MILLION)
PROMPT = 10  # tokens
STANDING = Standing(levels=(Level("team a", (Limit("requests", 10**6, 86_400),)),), caller="a")
LOST = 3  # the exit code where the store gave no answer in time


class Endpoint:
    """Answers after a moment, and writes the bill before."""

    def __init__(self, bills: int) -> None:
        self._bills = bills

    async def __call__(self, call: Call, /) -> Reply:
        most = call.body.fields["max_tokens"]
        usage = Usage(input=PROMPT, output=random.randint(most * 4 // 5, most))
        os.write(self._bills, b"%d\n" % cost_micro_usd(usage, PRICE))
        await asyncio.sleep(random.uniform(0.005, 0.05))
        call.trail.used(usage)
        return Reply.whole(Head(), Chunk(b"{}", lambda _: ()), usage)


async def spend(service, refused_most: int) -> None:
    refused = 0
    while refused < refused_most:
        body = Body({"model": "m", "messages": [{"role": "user", "content": "x" * 32}]})
        body = body.having(max_tokens=random.randint(60, 140))
        try:
            asked = Call(operation=Operation.CHAT, body=body, model="m", options={Standing: STANDING})
            async with await service(asked) as reply:
                await reply.read_whole()
            refused = 0
        except BudgetExceeded:
            refused += 1
            await asyncio.sleep(random.uniform(0.1, 0.3))


async def pay(call: Call, service: Service) -> Reply:
    return await service(await paid(call))


async def main() -> None:
    url, cap, bills = sys.argv[1], int(sys.argv[2]), os.open(sys.argv[3], os.O_WRONLY | os.O_APPEND)
    metrics, clock = Metrics(), Clock()
    lost, filters = list[bool](), list[Filter]()
    common = CommonLimits(url, clock, metrics)
    store = LeasedBudgets(
        common.budgets(), str(os.getpid()), "budgets", clock=clock, on_lost=lambda: lost.append(True)
    )
    outbox = Outbox(metrics)
    keeper = Keeper(store, outbox.put, metrics)
    if sys.argv[5] == "limits":
        keeper.together = common.together(store)
        filters.append(CallerLimits(common.shared, clock, metrics))
    budget = Budget(
        [Account("all", BudgetSettings(dollars=cap / MILLION, window="total"))],
        BudgetOptions(lease_s=LEASE_S),
        keeper,
        metrics,
        prices=lambda _: [PRICE],
        price_at=lambda *_: PRICE,
    )
    filters += [budget, Again(budget), pay, TraceAttempt("e/m", "m", metrics, clock)]
    service = stack(*filters, service=Endpoint(bills))
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(each) for each in (outbox.run(), keeper.run(), store.run(), common.run())]
        async with asyncio.TaskGroup() as calls:
            for _ in range(int(sys.argv[4])):
                calls.create_task(spend(service, 12))
        await outbox.drain(5.0)
        for each in tasks:
            each.cancel()
    await keeper.aclose()
    await common.aclose()
    sys.exit(LOST if lost else 0)


if __name__ == "__main__":
    asyncio.run(main())
