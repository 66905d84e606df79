"""A stream taken up again reads as one."""

from __future__ import annotations

import json

import pytest

from stanchion.wire import continued, sse
from stanchion.wire.answers import read_chat_events

FIRST = {
    "id": "one",
    "object": "chat.completion.chunk",
    "created": 1,
    "model": "m",
    "system_fingerprint": "f",
}


def test_the_identity_is_that_of_the_first_stream() -> None:
    data = json.dumps({**FIRST, "choices": [], "usage": None}).encode()
    who = continued.identity(data)
    assert who == FIRST
    second = json.dumps({"id": "two", "created": 9, "model": "other", "choices": [1], "x": 2}).encode()
    assert json.loads(sse.read(continued.renamed(second, who).strip())[1]) == {
        **FIRST,
        "choices": [1],
        "x": 2,
    }
    assert continued.identity(b"[1]") == {}
    assert continued.renamed(b"[1]", who) == b"data: [1]\n\n"


@pytest.mark.parametrize(
    "piece",
    [
        ("0.content", "rest"),
        ("0.reasoning_content", "rest"),
        ("0.refusal", "rest"),
        ("0.reasoning", "rest"),
        ("0.tool.3.arguments", '{"a"'),
    ],
)
def test_what_is_written_of_a_piece_is_read_back_as_it(piece: tuple[str, str]) -> None:
    events = read_chat_events(continued.rest([piece], FIRST))
    assert [each for event in events for each in event.pieces] == [piece]
    assert events[0].model == "m"


def test_an_end_in_the_same_event_follows_the_text() -> None:
    events = read_chat_events(continued.rest([("0.content", "x"), ("0.finish_reason", "stop")], FIRST))
    assert [(event.text, event.finish_reason) for event in events] == [("x", None), ("", "stop")]
    assert continued.rest([], FIRST) == b""


def test_a_text_completion_has_its_text_beside_no_delta() -> None:
    raw = continued.rest([("0.content", "x")], {**FIRST, "object": "text_completion"})
    choice = json.loads(sse.read(raw.strip())[1])["choices"][0]
    assert (choice["text"], "delta" in choice) == ("x", False)


@pytest.mark.parametrize(
    "where", ["0.tool.0.name", "0.function_call.arguments", "0.function_call.name", "0.?", "?"]
)
def test_what_cannot_be_written_in_part_is_refused(where: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        continued.rest([(where, "x")], FIRST)


def test_the_role_and_the_end_of_every_choice_are_marks() -> None:
    choices = [
        {"index": 0, "delta": {"role": "assistant"}},
        {"index": 1, "delta": {}, "finish_reason": "stop"},
    ]
    said = continued.marks(json.dumps({"choices": choices}).encode())
    assert said == [("0.role", "assistant"), ("1.finish_reason", "stop")]
    assert continued.marks(b'{"choices": null}') == continued.marks(b"[]") == []
