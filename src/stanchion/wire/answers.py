"""OpenAI answers, whole and streamed -> core Events; and the judgement whether a whole answer is whole.

Each operation has its reader.  A reader looks at what somebody here needs (text, finish reason, usage)
and leaves the rest in `Event.data` untouched.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar, cast

import msgspec

from stanchion.core.call import Operation
from stanchion.core.chunk import Event
from stanchion.core.errors import Cut, Unusable
from stanchion.wire import sse
from stanchion.wire.errors import ErrorFacts, error_facts
from stanchion.wire.objects import as_object
from stanchion.wire.shapes import Answer, Choice, Function, Listing, Message, Response, ResponseEvent
from stanchion.wire.usage import usage_of

S = TypeVar("S")


_decode_answer = msgspec.json.Decoder(Answer).decode
_decode_response = msgspec.json.Decoder(Response).decode
_decode_response_event = msgspec.json.Decoder(ResponseEvent).decode
_decode_list = msgspec.json.Decoder(Listing).decode
_decode_any = msgspec.json.Decoder().decode
_NO_MESSAGE = Message()
_NOT_JSON = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
UNKNOWN = "?"  # where a piece stands that nobody here can read or write


def read_chat_events(raw: bytes) -> Sequence[Event]:
    """Read whole SSE events of a chat completion or a completion.  Raises Cut at one that is no JSON object."""
    if raw.startswith(b"data: {") and raw.find(b"\n") == len(raw) - 2 and raw.endswith(b"\n\n"):
        return read_chat_event(raw)
    if raw.startswith(b"data: {") and raw.endswith(b"\n\n") and _is_lines_of_data(raw):
        found = raw[6:-2].split(b"\n\ndata: ")
        return [_chat_event(data) for data in found if data != sse.DONE]
    events: list[Event] = []
    for part in sse.split(raw):
        _, data = sse.read(part)
        if data and data != sse.DONE:
            events.append(_chat_event(data))
    return events


def read_chat_event(raw: bytes) -> Sequence[Event]:
    """Read one event that is known to be one line `data: {...}`.  Raises Cut if it is no JSON object."""
    return (_chat_event(raw[6:-2]),)


def _is_lines_of_data(raw: bytes) -> bool:
    """Say whether these events have one line each, `data: ...`: many events in one read."""
    count = raw.count(b"\n\n")
    return raw.count(b"\n") == 2 * count and raw.count(b"\n\ndata: ") == count - 1 and b"\r" not in raw


def _chat_event(data: bytes) -> Event:
    try:
        answer = _decode_answer(data)
    except msgspec.ValidationError:
        return _unknown_event(data)
    except _NOT_JSON:
        raise Cut("the provider sent an event that is not JSON", code="malformed_event") from None
    choices, usage = answer.choices, answer.usage
    if usage is None and choices and len(choices) == 1:
        first = choices[0]
        message = first.delta
        if message is not None and _is_plain(first, message):
            # plain text, nearly always: in one go, which is half the work
            return Event(data, "", cast("str", message.content), (), first.finish_reason, answer.model)
    event = Event(data=data, model=answer.model)
    if usage is not None:
        event.usage = usage_of(usage, answer.service_tier)
    if choices:
        _read_choices(event, choices)
    return event


def _unknown_event(data: bytes, name: str = "") -> Event:
    """Return JSON of no shape we know, which is not ours to judge, as one piece that says nothing of itself."""
    try:
        _decode_any(data)
    except _NOT_JSON:
        raise Cut("the provider sent an event that is not JSON", code="malformed_event") from None
    return Event(data=data, name=name, parts=((UNKNOWN, data.decode()),))


def _read_choices(event: Event, choices: list[Choice]) -> None:
    first = choices[0]
    message = first.delta or first.message or _NO_MESSAGE
    if len(choices) == 1 and _is_plain(first, message):
        event.text = cast("str", message.content)  # plain text: nearly always
        event.finish_reason = first.finish_reason
        return
    pieces: list[tuple[str, str]] = []
    for choice in choices:
        _collect(pieces, choice)
        if choice.index == 0:
            event.finish_reason = choice.finish_reason
    event.parts = tuple(pieces)
    event.text = "".join([text for where, text in pieces if where == "0.content"])


def _is_plain(choice: Choice, message: Message) -> bool:
    return (
        choice.index == 0
        and type(message.content) is str
        and message.tool_calls is None
        and message.reasoning_content is None
        and message.refusal is None
        and message.reasoning is None
        and message.function_call is None
        and message.audio is None
    )


def _collect(pieces: list[tuple[str, str]], choice: Choice) -> None:
    """Add all that this choice generated, each piece with its place."""
    at = choice.index
    if choice.text:
        pieces.append((f"{at}.content", choice.text))
    message = choice.delta or choice.message
    if message is None:
        return
    texts = (
        ("reasoning_content", message.reasoning_content),
        ("reasoning", message.reasoning),
        ("content", _plain(message.content or "")),
        ("refusal", message.refusal),
        (UNKNOWN, "audio" if message.audio else ""),
    )
    pieces.extend([(f"{at}.{field}", text) for field, text in texts if text])
    if message.function_call is not None:
        _collect_function(pieces, f"{at}.function_call", message.function_call)
    for tool in message.tool_calls or ():
        if tool.function is not None:
            _collect_function(pieces, f"{at}.tool.{tool.index}", tool.function)


def _collect_function(pieces: list[tuple[str, str]], at: str, function: Function) -> None:
    if function.name:
        pieces.append((f"{at}.name", function.name))
    if function.arguments:
        pieces.append((f"{at}.arguments", function.arguments))


def _plain(content: str | list[Any]) -> str:
    if isinstance(content, str):
        return content
    texts = [part.get("text") for each in content if (part := as_object(each)) is not None]
    return "".join([text for text in texts if isinstance(text, str)])


def read_response_events(raw: bytes) -> Sequence[Event]:
    """Read whole SSE events of the Responses API.  Raises Cut at one that is no JSON object."""
    events: list[Event] = []
    for part in sse.split(raw):
        name, data = sse.read(part)
        if not data or data == sse.DONE:
            continue
        try:
            found = _decode_response_event(data)
        except msgspec.ValidationError:
            events.append(_unknown_event(data, name))
            continue
        except _NOT_JSON:
            raise Cut("the provider sent an event that is not JSON", code="malformed_event") from None
        event = Event(data=data, name=name or found.type)
        if found.delta and event.name.endswith(".delta"):
            shown = event.name == "response.output_text.delta"
            event.text = found.delta if shown else ""
            event.parts = ((f"{found.output_index}.{found.content_index}.{event.name}", found.delta),)
        if found.response is not None:
            event.model = found.response.model
            event.finish_reason = found.response.status
            if found.response.usage is not None:
                event.usage = usage_of(found.response.usage, found.response.service_tier)
        events.append(event)
    return events


def stream_error(data: bytes) -> ErrorFacts | None:
    """Return what an event's data says of an error; None if it is no error."""
    try:
        fields = as_object(_decode_any(data))
    except _NOT_JSON:
        return None
    if fields is None:
        return None
    if fields.get("type") == "error" and "choices" not in fields:  # the Responses API
        return error_facts(fields.get("error") or fields)
    return error_facts(fields["error"]) if fields.get("error") else None  # OpenRouter sends choices with it


