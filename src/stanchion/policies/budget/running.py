"""One call that holds money: what it holds, and how long its answer may become for that."""

from __future__ import annotations

import msgspec

from stanchion.core.call import Call
from stanchion.core.usage import Usage
from stanchion.policies.budget.accounts import Account
from stanchion.rules.budget import Bound, Size, limited

Purse = tuple[Account, str, float]  # with its name, and how long it must be remembered


class Running:
    """What is known of a call while it runs."""

    __slots__ = (
        "_limit",
        "_limits",
        "_prompt",
        "answers",
        "bound",
        "bounded",
        "holder",
        "purses",
        "tokens",
        "used",
    )

    def __init__(self, holder: str, size: Size, bound: Bound, answer: int, *, limit: bool) -> None:
        """`answer`: the most tokens of one answer that are held for; `limit`: the provider must be told it."""
        self.holder = holder
        self.bound = bound
        self.purses = list[Purse]()
        self.answers = size.answers
        self.tokens = answer * size.answers  # of all answers together, that are held for
        self.used = 0  # by attempts that are over, as far as it is held
        self.bounded = size.answer is not None or not size.answers  # the caller bounds its answer
        self._prompt = size.prompt
        self._limits = size.limits
        self._limit: int | None = answer if limit and size.limits else None

    @property
    def amount(self) -> int:
        """Micro-dollars that one attempt may cost, as it is limited now."""
        return self.bound.cost(self._prompt, self.tokens)

    def lower(self, amount: int) -> None:
        """Only so much is held: the answer must be shorter."""
        if self.answers:
            each = self.bound.answer_within(amount, self._prompt) // self.answers
            self._limit = max(1, each)
            self.tokens = self._limit * self.answers

    def told(self, usage: Usage) -> Usage:
        """Return what an attempt used; where the provider never told, with no longer a prompt than is held for.

        The estimate there is made of the bytes that were sent, and a picture has many.
        """
        if usage.estimated and usage.input > self._prompt:
            return msgspec.structs.replace(usage, input=self._prompt)
        return usage

    def limit(self, call: Call) -> Call:
        """Return the call with its answer bounded to what is held, if that is less than it says."""
        if self._limit is None:
            return call
        body = call.body
        fields = limited(body.fields, self._limits, self._limit)
        if all(body.fields.get(name) == value for name, value in fields.items()):
            return call
        return call.having(body=body.having(**fields))


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
