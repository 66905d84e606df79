"""How a reply begins and how it ends."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Literal

import msgspec


class End(enum.Enum):
    """How a reply ended."""

    def __init__(self, word: str) -> None:
        self.word = word  # an attribute costs a tenth of `value`

    COMPLETED = "completed"  # the last chunk was handed over
    FAILED = "failed"  # the source, or a stage, raised
    CANCELLED = "cancelled"  # the reader went away: its task was cancelled, or it closed early


class Head(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What is known of a reply before its first chunk."""

    status: int = 200  # the provider's HTTP status
    endpoint: str = ""  # which endpoint answers
    model: str = ""  # the model as it was asked there
    headers: Mapping[str, str] = msgspec.field(default_factory=dict[str, str])  # the provider's, lower case
    media_type: str = "application/json"
    # where the answer is from, if it may be shared; "semantic": it was given to a question that means the same
    cache: Literal["", "hit", "miss", "coalesced", "semantic"] = ""
    similarity: float | None = None  # of that question to this one, from 0 to 1

    @property
    def cached(self) -> bool:
        """Whether it was answered without a provider."""
        return self.cache in ("hit", "semantic")

    @property
    def shared(self) -> bool:
        """Whether another call paid for it."""
        return self.cache in ("hit", "coalesced", "semantic")
