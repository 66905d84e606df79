"""The official SDK against the gateway: an application changes its base URL and nothing else."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI, OpenAI
from pydantic import BaseModel

from tests.acceptance.stage import ASKED, Gateway, Provider, settled

TOOL: Any = {
    "type": "function",
    "function": {
        "name": "find_order",
        "parameters": {
            "type": "object",
            "properties": {"number": {"type": "string"}},
            "required": ["number"],
            "additionalProperties": False,
        },
        "strict": True,
    },
}


class Order(BaseModel):
    number: str
    late: bool


@pytest.fixture
def sdk(gateway: Gateway) -> Iterator[OpenAI]:
    with OpenAI(base_url=gateway.base_url, api_key="sk-mine") as made:
        yield made


@pytest.fixture
async def asdk(gateway: Gateway) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(base_url=gateway.base_url, api_key="sk-mine") as made:
        yield made


# --- answers -----------------------------------------------------------------------------------------


def test_a_whole_answer_and_a_stream_say_the_same(sdk: OpenAI, one: Provider):
    whole = sdk.chat.completions.create(model="gpt-4o", messages=ASKED)
    stream = sdk.chat.completions.create(model="gpt-4o", messages=ASKED, stream=True)
    chunks = list(stream)
    assert whole.choices[0].message.content
    assert "".join([c.choices[0].delta.content or "" for c in chunks]) == whole.choices[0].message.content
    assert chunks[-1].choices[0].finish_reason == whole.choices[0].finish_reason == "stop"
    assert whole.usage is not None
    assert whole.usage.total_tokens == whole.usage.prompt_tokens + whole.usage.completion_tokens
    assert [call.completed for call in one.calls] == [True, True]


async def test_an_asynchronous_client_gets_the_same(asdk: AsyncOpenAI, sdk: OpenAI):
    whole = await asdk.chat.completions.create(model="gpt-4o", messages=ASKED)
    stream = await asdk.chat.completions.create(model="gpt-4o", messages=ASKED, stream=True)
    text = "".join([chunk.choices[0].delta.content or "" async for chunk in stream])
    assert text == whole.choices[0].message.content


def test_the_provider_sees_the_gateways_key_and_not_the_callers(sdk: OpenAI, one: Provider):
    sdk.chat.completions.create(model="gpt-4o", messages=ASKED)
    OpenAI(base_url=one.base_url, api_key="sk-mine").chat.completions.create(model="gpt-4o", messages=ASKED)
    through, direct = one.calls
    assert through.key_fingerprint != direct.key_fingerprint
    assert through.key_fingerprint is not None


def test_tools_are_called_whole_and_streamed(sdk: OpenAI):
    asked: Any = {"model": "gpt-4o", "messages": ASKED, "tools": [TOOL], "tool_choice": "required"}
    whole = sdk.chat.completions.create(**asked)
    [call] = list(whole.choices[0].message.tool_calls or ())
    assert call.function.name == "find_order"
    with sdk.chat.completions.stream(**asked) as stream:
        final = stream.get_final_completion()
    [streamed] = list(final.choices[0].message.tool_calls or ())
    assert streamed.function.arguments == call.function.arguments
    assert final.choices[0].finish_reason == "tool_calls"


def test_a_structured_answer_is_parsed(sdk: OpenAI):
    parsed = sdk.chat.completions.parse(model="gpt-4o", messages=ASKED, response_format=Order)
    assert isinstance(parsed.choices[0].message.parsed, Order)
    with sdk.chat.completions.stream(model="gpt-4o", messages=ASKED, response_format=Order) as stream:
        assert stream.get_final_completion().choices[0].message.parsed == parsed.choices[0].message.parsed


async def test_a_structured_answer_is_parsed_asynchronously(asdk: AsyncOpenAI):
    parsed = await asdk.chat.completions.parse(model="gpt-4o", messages=ASKED, response_format=Order)
    assert isinstance(parsed.choices[0].message.parsed, Order)


def test_a_raw_answer_has_the_headers_that_clients_rely_on(sdk: OpenAI, one: Provider):
    raw = sdk.chat.completions.with_raw_response.create(model="gpt-4o", messages=ASKED)
    assert raw.parse().choices[0].message.content
    assert raw.headers["x-request-id"] == raw.request_id
    assert raw.headers["x-request-id"].startswith("req_")
    assert raw.headers["x-stanchion-upstream-request-id"] == one.calls[0].request_id
    assert raw.headers["x-stanchion-endpoint"] == "one/gpt-4o"
    assert raw.headers["x-stanchion-attempts"] == "1"
    assert raw.headers["openai-processing-ms"].isdigit()
    assert raw.headers["openai-version"] == "2020-10-01"
    for what in ("requests", "tokens"):
        assert raw.headers[f"x-ratelimit-limit-{what}"].isdigit()
        assert raw.headers[f"x-ratelimit-remaining-{what}"].isdigit()
        assert raw.headers[f"x-ratelimit-reset-{what}"].endswith("s")


def test_a_stream_has_the_headers_of_a_stream(sdk: OpenAI):
    asked: Any = {"model": "gpt-4o", "messages": ASKED, "stream": True}
    with sdk.chat.completions.with_streaming_response.create(**asked) as raw:
        assert raw.headers["content-type"].startswith("text/event-stream")
        assert raw.headers["cache-control"] == "no-cache"
        assert raw.headers["x-accel-buffering"] == "no"
        assert raw.headers["x-request-id"].startswith("req_")
        assert "content-encoding" not in raw.headers
        assert list(raw.iter_lines())[-2:] == ["data: [DONE]", ""]


def test_several_answers_and_what_nobody_here_knows_pass_through(sdk: OpenAI):
    asked: Any = {
        "model": "gpt-4o",
        "messages": ASKED,
        "n": 2,
        "logprobs": True,
        "extra_body": {"brand_new": {"a": 1}},
    }
    whole = sdk.chat.completions.create(**asked)
    assert [choice.index for choice in whole.choices] == [0, 1]
    assert all(choice.logprobs for choice in whole.choices)
    chunks = list(sdk.chat.completions.create(**asked, stream=True))
    assert {choice.index for chunk in chunks for choice in chunk.choices} == {0, 1}
    finished = [c.finish_reason for chunk in chunks for c in chunk.choices if c.finish_reason]
    assert finished == ["stop", "stop"]


def test_embeddings_come_in_either_encoding(sdk: OpenAI):
    packed = sdk.embeddings.create(model="text-embedding-3-small", input=["one", "two"], dimensions=8)
    plain = sdk.embeddings.create(
        model="text-embedding-3-small", input=["one", "two"], dimensions=8, encoding_format="float"
    )
    assert len(packed.data) == 2
    assert packed.data[0].embedding == pytest.approx(plain.data[0].embedding, abs=1e-6)
    assert packed.usage.prompt_tokens > 0


def test_the_responses_api_answers_whole_and_streamed(sdk: OpenAI):
    whole = sdk.responses.create(model="gpt-4o", input="Where is my order?")
    assert whole.status == "completed"
    events = list(sdk.responses.create(model="gpt-4o", input="Where is my order?", stream=True))
    assert events[-1].type == "response.completed"
    said = "".join([event.delta for event in events if event.type == "response.output_text.delta"])
    assert said == whole.output_text != ""


async def test_the_responses_api_answers_asynchronously(asdk: AsyncOpenAI):
    async with asdk.responses.stream(model="gpt-4o", input="Where is my order?") as stream:
        async for _ in stream:
            pass
        final = await stream.get_final_response()
    assert final.output_text


def test_completions_and_moderations_are_answered(sdk: OpenAI):
    whole = sdk.completions.create(model="gpt-4o", prompt="Once upon a time", max_tokens=12)
    chunks = list(
        sdk.completions.create(model="gpt-4o", prompt="Once upon a time", max_tokens=12, stream=True)
    )
    assert "".join([c.choices[0].text for c in chunks if c.choices]) == whole.choices[0].text != ""
    checked = sdk.moderations.create(model="omni-moderation-latest", input="hello")
    assert checked.results[0].flagged is False


def test_models_are_listed_and_told_apart(sdk: OpenAI):
    listed = [model.id for model in sdk.models.list()]
    assert "gpt-4o" in listed
    assert sdk.models.retrieve("gpt-4o").id == "gpt-4o"
    with pytest.raises(openai.NotFoundError) as caught:
        sdk.models.retrieve("no-such-model")
    assert caught.value.code == "model_not_found"


# --- usage -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("asked", [True, False])
def test_usage_comes_in_a_stream_only_if_it_was_asked_for(
    gateway: Gateway, sdk: OpenAI, one: Provider, *, asked: bool
):
    before = {kind: gateway.metric("stanchion_tokens_total", estimated=kind) for kind in ("true", "false")}
    options: Any = {"stream_options": {"include_usage": True}} if asked else {}
    chunks = list(sdk.chat.completions.create(model="gpt-4o", messages=ASKED, stream=True, **options))
    (call,) = one.calls
    spent = gateway.metric("stanchion_tokens_total", estimated="false") - before["false"]
    assert spent == call.prompt_tokens + call.completion_tokens
    assert gateway.metric("stanchion_tokens_total", estimated="true") == before["true"]
    if asked:
        assert chunks[-1].choices == []
        assert chunks[-1].usage
        assert chunks[-1].usage.total_tokens == spent
        assert all(chunk.usage is None for chunk in chunks[:-1])
    else:
        assert all(chunk.choices for chunk in chunks)
        assert all(chunk.usage is None for chunk in chunks)
        assert all("usage" not in chunk.model_fields_set or chunk.usage is None for chunk in chunks)


# --- errors ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ("insufficient_quota", (openai.RateLimitError, 429, "insufficient_quota", 1)),
        ("credit_balance_exhausted", (openai.RateLimitError, 429, "credit_balance_exhausted", 1)),
        ("rate_limit_exceeded", (openai.RateLimitError, 429, "rate_limit_exceeded", 2)),
        ("context_length_exceeded", (openai.BadRequestError, 400, "context_length_exceeded", 1)),
        ("content_filter", (openai.BadRequestError, 400, "content_filter", 1)),
        ("model_not_found", (openai.NotFoundError, 404, "model_not_found", 1)),
        ("403", (openai.PermissionDeniedError, 403, None, 1)),
        ("422", (openai.UnprocessableEntityError, 422, None, 1)),
        ("402", (openai.APIStatusError, 402, None, 1)),
        ("500", (openai.InternalServerError, 500, None, 2)),
        ("503", (openai.InternalServerError, 503, "server_is_overloaded", 2)),
        ("529", (openai.InternalServerError, 529, None, 2)),
        ("html", (openai.InternalServerError, 502, "not_json", 2)),
        ("error_body", (openai.InternalServerError, 502, "error_in_success", 2)),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_an_error_is_what_the_provider_said_and_is_tried_again_by_one_side_only(
    sdk: OpenAI,
    one: Provider,
    fault: str,
    expected: tuple[type, int, str | None, int],
    *,
    stream: bool,
):
    kind, status, code, calls = expected
    one.plan(f"{fault}{',' if ':' in fault else ':'}times=0")
    model = f"one/error-{fault}-{stream}"  # an endpoint of its own: a key that is dead rests for long
    with pytest.raises(openai.APIStatusError) as caught:
        sdk.chat.completions.create(model=model, messages=ASKED, stream=stream)
    assert type(caught.value) is kind
    if not (stream and status == 502):
        assert (caught.value.status_code, caught.value.code) == (status, code)
    assert (caught.value.request_id or "").startswith("req_")
    assert len(one.calls) == calls


def test_a_dead_account_costs_one_call(sdk: OpenAI, one: Provider):
    """That its key is not asked again is shown in test_keys: here keys rest for 10 ms."""
    one.plan("insufficient_quota:times=0")
    with pytest.raises(openai.RateLimitError):
        sdk.with_options(max_retries=0).chat.completions.create(model="one/dead", messages=ASKED)
    assert len(one.calls) == 1


def test_a_provider_that_says_when_is_passed_on(sdk: OpenAI, one: Provider):
    one.plan("429:retry_after=90,times=0")
    with pytest.raises(openai.RateLimitError) as caught:
        sdk.chat.completions.create(model="one/later", messages=ASKED)
    assert caught.value.response.headers["retry-after"] == "90"
    assert caught.value.response.headers["retry-after-ms"] == "90000"
    assert caught.value.response.headers["x-should-retry"] == "false"
    assert len(one.calls) == 1


def test_a_call_without_a_model_is_the_callers_fault(sdk: OpenAI, one: Provider):
    with pytest.raises(openai.BadRequestError) as caught:
        sdk.chat.completions.create(model="", messages=ASKED)
    assert caught.value.param == "model"
    assert one.calls == []


def test_an_error_in_a_stream_raises(sdk: OpenAI, one: Provider):
    one.plan("cut:4,end=abort")
    stream = sdk.chat.completions.create(model="one/cut", messages=ASKED, stream=True)
    with pytest.raises(openai.APIError) as caught:
        list(stream)
    assert caught.value.code == "reset_in_answer"
    assert len(one.calls) == 1


def test_a_cut_stream_of_the_responses_api_raises(sdk: OpenAI, one: Provider):
    one.plan("cut:5,end=abort")
    with pytest.raises(openai.APIError) as caught:
        list(sdk.responses.create(model="one/cut", input="Where is my order?", stream=True))
    assert caught.value.code == "reset_in_answer"


async def test_a_client_that_gives_up_is_not_answered_twice(asdk: AsyncOpenAI, one: Provider):
    one.plan("silence:times=0")
    with pytest.raises(openai.APIError):
        await asdk.with_options(timeout=0.3, max_retries=0).chat.completions.create(
            model="one/silent", messages=ASKED
        )
    await settled(lambda: one.running == 0)
    assert len(one.calls) == 1
