"""A streamed answer: an async iterator of deltas that never ends as if complete when it was cut."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from decimal import Decimal
from typing import Any, Generic, Self, TypeVar

import msgspec

from stanchion.client.answers import (
    Answer,
    ChatReply,
    Facts,
    ResponseReply,
    Timing,
    names,
    timing,
)
from stanchion.client.choice import ToolCall, read_tool_calls
from stanchion.client.cost import Prices
from stanchion.core.call import Call
from stanchion.core.chunk import Event
from stanchion.core.errors import Cut, InvalidCall
from stanchion.core.reply import End, Reply
from stanchion.core.trail import Attempt
from stanchion.core.usage import Usage
from stanchion.wire.assemble import assemble

A = TypeVar("A", bound=Answer)
Ask = Callable[[Call], Awaitable[Reply]]  # by the engine of the running loop
_decode = msgspec.json.Decoder().decode


class Delta(msgspec.Struct, frozen=True, gc=False, repr_omit_defaults=True):
    """One event of a stream.  Nothing of it is decoded a second time before somebody looks."""

    event: Event

    @property
    def text(self) -> str:
        """What it adds to the text of the first choice; "" if it adds none."""
        return self.event.text

    @property
    def finish_reason(self) -> str | None:
        """Why the first choice ended, in the event that says so."""
        return self.event.finish_reason

    @property
    def name(self) -> str:
        """The event's name, in the Responses API: "response.output_text.delta"."""
        return self.event.name

    @property
    def raw(self) -> bytes:
        """The event's JSON text."""
        return self.event.data

    @property
    def data(self) -> dict[str, Any]:
        """The event, decoded now."""
        return _decode(self.event.data)

    @property
    def tool_calls(self) -> list[ToolCall]:
        """The pieces of tool calls of the first choice: each adds to that of the same `index`."""
        if b'"tool_calls"' not in self.event.data:
            return []
        choices: list[dict[str, Any]] = self.data.get("choices") or []
        return read_tool_calls(choices[0].get("delta") or {}) if choices else []

    def __repr__(self) -> str:
        return f"<Delta of {len(self.event.data)} bytes>"  # never the text


