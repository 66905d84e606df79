"""One endpoint of any API that speaks OpenAI's protocol: base URL x model x key.

Turns a Call into an HTTP request and the answer into a Reply.  Judges whether an answer is one: a
success status with an error, with HTML, or with half an answer is a failure, and is raised as one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Any

import msgspec
from yarl import URL

from stanchion.core.call import Body, Call, Operation
from stanchion.core.chunk import Chunk
from stanchion.core.clock import Clock
from stanchion.core.errors import Refused, Unusable, UpstreamError
from stanchion.core.reply import End, Head, Reply
from stanchion.core.secret import Hidden, Secret
from stanchion.core.usage import Usage
from stanchion.keys.slot import KeySlot, Lease
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
Blank = Callable[[bytes], bytes]
_STREAMS_USAGE = (Operation.CHAT, Operation.COMPLETIONS)


class EndpointSpec(msgspec.Struct, frozen=True, kw_only=True):
    """Which endpoint it is."""

    name: str  # "provider/model", and "#name" of the key where there are several
    base_url: str
    model: str  # as it is called there
    key: KeySlot | None
    preset: Preset
    headers: tuple[tuple[str, str], ...] = ()  # extra ones, from the configuration


class OpenAIEndpoint:
    """The service at the bottom of an endpoint's stack."""

    def __init__(self, spec: EndpointSpec, http: HttpClient, clock: Clock) -> None:
        self._spec = spec
        self._http = http
        self._clock = clock
        self._urls = {each.path: URL(f"{spec.base_url}/{each.path}") for each in Operation}
        self._headers = prepared(dict(spec.headers))  # without a key
        self._kind = (spec.headers, spec.preset.auth)
        self._tokens_per_s = 30.0  # learned; for the cost of answers that nobody waited for

    async def __call__(self, call: Call, /) -> Reply:
        """Answer from the provider.  Raises UpstreamError or DeadlineExceeded.  Cancel: the socket is closed."""
        started_at = self._clock.now()
        lease = self._spec.key.lease(started_at) if self._spec.key is not None else None
        try:
            body, strip_usage = self._body(call)
            answer = await self._send(call, body, lease)
            if lease is not None and not lease.version.learned:
                lease.version.learn(answer.headers, for_good=answer.status < 300)
            blank = partial(_blank, lease)
            if answer.status >= 300:
                raise await refused(answer, lease, stream=call.stream)
            if call.stream:
                reply = self._stream(call, answer, blank, strip_usage=strip_usage)
            else:
                reply = self._whole(call, answer, started_at)
        except asyncio.CancelledError as error:
            call.trail.used(self._estimate(call, self._clock.now() - started_at))
            self._left(lease, End.CANCELLED, error)
            raise
        except BaseException as error:
            if isinstance(error, UpstreamError):
                error.endpoint = self._spec.name
                error.add_note(f"at {self._spec.name}")
            self._left(lease, End.FAILED, error)
            raise
        return reply if lease is None else reply.on_end(partial(self._left, lease))

    def _left(self, lease: Lease | None, end: End, error: BaseException | None) -> None:
        """Give the key back, and tell it how the call went."""
        slot = self._spec.key
        if slot is None or lease is None:
            return
        try:
            if isinstance(error, UpstreamError):
                slot.failed(lease, error, self._spec.model, self._clock.now())
        finally:
            slot.give_back(lease, end)

    def _send(self, call: Call, body: Body, lease: Lease | None) -> Awaitable[HttpAnswer]:
        headers = self._headers if lease is None else self._headers_with(lease)
        if call.headers:
            headers = {**headers, **call.headers}
        method = "GET" if call.operation is Operation.MODELS else "POST"
        raw = None if method == "GET" else body.raw
        limits = Limits(call.patience, call.deadline, call.stream)
        return self._http.open(method, self._urls[call.operation.path], headers, raw, limits)

    def _head(self, answer: HttpAnswer) -> Head:
        return Head(
            status=answer.status, endpoint=self._spec.name, model=self._spec.model, headers=answer.headers
        )

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

    def _whole(self, call: Call, answer: HttpAnswer, started_at: float) -> Reply:
        chunk = Chunk(answer.body, read_whole(call.operation))
        usage = chunk.events[0].usage  # reading the events is the judgement whether this is an answer
        now = self._clock.now()
        if usage is not None:
            call.trail.used(usage)
            written = usage.completion_tokens
            if written > 20:
                # a moving average over about ten answers
                self._tokens_per_s += (written / max(0.001, now - started_at) - self._tokens_per_s) * 0.1
        return Reply.whole(self._head(answer), chunk, usage, at=now, loop=self._clock.loop)

    def _estimate(self, call: Call, seconds: float) -> Usage:
        """Estimate what an answer cost that nobody waited for: the prompt, and what was written so far."""
        written = 0 if call.operation is not Operation.CHAT else int(seconds * self._tokens_per_s)
        return Usage(input=len(call.body.raw) // 4, output=written, estimated=True)

    def _headers_with(self, lease: Lease) -> Mapping[str, str]:
        """Return the headers with the leased key: made once for each value of it, and forgotten with it."""
        made = lease.version.prepared.get(self._kind)
        if made is None:
            key = key_header(self._spec.preset, lease.version.secret)
            made = lease.version.prepared[self._kind] = prepared({**self._headers, **key})
        return made

    def _stream(self, call: Call, answer: HttpAnswer, blank: Blank, *, strip_usage: bool) -> Reply:
        rules = StreamRules(
            endpoint=self._spec.name,
            operation=call.operation,
            strip_usage=strip_usage,
            done=self._spec.preset.done,
            answers=_answers(call),
            prompt_bytes=len(call.body.raw),
        )
        source = EventStream(answer, rules, call.trail, blank)
        reply = Reply.fed(self._head(answer), source, self._clock.loop)
        source.reply = reply
        return reply


async def refused(answer: HttpAnswer, lease: Lease | None, *, stream: bool) -> UpstreamError:
    """Read an error answer and make it an error that states facts."""
    status = answer.status
    try:
        raw = await answer.read_whole() if stream else answer.body
        body = _blank(lease, raw[:_ERROR_MOST])
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


def _blank(lease: Lease | None, text: bytes) -> bytes:
    """Blank our key where a provider repeats it."""
    return text if lease is None else text.replace(lease.version.secret.reveal().encode(), b"[key]")


def key_header(preset: Preset, secret: Secret) -> dict[str, str]:
    """Make the header that carries a key to a provider."""
    if preset.auth == "bearer":
        return {"Authorization": Hidden(f"Bearer {secret.reveal()}")}
    return {"api-key": Hidden(secret.reveal())} if preset.auth == "api-key" else {}


def _answers(call: Call) -> int:
    n = call.body.fields.get("n")
    return n if isinstance(n, int) and n > 0 else 1
