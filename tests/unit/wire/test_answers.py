"""What is an answer, and what is none."""

from __future__ import annotations

import json

import pytest

from stanchion.core.call import Operation
from stanchion.core.errors import Cut, Unusable, UpstreamError
from stanchion.core.usage import Usage
from stanchion.testing import DONE, chat_answer, chat_chunk, chat_stream, tool_chunk, usage_chunk
from stanchion.wire.answers import (
    is_usage_only,
    read_chat_events,
    read_response_events,
    read_stream,
    read_whole,
    stream_error,
)

RESPONSE = {
    "id": "resp_1",
    "status": "completed",
    "model": "m-1",
    "output": [
        {"type": "reasoning", "summary": []},
        {
            "type": "message",
            "content": [{"type": "output_text", "text": "hel"}, {"type": "output_text", "text": "lo"}],
        },
        "odd",
    ],
    "usage": {"input_tokens": 3, "output_tokens": 2, "output_tokens_details": {"reasoning_tokens": 1}},
}
WHOLE = {
    Operation.CHAT: chat_answer("hello 你好"),
    Operation.COMPLETIONS: json.dumps(
        {"model": "m", "choices": [{"index": 0, "text": "hello", "finish_reason": "stop"}]}
    ).encode(),
    Operation.RESPONSES: json.dumps(RESPONSE).encode(),
    Operation.EMBEDDINGS: b'{"data":[{"embedding":[0.1,0.2]}],"model":"e","usage":{"prompt_tokens":4}}',
    Operation.MODERATIONS: b'{"id":"x","model":"mod","results":[{"flagged":false}]}',
    Operation.MODELS: b'{"object":"list","data":[]}',
}


@pytest.mark.parametrize("operation", WHOLE)
def test_a_whole_answer_is_accepted_and_cut_at_any_byte_it_is_not(operation: Operation) -> None:
    raw, read = WHOLE[operation], read_whole(operation)
    assert read(raw)[0].data == raw
    for length in range(len(raw)):
        with pytest.raises(UpstreamError):
            read(raw[:length])


ODD = json.dumps(
    {"choices": "odd", "status": 5, "output": 5, "data": 5, "model": {}, "tail": "x" * 20}
).encode()


@pytest.mark.parametrize("operation", WHOLE)
def test_an_answer_of_an_unknown_shape_passes_and_cut_at_any_byte_it_does_not(operation: Operation) -> None:
    read = read_whole(operation)
    assert read(ODD)[0].data == ODD
    for length in range(len(ODD)):
        with pytest.raises(Unusable):
            read(ODD[:length])


@pytest.mark.parametrize("operation", WHOLE)
@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (b"", "not_json"),
        (b"<html></html>", "not_json"),
        (b"\xff", "not_json"),
        (b"[]", "not_an_object"),
        (b"null", "not_an_object"),
        (b'"text"', "not_an_object"),
        (b'{"error":{"message":"busy"}}', "error_in_success"),
        (b'{"error":"busy"}', "error_in_success"),
        (b'{"error":{"message":"busy"},"choices":5,"data":5,"output":5}', "error_in_success"),
        (b'{"a":' * 50_000, "not_json"),
    ],
)
def test_what_is_no_answer_is_not_accepted(operation: Operation, raw: bytes, code: str) -> None:
    with pytest.raises(Unusable) as raised:
        read_whole(operation)(raw)
    assert raised.value.code == code


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        ({"choices": []}, Unusable),
        ({}, Unusable),
        ({"choices": None}, Unusable),
        ({"choices": [{"index": 0, "message": {"content": "hal"}, "finish_reason": None}]}, Cut),
        (
            {"choices": [{"index": 0, "finish_reason": "stop"}, {"index": 1, "message": {"content": "x"}}]},
            Cut,
        ),
    ],
)
def test_a_chat_completion_needs_choices_that_all_finished(
    answer: dict[str, object], kind: type[Exception]
) -> None:
    with pytest.raises(kind):
        read_whole(Operation.CHAT)(json.dumps(answer).encode())


def test_a_whole_answers_text_model_end_and_usage() -> None:
    event = read_whole(Operation.CHAT)(chat_answer("hello", usage=(5, 2)))[0]
    assert (event.text, event.model, event.finish_reason) == ("hello", "m-1", "stop")
    assert event.usage == Usage(input=5, output=2)
    event = read_whole(Operation.RESPONSES)(WHOLE[Operation.RESPONSES])[0]
    assert (event.text, event.model, event.finish_reason) == ("hello", "m-1", "completed")
    assert event.usage == Usage(input=3, output=1, output_reasoning=1)
    event = read_whole(Operation.EMBEDDINGS)(WHOLE[Operation.EMBEDDINGS])[0]
    assert (event.model, event.usage) == ("e", Usage(input=4))


def test_a_streams_events() -> None:
    events = read_chat_events(b"".join(chat_stream("hel", "lo", usage=(3, 2))))
    assert "".join(event.text for event in events) == "hello"
    assert [event.finish_reason for event in events] == [None, None, None, "stop", None]
    assert events[-1].usage == Usage(input=3, output=2)
    assert {event.model for event in events} == {"m-1"}
    assert read_chat_events(DONE) == []
    assert read_chat_events(b": ping\n\n") == []


