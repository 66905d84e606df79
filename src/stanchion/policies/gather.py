"""Fetch a whole answer as a stream from the provider, and put it together.

Before: turns the call into a stream.  At the end: one chunk, as if the provider had answered whole.
A stall is noticed between two events, not only when the whole answer is late; it costs CPU per event,
so it is an option of a route.  Stands on top of an endpoint's attempt: a cut is retried as any other.
"""

from __future__ import annotations

from collections.abc import Awaitable

import msgspec

from stanchion.core.call import Call, Operation
from stanchion.core.chunk import Chunk
from stanchion.core.errors import UpstreamError
from stanchion.core.reply import Reply
from stanchion.core.service import Service
from stanchion.wire.answers import read_whole
from stanchion.wire.assemble import assemble
from stanchion.wire.objects import as_object


class GatherOptions(msgspec.Struct, frozen=True):
    """Whether whole answers are fetched as streams."""

    whole_as_stream: bool = False


class Gather:
    """Asks for a stream where the caller asked for a whole chat completion."""

    def __init__(self, options: GatherOptions) -> None:
        self._options = options

    def __call__(self, call: Call, service: Service, /) -> Awaitable[Reply]:
        """Answer whole.  Raises what the stream raises.  Cancel: the stream is closed."""
        wanted = call.option(GatherOptions, self._options).whole_as_stream
        if not wanted or call.stream or call.operation is not Operation.CHAT:
            return service(call)
        return self._gathered(call, service)

    async def _gathered(self, call: Call, service: Service) -> Reply:
        options = {**(as_object(call.body.fields.get("stream_options")) or {}), "include_usage": True}
        body = call.body.having(stream=True, stream_options=options)
        reply = await service(call.having(stream=True, body=body))
        try:
            chunk = await _whole(reply, call.operation)
            usage = chunk.events[0].usage  # reading the events is the judgement whether this is an answer
        except UpstreamError as error:
            error.endpoint = error.endpoint or reply.head.endpoint  # the next try may go elsewhere
            raise
        return Reply.whole(reply.head, chunk, usage)


async def _whole(reply: Reply, operation: Operation) -> Chunk:
    events: list[bytes] = []
    async with reply:
        async for chunk in reply:
            events.extend(event.data for event in chunk.events)
    return Chunk(assemble(events), read_whole(operation))
