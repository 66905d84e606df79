"""OpenAI `usage` objects and their dialects -> disjoint token classes.

The wire's classes overlap (cached tokens are part of prompt tokens); ours do not, and their sum is the
wire's total.  Where a provider's parts exceed its total, the parts are clamped and the total holds.
"""

from __future__ import annotations

import msgspec

from stanchion.core.usage import TIERS, Usage


class Details(msgspec.Struct, gc=False):
    """`prompt_tokens_details`, `completion_tokens_details` and their names in the Responses API."""

    cached_tokens: int | None = None
    cache_write_tokens: int | None = None
    cache_creation_input_tokens: int | None = None  # Qwen, where a cache is asked for
    audio_tokens: int | None = None
    reasoning_tokens: int | None = None


class WireUsage(msgspec.Struct, gc=False):
    """`usage`, as chat completions, the Responses API and DeepSeek write it."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: Details | None = None
    completion_tokens_details: Details | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    input_tokens_details: Details | None = None
    output_tokens_details: Details | None = None
    prompt_cache_hit_tokens: int | None = None  # DeepSeek
    cached_tokens: int | None = None  # Moonshot


_NO_DETAILS = Details()


def usage_of(wire: WireUsage, tier: object = None) -> Usage:
    """Return the same tokens in disjoint classes; `tier` is what the answer says of how it was served."""
    prompt = max(0, wire.prompt_tokens or wire.input_tokens or 0)
    answer = max(0, wire.completion_tokens or wire.output_tokens or 0)
    into = wire.prompt_tokens_details or wire.input_tokens_details or _NO_DETAILS
    out = wire.completion_tokens_details or wire.output_tokens_details or _NO_DETAILS
    cached, rest = _take(into.cached_tokens or wire.prompt_cache_hit_tokens or wire.cached_tokens, prompt)
    written, rest = _take(into.cache_write_tokens or into.cache_creation_input_tokens, rest)
    heard, fresh = _take(into.audio_tokens, rest)
    reasoned, rest = _take(out.reasoning_tokens, answer)
    spoken, shown = _take(out.audio_tokens, rest)
    return Usage(
        input=fresh,
        input_cached=cached,
        input_cache_write=written,
        input_audio=heard,
        output=shown,
        output_reasoning=reasoned,
        output_audio=spoken,
        tier=read_tier(tier),
    )


def read_tier(told: object) -> str:
    """Return the tier if it has prices of its own, "" for the standard one and for what is none."""
    return told if isinstance(told, str) and told in TIERS else ""


def _take(part: int | None, whole: int) -> tuple[int, int]:
    """Split `whole` into a part, at most all of it, and the rest."""
    if not part:
        return 0, whole
    taken = min(max(0, part), whole)
    return taken, whole - taken