@pytest.mark.parametrize(
    "raw",
    [
        b'data: {"choices":[{"delta":{"content":"hi"}}]}\n\n',
        b'data:{"choices":[{"delta":{"content":"hi"}}]}\n\n',
        b'data: {"choices":[{"delta":{"content":"hi"}}]}\r\n\r\n',
        b'data: {"choices":[{"delta":{"content":"hi"}}]}\r\r',
        b'data: {"choices":[{"delta":{"content":"hi"}}]}\nid: 1\n\n',
        b'id: 1\ndata: {"choices":[{"delta":{"content":"hi"}}]}\n\n',
        b'data: {"choices":[{"delta":\ndata: {"content":"hi"}}]}\n\n',
        b': ping\n\ndata: {"choices":[{"delta":{"content":"hi"}}]}\n\n\n',
        b'data: {"choices":[{"delta":{"content":[{"type":"text","text":"h"},{"text":"i"},5]}}]}\n\n',
        b'data: {"choices":[{"text":"hi"}]}\n\n',
        b'data: {"choices":[{"index":1,"delta":{"content":"no"}},{"index":0,"delta":{"content":"hi"}}]}\n\n',
    ],
)
def test_an_event_reads_the_same_however_it_is_written(raw: bytes) -> None:
    events = read_chat_events(raw)
    assert [event.text for event in events] == ["hi"]


def test_all_that_is_generated_is_a_piece_with_its_place() -> None:
    raw = b"".join([
        chat_chunk("think", field="reasoning_content"),
        chat_chunk("ponder", field="reasoning"),
        chat_chunk("no", field="refusal"),
        chat_chunk("one", index=1),
        tool_chunk("{", name="look", number=2),
        tool_chunk("}", number=2),
        b'data: {"choices":[{"delta":{"function_call":{"name":"old","arguments":"{}"}}}]}\n\n',
        b'data: {"choices":[{"delta":{"audio":{"data":"AA=="}}}]}\n\n',
        b'data: {"choices":7}\n\n',
    ])  # fmt: skip
    events = read_chat_events(raw)
    assert [piece for event in events for piece in event.pieces] == [
        ("0.reasoning_content", "think"),
        ("0.reasoning", "ponder"),
        ("0.refusal", "no"),
        ("1.content", "one"),
        ("0.tool.2.name", "look"),
        ("0.tool.2.arguments", "{"),
        ("0.tool.2.arguments", "}"),
        ("0.function_call.name", "old"),
        ("0.function_call.arguments", "{}"),
        ("0.?", "audio"),
        ("?", '{"choices":7}'),
    ]
    assert [event.text for event in events] == [""] * 9


@pytest.mark.parametrize("operation", [Operation.CHAT, Operation.RESPONSES])
@pytest.mark.parametrize(
    "data", [b"{", b'{"a":1', b"nope", b"\xff", b'{"choices":5,', b'{"delta":5,"response":']
)
def test_an_event_that_is_not_json_is_a_cut(operation: Operation, data: bytes) -> None:
    with pytest.raises(Cut) as raised:
        read_stream(operation)(b"data: " + data + b"\n\n")
    assert raised.value.code == "malformed_event"


def test_the_responses_apis_events() -> None:
    def event(name: str, **fields: object) -> bytes:
        return f"event: {name}\ndata: {json.dumps({'type': name, **fields})}\n\n".encode()

    raw = b"".join([
        event("response.created", response={"status": "in_progress", "model": "m-1"}),
        event("response.output_text.delta", delta="hel", output_index=0, content_index=0),
        event("response.output_text.delta", delta="lo", output_index=0, content_index=0),
        event("response.function_call_arguments.delta", delta="{}", output_index=1),
        event("response.odd", delta={"not": "text"}),
        event("response.completed", response=RESPONSE),
    ])  # fmt: skip
    events = read_response_events(raw)
    assert "".join(each.text for each in events) == "hello"
    assert events[3].pieces == (("1.0.response.function_call_arguments.delta", "{}"),)
    assert events[4].name == "response.odd"
    assert (events[5].finish_reason, events[5].usage) == (
        "completed",
        Usage(input=3, output=1, output_reasoning=1),
    )


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b'{"error":{"message":"x","code":"busy"}}', "busy"),
        (b'{"type":"error","code":"busy","message":"x"}', "busy"),
        (b'{"type":"error","error":{"code":"busy"}}', "busy"),
        # a provider of providers says it beside an empty choice
        (
            b'{"error":{"code":502,"message":"x"},"choices":[{"delta":{"content":""},"finish_reason":"error"}]}',
            "502",
        ),
        (b'{"error":"words"}', None),
    ],
)
def test_an_error_in_a_stream_is_seen(data: bytes, code: str | None) -> None:
    found = stream_error(data)
    assert found is not None
    assert found.code == code


@pytest.mark.parametrize(
    "data",
    [
        b'{"choices":[]}',
        b'{"error":null,"choices":[]}',
        b"[1]",
        b"{",
        b"\xff",
        b'{"error":{}}',
        b"[" * 99_999,
    ],
)
def test_what_is_no_error_is_not_seen_as_one(data: bytes) -> None:
    assert stream_error(data) is None


def test_the_event_that_has_usage_and_nothing_else() -> None:
    def data(raw: bytes) -> bytes:
        return raw.removeprefix(b"data: ").strip()

    assert is_usage_only(data(usage_chunk(1, 1)))
    assert is_usage_only(b'{"usage":{"prompt_tokens":1}}')
    for other in (data(chat_chunk("x")), b"{}", b"[]", b"{", b'{"usage":null}', b'{"choices":7,"usage":{}}'):
        assert not is_usage_only(other)
