"""One call that holds money: what it holds, and how long its answer may become for that."""

from __future__ import annotations

import msgspec

from stanchion.core.answer_size import AnswerSize
from stanchion.core.call import Call
from stanchion.core.trail import Trail
from stanchion.core.usage import Usage
from stanchion.policies.budget.accounts import Account, Paid
from stanchion.rules.budget import Bound, limited
from stanchion.stores.memory_budgets import Purse


class Running(msgspec.Struct, gc=False):
    """What is known of a call while it runs.  `running_of` makes one."""

    holder: str
    trail: Trail
    size: AnswerSize
    prompt: int  # tokens, rather too many than too few
    bound: Bound
    tokens: int  # of all answers together, that are held for
    told_limit: int | None  # the bound of one answer that the provider must be told
    purses: list[Paid]
    here: list[
        tuple[Account, Purse]
    ]  # where it holds in this process's memory; empty: it holds under a lease
    amount_here: int = 0  # of each of them
    used: int = 0  # by attempts that are over, as far as it is held

    @property
    def answers(self) -> int:
        """How many answers are written."""
        return self.size.answers

    @property
    def bounded(self) -> bool:
        """The caller bounds its answer."""
        return self.size.answer is not None or not self.size.answers

    @property
    def amount(self) -> int:
        """Micro-dollars that one attempt may cost, as it is limited now."""
        return self.bound.cost(self.prompt, self.tokens)

    def lower(self, amount: int) -> None:
        """Only so much is held: the answer must be shorter."""
        size = self.size
        if size.answers:
            each = max(1, self.bound.answer_within(amount, self.prompt) // size.answers)
            self.tokens = each * size.answers
            self.told_limit = each if size.limits else None

    def told(self, usage: Usage) -> Usage:
        """Return what an attempt used; where the provider never told, with no longer a prompt than is held for.

        The estimate there is made of the bytes that were sent, and a picture has many.
        """
        if usage.estimated and usage.input > self.prompt:
            return msgspec.structs.replace(usage, input=self.prompt)
        return usage

    def limit(self, call: Call) -> Call:
        """Return the call with its answer bounded to what is held, if that is less than it says."""
        if self.told_limit is None:
            return call
        body = call.body
        fields = limited(body.fields, self.size.limits, self.told_limit)
        if all(body.fields.get(name) == value for name, value in fields.items()):
            return call
        return call.having(body=body.having(**fields))


def running_of(call: Call, size: AnswerSize, prompt: int, bound: Bound, answer: int) -> Running:
    """Make one that holds nothing yet.  `answer`: the most tokens of one answer that are to be held for."""
    limit = answer if size.answer is None and not call.stream and size.limits else None
    return Running(call.id, call.trail, size, prompt, bound, answer * size.answers, limit, [], [])


class Tokens:
    """Counts about the tokens in a stream's events, without reading them.

    An event is a token, nearly always; where a provider puts several in one it is longer than the first event,
    which has no text.
    """

    __slots__ = ("_bare", "_sum")

    def __init__(self) -> None:
        self._bare = 0
        self._sum = -1  # the first event has the role alone

    def count(self, raw: bytes) -> int:
        """Add a chunk; returns the sum."""
        events = raw.count(b"\n\n")
        if not self._bare:
            self._bare = len(raw) // max(1, events)
        self._sum += max(events, (len(raw) - events * self._bare) // 4)
        return self._sum
