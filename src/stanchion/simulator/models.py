"""GET /v1/models and /v1/models/{id}."""

from __future__ import annotations

from collections.abc import Sequence

from stanchion.simulator.answer import ENCODER

_CREATED = 1_715_367_049


def models_json(models: Sequence[str]) -> bytes:
    """The list of models."""
    return ENCODER.encode({"object": "list", "data": [_entry(model) for model in models]})


def model_json(model: str) -> bytes:
    """One model."""
    return ENCODER.encode(_entry(model))


def _entry(model: str) -> dict[str, object]:
    return {"id": model, "object": "model", "created": _CREATED, "owned_by": "stanchion-simulator"}