def is_usage_only(data: bytes) -> bool:
    """Say whether an event has usage and no choice: the one that `include_usage` asks for."""
    try:
        answer = _decode_answer(data)
    except _NOT_JSON:
        return False
    return answer.usage is not None and not answer.choices


def read_whole(operation: Operation) -> Callable[[bytes], Sequence[Event]]:
    """Return the reader of a whole body of this operation."""
    return _WHOLE[operation.path]


def read_stream(operation: Operation) -> Callable[[bytes], Sequence[Event]]:
    """Return the reader of whole events of this operation."""
    return read_response_events if operation is Operation.RESPONSES else read_chat_events


def _whole_chat(raw: bytes) -> Sequence[Event]:
    answer = _decoded(_decode_answer, raw)
    if answer is None:
        return (Event(data=raw),)
    _refuse_error(answer.error)
    if not answer.choices:
        raise Unusable("the provider answered without choices", code="no_choices")
    if any(choice.finish_reason is None for choice in answer.choices):
        raise Cut("the provider's answer has no finish_reason: it was cut", code="no_finish_reason")
    event = Event(data=raw, model=answer.model)
    if answer.usage is not None:
        event.usage = usage_of(answer.usage, answer.service_tier)
    _read_choices(event, answer.choices)
    return (event,)


def _whole_response(raw: bytes) -> Sequence[Event]:
    answer = _decoded(_decode_response, raw)
    if answer is None:
        return (Event(data=raw),)
    if answer.status is None and answer.output is None:
        _refuse_error(answer.error)
        raise Unusable("the provider answered with no response object", code="no_response")
    event = Event(data=raw, model=answer.model, finish_reason=answer.status)
    items = [item for each in answer.output or () if (item := as_object(each)) is not None]
    event.text = "".join([_plain(item.get("content") or "") for item in items])
    if answer.usage is not None:
        event.usage = usage_of(answer.usage, answer.service_tier)
    return (event,)


def _whole_list(raw: bytes) -> Sequence[Event]:
    answer = _decoded(_decode_list, raw)
    if answer is None:
        return (Event(data=raw),)
    _refuse_error(answer.error)
    if answer.data is None and answer.results is None:
        raise Unusable("the provider answered without data", code="no_data")
    usage = usage_of(answer.usage) if answer.usage is not None else None
    return (Event(data=raw, model=answer.model, usage=usage),)


def _decoded(decode: Callable[[bytes], S], raw: bytes) -> S | None:
    """Decode a body; None if it is JSON of a shape we do not know.  Raises Unusable if it is no JSON object."""
    try:
        return decode(raw)
    except msgspec.ValidationError:
        return _of_unknown_shape(raw)
    except _NOT_JSON:
        raise _not_json() from None


def _of_unknown_shape(raw: bytes) -> None:
    try:
        found = as_object(_decode_any(raw))
    except _NOT_JSON:
        raise _not_json() from None
    if found is None:
        raise Unusable("the provider answered with JSON that is no object", code="not_an_object")
    _refuse_error(found.get("error"))


def _not_json() -> Unusable:
    return Unusable("the provider answered with something that is not JSON", code="not_json")


def _refuse_error(error: object) -> None:
    if error:
        raise Unusable("the provider answered with an error under a success status", code="error_in_success")


_WHOLE: dict[str, Callable[[bytes], Sequence[Event]]] = {
    Operation.CHAT.path: _whole_chat,
    Operation.COMPLETIONS.path: _whole_chat,
    Operation.RESPONSES.path: _whole_response,
    Operation.EMBEDDINGS.path: _whole_list,
    Operation.MODERATIONS.path: _whole_list,
    Operation.MODELS.path: _whole_list,
}
