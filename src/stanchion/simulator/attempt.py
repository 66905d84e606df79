"""One call of a model: fault, quota, answer, and the way it is sent."""

from __future__ import annotations

import asyncio
from types import ModuleType
from typing import Protocol, cast

import msgspec

from stanchion.simulator import chat, completions, embeddings, moderations, responses
from stanchion.simulator.answer import Answer, Charge, Context
from stanchion.simulator.errors import ApiError, code_error
from stanchion.simulator.exchange import Exchange
from stanchion.simulator.faults import Fault
from stanchion.simulator.log import CallRecord
from stanchion.simulator.quota import Account, Refusal, admission_charge
from stanchion.simulator.sender import StreamSender, WholeSender
from stanchion.simulator.spoil import SpoiltBody, refusal, spoil_body, spoil_events
from stanchion.simulator.state import State
from stanchion.simulator.timing import INSTANT_PACE, Pace


class Asked(Protocol):
    """The field every request body has."""

    @property
    def model(self) -> str: ...


class Endpoint(Protocol):
    """One operation: a module with these three functions."""

    def decode(self, body: bytes) -> Asked: ...

    def charge(self, request: Asked) -> Charge: ...

    def answer(self, request: Asked, context: Context) -> Answer: ...


def _endpoint(module: ModuleType) -> Endpoint:
    return cast("Endpoint", module)


ENDPOINTS: dict[str, Endpoint] = {
    "/v1/chat/completions": _endpoint(chat),
    "/v1/completions": _endpoint(completions),
    "/v1/responses": _endpoint(responses),
    "/v1/embeddings": _endpoint(embeddings),
    "/v1/moderations": _endpoint(moderations),
}
_INSTEAD = {"error_body", "html", "empty"}  # these replace a stream by a whole body
_HARMLESS = {"slow", "ok"}  # these change nothing but the time


