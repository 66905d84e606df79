"""What an answer says, whatever asked for it."""

from __future__ import annotations

import msgspec
import pytest

from stanchion.core.usage import Usage
from stanchion.wire.said import Said, said

USAGE = {"prompt_tokens": 3, "completion_tokens": 2}
CHAT = {"model": "m", "choices": [{"message": {"content": "Hi"}, "finish_reason": "stop"}], "usage": USAGE}


@pytest.mark.parametrize(
    ("body", "wanted"),
    [
        (CHAT, Said(("Hi",), None, "stop", "", "m", Usage(input=3, output=2))),
        (
            {
                "choices": [
                    {"message": {"content": [{"type": "text", "text": "a"}, {"text": "b"}]}},
                    {"message": {}},
                ]
            },
            Said(("ab", "")),
        ),
        (
            {"choices": [{"message": {"content": None, "refusal": "No."}}]},
            Said(("",), refusal="No."),
        ),
        (
            {"choices": [{"text": "x", "finish_reason": "length"}]},
            Said(("x",), None, "length"),
        ),
        (
            {
                "status": "incomplete",
                "output": [
                    {"type": "reasoning"},
                    {
                        "type": "message",
                        "content": [
                            {"type": "output_text", "text": "a"},
                            {"type": "refusal", "refusal": "no"},
                        ],
                    },
                ],
            },
            Said(("a",), None, "length", "no"),
        ),
        ({"data": [{"embedding": [0.5]}], "model": "e"}, Said((), [0.5], "", "", "e")),
        ({"data": [{"embedding": [1]}, {"embedding": [2]}]}, Said((), [[1], [2]])),
        ({"results": [{"flagged": True}]}, Said((), {"flagged": True})),
        ({"choices": "none"}, Said()),
        ({}, Said()),
    ],
)
def test_an_answer_is_read(body: object, wanted: Said) -> None:
    assert said(msgspec.json.encode(body)) == wanted


def test_what_is_no_answer_says_nothing() -> None:
    assert said(b"<html>") == Said()
    assert Said().text == ""
