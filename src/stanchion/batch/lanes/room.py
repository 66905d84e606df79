"""How many prompt tokens may wait in the batches of one key: told, or learnt from a refusal."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence

from stanchion.wire.batch import BatchFault

CODE = "token_limit_exceeded"
_LIMIT = re.compile(r"[Ll]imit:? ([\d,]+)")


class Room:
    """The tokens that wait with one key."""

    def __init__(self, most: int = 0) -> None:
        self.most = most  # 0: nobody told yet
        self.used = 0
        self._changed = asyncio.Event()

    def fits(self, tokens: int) -> bool:
        """Say whether so many would be taken now.  One part may always try alone."""
        return not self.used or not self.most or self.used + tokens <= self.most

    async def enter(self, tokens: int, most_s: float) -> None:
        """Take so many, as soon as they fit.  Raises TimeoutError."""
        async with asyncio.timeout(most_s):
            while not self.fits(tokens):
                self._changed.clear()
                await self._changed.wait()
        self.used += tokens

    def leave(self, tokens: int) -> None:
        """Give them back."""
        self.used -= tokens
        self._changed.set()

    def learn(self, faults: Sequence[BatchFault], tokens: int) -> None:
        """Take from a refusal how many there may be: what it says, else fewer than were tried."""
        told = next((found for each in faults if (found := _LIMIT.search(each.message or ""))), None)
        if told is not None:
            self.most = int(told.group(1).replace(",", ""))
        else:
            self.most = max(1, min(self.most or tokens, tokens) - 1)


def is_full(faults: Sequence[BatchFault]) -> bool:
    """Say whether a batch failed only because too much waits."""
    return any(each.code == CODE for each in faults)
