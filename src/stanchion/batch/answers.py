"""What came of a request: the facts that are kept of it."""

from __future__ import annotations

import msgspec

from stanchion.core.usage import Usage


class Problem(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """Why a request has no answer, in OpenAI's words."""

    message: str
    code: str = ""
    param: str = ""
    type: str = ""


class Answer(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """What came of one request: an answer, or a failure that is final."""

    status: int  # the HTTP status; 0 where none came
    body: bytes = b""  # the provider's JSON: the answer, or what it said of the error
    problem: Problem | None = None  # None: it is answered
    request_id: str = ""  # the provider's
    lane: str = "sync"
    attempts: int = 1  # tries in all, of all lanes
    usage: Usage | None = None  # of all tries
    cost_micro_usd: int = 0  # of all tries, in the provider's prices of the lane

    @property
    def answered(self) -> bool:
        """Whether it is an answer."""
        return self.problem is None


#: What came of a try that broke off: the provider may bill it, and never told what it used.
UNTOLD = Answer(0, problem=Problem("it broke off before it told what it used", code="untold"))
