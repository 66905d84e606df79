"""Light typed answers.  The bytes are kept as they came; what nobody looks at is never decoded.

No `repr` shows content: an answer may stand in a log, a traceback or a debugger's list of locals.
"""

from __future__ import annotations

import array
import base64
import sys
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, TypeVar

import msgspec

from stanchion.client.choice import Choice, ToolCall, parse
from stanchion.client.cost import Prices
from stanchion.core.chunk import Event
from stanchion.core.reply import Head
from stanchion.core.trail import Attempt, Trail
from stanchion.core.usage import Usage

T = TypeVar("T")
_decode = msgspec.json.Decoder(dict[str, Any]).decode


class Timing(msgspec.Struct, frozen=True, gc=False):
    """How long a call took, in seconds from its start."""

    total_s: float
    first_chunk_s: float | None  # a whole answer is one chunk


class Facts(msgspec.Struct, frozen=True):
    """What is known of an answer beside its content."""

    head: Head
    usage: Usage | None
    trail: Trail
    prices: Prices
    started_at: float  # these three on the event loop's clock
    first_at: float | None
    ended_at: float


class Answer:
    """What every answer has."""

    __slots__ = ("_data", "_event", "_facts", "raw")

    def __init__(self, raw: bytes, event: Event, facts: Facts) -> None:
        self.raw = raw  # the body as it came
        self._event = event
        self._facts = facts
        self._data: dict[str, Any] | None = None

    @property
    def data(self) -> dict[str, Any]:
        """The body, decoded at the first look."""
        data = self._data
        if data is None:
            data = self._data = _decode(self.raw)
        return data

    @property
    def usage(self) -> Usage | None:
        """The tokens of this answer, in disjoint classes; `usage.total_tokens` is their sum."""
        return self._facts.usage

    @property
    def cost(self) -> Decimal | None:
        """What this answer cost, in dollars; None if its tokens or its model's price are not known.

        0 where another call paid for it.
        """
        if self._facts.head.shared:
            return Decimal(0)
        if self.usage is None:
            return None
        return self._facts.prices.cost(self.usage, *names(self._facts.head, self._event.model))

    @property
    def attempts(self) -> Sequence[Attempt]:
        """Every try at every endpoint, in order; the last one answered."""
        return self._facts.trail.attempts

    @property
    def timing(self) -> Timing:
        """How long it took."""
        return timing(self._facts.started_at, self._facts.first_at, self._facts.ended_at)

    @property
    def model(self) -> str:
        """The model that answered, in the provider's words."""
        return self._event.model or self._facts.head.model

    @property
    def endpoint(self) -> str:
        """Which endpoint answered: "provider/model"."""
        return self._facts.head.endpoint

    @property
    def cached(self) -> bool:
        """Whether it was kept, and no provider was asked."""
        return self._facts.head.cached

    @property
    def similarity(self) -> float | None:
        """How near the question was whose answer this is; None but for an answer of the semantic cache."""
        return self._facts.head.similarity

    @property
    def headers(self) -> Mapping[str, str]:
        """The provider's response headers; names in lower case find them."""
        return self._facts.head.headers

    @property
    def request_id(self) -> str | None:
        """The provider's id of this request: what its support asks for."""
        return self.headers.get("x-request-id")

    def __repr__(self) -> str:
        tokens = f", {self.usage.total_tokens} tokens" if self.usage is not None else ""
        return f"<{type(self).__name__} of {self.model} from {self.endpoint}{tokens}>"  # never the content


class ChatReply(Answer):
    """The answer to a chat completion."""

    __slots__ = ()

    @property
    def text(self) -> str:
        """What is shown to a person, of the first choice."""
        return self._event.text

    @property
    def finish_reason(self) -> str | None:
        """Why the first choice ended."""
        return self._event.finish_reason

    @property
    def choices(self) -> list[Choice]:
        """All `n` answers."""
        return [Choice(each) for each in self.data.get("choices") or ()]

    @property
    def message(self) -> Mapping[str, Any]:
        """The first choice's message, as it can be sent back in `messages`."""
        return self.choices[0].message

    @property
    def refusal(self) -> str | None:
        """What the model says instead, where it refuses."""
        return self.choices[0].refusal

    @property
    def tool_calls(self) -> list[ToolCall]:
        """The tools to call, of the first choice."""
        return self.choices[0].tool_calls

    def parsed(self, kind: type[T]) -> T:
        """Return the text as this type: a msgspec Struct, a dataclass, a TypedDict or a pydantic model.

        Raises Unusable if the text is not of that shape.
        """
        return parse(self.text, kind, "the answer")


class ResponseReply(Answer):
    """The answer of the Responses API."""

    __slots__ = ()

    @property
    def text(self) -> str:
        """What is shown to a person."""
        return self._event.text

    @property
    def status(self) -> str | None:
        """How it ended: completed, incomplete, failed."""
        return self._event.finish_reason

    @property
    def output(self) -> list[dict[str, Any]]:
        """The output's items."""
        return self.data.get("output") or []

    @property
    def tool_calls(self) -> list[ToolCall]:
        """The tools to call."""
        return [
            ToolCall(item.get("call_id") or "", item.get("name") or "", item.get("arguments") or "", position)
            for position, item in enumerate(self.output)
            if item.get("type") == "function_call"
        ]

    def parsed(self, kind: type[T]) -> T:
        """Return the text as this type.  Raises Unusable if it is not of that shape."""
        return parse(self.text, kind, "the answer")


class EmbeddingReply(Answer):
    """The answer to a call for embeddings."""

    __slots__ = ()

    @property
    def vectors(self) -> list[Sequence[float]]:
        """The vectors, in the order of the inputs; `encoding_format="base64"` gives arrays of floats."""
        return [_vector(each.get("embedding")) for each in self.data.get("data") or ()]

    @property
    def vector(self) -> Sequence[float]:
        """The first vector."""
        return self.vectors[0]


class Model(msgspec.Struct, frozen=True, gc=False):
    """A model that can be asked."""

    id: str
    owned_by: str = ""
    created: int = 0


def names(head: Head, said: str | None) -> tuple[str, ...]:
    """Return the names under which a price may stand, the closest first."""
    return head.endpoint.partition("#")[0], head.model, said or ""


def timing(started_at: float, first_at: float | None, ended_at: float) -> Timing:
    """Return the durations between points of the loop's clock."""
    return Timing(ended_at - started_at, None if first_at is None else first_at - started_at)


def _vector(found: Any) -> Sequence[float]:
    if not isinstance(found, str):
        return found
    floats = array.array("f", base64.b64decode(found))
    if sys.byteorder == "big":
        floats.byteswap()  # the wire is little-endian
    return floats
