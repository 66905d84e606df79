"""How large a call is: its prompt, guessed rather too long than too short, and how long its answers may become."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import msgspec

from stanchion.core.answer_size import AnswerSize
from stanchion.core.call import Body, Operation
from stanchion.rules.charge import charge_of, contents_of

_encode = msgspec.json.Encoder().encode
# the fields that bound one answer, the first of them the present one
ANSWER_LIMITS: Mapping[str, tuple[str, ...]] = {
    Operation.CHAT.path: ("max_completion_tokens", "max_tokens"),
    Operation.COMPLETIONS.path: ("max_tokens",),
    Operation.RESPONSES.path: ("max_output_tokens",),
}
_NONE = ()
_ANSWERS = ("n", "best_of")
_FRAME = 3  # tokens around a message, and before the answer


def answer_size_of(operation: Operation, body: Body) -> AnswerSize:
    """Return how long the answers may become; a body is measured once however many ask."""
    size = body.answer_size
    if size is None:
        fields = body.fields
        limits = ANSWER_LIMITS.get(operation.path, _NONE)
        said: int | None = None
        for name in limits:
            most = fields.get(name)
            if isinstance(most, int) and most >= 0 and (said is None or most > said):
                said = most
        answers = 0
        if limits:
            answers = 1
            for name in _ANSWERS:
                n = fields.get(name)
                if n is not None and isinstance(n, int) and n > answers:
                    answers = n
        size = body.answer_size = AnswerSize(said, answers, limits)
    return size


def prompt_tokens(body: Body) -> int:
    """Return about how many tokens the prompt has, rather too many than too few.

    Four characters a token (rules/charge.py) is what a provider's admission reckons with.  Of Latin letters a token
    holds three to five, of digits three, of other letters one or two; and each message is framed by three or four.
    """
    fields = body.fields
    messages = fields.get("messages")
    tokens = charge_of(body)
    tokens += tokens // 3 + _FRAME
    if isinstance(messages, list):
        found = cast("list[Any]", messages)
        tokens += _FRAME * len(found) + _more_of(found)
    else:
        tokens += _more(fields.get("input")) + _more(fields.get("prompt")) + _more(fields.get("instructions"))
    tools = fields.get("tools")
    return tokens + len(_encode(tools)) // 4 if tools else tokens


def _more_of(messages: list[Any]) -> int:
    contents = contents_of(messages)
    if contents is None:
        return sum(map(_more, messages))
    return 0 if all(map(str.isascii, contents)) else sum(map(_more, contents))


def _more(value: Any) -> int:
    """Count what text in other letters needs beyond a token for four characters."""
    if value is None:
        return 0
    if isinstance(value, str):
        return 0 if value.isascii() else len(value) // 2
    if isinstance(value, list):
        return sum(_more(each) for each in cast("list[Any]", value))
    if isinstance(value, dict):
        found = cast("dict[str, Any]", value)
        return _more(found.get("content")) + _more(found.get("text"))
    return 0
