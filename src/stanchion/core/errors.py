"""Every error the engine raises.  An error states facts; policies decide what follows from them.

    StanchionError
    ├── CallerError             the caller's fault: the same call cannot succeed
    │   ├── InvalidCall         its shape is wrong, or it is too large
    │   ├── UnknownModel        nothing here serves that model
    │   ├── KeyReused           an idempotency key came with another body
    │   ├── Unauthorized        nobody here knows who calls
    │   ├── NotAllowed          the caller's key is not for this
    │   ├── LimitReached        the caller has used what it may for now; `retry_after_s` says until when
    │   ├── NotCached           only a stored answer would have done, and none is there
    │   └── BudgetExceeded      the money that was set apart for such calls is used up
    ├── UpstreamError           the provider's fault; `sent` tells how far the call got
    │   ├── Unreachable         nothing was sent: no address, no connection, no TLS
    │   ├── Silent              it was sent and no answer came: reset, or a timeout before the first byte
    │   ├── Refused             an answer came: an error status
    │   ├── Unusable            an answer came: a success status with something that is no answer
    │   └── Cut                 the answer began and did not end: reset, stall, missing end, bad event
    ├── DeadlineExceeded        the call's own time is over
    ├── Unavailable             nobody can be asked now: every endpoint rests, or we are shutting down
    │   └── NotYet              the endpoint that was chosen has no room after all; never leaves the balancer
    └── SettingsError           the configuration is wrong

`str(error)` holds no key, no prompt and none of the provider's words: those can repeat the prompt.
The provider's words are in `error.said` and `error.body`, for the one who made the call.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Any


class Sent(enum.Enum):
    """How far a call got.  Decides whether asking again can cost twice."""

    NOT_SENT = "not_sent"  # asking again is free
    NO_ANSWER = "no_answer"  # the provider may be working on it: asking again may be billed twice
    ANSWERED = "answered"  # the provider said something


class StanchionError(Exception):
    """Base of every error the engine raises."""

    status = 500  # the HTTP status a gateway answers with
    type = "server_error"  # OpenAI's `error.type`
    code: str | None = None  # OpenAI's `error.code`, or ours
    param: str | None = None
    retry_after_s: float | None = None

    def __init__(self, message: str, **facts: Any) -> None:
        super().__init__(message)
        for name, value in facts.items():
            setattr(self, name, value)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the facts that hold no provider's words, so a crash dump holds none either."""
        facts = {k: v for k, v in vars(self).items() if k not in _WORDS and not k.startswith("__")}
        return _rebuild, (type(self), str(self), facts)


_WORDS = frozenset({"said", "body", "headers", "partial"})


def _rebuild(kind: type[StanchionError], message: str, facts: dict[str, Any]) -> StanchionError:
    return kind(message, **facts)


class CallerError(StanchionError):
    """The caller's fault: the same call cannot succeed."""

    status = 400
    type = "invalid_request_error"


class InvalidCall(CallerError):
    """The call's shape is wrong.  `param` names the field."""


class UnknownModel(CallerError):
    """No route and no provider serves that model."""

    status = 404
    code = "model_not_found"
    param = "model"


class KeyReused(CallerError):
    """An idempotency key came again with another body."""

    status = 422
    code = "idempotency_key_reused"


class Unauthorized(CallerError):
    """Nobody here knows who calls: no key, or one that is unknown, expired or revoked."""

    status = 401
    code = "invalid_api_key"


class NotAllowed(CallerError):
    """The caller is known, and its key is not for this."""

    status = 403


class LimitReached(CallerError):
    """The caller has used what it may for now.  Nothing was sent."""

    status = 429
    type = "rate_limit_error"
    code = "caller_limit_reached"


class NotCached(CallerError):
    """Only a stored answer would have done, and none is there."""

    status = 504  # RFC 9111, 5.2.1.7
    code = "not_cached"


class BudgetExceeded(CallerError):
    """A budget has too little left: nothing was sent, or a stream was cut; `retry_after_s`: until its window ends."""

    status = 429
    type = "insufficient_quota"
    code = "budget_exceeded"


class UpstreamError(StanchionError):
    """The provider failed."""

    status = 502
    type = "upstream_error"
    sent = Sent.ANSWERED
    retryable = True  # the same call may succeed later at the same endpoint
    elsewhere = True  # another endpoint or model may answer it
    permanent = False  # this key or account is dead until a person acts: never ask it again soon
    endpoint: str = ""  # which endpoint failed
    upstream_status: int | None = None
    said: str = ""  # the provider's message, our keys blanked
    body: bytes | None = None  # the provider's error body, our keys blanked
    headers: Mapping[str, str] = {}  # the provider's headers


class Unreachable(UpstreamError):
    """Nothing was sent."""

    code = "upstream_unreachable"
    sent = Sent.NOT_SENT


class Silent(UpstreamError):
    """It was sent and no answer came."""

    status = 504
    code = "upstream_silent"
    sent = Sent.NO_ANSWER


class Refused(UpstreamError):
    """The provider answered with an error status."""


class Unusable(UpstreamError):
    """The provider answered with a success status and something that is no answer."""

    code = "upstream_unusable"


class Cut(UpstreamError):
    """The answer began and did not end.  `partial` is the text that came, where it was read."""

    code = "upstream_cut"
    partial: str = ""


class DeadlineExceeded(StanchionError):
    """The call's time is over."""

    status = 504
    type = "timeout_error"
    code = "deadline_exceeded"


class Unavailable(StanchionError):
    """Nobody can be asked now; `retry_after_s` says when it is worth asking again."""

    status = 503
    type = "service_unavailable_error"
    code = "no_endpoint_available"


class NotYet(Unavailable):
    """The endpoint that was chosen has no room for the call after all: what it shares with others was used by them.

    Nothing was sent.  The call goes back to the head of its line, and not to this endpoint before `wait_s`;
    if that is not `firm`, it is a guess, and a wake of the endpoint ends it.
    """

    code = "no_room_yet"

    def __init__(self, wait_s: float, *, firm: bool = True, **facts: Any) -> None:
        super().__init__(f"no room for {wait_s:.3g} s", retry_after_s=wait_s, **facts)
        self.wait_s = wait_s
        self.firm = firm

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.wait_s,), {"firm": self.firm}


class SettingsError(StanchionError):
    """The configuration is wrong.  The message names the place and what to write instead."""

    code = "bad_settings"
