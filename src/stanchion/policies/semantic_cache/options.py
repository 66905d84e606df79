"""The settings of the semantic cache."""

from __future__ import annotations

from typing import Literal

import msgspec


class SemanticCacheOptions(msgspec.Struct, frozen=True):
    """Whether a question may get the answer to another one that means the same.  It can be wrong: see the how-to."""

    # "shadow": no call gets such an answer; metrics and the log tell what it would have been, and how like the true one
    mode: Literal["off", "shadow", "on"] = "off"
    threshold: float = (
        0.97  # similarity from which the answer is given; that of the local model, others have their own
    )
    embedder: str = "local"  # "local", or the model that is asked for embeddings as any caller would
    most_entries: int = 10_000  # questions that are known
    most_bytes: int = 64 * 1024 * 1024  # of their embeddings, in memory; answers are in the exact cache
    life_s: float = 3600.0  # seconds a question is known; its answer goes with cache.life_s, if that is less
    text_most_chars: int = (
        500  # a longer question is not looked for: it agrees in too much that does not matter
    )
    wait_s: float = 0.5  # seconds a call waits for its embedding; then it goes on without
