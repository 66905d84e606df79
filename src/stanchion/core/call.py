"""A Call is one request on its way down.  Frozen: a filter that changes it passes on a changed copy."""

from __future__ import annotations

import enum
import itertools
import math
import os
from collections.abc import Mapping
from typing import Any, Literal, TypeVar, cast

import msgspec

from stanchion.core.answer_size import AnswerSize
from stanchion.core.errors import InvalidCall
from stanchion.core.trail import Trail

T = TypeVar("T")
Priority = Literal["interactive", "batch"]
PRIORITY_HEADER = "x-stanchion-priority"
_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode
_NOTHING: Mapping[Any, Any] = {}


class Operation(enum.Enum):
    """What is asked, in OpenAI's names.

    `path` is the path below the API's base URL.  It is an attribute, and the key of tables, because an
    enumeration's `value` and hash cost ten times as much.
    """

    def __init__(self, path: str) -> None:
        self.path = path

    CHAT = "chat/completions"
    RESPONSES = "responses"
    EMBEDDINGS = "embeddings"
    COMPLETIONS = "completions"
    MODERATIONS = "moderations"
    MODELS = "models"


class Body:
    """A JSON object, as bytes, as fields, or both: decoded once, encoded at most once.

    Bytes that nobody changed go out as they came in, unless they are ambiguous: a key that occurs
    twice, or is written with escapes, is read in one way here and could be read in another upstream,
    so such a body goes out as it was understood (the last of the twins).
    """

    __slots__ = ("_raw", "answer_size", "charged", "fields")

    def __init__(self, fields: Mapping[str, Any], raw: bytes | None = None) -> None:
        self.fields = fields
        self.charged = -1  # tokens that admission charges for it, once rules/charge.py was asked
        self.answer_size: AnswerSize | None = None  # once rules/size.py was asked
        self._raw = raw

    @classmethod
    def read(cls, raw: bytes) -> Body:
        """Read a JSON object.  Raises InvalidCall if it is none."""
        try:
            fields = _decode(raw)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            # the decoder's words name an offset, not the text
            raise InvalidCall(f"the request body is not valid JSON: {error}", code="invalid_json") from None
        except RecursionError:
            raise InvalidCall("the request body is nested too deeply", code="invalid_json") from None
        if not isinstance(fields, dict):
            raise InvalidCall("the request body must be a JSON object", code="invalid_json")
        known = cast("dict[str, Any]", fields)
        return cls(known, None if _ambiguous(raw, known) else raw)

    @property
    def raw(self) -> bytes:
        """The JSON text.  Raises InvalidCall if a field cannot be written."""
        if self._raw is None:
            try:
                self._raw = _encode(self.fields)
            except (TypeError, ValueError, RecursionError) as error:  # a UnicodeEncodeError is a ValueError
                why = type(error).__name__
                raise InvalidCall(
                    f"the call cannot be written as JSON ({why})", code="invalid_json"
                ) from None
        return self._raw

    def having(self, **fields: Any) -> Body:
        """Return a copy with these fields changed."""
        return Body({**self.fields, **fields})

    def __repr__(self) -> str:
        return f"<Body with {len(self.fields)} fields>"  # never the prompt


# Keys that we decide on, as they stand in a body.
_DECIDE = [
    (name, f'"{name}"'.encode())
    for name in ("model", "stream", "messages", "stream_options", "max_tokens", "n", "temperature", "seed")
]


def _ambiguous(raw: bytes, fields: Mapping[str, Any]) -> bool:
    """Say whether a key that we decide on may be there twice: one that is not there at all is not."""
    if b"\\" in raw and b"\\u00" in raw:  # one byte is looked for ten times as fast
        return True
    for name, written in _DECIDE:  # noqa: SIM110 - a generator more for every call
        if name in fields and raw.find(written) != raw.rfind(written):
            return True
    return False


class Patience(msgspec.Struct, frozen=True, gc=False):
    """How long one attempt may wait, in seconds.  Enforced where the socket is read."""

    connect_s: float = 5.0  # until a connection stands
    first_token_s: float = 120.0  # of a stream: from sending until the first byte of the answer
    stall_s: float = 60.0  # of a stream: between two reads
    total_s: float = 600.0  # of one attempt, whole or streamed


class _Ids:
    """Names of calls: random per process, then counted, so that one costs no call of the kernel."""

    def __init__(self) -> None:
        self.seed()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self.seed)

    def seed(self) -> None:
        """Begin anew: a child process must not go on with its parent's names."""
        self._prefix = f"req_{os.urandom(8).hex()}"
        self._count = itertools.count()

    def next(self) -> str:
        """Return a name nobody else has."""
        return f"{self._prefix}{next(self._count):08x}"


new_id = _Ids().next


class Call(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One request on its way down."""

    operation: Operation
    body: Body
    model: str  # as the caller named it
    stream: bool = False
    id: str = msgspec.field(default_factory=new_id)
    deadline: float = math.inf  # absolute, in seconds of the event loop's clock
    attempt: int = 1  # 1 is the first try
    target: str = ""  # the route's target that is asked now: "provider/model"
    last_target: bool = True  # no other target follows in the fallback chain
    avoid: frozenset[str] = frozenset()  # endpoints that failed this call: better another
    silent: frozenset[str] = frozenset()  # those that never answered it: not again while another exists
    never: frozenset[str] = frozenset()  # those that refused for good: not again
    patience: Patience = Patience()
    # who asks: a name where its key is known, else a fingerprint; "" where there is only one
    caller: str = ""
    caller_key: str = ""  # the public part of the key it came with; "" if that is none of ours
    team: str = ""  # of the caller
    priority: Priority = "interactive"  # who waits for it: a person, or a job that may take its time
    idempotency_key: str | None = None
    headers: Mapping[str, str] = _NOTHING  # to forward, allow-listed by the face
    options: Mapping[type[Any], Any] = _NOTHING  # one type per policy; over the configured ones
    trail: Trail = msgspec.field(default_factory=Trail)  # what happened so far; shared by all copies

    def option(self, kind: type[T], default: T) -> T:
        """Return this call's options for one policy, or that policy's configured default."""
        found: T = self.options.get(kind, default)
        return found

    def having(self, **changes: Any) -> Call:
        """Return a copy with these fields changed."""
        return msgspec.structs.replace(self, **changes)

    def __repr__(self) -> str:
        return f"<Call {self.id} {self.operation.path} {self.model!r}>"  # never the prompt


def json_call(operation: Operation, body: Body, **known: Any) -> Call:
    """Make a Call from an OpenAI request body.  Raises InvalidCall if `model` or `stream` has a wrong type."""
    model = body.fields.get("model", "")
    if not isinstance(model, str) or not model:
        raise InvalidCall("you must provide a model: a non-empty string", param="model")
    stream = body.fields.get("stream")
    if stream is not None and not isinstance(stream, bool):
        raise InvalidCall("'stream' must be true or false", param="stream")
    return Call(operation=operation, body=body, model=model, stream=bool(stream), **known)


def read_priority(value: str) -> Priority:
    """Read a call's priority.  Raises InvalidCall, which names the two that there are."""
    if value == "interactive" or value == "batch":
        return value
    raise InvalidCall("the priority must be 'interactive' or 'batch'", param=PRIORITY_HEADER)
