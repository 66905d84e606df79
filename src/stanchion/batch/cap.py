"""The most that a job may cost: what a try can cost at most is held before it, and settled by what it did cost after.

Spent and held together never pass the cap, so spent never does, however many calls are open.  Near its end a job
holds fewer and fewer calls open; it stops when the next row could cost more than is left and nothing is in flight.
Not known is what a provider bills beside tokens.
"""

from __future__ import annotations

from collections.abc import Callable

from stanchion.batch.answers import UNTOLD, Answer
from stanchion.batch.lanes.lane import Item
from stanchion.batch.rows import Request
from stanchion.core.errors import InvalidCall
from stanchion.engine.model_facts import ModelFacts
from stanchion.rules.cost_bound import read_request

_KNOWN_MOST = 1000  # rows name models: what is kept for them is bounded


class Cap:
    """The money of one job, in micro-dollars.  Not safe for threads: it is the event loop's."""

    def __init__(self, most: int, facts: Callable[[str], ModelFacts], *, answer_tokens: int = 4096) -> None:
        """`facts` says of a model what it costs; raises UnknownModel.

        `answer_tokens` is what an answer is held at whose request has no bound; better give it one (forms/bounded.py).
        """
        self.most = most
        self.spent: int = 0
        self.held: int = 0
        self._facts = facts
        self._known: dict[str, ModelFacts] = {}
        self._answer_tokens = answer_tokens
        self._holds: dict[bytes, int] = {}

    @property
    def waits(self) -> bool:
        """Say that nothing comes to it but what is in flight gives back."""
        return False

    @property
    def left(self) -> int:
        """What is neither spent nor held."""
        return self.most - self.spent - self.held

    def begin(self, spent_micro_usd: int) -> None:
        """Begin with what earlier runs of the job spent."""
        self.spent = spent_micro_usd

    def admit(self, item: Item) -> bool:
        """Hold what a try can cost, if as much is left.  Raises what `cost_most` raises: a form asks that before."""
        amount = self.cost_most(item.request)
        if amount > self.left:
            return False
        self.held += amount
        self._holds[item.key] = self._holds.get(item.key, 0) + amount
        return True

    def settle(self, item: Item, answer: Answer | None) -> None:
        """A try is over: count what it did cost, and let go of the rest.

        A try that may be billed and never told what it used counts as what was held, here and in the row's cost.
        """
        held = self._holds.pop(item.key, 0)
        self.held -= held
        if answer is UNTOLD:
            item.cost_micro_usd += held
            self.spent += held
        elif answer is not None:
            self.spent += answer.cost_micro_usd

    def cost_most(self, request: Request) -> int:
        """Return what a try can cost at most.  Raises InvalidCall, UnknownModel: that cannot be said."""
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
