"""The provider's prompt cache: prefixes of 1,024 tokens and more, in steps of 128, are read at a lower price.

Simple on purpose: one machine, the newest prefixes are kept, nothing expires by time.
"""

from __future__ import annotations

from collections import OrderedDict

LEAST_TOKENS = 1024
STEP_TOKENS = 128
_TOKEN_BYTES = 4


class PromptCache:
    """Remembers hashes of prefixes, never text."""

    def __init__(self, capacity: int = 50_000) -> None:
        self._capacity = capacity
        self._seen: OrderedDict[int, None] = OrderedDict()

    def read(self, model: str, ids: bytes) -> int:
        """How many of the prompt's tokens were cached; the prompt is cached from now on."""
        total = len(ids) // _TOKEN_BYTES
        cached = 0
        running = hash((model, ids[: LEAST_TOKENS * _TOKEN_BYTES]))
        end = LEAST_TOKENS
        while end <= total:
            if running in self._seen:
                self._seen.move_to_end(running)
                cached = end
            else:
                self._seen[running] = None
            running = hash((running, ids[end * _TOKEN_BYTES : (end + STEP_TOKENS) * _TOKEN_BYTES]))
            end += STEP_TOKENS
        while len(self._seen) > self._capacity:
            self._seen.popitem(last=False)
        return cached
