"""What several processes keep together: slots come back while news keep coming."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from stanchion.core.clock import Clock
from stanchion.engine import common_limits
from stanchion.engine.common_limits import CommonLimits
from stanchion.observe.metrics import Metrics
from stanchion.stores.admission import Apart
from stanchion.stores.memory import MemoryLimits
from stanchion.stores.memory_budgets import MemoryBudgets
from stanchion.stores.opening import Opened
from stanchion.stores.protocols import Change
from stanchion.testing import virtual_time


class Slow(MemoryLimits):
    """A store that takes its time; counts the slots that are given back."""

    freed = 0

    async def change(self, changes: Sequence[Change], free: Sequence[str], holder: str) -> None:
        await asyncio.sleep(0.005)
        self.freed += len(free)
        await super().change(changes, free, holder)


@virtual_time
async def test_slots_are_given_back_while_news_keep_coming() -> None:
    loop = asyncio.get_running_loop()
    store = Slow(loop.time)
    with pytest.MonkeyPatch.context() as patch:
        budgets = MemoryBudgets(loop.time)
        patch.setattr(
            common_limits, "open_together", lambda *_: Opened(store, budgets, Apart(store, budgets))
        )
        common = CommonLimits("redis://there", Clock(), Metrics())
    running = loop.create_task(common.run())
    for number in range(400):
        common.shared.later([Change("m", cost_s=0.001)])
        common.shared.free("s", f"call {number}")
        await asyncio.sleep(0.004)
    await asyncio.sleep(0.02)
    assert store.freed == 400
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await common.aclose()
