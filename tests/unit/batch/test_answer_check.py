"""Answers that do not fit are known, and the model is told what is wrong with them."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from stanchion.batch.answer_check import AnswerCheck, schema_instruction, schema_params
from stanchion.batch.rows import Request
from stanchion.core.call import Operation
from stanchion.rules.json_schema import JsonSchema

SCHEMA = JsonSchema(
    b'{"type":"object","properties":{"a":{"type":"integer"}},"required":["a"],"additionalProperties":false}',
    name="my s.json",
)
ASK = Request("r", Operation.CHAT, b'{"model":"m","messages":[{"role":"user","content":"?"}]}')


def chat(text: str | None, **more: Any) -> bytes:
    choice = {"message": {"role": "assistant", "content": text, **more.pop("message", {})}, **more}
    return msgspec.json.encode({"choices": [choice]})


def test_an_answer_that_fits_has_no_fault() -> None:
    assert AnswerCheck(SCHEMA).fault(chat('{"a":1}')) is None


@pytest.mark.parametrize(
    ("body", "words", "mendable"),
    [
        (chat('{"a":"1"}'), "is not of type", True),
        (chat(None), "truncated", True),
        (chat('{"a"', finish_reason="length"), "raise max_completion_tokens", False),
        (chat(None, message={"refusal": "I will not."}), "refused", False),
    ],
)
def test_a_fault_says_whether_it_is_worth_telling(body: bytes, words: str, mendable: bool) -> None:
    fault = AnswerCheck(SCHEMA).fault(body)
    assert fault is not None
    assert words in fault.words
    assert fault.mendable is mendable
    assert fault.problem.code == "schema_mismatch"
    assert "will not" not in fault.words


def test_each_of_several_answers_must_fit() -> None:
    two = [{"message": {"content": '{"a":1}'}}, {"message": {"content": "{}"}}]
    assert AnswerCheck(SCHEMA).fault(msgspec.json.encode({"choices": two}))


def test_the_model_sees_its_answer_and_its_fault() -> None:
    check = AnswerCheck(SCHEMA)
    body = chat('{"a":"1"}')
    fault = check.fault(body)
    assert fault is not None
    again = msgspec.json.decode(check.repaired(ASK, body, fault).body)
    assert again["messages"][0] == {"role": "user", "content": "?"}
    assert again["messages"][1] == {"role": "assistant", "content": '{"a":"1"}'}
    assert again["messages"][2]["role"] == "user"
    assert '$.a: "1" is not of type "integer"' in again["messages"][2]["content"]


def test_a_text_that_asks_becomes_a_message_when_it_is_asked_again() -> None:
    ask = Request("r", Operation.RESPONSES, b'{"model":"m","input":"?"}')
    check = AnswerCheck(SCHEMA)
    body = b'{"output":[{"content":[{"type":"output_text","text":"no"}]}]}'
    fault = check.fault(body)
    assert fault is not None
    again = msgspec.json.decode(check.repaired(ask, body, fault).body)
    assert [each["role"] for each in again["input"]] == ["user", "assistant", "user"]


def test_a_provider_is_sent_the_schema_or_the_model_is_told_it() -> None:
    sent = schema_params(SCHEMA, Operation.CHAT, "send")["response_format"]
    assert sent["json_schema"] == {"name": "my_s_json", "schema": SCHEMA.schema, "strict": True}
    assert schema_params(SCHEMA, Operation.RESPONSES, "send")["text"]["format"]["type"] == "json_schema"
    assert schema_instruction(SCHEMA, "send") == ""
    assert schema_params(SCHEMA, Operation.CHAT, "tell") == {}
    assert '"integer"' in schema_instruction(SCHEMA, "tell")
