"""One endpoint of any API that speaks OpenAI's protocol: base URL x model x key.

Turns a Call into an HTTP request and the answer into a Reply.  Judges whether an answer is one: a
success status with an error, with HTML, or with half an answer is a failure, and is raised as one.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import msgspec
from yarl import URL

from stanchion.core.call import Body, Call, Operation
from stanchion.core.chunk import Chunk
from stanchion.core.clock import Clock
from stanchion.core.errors import Refused, Unusable, UpstreamError
from stanchion.core.reply import Head, Reply
from stanchion.core.secret import Hidden, Secret
from stanchion.core.usage import Usage
from stanchion.providers.http import HttpClient, prepared
from stanchion.providers.http_answer import HttpAnswer, Limits
from stanchion.providers.openai_stream import EventStream, StreamRules
from stanchion.providers.presets import Preset
from stanchion.rules.refusals import judge
from stanchion.wire.answers import read_whole
from stanchion.wire.errors import read_error
from stanchion.wire.objects import as_object
from stanchion.wire.retry_after import read_retry_after

_ERROR_MOST = 256 * 1024  # bytes of an error body that are read
_STREAMS_USAGE = (Operation.CHAT, Operation.COMPLETIONS)


class EndpointSpec(msgspec.Struct, frozen=True, kw_only=True):
    """Which endpoint it is."""

    name: str  # "provider/model", and "#fingerprint" where there are several keys
    base_url: str
    model: str  # as it is called there
    key: Secret | None
    preset: Preset
    headers: tuple[tuple[str, str], ...] = ()  # extra ones, from the configuration


class OpenAIEndpoint:
    """The service at the bottom of an endpoint's stack."""

    def __init__(self, spec: EndpointSpec, http: HttpClient, clock: Clock) -> None:
        self._spec = spec
        self._http = http
        self._clock = clock
        self._urls = {each.path: URL(f"{spec.base_url}/{each.path}") for each in Operation}
        self._headers = prepared(_headers(spec))
        self._secret = spec.key.reveal().encode() if spec.key is not None else b""
        self._tokens_per_s = 30.0  # learned; for the cost of answers that nobody waited for

    async def __call__(self, call: Call, /) -> Reply:
        """Answer from the provider.  Raises UpstreamError or DeadlineExceeded.  Cancel: the socket is closed."""
        started_at = self._clock.now()
        try:
            return await self._ask(call, started_at)
        except asyncio.CancelledError:
            call.trail.used(self._estimate(call, self._clock.now() - started_at))
            raise
        except UpstreamError as error:
            error.endpoint = self._spec.name
            error.add_note(f"at {self._spec.name}")
            raise

    async def _ask(self, call: Call, started_at: float) -> Reply:
        body, strip_usage = self._body(call)
        headers = {**self._headers, **call.headers} if call.headers else self._headers
        method = "GET" if call.operation is Operation.MODELS else "POST"
        raw = None if method == "GET" else body.raw
        limits = Limits(call.patience, call.deadline, call.stream)
        answer = await self._http.open(method, self._urls[call.operation.path], headers, raw, limits)
        head = Head(
            status=answer.status, endpoint=self._spec.name, model=self._spec.model, headers=answer.headers
        )
        if answer.status >= 300:
            raise await self._refused(answer, stream=call.stream)
        if call.stream:
            return self._stream(call, answer, head, strip_usage=strip_usage)
        return self._whole(call, answer, head, started_at)

    def _body(self, call: Call) -> tuple[Body, bool]:
        """Return the body as this endpoint needs it, and whether usage must be stripped from the stream."""
        body, fields = call.body, call.body.fields
        changes: dict[str, Any] = {}
        if fields.get("model") != self._spec.model:
            changes["model"] = self._spec.model
        strip = False
        if call.stream and call.operation in _STREAMS_USAGE and self._spec.preset.stream_usage:
            options = as_object(fields.get("stream_options")) or {}
            if not options.get("include_usage"):
                # asked always, so that what a stream cost is known
                changes["stream_options"] = {**options, "include_usage": True}
                strip = True
        return (body.having(**changes) if changes else body), strip

    def _whole(self, call: Call, answer: HttpAnswer, head: Head, started_at: float) -> Reply:
        chunk = Chunk(answer.body, read_whole(call.operation))
        usage = chunk.events[0].usage  # reading the events is the judgement whether this is an answer
        if usage is not None and usage.completion_tokens > 20:
            # a moving average over about ten answers
            speed = usage.completion_tokens / max(0.001, self._clock.now() - started_at)
            self._tokens_per_s += (speed - self._tokens_per_s) * 0.1
        if usage is not None:
            call.trail.used(usage)
        return Reply.whole(head, chunk, usage)

    def _estimate(self, call: Call, seconds: float) -> Usage:
        """Estimate what an answer cost that nobody waited for: the prompt, and what was written so far."""
        written = 0 if call.operation is not Operation.CHAT else int(seconds * self._tokens_per_s)
        return Usage(input=len(call.body.raw) // 4, output=written, estimated=True)

    def _stream(self, call: Call, answer: HttpAnswer, head: Head, *, strip_usage: bool) -> Reply:
        rules = StreamRules(
            endpoint=self._spec.name,
            operation=call.operation,
            strip_usage=strip_usage,
            done=self._spec.preset.done,
            answers=_answers(call),
            prompt_bytes=len(call.body.raw),
        )
        source = EventStream(answer, rules, call.trail, self._blank)
        reply = Reply(head, source)
        source.reply = reply
        return reply

    def _blank(self, text: bytes) -> bytes:
        """Blank our key where a provider repeats it."""
        return text.replace(self._secret, b"[key]") if self._secret else text

    async def _refused(self, answer: HttpAnswer, *, stream: bool) -> UpstreamError:
        """Read an error answer and make it an error that states facts."""
        status = answer.status
        try:
            raw = await answer.read_whole() if stream else answer.body
            body = self._blank(raw[:_ERROR_MOST])
        except UpstreamError:
            body = b""  # the status is there, the words are not
        if status < 400:
            return Unusable(f"the provider redirected ({status}): is the base URL right?", code="redirected")
        facts = read_error(body)
        verdict = judge(status, facts.code, facts.type)
        return Refused(
            f"the provider answered {status} {facts.code or facts.type or ''}".rstrip(),
            status=status,
            upstream_status=status,
            type=facts.type or ("invalid_request_error" if status < 500 else "server_error"),
            code=facts.code,
            param=facts.param,
            said=facts.message,
            body=body,
            headers=answer.headers,
            retryable=verdict.retryable,
            elsewhere=verdict.elsewhere,
            permanent=verdict.permanent,
            retry_after_s=read_retry_after(answer.headers, facts.message, now=datetime.now(UTC)),
        )


def _answers(call: Call) -> int:
    n = call.body.fields.get("n")
    return n if isinstance(n, int) and n > 0 else 1


def _headers(spec: EndpointSpec) -> dict[str, str]:
    """Make the headers that requests to this endpoint have beside those of all."""
    headers = dict(spec.headers)
    if spec.key is not None and spec.preset.auth == "bearer":
        headers["Authorization"] = Hidden(f"Bearer {spec.key.reveal()}")
    elif spec.key is not None and spec.preset.auth == "api-key":
        headers["api-key"] = Hidden(spec.key.reveal())
    return headers
