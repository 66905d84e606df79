"""JSON values whose shape is not ours: look before you touch."""

from __future__ import annotations

from typing import Any, cast


def as_object(value: object) -> dict[str, Any] | None:
    """Return a JSON object as one, anything else as None."""
    return cast("dict[str, Any]", value) if isinstance(value, dict) else None


def as_list(value: object) -> list[Any] | None:
    """Return a JSON list as one, anything else as None."""
    return cast("list[Any]", value) if isinstance(value, list) else None
