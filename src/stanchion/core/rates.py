"""What a provider says of its rate limits: in the headers of an answer, and in the words of a 429."""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

Kind: TypeAlias = Literal["requests", "tokens"]


class Rate(msgspec.Struct, frozen=True, gc=False):
    """One limit, as one answer told it."""

    kind: Kind
    limit: int
    remaining: int
    reset_s: float | None = None  # seconds until full, where the provider means that
    window_s: float | None = None  # seconds, where the header's name or another header tells it


class Level(msgspec.Struct, frozen=True, gc=False):
    """How full one limit is now."""

    kind: Kind
    left: int
    limit: int
    window_s: float


class RateRefusal(msgspec.Struct, frozen=True, gc=False):
    """The limit that refused, as the words of a 429 tell it."""

    kind: Kind
    window_s: float
    limit: int
    used: int | None = None
    requested: int | None = None

    @property
    def too_large(self) -> bool:
        """Say whether the call can never fit.  One that is more than a second's share passes alone."""
        return self.requested is not None and self.requested > self.limit and self.window_s > 1.0
