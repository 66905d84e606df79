"""The unchanged `openai` SDK over the engine: what it returns, what it raises, what it may never take for success.

Knows no version of the SDK: the last test runs this file again in an environment that holds openai 2.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import openai
import pytest
from openai import APIConnectionError, APIError, APITimeoutError, AsyncOpenAI, NotFoundError, OpenAI
from pydantic import BaseModel

from stanchion import AsyncClient, Client
from stanchion.client.transport import broken
from stanchion.core.errors import Cut, DeadlineExceeded, Silent, Unreachable
from stanchion.simulator import Simulator, SimulatorOptions, Timing

ASKED: Any = [{"role": "user", "content": "Where is my order 20261123?"}]
FAST = {"retry.base_s": 0.001, "retry.budget_floor": 1000, "health.failures": 1000}
LIBRARY = sys.modules[openai.DefaultAsyncHttpxClient.__mro__[1].__module__.partition(".")[0]]
BROKEN = (APIError, LIBRARY.TransportError)  # openai 2 lets its library's errors through from inside a stream
OTHER_PYTHON = "OPENAI2_PYTHON"  # a Python whose openai is 2.x; every STANCHION_ variable is a setting


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def sim() -> AsyncIterator[Simulator]:
    async with Simulator() as running:
        yield running


@pytest.fixture
async def sdk(sim: Simulator) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncClient(base_url=sim.base_url, settings=FAST) as client, client.openai() as made:
        yield made


async def settled(condition, within_s: float = 2.0) -> None:
    async with asyncio.timeout(within_s):
        while not condition():  # noqa: ASYNC110 - the other end of a socket tells nobody
            await asyncio.sleep(0.005)


# --- answers -----------------------------------------------------------------------------------------


async def test_a_whole_answer_is_the_sdks_own(sdk: AsyncOpenAI, sim: Simulator):
    answer = await sdk.chat.completions.create(model="gpt-4o", messages=ASKED)
    assert answer.choices[0].finish_reason == "stop"
    assert answer._request_id == sim.calls[-1].request_id
    assert sim.calls[-1].headers["user-agent"].startswith("stanchion/")


async def test_a_stream_is_the_sdks_own(sdk: AsyncOpenAI):
    whole = await sdk.chat.completions.create(model="gpt-4o", messages=ASKED)
    stream = await sdk.chat.completions.create(
        model="gpt-4o", messages=ASKED, stream=True, stream_options={"include_usage": True}
    )
    events = [event async for event in stream]
    text = "".join([event.choices[0].delta.content or "" for event in events if event.choices])
    assert text == whole.choices[0].message.content
    assert events[-1].usage == whole.usage


async def test_usage_is_not_shown_to_who_did_not_ask(sdk: AsyncOpenAI):
    stream = await sdk.chat.completions.create(model="gpt-4o", messages=ASKED, stream=True)
    assert [event async for event in stream if event.usage is not None or not event.choices] == []


class Order(BaseModel):
    number: str
    late: bool


async def test_structured_answers_are_parsed(sdk: AsyncOpenAI):
    answer = await sdk.chat.completions.parse(model="gpt-4o", messages=ASKED, response_format=Order)
    assert isinstance(answer.choices[0].message.parsed, Order)
    async with sdk.chat.completions.stream(model="gpt-4o", messages=ASKED, response_format=Order) as stream:
        final = await stream.get_final_completion()
    assert final.choices[0].message.parsed == answer.choices[0].message.parsed


async def test_tools_are_called(sdk: AsyncOpenAI):
    tool: Any = {"type": "function", "function": {"name": "find_order", "parameters": {"type": "object"}}}
    answer = await sdk.chat.completions.create(
        model="gpt-4o", messages=ASKED, tools=[tool], tool_choice="required"
    )
    called: Any = answer.choices[0].message.tool_calls
    assert called[0].function.name == "find_order"


async def test_raw_answers_have_the_providers_headers(sdk: AsyncOpenAI):
    raw = await sdk.chat.completions.with_raw_response.create(model="gpt-4o", messages=ASKED)
    assert raw.headers["x-ratelimit-limit-requests"]
    assert raw.headers["x-request-id"].startswith("req_")
    assert raw.headers["openai-processing-ms"]
    assert raw.parse().choices
    async with sdk.chat.completions.with_streaming_response.create(
        model="gpt-4o", messages=ASKED, stream=True
    ) as response:
        lines = [line async for line in response.iter_lines()]
    assert [line for line in lines if line][-1] == "data: [DONE]"


async def test_every_operation_has_its_path(sdk: AsyncOpenAI):
    assert (await sdk.embeddings.create(model="text-embedding-3-small", input="Hello")).data[0].embedding
    assert (await sdk.responses.create(model="gpt-4o", input="Hello")).output_text
    assert (await sdk.completions.create(model="gpt-3.5-turbo-instruct", prompt="Hello")).choices[0].text
    assert (await sdk.moderations.create(model="omni-moderation-latest", input="Hello")).results
    assert "gpt-4o" in [model.id async for model in sdk.models.list()]
    assert (await sdk.models.retrieve("gpt-4o")).id == "gpt-4o"
    stream = await sdk.responses.create(model="gpt-4o", input="Hello", stream=True)
    assert [event.type async for event in stream][-1] == "response.completed"


async def test_a_path_that_is_not_served_says_which_are(sdk: AsyncOpenAI):
    with pytest.raises(NotFoundError, match="POST /v1/chat/completions") as caught:
        await sdk.files.list()
    assert caught.value.code == "unknown_path"
    with pytest.raises(NotFoundError):
        await sdk.models.retrieve("nowhere")


async def test_the_users_headers_reach_the_provider_and_the_sdks_do_not(sdk: AsyncOpenAI, sim: Simulator):
    headers = {"x-client-request-id": "mine", "Idempotency-Key": "order-1"}
    first = await sdk.chat.completions.create(model="gpt-4o", messages=ASKED, extra_headers=headers)
    again = await sdk.chat.completions.create(model="gpt-4o", messages=ASKED, extra_headers=headers)
    assert first.id == again.id
    assert len(sim.calls) == 1
    assert sim.calls[-1].headers["x-client-request-id"] == "mine"
    assert "x-stainless-retry-count" not in sim.calls[-1].headers


# --- errors ------------------------------------------------------------------------------------------


async def test_a_refusal_keeps_the_providers_status_and_code(sdk: AsyncOpenAI, sim: Simulator):
    sim.faults.set(["insufficient_quota"])
    with pytest.raises(openai.RateLimitError) as caught:
        await sdk.chat.completions.create(model="gpt-4o", messages=ASKED)
    assert caught.value.code == "insufficient_quota"
    assert caught.value.response.headers["x-should-retry"] == "false"
    assert len(sim.calls) == 1


async def test_a_wait_that_the_provider_asks_for_is_passed_on(sdk: AsyncOpenAI, sim: Simulator):
    sim.faults.set(["429:retry_after=90,times=0"])
    with pytest.raises(openai.RateLimitError) as caught:
        await sdk.chat.completions.create(model="gpt-4o", messages=ASKED)
    assert int(caught.value.response.headers["retry-after"]) == 90
    assert int(caught.value.response.headers["retry-after-ms"]) == 90_000


async def test_the_callers_fault_is_told_as_one(sdk: AsyncOpenAI):
    wrong: Any = "no list"
    with pytest.raises(openai.BadRequestError) as caught:
        await sdk.chat.completions.create(model="gpt-4o", messages=wrong)
    assert caught.value.param == "messages"


async def test_the_engine_tries_again_and_the_sdk_does_not(sdk: AsyncOpenAI, sim: Simulator):
    sim.faults.set(["503", "reset"])
    assert (await sdk.chat.completions.create(model="gpt-4o", messages=ASKED)).choices
    assert len(sim.calls) == 3
    sim.faults.set(["503,times=0"])
    with pytest.raises(openai.InternalServerError):
        await sdk.chat.completions.create(model="gpt-4o", messages=ASKED)
    assert len(sim.calls) == 6


@pytest.mark.parametrize("stream", [False, True])
async def test_the_sdks_timeout_is_the_deadline(sdk: AsyncOpenAI, sim: Simulator, stream: bool):
    sim.faults.set(["silence,times=0"])
    with pytest.raises(APITimeoutError):
        await sdk.chat.completions.create(model="gpt-4o", messages=ASKED, stream=stream, timeout=0.2)
    await settled(lambda: sim.running_calls == 0)


async def test_nobody_there_is_a_connection_error():
    async with AsyncClient(base_url="http://127.0.0.1:1/v1", settings=FAST) as client, client.openai() as sdk:
        with pytest.raises(APIConnectionError):
            await sdk.chat.completions.create(model="gpt-4o", messages=ASKED)


@pytest.mark.parametrize("fault", ["cut:3", "cut:3,end=abort", "cut:3,end=reset", "stall:3", "error_event:3"])
async def test_a_cut_stream_is_never_a_success(fault: str):
    slow = SimulatorOptions(timing=Timing(tokens_per_s=200.0), faults=(f"{fault},times=0",))
    settings = {**FAST, "attempt_timeout.stall_s": 0.3, "resume.mode": "error"}
    async with (
        Simulator(slow) as sim,
        AsyncClient(base_url=sim.base_url, settings=settings) as client,
        client.openai() as sdk,
    ):
        with pytest.raises(BROKEN):
            async for _ in await sdk.chat.completions.create(model="gpt-4o", messages=ASKED, stream=True):
                pass


async def test_whoever_leaves_the_sdks_stream_ends_it_at_the_provider():
    async with (
        Simulator(SimulatorOptions(timing=Timing(tokens_per_s=20.0))) as sim,
        AsyncClient(base_url=sim.base_url) as client,
        client.openai() as sdk,
    ):
        async with await sdk.chat.completions.create(model="gpt-4o", messages=ASKED, stream=True) as stream:
            await anext(aiter(stream))
        await settled(lambda: sim.open_streams == 0, within_s=0.5)


@pytest.mark.parametrize(
    ("error", "name"),
    [
        (DeadlineExceeded("over"), "ReadTimeout"),
        (Silent("late", code="first_token_timeout"), "ReadTimeout"),
        (Silent("reset", code="reset_before_answer"), "ReadError"),
        (Unreachable("nobody", code="connection_refused"), "ConnectError"),
        (Unreachable("nobody", code="connect_timeout"), "ConnectTimeout"),
        (Cut("half", code="stream_cut"), "RemoteProtocolError"),
    ],
)
def test_a_broken_connection_is_told_in_the_librarys_words(error, name: str):
    assert type(broken(error, LIBRARY, None)).__name__ == name


# --- blocking ----------------------------------------------------------------------------------------


def blocking(base_url: str) -> None:
    with Client(base_url=base_url, settings=FAST) as client, client.openai() as sdk:
        assert isinstance(sdk, OpenAI)
        answer = sdk.chat.completions.create(model="gpt-4o", messages=ASKED)
        text = answer.choices[0].message.content
        stream = sdk.chat.completions.create(model="gpt-4o", messages=ASKED, stream=True)
        assert "".join([event.choices[0].delta.content or "" for event in stream]) == text
        parsed = sdk.chat.completions.parse(model="gpt-4o", messages=ASKED, response_format=Order)
        assert isinstance(parsed.choices[0].message.parsed, Order)
        raw = sdk.chat.completions.with_raw_response.create(model="gpt-4o", messages=ASKED)
        assert raw.parse().choices[0].message.content == text
        with sdk.chat.completions.with_streaming_response.create(model="gpt-4o", messages=ASKED) as response:
            assert json.loads(response.read())["choices"][0]["message"]["content"] == text
        assert sdk.models.retrieve("gpt-4o").id == "gpt-4o"
        with pytest.raises(NotFoundError):
            sdk.files.list()
        with pytest.raises(BROKEN):
            for _ in sdk.chat.completions.create(model="fault-cut-3", messages=ASKED, stream=True):
                pass
        with sdk.chat.completions.create(model="gpt-4o", messages=ASKED, stream=True) as left:
            next(iter(left))


async def test_the_blocking_sdk_runs_in_the_portal():
    slow = Timing(tokens_per_s=2000.0)
    async with Simulator(SimulatorOptions(timing=slow)) as sim:
        await asyncio.to_thread(blocking, sim.base_url)
        await settled(lambda: sim.open_streams == 0 and sim.open_connections == 0)


# --- the other SDK -----------------------------------------------------------------------------------


@pytest.mark.timeout(120)
@pytest.mark.skipif(
    not os.environ.get(OTHER_PYTHON),
    reason=f"{OTHER_PYTHON} names no Python whose openai is 2.x (pip install 'openai<3' into an environment)",
)
def test_the_same_holds_for_openai_2():
    done = subprocess.run(
        [
            os.environ[OTHER_PYTHON],
            *("-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "not openai_2"),
            str(Path(__file__)),
        ],
        env={**os.environ, OTHER_PYTHON: "", "PYTHONPATH": str(source())},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:]


def source() -> Path:
    """Where this package stands, for an environment in which it is not installed."""
    import stanchion

    return Path(stanchion.__file__).parents[1]
