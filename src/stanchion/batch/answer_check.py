"""Answers that must fit a JSON schema: what does not fit goes back to the model once, with what is wrong with it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from stanchion.batch.answers import Problem
from stanchion.batch.rows import Request
from stanchion.core.call import Operation
from stanchion.wire.said import said

if TYPE_CHECKING:  # ten milliseconds of a start that has no schema
    from stanchion.rules.json_schema import JsonSchema

SchemaMode = Literal["send", "tell"]
_PLACES = {Operation.CHAT: "messages", Operation.RESPONSES: "input"}
_CUT = ("length", "incomplete")
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(dict[str, Any]).decode


class Fault(msgspec.Struct, frozen=True, gc=False):
    """Why an answer will not do."""

    words: str
    mendable: bool = True  # the model may do better when it is told

    @property
    def problem(self) -> Problem:
        """The row's failure, if it stays so."""
        return Problem(f"the answer does not fit the schema: {self.words}", code="schema_mismatch")


class AnswerCheck:
    """Checks answers, and makes the request that asks for a better one."""

    def __init__(self, schema: JsonSchema, *, repairs: int = 1) -> None:
        self._schema = schema
        self.repairs = repairs  # how often a model is told what is wrong, for each row

    def fault(self, body: bytes) -> Fault | None:
        """Say what is wrong with an answer; None if nothing is."""
        heard = said(body)
        if heard.refusal:
            return Fault("the model refused to answer", mendable=False)
        for text in heard.texts or ("",):
            words = self._schema.fault(text)
            if words and heard.finish_reason in _CUT:
                return Fault(
                    "it was cut at its most tokens: raise max_completion_tokens in --params", mendable=False
                )
            if words:
                return Fault(words)
        return None

    def repaired(self, request: Request, body: bytes, fault: Fault) -> Request:
        """Return the request with the answer and what is wrong with it after its messages."""
        fields = _decode(request.body)
        place = _PLACES[request.operation]
        asked = fields[place]
        before = [{"role": "user", "content": asked}] if isinstance(asked, str) else list(asked)
        told = [
            {"role": "assistant", "content": said(body).text},
            {
                "role": "user",
                "content": f"This answer does not fit the JSON schema. What is wrong: {fault.words}. "
                "Answer again, with the whole corrected JSON and nothing else.",
            },
        ]
        return msgspec.structs.replace(request, body=_encode({**fields, place: [*before, *told]}))


def schema_params(schema: JsonSchema, operation: Operation, mode: SchemaMode) -> Mapping[str, Any]:
    """Return the parameters that ask a provider for an answer of this schema; none where it is only told of it."""
    if mode == "tell":
        return {}
    name = (
        "".join(each if each.isascii() and each.isalnum() else "_" for each in schema.name)[:64] or "answer"
    )
    wanted = {"name": name, "schema": schema.schema, "strict": schema.is_strict}
    if operation is Operation.RESPONSES:
        return {"text": {"format": {"type": "json_schema", **wanted}}}
    return {"response_format": {"type": "json_schema", "json_schema": wanted}}


def schema_instruction(schema: JsonSchema, mode: SchemaMode) -> str:
    """Return what a model is told first where its provider cannot be told the schema."""
    if mode == "send":
        return ""
    written = _encode(schema.schema).decode()
    return f"Answer with JSON alone, without Markdown. It must fit this JSON schema:\n{written}"
