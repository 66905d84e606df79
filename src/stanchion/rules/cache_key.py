"""Which calls would get the same answer, and whose answer may be given a second time.

A key covers everything that can change the answer: operation, body, the targets it may go to, the headers that
go along, and who asks: two callers never share an answer.  It is a digest, and tells nothing of the prompt.

Only the outermost object's fields are sorted.  Further down the order of names is kept: a model writes the
fields of a JSON schema in the order in which the schema names them, so another order is another question.
A field that says null is another question than one that is left out; a number is the same with and without
its ".0".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from hashlib import blake2b
from typing import Any

import msgspec

from stanchion.core.call import Call, Operation
from stanchion.rules.cache_control import CacheAsked

KEY_BYTES = 24  # of 192 bits two are alike by chance never
_VERSION = 1  # another way to make keys is another number: old entries are found no more
_encode = msgspec.json.Encoder().encode
# Names of a request, not of what is asked.  Every other header may change the answer.
_ONLY_NAMES = frozenset(
    {"baggage", "cache-control", "traceparent", "tracestate", "x-client-request-id", "x-request-id"}
)
_SAMPLED = frozenset({Operation.CHAT.path, Operation.COMPLETIONS.path, Operation.RESPONSES.path})
_ALWAYS_ALIKE = frozenset({Operation.EMBEDDINGS.path, Operation.MODERATIONS.path})
_OWN_TOOLS = frozenset({"function", "custom"})  # tools the caller runs; any other looks at the world
_NUMBERS = (int, float)


def cache_key(call: Call, targets: Sequence[str]) -> bytes:
    """Return the key of all calls that would get the same answer.  Raises InvalidCall for what is no JSON.

    `targets` names where the call may go; a model's name alone leads elsewhere after a change of the settings.
    """
    fields = call.body.fields
    asked = [(name, _plain(fields[name])) for name in sorted(fields) if name != "stream"]
    headers = [(name.lower(), value) for name, value in call.headers.items()] if call.headers else []
    headers = sorted([each for each in headers if each[0] not in _ONLY_NAMES])
    whole = (_VERSION, call.operation.path, call.caller, call.model, targets, headers, call.stream, asked)
    try:
        text = _encode(whole)
    except (TypeError, ValueError, RecursionError):
        _ = call.body.raw  # says it in the words of the call
        raise
    return blake2b(text, digest_size=KEY_BYTES).digest()


def _plain(value: Any) -> Any:
    """Return a number as JSON means it: 0.0 is 0."""
    return int(value) if type(value) is float and value.is_integer() else value


def may_be_shared(operation: Operation, fields: Mapping[str, Any]) -> bool:
    """Say whether one call's answer can be another's: it leaves nothing behind at the provider but the answer."""
    if operation.path in _ALWAYS_ALIKE:
        return True
    if operation.path not in _SAMPLED:
        return False
    return not fields.get("background") and fields.get("conversation") is None


def repeatable(operation: Operation, fields: Mapping[str, Any]) -> bool:
    """Say whether the same call asks for the same answer: embeddings, moderations, temperature 0 or a seed.

    Not where the provider looks at the world for it (web search, other tools it runs itself), is to keep the
    answer, or goes on from something that it keeps.
    """
    if operation.path in _ALWAYS_ALIKE:
        return True
    if not (_is_zero(fields.get("temperature")) or _has_seed(fields)) or not may_be_shared(operation, fields):
        return False
    if fields.get("web_search_options") is not None or not _own_tools(fields.get("tools")):
        return False
    if operation is Operation.RESPONSES:
        return fields.get("store") is False and fields.get("previous_response_id") is None
    return not fields.get("store")


def _is_zero(value: object) -> bool:
    return type(value) in _NUMBERS and value == 0  # `False` is no number here


def _has_seed(fields: Mapping[str, Any]) -> bool:
    return type(fields.get("seed")) is int


def _own_tools(tools: Any) -> bool:
    if not tools:
        return True
    if not isinstance(tools, list):
        return False
    kinds: list[Any] = [each.get("type") if isinstance(each, dict) else None for each in tools]  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    return all(isinstance(kind, str) and kind in _OWN_TOOLS for kind in kinds)


class Twins(msgspec.Struct, frozen=True, gc=False):
    """Which calls get the same answer as this one.  The cache puts it into `Call.options` for those below."""

    key: bytes
    join: bool = True  # an answer that is on its way already will do


def shares(call: Call, *, unasked: bool) -> bool:
    """Say whether a call's answer may be shared; `unasked`: also where it did not ask and the answer is repeatable."""
    wish = call.options.get(CacheAsked)
    if wish is None:
        return unasked and repeatable(call.operation, call.body.fields)
    if not wish.store:
        return False
    fields = call.body.fields
    if wish.asks and may_be_shared(call.operation, fields):
        return True
    return unasked and repeatable(call.operation, fields)


class Home(msgspec.Struct, frozen=True):
    """Where a call goes first, before any fallback."""

    targets: tuple[str, ...]  # its endpoints with their addresses, for the key
    names: frozenset[str] | None = None  # "provider/model"; None: whoever answers is at home


HomeOf = Callable[[Call], Home]  # raises UnknownModel


def anywhere(call: Call) -> Home:
    """Where targets have no names: the model says all."""
    return Home((call.model,))
