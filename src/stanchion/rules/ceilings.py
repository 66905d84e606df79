"""Limits of our own over a provider's, or what is known of the provider's beforehand."""

from __future__ import annotations

import msgspec

from stanchion.core.rates import Kind


class Ceilings(msgspec.Struct, frozen=True):
    """What may be used at most; 0 is no limit."""

    requests_per_minute: int = 0
    requests_per_day: int = 0
    tokens_per_minute: int = 0
    tokens_per_day: int = 0

    def all(self) -> list[tuple[Kind, float, int]]:
        """Return kind, window in seconds and limit of each that is set."""
        each: list[tuple[Kind, float, int]] = [
            ("requests", 60.0, self.requests_per_minute),
            ("requests", 86400.0, self.requests_per_day),
            ("tokens", 60.0, self.tokens_per_minute),
            ("tokens", 86400.0, self.tokens_per_day),
        ]
        return [one for one in each if one[2] > 0]


NO_CEILINGS = Ceilings()