class Attempt:
    """One call of a model, from its decoded body to its reply."""

    __slots__ = (
        "_account",
        "_began",
        "_endpoint",
        "_exchange",
        "_fault",
        "_quota_headers",
        "_record",
        "_state",
    )

    def __init__(
        self, state: State, exchange: Exchange, record: CallRecord, endpoint: Endpoint, began: float
    ) -> None:
        self._state = state
        self._exchange = exchange
        self._record = record
        self._endpoint = endpoint
        self._began = began
        self._fault: Fault | None = None
        self._account: Account | None = None
        self._quota_headers: list[tuple[str, str]] = []

    def run(self) -> None:
        """Raises ApiError for every reply that is an error."""
        exchange, record = self._exchange, self._record
        asked = self._decode()
        record.model = asked.model or ""
        record.stream = bool(getattr(asked, "stream", False))
        now = asyncio.get_running_loop().time()
        tier = str(getattr(asked, "service_tier", None) or "")
        fault = self._fault = self._state.faults.next_for(record.model, now, tier)
        if fault is not None:
            record.fault = fault.label()
            if fault.name == "reset":
                exchange.reset()
                return
            if fault.name == "silence":
                return  # the connection stays open until the client leaves
            error = refusal(fault, record.model, exchange.request.header("authorization"))
            if error is not None:
                raise error
        options = self._state.options
        if options.strict_models and record.model not in options.models and fault is None:
            raise code_error("model_not_found", record.model)
        self._admit(asked, now)
        context = Context(
            serial=record.id,
            cache=self._state.cache,
            nondeterministic=options.nondeterministic,
            context_tokens=options.context_tokens,
            fault=fault.name if fault is not None else None,
        )
        answer = self._endpoint.answer(asked, context)
        record.prompt_tokens = answer.prompt_tokens
        self._send(answer)

    def headers(self) -> list[tuple[str, str]]:
        """The headers of this reply, with the quota as it stood when the call was admitted.

        So do OpenAI's: those of a long answer do not count its own output, those of the next call do.
        """
        return self._state.headers(self._record, self._began) + self._quota_headers

    def _decode(self) -> Asked:
        try:
            return self._endpoint.decode(self._exchange.request.body)
        except msgspec.ValidationError as error:
            raise ApiError(400, f"Invalid request: {error}.", param=_field(str(error))) from error
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise ApiError(
                400,
                "We could not parse the JSON body of your request. (HINT: This likely means you aren't using your "
                "HTTP library correctly. The OpenAI API expects a JSON payload.)",
            ) from error

    def _admit(self, asked: Asked, now: float) -> None:
        """Charge the quota. Raises ApiError 429."""
        quota = self._state.quota
        account = self._account = quota.account(
            self._exchange.request.header("authorization"), self._record.model
        )
        charge = self._endpoint.charge(asked)
        tokens = admission_charge(charge.chars, charge.messages, charge.n, charge.images)
        refused = quota.admit(account, self._record.model, tokens, now)
        if refused is not None:
            raise _too_many(refused, account.headers(now))
        self._record.charge = tokens
        self._quota_headers = account.headers(now)

    def _send(self, answer: Answer) -> None:
        """Send the answer whole or in events, at the pace the timing gives."""
        options = self._state.options
        fault = self._fault
        pace = INSTANT_PACE
        if not options.timing.instant():
            pace = Pace(options.timing, options.seed * 1_000_003 + self._record.id)
        extra_s = fault.seconds if fault is not None and fault.name == "slow" else 0.0
        as_stream = self._record.stream and answer.events is not None
        if as_stream and not (fault is not None and fault.name in _INSTEAD):
            self._stream(answer, pace, extra_s)
            return
        wait_s = pace.whole_s(answer.completion_tokens) + extra_s
        if wait_s > 0:
            self._exchange.sender = WholeSender(wait_s, lambda: self._whole(answer))
        else:
            self._whole(answer)

    def _whole(self, answer: Answer) -> None:
        self._settle(answer.completion_tokens)
        fault = self._fault
        body = answer.whole()
        if fault is None or fault.name in _HARMLESS:
            self._record.completed = True
            self._exchange.whole(200, self.headers(), body)
            return
        spoilt = spoil_body(body, fault)
        headers = self.headers()
        self._exchange.opening(
            200, headers, spoilt.body, length=spoilt.length, content_type=spoilt.content_type
        )
        self._close(spoilt)

    def _close(self, spoilt: SpoiltBody) -> None:
        if spoilt.how is None:
            return  # silent until the client leaves
        if spoilt.how == "clean":
            self._exchange.end()
        else:
            self._exchange.leave(spoilt.how)

    def _stream(self, answer: Answer, pace: Pace, extra_s: float) -> None:
        assert answer.events is not None  # noqa: S101 - the caller has looked
        state, record, fault = self._state, self._record, self._fault
        events = answer.events()
        state.open_streams += 1

        def ended(*, completed: bool) -> None:
            state.open_streams -= 1
            record.completed = completed and (fault is None or fault.name in _HARMLESS)
            self._settle(
                answer.completion_tokens if completed else min(record.events_sent, answer.completion_tokens)
            )

        sender = StreamSender(
            self._exchange,
            events if fault is None else spoil_events(events, fault),
            pace,
            on_end=ended,
        )
        wrong_type = fault is not None and fault.name == "content_type"
        head = self._exchange.stream_head(
            self.headers(), *(("text/plain; charset=utf-8",) if wrong_type else ())
        )
        sender.start(head, pace.first_s + extra_s, head_first=True)

    def _settle(self, completion_tokens: int) -> None:
        """Debit the output, as OpenAI does after it was produced."""
        self._record.completion_tokens = completion_tokens
        if self._account is not None:
            self._account.debit(completion_tokens, asyncio.get_running_loop().time())


def _too_many(refused: Refusal, headers: list[tuple[str, str]]) -> ApiError:
    extra: list[tuple[str, str]] = []
    if refused.wait_s > 0:
        extra = [
            ("retry-after", str(max(1, -int(-refused.wait_s // 1)))),
            ("retry-after-ms", str(max(1, -int(-refused.wait_s * 1000 // 1)))),
        ]
    return ApiError(
        429, refused.message, type=refused.kind, code="rate_limit_exceeded", headers=(*headers, *extra)
    )


def _field(message: str) -> str | None:
    """The field a validation message names: its path, or the required field."""
    if "required field `" in message:
        return message.split("required field `")[1].split("`", maxsplit=1)[0]
    if "`$." in message:
        return message.split("`$.")[1].split("`", maxsplit=1)[0]
    return None
