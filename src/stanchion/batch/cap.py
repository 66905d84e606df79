"""The most that a job may cost: what a try can cost at most is held before it, and settled by what it did cost after.

Spent and held together never pass the cap, so spent never does, however many calls are open.  Near its end a job
holds fewer and fewer calls open; it stops when the next row could cost more than is left and nothing is in flight.
What a provider bills and never tells, for a call that it did not answer, nobody here can count.
"""

from __future__ import annotations

from collections.abc import Callable

from stanchion.batch.rows import Request
from stanchion.core.errors import InvalidCall
from stanchion.engine.model_facts import ModelFacts
from stanchion.rules.cost_bound import read_request

_KNOWN_MOST = 1000  # rows name models: what is kept for them is bounded


class Cap:
    """The money of one job, in micro-dollars.  Not safe for threads: it is the event loop's."""

    def __init__(
        self,
        most: int,
        facts: Callable[[str], ModelFacts],
        *,
        spent: int = 0,
        answer_tokens: int = 4096,
    ) -> None:
        """`facts` says of a model what it costs; raises UnknownModel.  `spent`: by earlier runs of the job."""
        self.most = most
        self.spent = spent
        self.held = 0
        self._facts = facts
        self._known: dict[str, ModelFacts] = {}
        self._answer_tokens = answer_tokens
        self._holds: dict[bytes, int] = {}

    @property
    def left(self) -> int:
        """What is neither spent nor held."""
        return self.most - self.spent - self.held

    @property
    def idle(self) -> bool:
        """Whether nothing is held: what does not fit now will not fit later."""
        return not self._holds

    def admit(self, key: bytes, request: Request) -> bool:
        """Hold what a try can cost, if as much is left.  Raises InvalidCall, UnknownModel: it cannot be priced."""
        amount = self.cost_most(request)
        if amount > self.left:
            return False
        self.held += amount
        self._holds[key] = self._holds.get(key, 0) + amount
        return True

    def settle(self, key: bytes, cost: int) -> None:
        """A try is over: `cost` is what it did cost."""
        self.held -= self._holds.pop(key, 0)
        self.spent += cost

    def cost_most(self, request: Request) -> int:
        """Return what a try can cost at most.  Raises InvalidCall, UnknownModel."""
        read = read_request(request.operation, request.body)
        facts = self._known.get(read.model)
        if facts is None:
            if len(self._known) >= _KNOWN_MOST:
                self._known.clear()
            facts = self._known[read.model] = self._facts(read.model)
        prices = facts.known_prices
        if prices is None:
            raise InvalidCall(
                f"no price is known of {facts.unpriced}: write it under [prices] in the settings, or take --price-as",
                code="price_unknown",
                param="model",
            )
        # each target of the route may be tried once before the call comes back
        return read.cost(prices, self._answer_tokens) * facts.targets
