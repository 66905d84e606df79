"""POST /v1/responses: typed events, and the same replies as chat completions.

Nothing is stored: `previous_response_id` is echoed and has no effect.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from stanchion.simulator import chat, reply, tokens
from stanchion.simulator.answer import ENCODER, Answer, Charge, Context
from stanchion.simulator.reply import Choice, Usage
from stanchion.simulator.shapes import ChatRequest, FunctionCall, Message, ResponsesRequest, ToolCall

_DECODER = msgspec.json.Decoder(ResponsesRequest)


def decode(body: bytes) -> ResponsesRequest:
    """Read a request. Raises msgspec.ValidationError or DecodeError."""
    return _DECODER.decode(body)


def charge(request: ResponsesRequest) -> Charge:
    """What the quota is charged with."""
    return chat.charge(_as_chat(request))


def answer(request: ResponsesRequest, context: Context) -> Answer:
    """Decide the response. Raises ApiError."""
    inner = _as_chat(request)
    prompt = tokens.prompt_tokens(inner.messages, tokens.encoding_name(request.model))
    reply.check(inner, prompt, context.context_tokens)
    made = reply.choices(inner, nondeterministic=context.nondeterministic, fault=context.fault)
    usage = chat.count(inner, made, prompt, context)
    response = _Response(request, made[0] if made else Choice(0, "", "stop", 0, "o200k_base"), usage, context)
    return Answer(
        prompt_tokens=usage.prompt,
        completion_tokens=usage.completion,
        whole=lambda: ENCODER.encode(response.final()),
        events=response.events,
    )


def _as_chat(request: ResponsesRequest) -> ChatRequest:
    messages: list[Message] = []
    if request.instructions:
        messages.append(Message(role="system", content=request.instructions))
    if isinstance(request.input, str):
        messages.append(Message(role="user", content=request.input))
    else:
        for item in request.input:
            if item.type == "function_call":
                call = FunctionCall(name=item.name or "", arguments=item.arguments or "")
                messages.append(Message(role="assistant", tool_calls=[ToolCall(function=call)]))
            elif item.type == "function_call_output":
                messages.append(Message(role="tool", content=item.output, tool_call_id=item.call_id))
            elif item.role is not None:
                messages.append(Message(role=item.role, content=item.content))
    return ChatRequest(
        model=request.model,
        messages=messages,
        max_tokens=request.max_output_tokens,
        tools=request.tools,
        tool_choice=request.tool_choice,
        parallel_tool_calls=request.parallel_tool_calls,
        response_format=request.text.format if request.text is not None else None,
    )


class _Response:
    """One response in its stages."""

    def __init__(self, request: ResponsesRequest, choice: Choice, usage: Usage, context: Context) -> None:
        self._request = request
        self._choice = choice
        self._usage = usage
        self._context = context
        self._sequence = 0

    def final(self) -> dict[str, object]:
        """The finished response."""
        cut = self._choice.finish_reason == "length"
        usage = {
            "input_tokens": self._usage.prompt,
            "input_tokens_details": {"cached_tokens": self._usage.cached},
            "output_tokens": self._usage.completion,
            "output_tokens_details": {"reasoning_tokens": self._usage.reasoning},
            "total_tokens": self._usage.prompt + self._usage.completion,
        }
        return {
            **self._frame("incomplete" if cut else "completed"),
            "incomplete_details": {"reason": "max_output_tokens"} if cut else None,
            "output": [*map(self._call, range(len(self._choice.calls)))]
            or [self._message("completed", done=True)],
            "usage": usage,
        }

    def events(self) -> Iterator[bytes]:
        """response.created, deltas, response.completed (or incomplete); no [DONE]."""
        started = self._frame("in_progress")
        yield self._event("response.created", response=started)
        yield self._event("response.in_progress", response=started)
        yield from self._call_events() if self._choice.calls else self._text_events()
        final = self.final()
        yield self._event(f"response.{final['status']}", response=final)

    def _text_events(self) -> Iterator[bytes]:
        item_id = self._context.id("msg_")
        place: dict[str, object] = {"item_id": item_id, "output_index": 0, "content_index": 0}
        text = self._choice.text
        yield self._event(
            "response.output_item.added", output_index=0, item=self._message("in_progress", done=False)
        )
        yield self._event("response.content_part.added", **place, part=_part(""))
        for piece in self._choice.pieces():
            yield self._event("response.output_text.delta", **place, delta=piece, logprobs=[])
        yield self._event("response.output_text.done", **place, text=text, logprobs=[])
        yield self._event("response.content_part.done", **place, part=_part(text))
        yield self._event(
            "response.output_item.done", output_index=0, item=self._message("completed", done=True)
        )

    def _call_events(self) -> Iterator[bytes]:
        for index, call in enumerate(self._choice.calls):
            item = self._call(index)
            place: dict[str, object] = {"item_id": item["id"], "output_index": index}
            opened = {**item, "arguments": "", "status": "in_progress"}
            yield self._event("response.output_item.added", output_index=index, item=opened)
            for start in range(0, len(call.arguments), 12):
                piece = call.arguments[start : start + 12]
                yield self._event("response.function_call_arguments.delta", **place, delta=piece)
            yield self._event(
                "response.function_call_arguments.done", **place, name=call.name, arguments=call.arguments
            )
            yield self._event("response.output_item.done", output_index=index, item=item)

    def _event(self, kind: str, **fields: object) -> bytes:
        data = ENCODER.encode({"type": kind, "sequence_number": self._sequence, **fields})
        self._sequence += 1
        return b"event: %b\ndata: %b\n\n" % (kind.encode(), data)

    def _message(self, status: str, *, done: bool) -> dict[str, object]:
        content = [_part(self._choice.text)] if done else []
        return {
            "id": self._context.id("msg_"),
            "type": "message",
            "status": status,
            "role": "assistant",
            "content": content,
        }

    def _call(self, index: int) -> dict[str, object]:
        call = self._choice.calls[index]
        return {
            "id": f"{self._context.id('fc_')}{index}",
            "type": "function_call",
            "status": "completed",
            "call_id": call.id,
            "name": call.name,
            "arguments": call.arguments,
        }

    def _frame(self, status: str) -> dict[str, object]:
        request = self._request
        return {
            "id": self._context.id("resp_"),
            "object": "response",
            "created_at": self._context.created,
            "status": status,
            "error": None,
            "incomplete_details": None,
            "instructions": request.instructions,
            "max_output_tokens": request.max_output_tokens,
            "model": request.model,
            "output": [],
            "parallel_tool_calls": request.parallel_tool_calls is not False,
            "previous_response_id": request.previous_response_id,
            "reasoning": {"effort": None, "summary": None},
            "store": False,
            "temperature": request.temperature if request.temperature is not None else 1.0,
            "text": {"format": {"type": "text"}},
            "tool_choice": request.tool_choice or "auto",
            "tools": [],
            "top_p": request.top_p if request.top_p is not None else 1.0,
            "truncation": "disabled",
            "usage": None,
            "metadata": request.metadata or {},
        }


def _part(text: str) -> dict[str, object]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
