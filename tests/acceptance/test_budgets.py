"""Budgets at the gateway: what a client sees of a bound that is lowered, a call that is refused, a stream that is cut."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import openai
import pytest
from openai import OpenAI

from stanchion.simulator import SimulatorOptions, Timing
from tests.acceptance.raw_client import ask
from tests.acceptance.stage import ASKED, QUICK, Gateway, Provider, provider, settled

CENT = 0.01
SETTINGS = """
[budget]
answer_tokens = 8
least_tokens = 4
[prices.gpt-4o]
input = 1.0
output = 2.0
[prices."gpt-4o-mini"]
input = 1.0
output = 2.0
[prices."gpt-4.1"]
input = 1.0
output = 2.0
[budgets.streams]
dollars = 0.000080
window = "total"
models = ["gpt-4o"]
[budgets.whole]
dollars = 0.000150
window = "total"
models = ["gpt-4o-mini"]
[budgets.kept]
dollars = 0.01
window = "total"
models = ["gpt-4.1"]
[budgets.nothing]
dollars = 1.0
models = ["unpriced"]
[pricing]
built_in = false
"""


@pytest.fixture(scope="module")
def upstream() -> Iterator[Provider]:
    with Provider(SimulatorOptions(timing=Timing(tokens_per_s=200.0))) as running:
        yield running


@pytest.fixture(scope="module")
def gateway(upstream: Provider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    settings = QUICK + SETTINGS + provider("house", upstream.base_url)
    with Gateway(tmp_path_factory.mktemp("budgets"), settings) as running:
        yield running


def asked(model: str, *, stream: bool = False, **more: object) -> dict[str, object]:
    return {"model": model, "messages": ASKED, "stream": stream, **more}


async def spent(gateway: Gateway, budget: str) -> float:
    """What the gateway shows as spent of a budget, as of its last call."""
    return (await asyncio.to_thread(gateway.metric, "stanchion_budget_used", budget=budget)) or 0.0


async def test_a_stream_is_cut_at_its_budget_with_a_reason_and_billed_for_what_was_delivered(
    gateway: Gateway, upstream: Provider
) -> None:
    upstream.plan()
    answer = await ask(gateway.port, asked("gpt-4o", stream=True))
    assert answer.status == 200
    assert (answer.error["code"], answer.error["type"]) == ("budget_exceeded", "insufficient_quota")
    assert "the stream was cut: the budget 'streams' (total)" in answer.error["message"]
    assert not answer.done
    await settled(lambda: upstream.running == 0)
    call = upstream.calls[0]
    assert call.client_left_at is not None
    assert not call.completed
    refused = await ask(gateway.port, asked("gpt-4o"))
    assert (refused.status, refused.error["code"]) == (429, "budget_exceeded")
    assert len(upstream.calls) == 1
    delivered = sum("content" in event["choices"][0]["delta"] for event in answer.events[:-1]) - 1
    bill = await spent(gateway, "streams")
    assert 0 < delivered * 2 / 80 < bill <= 1.0


async def test_a_whole_answer_is_bounded_to_what_is_left_and_then_refused(
    gateway: Gateway, upstream: Provider
) -> None:
    upstream.plan()
    first = await ask(gateway.port, asked("gpt-4o-mini", max_tokens=10_000))
    assert first.json["choices"][0]["finish_reason"] == "length"
    others = [await ask(gateway.port, asked("gpt-4o-mini", max_tokens=10_000)) for _ in range(20)]
    assert sum(each.is_success for each in others) <= 1
    again = others[-1]
    assert (again.status, again.error["code"]) == (429, "budget_exceeded")
    assert again.headers["x-should-retry"] == "false"
    used = sum(call.prompt_tokens + 2 * call.completion_tokens for call in upstream.calls)
    assert used <= 150
    assert await spent(gateway, "whole") == pytest.approx(used / 150)
    with (
        OpenAI(base_url=gateway.base_url, api_key="sk-mine") as sdk,
        pytest.raises(openai.RateLimitError) as error,
    ):
        sdk.chat.completions.create(model="gpt-4o-mini", messages=ASKED)
    assert error.value.code == "budget_exceeded"


async def test_what_was_spent_outlives_the_process(upstream: Provider, gateway: Gateway) -> None:
    upstream.plan()
    for _ in range(3):
        assert (await ask(gateway.port, asked("gpt-4.1", max_tokens=5))).is_success
    await asyncio.to_thread(gateway.__exit__, None, None, None)
    await asyncio.to_thread(gateway.__enter__)
    used = sum(call.prompt_tokens + 2 * call.completion_tokens for call in upstream.calls)
    assert (await ask(gateway.port, asked("gpt-4.1", max_tokens=5))).is_success
    assert await spent(gateway, "kept") == pytest.approx(used / 10_000)


async def test_a_model_without_a_price_is_refused_where_a_budget_covers_it(
    gateway: Gateway, upstream: Provider
) -> None:
    upstream.plan()
    refused = await ask(gateway.port, asked("unpriced"))
    assert (refused.status, refused.error["code"]) == (400, "price_unknown")
    assert (await ask(gateway.port, asked("o3-mini"))).is_success
    assert [call.model for call in upstream.calls] == ["o3-mini"]
