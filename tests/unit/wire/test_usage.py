"""Token classes are disjoint, and their sum is the provider's total."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stanchion.core.usage import CLASSES, Usage
from stanchion.wire.usage import Details, WireUsage, usage_of

FIXTURES = {
    "openai": (
        {
            "prompt_tokens": 2006,
            "completion_tokens": 300,
            "total_tokens": 2306,
            "prompt_tokens_details": {"cached_tokens": 1920, "audio_tokens": 0},
            "completion_tokens_details": {
                "reasoning_tokens": 128,
                "audio_tokens": 0,
                "accepted_prediction_tokens": 10,
                "rejected_prediction_tokens": 5,
            },
        },
        Usage(input=86, input_cached=1920, output=172, output_reasoning=128),
    ),
    "openai with a written cache": (
        {
            "prompt_tokens": 1000,
            "completion_tokens": 1,
            "prompt_tokens_details": {"cached_tokens": 100, "cache_write_tokens": 800},
        },
        Usage(input=100, input_cached=100, input_cache_write=800, output=1),
    ),
    "audio": (
        {
            "prompt_tokens": 120,
            "completion_tokens": 90,
            "prompt_tokens_details": {"audio_tokens": 100, "text_tokens": 20, "cached_tokens": 0},
            "completion_tokens_details": {"audio_tokens": 70, "text_tokens": 20, "reasoning_tokens": 0},
        },
        Usage(input=20, input_audio=100, output=20, output_audio=70),
    ),
    "responses": (
        {
            "input_tokens": 328,
            "input_tokens_details": {"cached_tokens": 28},
            "output_tokens": 52,
            "output_tokens_details": {"reasoning_tokens": 2},
            "total_tokens": 380,
        },
        Usage(input=300, input_cached=28, output=50, output_reasoning=2),
    ),
    "deepseek": (
        {
            "prompt_tokens": 1024,
            "completion_tokens": 64,
            "total_tokens": 1088,
            "prompt_cache_hit_tokens": 960,
            "prompt_cache_miss_tokens": 64,
        },
        Usage(input=64, input_cached=960, output=64),
    ),
    "deepseek reasoner": (
        {
            "prompt_tokens": 10,
            "completion_tokens": 100,
            "prompt_tokens_details": {"cached_tokens": 4},
            "completion_tokens_details": {"reasoning_tokens": 90},
            "prompt_cache_hit_tokens": 4,
            "prompt_cache_miss_tokens": 6,
        },
        Usage(input=6, input_cached=4, output=10, output_reasoning=90),
    ),
    "azure": (
        {
            "prompt_tokens": 1408,
            "completion_tokens": 80,
            "total_tokens": 1488,
            "prompt_tokens_details": {"cached_tokens": 1280, "audio_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 64, "accepted_prediction_tokens": 0},
        },
        Usage(input=128, input_cached=1280, output=16, output_reasoning=64),
    ),
    "qwen": (
        {
            "prompt_tokens": 1524,
            "completion_tokens": 25,
            "total_tokens": 1549,
            "prompt_tokens_details": {
                "cached_tokens": 0,
                "cache_creation": {"ephemeral_5m_input_tokens": 1500},
                "cache_creation_input_tokens": 1500,
                "cache_type": "ephemeral",
            },
        },
        Usage(input=24, input_cache_write=1500, output=25),
    ),
    "moonshot": (
        {"prompt_tokens": 19, "completion_tokens": 21, "total_tokens": 40, "cached_tokens": 10},
        Usage(input=9, input_cached=10, output=21),
    ),
    "zhipu": (
        {
            "prompt_tokens": 1200,
            "completion_tokens": 300,
            "total_tokens": 1500,
            "prompt_tokens_details": {"cached_tokens": 800},
            "completion_tokens_details": {"reasoning_tokens": 210},
        },
        Usage(input=400, input_cached=800, output=90, output_reasoning=210),
    ),
    "openrouter": (
        {
            "prompt_tokens": 194,
            "completion_tokens": 2,
            "total_tokens": 196,
            "cost": 0.00095,
            "is_byok": False,
            "prompt_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 100, "audio_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 0},
            "cost_details": {"upstream_inference_cost": None},
        },
        Usage(input=94, input_cache_write=100, output=2),
    ),
    "ollama, llama.cpp": (
        {"prompt_tokens": 26, "completion_tokens": 298, "total_tokens": 324},
        Usage(input=26, output=298),
    ),
    "vllm": (
        {
            "prompt_tokens": 40,
            "completion_tokens": 9,
            "total_tokens": 49,
            "prompt_tokens_details": {"cached_tokens": 32},
        },
        Usage(input=8, input_cached=32, output=9),
    ),
    "embeddings": ({"prompt_tokens": 8, "total_tokens": 8}, Usage(input=8)),
    "nulls": (
        {
            "prompt_tokens": 3,
            "completion_tokens": 4,
            "prompt_tokens_details": None,
            "completion_tokens_details": {"reasoning_tokens": None},
        },
        Usage(input=3, output=4),
    ),
    "parts over the whole": (
        {
            "prompt_tokens": 10,
            "completion_tokens": 5,
            "prompt_tokens_details": {"cached_tokens": 99, "audio_tokens": 9},
            "completion_tokens_details": {"reasoning_tokens": 9},
        },
        Usage(input_cached=10, output_reasoning=5),
    ),
    "nothing": ({}, Usage()),
}


@pytest.mark.parametrize("name", FIXTURES)
def test_a_providers_usage_in_disjoint_classes(name: str) -> None:
    wire, expected = FIXTURES[name]
    found = usage_of(msgspec.convert(wire, WireUsage))
    assert found == expected
    assert found.prompt_tokens == wire.get("prompt_tokens", wire.get("input_tokens", 0))
    assert found.total_tokens == wire.get("total_tokens", found.total_tokens)
    assert found.estimated is False


@pytest.mark.parametrize(
    ("told", "tier"), [("flex", "flex"), ("priority", "priority"), ("default", ""), (None, ""), (7, "")]
)
def test_the_tier_is_the_one_the_answer_tells(told: object, tier: str) -> None:
    assert usage_of(WireUsage(prompt_tokens=1), told).tier == tier


tokens = st.none() | st.integers(-5, 10**12)
details = st.none() | st.builds(
    Details,
    **dict.fromkeys(("cached_tokens", "cache_write_tokens", "audio_tokens", "reasoning_tokens"), tokens),
)


@given(
    st.builds(
        WireUsage,
        **{name: details if name.endswith("details") else tokens for name in WireUsage.__struct_fields__},
    )
)
def test_whatever_a_provider_says_no_class_is_negative_and_the_total_holds(wire: WireUsage) -> None:
    found = usage_of(wire)
    assert all(getattr(found, name) >= 0 for name in CLASSES)
    assert found.prompt_tokens == max(0, wire.prompt_tokens or wire.input_tokens or 0)
    assert found.completion_tokens == max(0, wire.completion_tokens or wire.output_tokens or 0)
