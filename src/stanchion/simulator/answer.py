"""An answer decided before any byte is sent: what it costs, and its two forms."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

import msgspec

from stanchion.simulator.prompt_cache import PromptCache

ENCODER: Final = msgspec.json.Encoder()
FINGERPRINT = "fp_stanchion1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Charge:
    """What the quota is charged with when a call arrives."""

    chars: int
    messages: int = 1
    n: int = 1
    images: int = 0


@dataclass(slots=True, kw_only=True)
class Answer:
    """A reply that can be sent whole or as events; both are made only when asked for."""

    prompt_tokens: int
    completion_tokens: int
    whole: Callable[[], bytes]
    events: Callable[[], Iterator[bytes]] | None = None


@dataclass(slots=True, kw_only=True)
class Context:
    """What an endpoint knows beside the request: the call's number and what the provider remembers."""

    serial: int
    cache: PromptCache
    nondeterministic: bool = False
    context_tokens: int = 128_000
    fault: str | None = None
    created: int = field(default_factory=lambda: int(time.time()))

    def id(self, prefix: str) -> str:
        """An id that is unique in this process and the same in a repeated run."""
        return f"{prefix}{self.serial:024x}"
