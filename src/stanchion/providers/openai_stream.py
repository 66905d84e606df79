"""The source of a streamed reply: cuts the provider's bytes at event boundaries and watches for the end.

The rule above all: a stream that did not say its end is Cut, never complete.  An event that looks as
events look passes as bytes; only one that looks unusual is decoded here.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import msgspec

from stanchion.core.call import Operation
from stanchion.core.chunk import Chunk
from stanchion.core.errors import Cut, Refused, StanchionError, Unusable, UpstreamError
from stanchion.core.reply import Reply
from stanchion.core.trail import Trail
from stanchion.core.usage import Usage
from stanchion.providers.http_answer import HttpAnswer
from stanchion.rules.refusals import judge
from stanchion.wire import sse
from stanchion.wire.answers import is_usage_only, read_chat_event, read_stream, stream_error
from stanchion.wire.errors import ErrorFacts

_DONE_EVENT = b"data: [DONE]\n\n"
_FIELDS = (b"data:", b"event:", b"id:", b"retry:", b":", b"\n", b"\r", b"\xef\xbb\xbf")
_LAST_RESPONSE_EVENTS = (b"response.completed", b"response.incomplete", b"response.failed")
_FINISH = re.compile(rb'"finish_reason"\s*:\s*"[^"]')  # some providers write "" as long as there is none
_STATUS_OF_CODE = {"rate_limit_exceeded": 429, "insufficient_quota": 429, "content_filter": 400}


class StreamRules(msgspec.Struct, frozen=True, gc=False):
    """What this stream must look like."""

    endpoint: str  # whose stream it is: errors name it, so that the next try goes elsewhere
    operation: Operation
    strip_usage: bool  # the caller did not ask for the usage event
    done: bool  # it ends with [DONE]
    answers: int  # how many choices must finish
    prompt_bytes: int  # for the estimate of a stream that never told its usage


class EventStream:
    """A Source.  `reply` is set by whoever makes it, before the first read."""

    __slots__ = (
        "_answer",
        "_begun",
        "_blank",
        "_cutter",
        "_done",
        "_events",
        "_finished",
        "_quick",
        "_read",
        "_rules",
        "_settled",
        "_take",
        "_trail",
        "more",
        "reply",
    )

    reply: Reply

    def __init__(
        self, answer: HttpAnswer, rules: StreamRules, trail: Trail, blank: Callable[[bytes], bytes]
    ) -> None:
        self._answer = answer
        self._rules = rules
        self._trail = trail
        self._blank = blank
        self._cutter: sse.Cutter | None = None  # where a read did not end with an event, until one does
        self._read = read_stream(rules.operation)
        self._quick = False  # chat, nothing pending: an event in the middle passes at a glance
        self._take = answer.reader.take
        self.more = answer.more  # the same, without a call between
        self._begun = False  # something was handed out
        self._done = False  # the stream said its end
        self._settled = False
        self._events = 0  # handed out; about a token each
        self._finished = 0  # choices that have a finish_reason

    async def __anext__(self) -> Chunk:
        """Return the next events.  Raises Silent, Refused, Unusable, Cut or DeadlineExceeded."""
        while (chunk := self.take()) is None:
            await self.more()
        return chunk

    def take(self) -> Chunk | None:
        """Return the next events, None if none are here.  Raises as `__anext__`."""
        try:
            while not self._done:
                raw = self._take()
                if raw is None:
                    return None
                if self._quick and _is_in_the_middle(raw):
                    self._events += 1
                    return Chunk(raw, read_chat_event)  # nearly always
                if not raw:
                    return self._at_the_end()
                shown = self._shown(raw)
                if shown:
                    return Chunk(shown, self._read)
        except UpstreamError as error:
            error.endpoint = self._rules.endpoint
            raise
        except BaseException as error:
            failure = self._answer.broken(error)
            if failure is error:
                raise
            if isinstance(failure, UpstreamError):
                failure.endpoint = self._rules.endpoint
            raise failure from error
        raise StopAsyncIteration

    def _shown(self, data: bytes) -> bytes:
        """Cut a read at event boundaries; return the events to hand out."""
        self._answer.begin()
        whole = self._cutter is None and data.endswith(b"\n\n")
        raw = data if whole else self._whole_events(data)
        shown = self._seen(raw) if raw else b""
        if shown:
            self._begun = True
        self._quick = (
            self._begun and self._cutter is None and self._rules.operation is not Operation.RESPONSES
        )
        return shown

    def _whole_events(self, data: bytes) -> bytes:
        cutter = self._cutter or sse.Cutter()
        try:
            raw = cutter.feed(data)
        except sse.TooLong as error:
            raise Cut(str(error), code="event_too_long") from None
        self._cutter = cutter if cutter.pending else None
        if not self._begun and not raw:
            self._refuse_other(cutter.pending)
        return raw

    async def aclose(self) -> None:
        """Settle what it cost, and give the connection back or close it."""
        if self._settled:
            return
        self._settled = True
        if self.reply.usage is None:
            output = max(0, self._events - 1)  # the first event has the role only
            self.reply.usage = Usage(input=self._rules.prompt_bytes // 4, output=output, estimated=True)
        self._trail.used(self.reply.usage)
        if self._done:
            await self._answer.drain()
        else:
            self._answer.abort()

    def _seen(self, raw: bytes) -> bytes:
        """Look at whole events; return those to hand out."""
        if self._rules.operation is Operation.RESPONSES:
            self._events += raw.count(b"\n\n")
            return self._seen_response(raw)
        if raw.endswith(_DONE_EVENT) and len(raw) > len(_DONE_EVENT):
            # the last read has many events before the end: no reason to look at each closely
            shown = self._seen_before_end(raw[: -len(_DONE_EVENT)])
            if not self._done:
                self._end()
                shown += _DONE_EVENT
            return shown
        return self._seen_before_end(raw)

    def _seen_before_end(self, raw: bytes) -> bytes:
        """Look at events among which is no end, nearly always.  Cheap for those that look as they should."""
        count = raw.count(b"\n\n")
        self._events += count
        plain = (
            raw.startswith(b"data: {")
            and raw.endswith(b"}\n\n")
            and (count == 1 or raw.count(b"}\n\ndata: {") == count - 1)
            and b'"error"' not in raw
        )
        if not plain:
            return self._seen_closely(raw)
        if b'"finish_reason":"' in raw or b'"finish_reason": "' in raw or b'"finish_reason" ' in raw:
            self._finished += len(_FINISH.findall(raw))
        return self._with_usage(raw) if _has_usage(raw) else raw

    def _with_usage(self, raw: bytes) -> bytes:
        """Take the usage out of these events, and the event that has nothing else, if nobody asked for it."""
        kept: list[bytes] = []
        for part in sse.split(raw):
            if _has_usage(part):
                data = sse.read(part)[1]
                self.reply.usage = self._read(sse.write(data))[0].usage or self.reply.usage
                if self._rules.strip_usage and is_usage_only(data):
                    continue
            kept.append(part + b"\n\n")
        return b"".join(kept)

    def _end(self) -> None:
        """Note that the stream said its end.  Raises Cut if no choice has finished."""
        if not self._finished:  # a proxy ends so what its provider broke off
            raise Cut("the stream said its end and gave no finish_reason", code="no_finish_reason")
        self._done = True

    def _seen_closely(self, raw: bytes) -> bytes:
        """Decode events that look unusual: the end, an error, a comment, a broken one."""
        if not self._begun:
            self._refuse_other(raw)
        kept: list[bytes] = []
        for part in sse.split(raw):
            _, data = sse.read(part)
            if data == sse.DONE:
                self._end()
                kept.append(_DONE_EVENT)
                break
            if not data:
                continue  # a comment, or a ping of the provider's
            error = stream_error(self._blank(data))
            if error is not None:
                self._raise(error)
            event = self._read(b"data: " + data.replace(b"\n", b" ") + b"\n\n")[0]
            self._finished += len(_FINISH.findall(data))  # of all choices
            if event.usage is not None:
                self.reply.usage = event.usage
                if self._rules.strip_usage and is_usage_only(data):
                    continue
            kept.append(part + b"\n\n")
        return b"".join(kept)

    def _seen_response(self, raw: bytes) -> bytes:
        """The Responses API: typed events, an end event instead of [DONE]."""
        if not self._begun:
            self._refuse_other(raw)
        if b'"error"' in raw or not raw.rstrip(b"\r\n").endswith(b"}"):
            for part in sse.split(raw):
                name, data = sse.read(part)
                error = stream_error(self._blank(data)) if data else None
                if error is not None and (name in ("", "error")):
                    self._raise(error)
        if any(name in raw for name in _LAST_RESPONSE_EVENTS):
            for event in self._read(raw):
                if event.usage is not None:
                    self.reply.usage = event.usage
                self._done = self._done or event.name.encode() in _LAST_RESPONSE_EVENTS
        return raw

    def _at_the_end(self) -> Chunk:
        """The bytes have ended.  Return the end event if the stream is complete.  Raises Cut."""
        complete = not self._rules.done and self._finished >= self._rules.answers
        if not complete or (self._cutter is not None and self._cutter.pending.strip()):
            raise Cut("the stream ended before it said its end", code="stream_cut")
        self._done = True
        return Chunk(_DONE_EVENT, self._read)

    def _refuse_other(self, data: bytes) -> None:
        """Refuse what is no event stream at all: HTML, or JSON in answer to a call for a stream."""
        if data and not data.startswith(_FIELDS):
            error = stream_error(self._blank(data))
            if error is not None:
                self._raise(error)
            raise Unusable(
                "the provider answered with something that is no event stream", code="not_a_stream"
            )

    def _raise(self, facts: ErrorFacts) -> None:
        raise in_stream_error(facts, begun=self._begun)


def _is_in_the_middle(raw: bytes) -> bool:
    """Say whether this is one event as OpenAI sends them, without an end, usage or an error."""
    return (
        raw[:7] == b"data: {"  # slices and `in`: the methods take their arguments apart, 0.1 us each
        and raw[-3:] == b"}\n\n"
        and b'"finish_reason":null' in raw
        and b'"usage":null' in raw
        and b"\n" not in raw[:-2]
        and b'"error"' not in raw
    )


def _has_usage(raw: bytes) -> bool:
    return b'"usage":{' in raw or b'"usage": {' in raw


def in_stream_error(facts: ErrorFacts, *, begun: bool) -> StanchionError:
    """Make the error of an error event: a refusal as the first event, a cut after others."""
    status = _STATUS_OF_CODE.get(facts.code or "", 500)
    verdict = judge(status, facts.code, facts.type)
    kind = Cut if begun and verdict.retryable else Refused
    return kind(
        f"the provider sent an error in its stream: {facts.code or facts.type or 'no code'}",
        status=status if kind is Refused and status != 500 else 502,
        type=facts.type or "upstream_error",
        code=facts.code or "error_in_stream",
        param=facts.param,
        said=facts.message,
        retryable=verdict.retryable,
        elsewhere=verdict.elsewhere,
        permanent=verdict.permanent,
    )