class Stream(Generic[A]):
    """One streamed call, begun at the first read.

    Leaving early, by `async with` or by breaking a plain `async for`, ends the call at the provider.
    """

    def __init__(self, call: Call, ask: Ask, prices: Prices, put_together: Callable[[Stream[A]], A]) -> None:
        self.call = call
        self.events: list[Event] = []  # those that were read
        self._ask = ask
        self._prices = prices
        self._put_together = put_together
        self._reply: Reply | None = None
        self._entered = False
        self._iterator: AsyncGenerator[Delta, None] | None = None
        self._started_at = self._ended_at = 0.0

    async def __aenter__(self) -> Self:
        """Ask, and wait until the answer begins.  Raises what a whole call raises."""
        await self._begin()
        self._entered = True
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def __aiter__(self) -> AsyncGenerator[Delta, None]:
        return self._deltas()

    async def __anext__(self) -> Delta:
        if self._iterator is None:
            self._iterator = self._deltas()
        return await anext(self._iterator)

    async def aclose(self) -> None:
        """End the call now.  What came so far stays."""
        if self._reply is not None and self._reply.end is None:
            await self._reply.aclose()
            self._ended_at = asyncio.get_running_loop().time()

    async def take(self) -> Sequence[Delta]:
        """Return the deltas of the next network read; none at the end.  For who pays per look."""
        reply = self._reply or await self._begin()
        try:
            async for chunk in reply:
                if chunk.events:
                    self.events.extend(chunk.events)
                    return [Delta(event) for event in chunk.events]
        except Cut as error:
            error.partial = self.text
            raise
        self._ended_at = asyncio.get_running_loop().time()
        return ()

    async def _deltas(self) -> AsyncGenerator[Delta, None]:
        reply = self._reply or await self._begin()
        keep = self.events.append
        try:
            async for chunk in reply:
                for event in chunk.events:
                    keep(event)
                    yield Delta(event)
            self._ended_at = asyncio.get_running_loop().time()
        except Cut as error:
            error.partial = self.text
            raise
        finally:
            if not self._entered:
                await self.aclose()

    async def _begin(self) -> Reply:
        if self._reply is None:
            self._started_at = asyncio.get_running_loop().time()
            self._reply = await self._ask(self.call)
        return self._reply

    @property
    def text(self) -> str:
        """What was read of the text of the first choice."""
        return "".join([event.text for event in self.events])

    @property
    def complete(self) -> bool:
        """Whether the stream was read to the end that the provider said."""
        return self._reply is not None and self._reply.end is End.COMPLETED

    @property
    def ended(self) -> bool:
        """Whether nothing of it is open: it ended in some way, or never began."""
        return self._reply is None or self._reply.end is not None

    @property
    def finish_reason(self) -> str | None:
        """Why the first choice ended, once it has."""
        return next((each.finish_reason for each in reversed(self.events) if each.finish_reason), None)

    @property
    def usage(self) -> Usage | None:
        """The tokens, after the end; `usage.estimated` where the provider never told."""
        return self._reply.usage if self._reply is not None else None

    @property
    def cost(self) -> Decimal | None:
        """What it cost, in dollars, after the end; None if tokens or price are not known."""
        if self._reply is not None and self._reply.head.shared:
            return Decimal(0)
        if self._reply is None or self._reply.usage is None:
            return None
        return self._prices.cost(self._reply.usage, *names(self._reply.head, self._said()))

    @property
    def attempts(self) -> Sequence[Attempt]:
        """Every try at every endpoint so far."""
        return self.call.trail.attempts

    @property
    def timing(self) -> Timing:
        """How long it took, after the end."""
        first_at = self._reply.first_at if self._reply is not None else None
        return timing(self._started_at, first_at, self._ended_at)

    @property
    def model(self) -> str:
        """The model that answers, in the provider's words where it has said so."""
        return self._said() or (self._reply.head.model if self._reply is not None else self.call.model)

    @property
    def cached(self) -> bool:
        """Whether it is an answer that was kept, once it has begun."""
        return self._reply is not None and self._reply.head.cached

    @property
    def similarity(self) -> float | None:
        """How near the question was whose answer this is; None but for an answer of the semantic cache."""
        return self._reply.head.similarity if self._reply is not None else None

    @property
    def endpoint(self) -> str:
        """Which endpoint answers, once one does."""
        return self._reply.head.endpoint if self._reply is not None else ""

    def reply(self) -> A:
        """Return all that came as one whole answer.  Raises InvalidCall before the end: half is no answer."""
        if not self.complete:
            raise InvalidCall(
                "the stream is not complete: read it to its end first", code="stream_not_complete"
            )
        return self._put_together(self)

    def facts(self) -> Facts:
        """Return what is known beside the content.  Only of a stream that has begun."""
        assert self._reply is not None  # noqa: S101 - begun
        return Facts(
            self._reply.head,
            self._reply.usage,
            self.call.trail,
            self._prices,
            self._started_at,
            self._reply.first_at,
            self._ended_at,
        )

    def summary(self, raw: bytes) -> Event:
        """Return the event of the whole answer: what its parts say together."""
        return Event(
            data=raw,
            text=self.text,
            finish_reason=self.finish_reason,
            model=self._said(),
            usage=self.usage,
        )

    def _said(self) -> str | None:
        return next((each.model for each in self.events if each.model), None)

    def __repr__(self) -> str:
        state = self._reply.end.word if self._reply is not None and self._reply.end else "open"
        return f"<Stream {self.call.id} {state}, {len(self.events)} events>"  # never the text


def whole_chat(stream: Stream[ChatReply]) -> ChatReply:
    """Put the events of a streamed chat completion together."""
    raw = assemble([event.data for event in stream.events])
    return ChatReply(raw, stream.summary(raw), stream.facts())


class _Last(msgspec.Struct):
    response: msgspec.Raw = msgspec.Raw(b"{}")


def whole_response(stream: Stream[ResponseReply]) -> ResponseReply:
    """Return the response that the last event of a Responses API stream repeats in full."""
    raw = bytes(msgspec.json.decode(stream.events[-1].data, type=_Last).response)
    return ResponseReply(raw, stream.summary(raw), stream.facts())
