"""The semantic cache: a question may get the answer to another one that means the same.  Opt-in."""

from stanchion.policies.semantic_cache.lookup import Embed, Meaning, Replay, SemanticCache, Worker
from stanchion.policies.semantic_cache.options import SemanticCacheOptions

__all__ = ["Embed", "Meaning", "Replay", "SemanticCache", "SemanticCacheOptions", "Worker"]
