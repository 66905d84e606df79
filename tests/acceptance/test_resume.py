"""A stream that breaks after delivery began: taken up where the answer can be verified, cut honestly where not."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import openai
import pytest
from openai import OpenAI

from tests.acceptance.raw_client import Answer, ask
from tests.acceptance.stage import ASKED, QUICK, Gateway, Provider, provider

ROUTES = """
[routes.verifies]
balance = ["one/gpt-4o"]
resume.mode = "verify"
[routes.tells]
balance = ["one/gpt-4o"]
resume.mode = "error"
[routes.random]
balance = ["one/sim-random"]
resume.mode = "verify"
[cache]
use = "off"
"""
CUTS = [
    "cut:6",
    "cut:6,end=abort",
    "cut:6,end=reset",
    "malformed:6",
    "error_event:6",
    "no_done",
    "cut:1,end=abort",
]


@pytest.fixture(scope="module")
def resuming(
    providers: tuple[Provider, Provider], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    settings = QUICK + provider("one", providers[0].base_url) + ROUTES
    with Gateway(tmp_path_factory.mktemp("resume"), settings) as running:
        yield running


def asked(model: str = "gpt-4o", **more: Any) -> dict[str, object]:
    return {"model": model, "messages": ASKED, "stream": True, "max_tokens": 20, **more}


def identities(seen: Answer) -> set[tuple[object, ...]]:
    return {(event["id"], event["created"], event["model"]) for event in seen.events}


@pytest.mark.parametrize("fault", CUTS)
@pytest.mark.parametrize("more", [{"temperature": 0}, {"seed": 7}], ids=["temperature 0", "seed"])
async def test_a_repeatable_stream_that_is_cut_reaches_its_client_whole(
    resuming: Gateway, one: Provider, fault: str, more: dict[str, Any]
):
    undisturbed = await ask(resuming.port, asked(**more))
    one.plan(fault)
    seen = await ask(resuming.port, asked(**more))
    assert [call.completed for call in one.calls] == [False, True]
    assert seen.is_success
    assert seen.text == undisturbed.text
    assert len(identities(seen)) == 1, "one answer, as far as its reader can see"


@pytest.mark.parametrize(
    "fault",
    [
        "cut:6,end=abort",
        "error_event:6",
        "cut:1,end=abort",
        "no_done",
    ],
)
async def test_what_its_reader_has_is_not_said_again(resuming: Gateway, one: Provider, fault: str):
    one.plan(fault)
    seen = await ask(resuming.port, asked(temperature=0))
    assert seen.is_success
    choices = [choice for event in seen.events for choice in event["choices"]]
    assert [choice["finish_reason"] for choice in choices if choice["finish_reason"]] == ["length"]
    assert len([choice for choice in choices if "role" in choice["delta"]]) == 1


async def test_a_stream_is_taken_up_more_than_once(resuming: Gateway, one: Provider):
    undisturbed = await ask(resuming.port, asked(temperature=0))
    one.plan("cut:4,end=abort", "cut:9,end=abort")
    seen = await ask(resuming.port, asked(temperature=0))
    assert len(one.calls) == 3
    assert (seen.is_success, seen.text) == (True, undisturbed.text)


async def test_a_stream_that_breaks_again_and_again_is_cut(resuming: Gateway, one: Provider):
    one.plan("cut:6,end=abort,times=0")
    seen = await ask(resuming.port, asked(temperature=0))
    assert_cut(seen)
    assert len(one.calls) == 3, "the first, and two that take it up"


async def test_nobody_to_take_it_up_is_a_cut(resuming: Gateway, one: Provider):
    one.plan("cut:6,end=abort", "400")
    assert_cut(await ask(resuming.port, asked(temperature=0)))


@pytest.mark.parametrize("more", [{}, {"temperature": 0.7}, {"temperature": 0, "n": 2}])
async def test_a_stream_that_would_differ_is_cut_by_default(
    resuming: Gateway, one: Provider, more: dict[str, Any]
):
    one.plan("cut:6,end=abort")
    assert_cut(await ask(resuming.port, asked(**more)))
    assert len(one.calls) == 1


async def test_a_route_may_forbid_it(resuming: Gateway, one: Provider):
    one.plan("cut:6,end=abort")
    assert_cut(await ask(resuming.port, asked("tells", temperature=0)))
    assert len(one.calls) == 1


async def test_a_route_may_ask_for_it(resuming: Gateway, one: Provider):
    one.plan("cut:6,end=abort")
    assert (await ask(resuming.port, asked("verifies", temperature=0.7))).is_success
    assert len(one.calls) == 2


async def test_an_answer_that_differs_is_cut_and_nothing_of_it_is_shown(resuming: Gateway, one: Provider):
    seen: list[Answer] = []
    for _ in range(8):  # two answers may begin alike by chance, and then the second goes on in good faith
        one.plan("cut:20,end=abort")
        seen.append(await ask(resuming.port, asked("random", max_tokens=40)))
        assert len(one.calls) == 2
    cut = [answer for answer in seen if not answer.is_success]
    assert cut
    for answer in cut:
        assert_cut(answer)
        assert len(answer.events) <= 21, "what came before the cut, and the error"
        assert len({event["id"] for event in answer.events if "id" in event}) == 1


def assert_cut(seen: Answer) -> None:
    assert seen.status == 200
    assert seen.error["code"] == "reset_in_answer"
    assert (seen.whole, seen.done) == (False, False)


def test_the_sdk_sees_one_answer(resuming: Gateway, one: Provider):
    with OpenAI(base_url=resuming.base_url, api_key="sk-mine", max_retries=0) as sdk:

        def text(model: str) -> str:
            stream = sdk.chat.completions.create(model=model, messages=ASKED, stream=True, temperature=0)
            return "".join([chunk.choices[0].delta.content or "" for chunk in stream])

        undisturbed = text("gpt-4o")
        one.plan("cut:8,end=reset")
        assert text("gpt-4o") == undisturbed
        one.plan("cut:8,end=reset")
        with pytest.raises(openai.APIError):
            text("tells")


async def test_usage_is_told_of_a_stream_that_was_taken_up(resuming: Gateway, one: Provider):
    one.plan("cut:6,end=abort")
    seen = await ask(resuming.port, asked(temperature=0, stream_options={"include_usage": True}))
    assert seen.is_success
    assert seen.events[-1]["choices"] == []
    assert seen.events[-1]["usage"]["completion_tokens"] == one.calls[-1].completion_tokens


async def test_a_tool_call_that_is_cut_is_taken_up(resuming: Gateway, one: Provider):
    function: Any = {
        "name": "find_order",
        "parameters": {
            "type": "object",
            "properties": {"number": {"type": "string"}},
            "required": ["number"],
        },
    }
    tools: Any = {"tools": [{"type": "function", "function": function}], "tool_choice": "required"}
    undisturbed = await ask(resuming.port, asked(temperature=0, **tools))
    one.plan("cut:3,end=abort")
    seen = await ask(resuming.port, asked(temperature=0, **tools))
    if seen.is_success:
        assert arguments(seen) == arguments(undisturbed) != ""
    else:
        assert_cut(seen)


def arguments(seen: Answer) -> str:
    deltas = [choice["delta"] for event in seen.events for choice in event["choices"]]
    calls = [call for delta in deltas for call in delta.get("tool_calls") or ()]
    return "".join([call["function"].get("arguments") or "" for call in calls])
