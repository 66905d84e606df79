"""Calls that ask for the same at the same time share one call to the provider."""

from stanchion.policies.coalesce.coalesce import Coalesce, Spawn
from stanchion.policies.coalesce.flight import CoalesceOptions

__all__ = ["Coalesce", "CoalesceOptions", "Spawn"]
