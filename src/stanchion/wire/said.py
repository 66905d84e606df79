"""What an answer says, without its frame: the text, why it ended, what it used.  For people and for tables."""

from __future__ import annotations

from typing import Any, cast

import msgspec

from stanchion.core.usage import Usage
from stanchion.wire.objects import as_list, as_object
from stanchion.wire.shapes import Answer, Response, Text
from stanchion.wire.usage import WireUsage, usage_of


class Said(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """What one answer says."""

    texts: tuple[str, ...] = ()  # one for each of its choices
    value: Any = None  # of what is no text: the vectors of an embedding, the results of a moderation
    finish_reason: str = ""
    refusal: str = ""  # why the model would not, in its own words
    model: str = ""
    usage: Usage | None = None

    @property
    def text(self) -> str:
        """The first text."""
        return self.texts[0] if self.texts else ""


class _Shape(msgspec.Struct, gc=False):
    """What tells the answers of the operations apart."""

    choices: msgspec.Raw = msgspec.Raw()
    output: msgspec.Raw = msgspec.Raw()


class _Lists(msgspec.Struct, gc=False):
    """Embeddings and moderations."""

    data: list[dict[str, Any]] | None = None
    results: list[Any] | None = None
    usage: WireUsage | None = None
    model: str | None = None


_shape = msgspec.json.Decoder(_Shape).decode
_answer = msgspec.json.Decoder(Answer).decode
_response = msgspec.json.Decoder(Response).decode
_lists = msgspec.json.Decoder(_Lists).decode


def said(body: bytes) -> Said:
    """Return what a whole answer of any operation says; nothing, where it has another shape."""
    try:
        shape = _shape(body)
        if shape.choices:
            return _of_choices(_answer(body))
        return _of_response(_response(body)) if shape.output else _of_lists(_lists(body))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return Said()


def _of_choices(answer: Answer) -> Said:
    choices = answer.choices or []
    messages = [choice.message for choice in choices]
    texts = [
        (choice.text or "") if message is None else _plain(message.content)
        for choice, message in zip(choices, messages, strict=True)
    ]
    refusals = [message.refusal for message in messages if message is not None and message.refusal]
    return Said(
        texts=tuple(texts),
        finish_reason=(choices[0].finish_reason or "") if choices else "",
        refusal=refusals[0] if refusals else "",
        model=answer.model or "",
        usage=usage_of(answer.usage, answer.service_tier) if answer.usage is not None else None,
    )


def _of_response(response: Response) -> Said:
    text, refusal = "", ""
    for each in response.output or ():
        for part in as_list((as_object(each) or {}).get("content")) or ():
            found = as_object(part) or {}
            if found.get("type") == "output_text":
                text += str(found.get("text") or "")
            elif found.get("type") == "refusal":
                refusal = str(found.get("refusal") or "")
    return Said(
        texts=(text,),
        finish_reason={"completed": "stop", "incomplete": "length"}.get(
            response.status or "", response.status or ""
        ),
        refusal=refusal,
        model=response.model or "",
        usage=usage_of(response.usage, response.service_tier) if response.usage is not None else None,
    )


def _of_lists(lists: _Lists) -> Said:
    vectors = [each.get("embedding") for each in lists.data or ()]
    values: list[Any] = vectors or lists.results or []
    return Said(
        value=values[0] if len(values) == 1 else values or None,
        model=lists.model or "",
        usage=usage_of(lists.usage) if lists.usage is not None else None,
    )


def _plain(content: Text) -> str:
    """Return content as a text; some providers write it in parts."""
    if isinstance(content, list):
        return "".join(
            str((as_object(part) or {}).get("text") or "") for part in cast("list[object]", content)
        )
    return content or ""
