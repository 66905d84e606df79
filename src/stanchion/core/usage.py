"""Tokens of one call in disjoint classes: each token is counted in exactly one of them."""

from __future__ import annotations

import msgspec


class Usage(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """Tokens used.  The classes are disjoint, so money is a sum of products."""

    input: int = 0  # read afresh
    input_cached: int = 0  # read from the provider's prompt cache
    input_cache_write: int = 0  # written into it, where the provider bills that apart
    input_audio: int = 0
    output: int = 0  # visible text, tool calls and rejected predictions
    output_reasoning: int = 0
    output_audio: int = 0
    estimated: bool = False  # counted by us: the provider never told
    tier: str = ""  # how it was served, where that has a price of its own: "batch", "flex", "priority"

    @property
    def prompt_tokens(self) -> int:
        """All that went in."""
        return self.input + self.input_cached + self.input_cache_write + self.input_audio

    @property
    def completion_tokens(self) -> int:
        """All that came out."""
        return self.output + self.output_reasoning + self.output_audio

    @property
    def total_tokens(self) -> int:
        """All of it."""
        return self.prompt_tokens + self.completion_tokens

    def __add__(self, other: Usage) -> Usage:
        """Add up two calls, class by class."""
        sums = {name: getattr(self, name) + getattr(other, name) for name in CLASSES}
        tier = self.tier if self.tier == other.tier else ""
        return Usage(**sums, estimated=self.estimated or other.estimated, tier=tier)


class Cost(msgspec.Struct, frozen=True, gc=False):
    """What an attempt cost, in micro-dollars."""

    parts: tuple[int, ...]  # in the order of CLASSES
    known: bool  # there is a price; else it was counted as pricing.unknown_input and unknown_output say


CLASSES = (
    "input",
    "input_cached",
    "input_cache_write",
    "input_audio",
    "output",
    "output_reasoning",
    "output_audio",
)
TIERS = ("batch", "flex", "priority")  # `service_tier` in OpenAI's words; any other is the standard one
