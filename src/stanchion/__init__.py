"""Stanchion: the production runtime between an application and ChatGPT-style APIs.

Importing it reaches no network, reads no configuration and costs nothing: a name is loaded when it is
first asked for.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from stanchion._version import __version__

if TYPE_CHECKING:
    from stanchion.client.answers import ChatReply, EmbeddingReply, Model, ResponseReply, Timing
    from stanchion.client.async_client import AsyncClient
    from stanchion.client.choice import Choice, ToolCall
    from stanchion.client.mapped import Mapped
    from stanchion.client.mapping import Map
    from stanchion.client.stream import Delta, Stream
    from stanchion.client.sync_client import Client, SyncStream
    from stanchion.client.sync_map import SyncMap
    from stanchion.core.errors import (
        BudgetExceeded,
        CallerError,
        Cut,
        DeadlineExceeded,
        InvalidCall,
        KeyReused,
        LimitReached,
        NotAllowed,
        NotCached,
        Refused,
        Sent,
        SettingsError,
        Silent,
        StanchionError,
        Unauthorized,
        Unavailable,
        UnknownModel,
        Unreachable,
        Unusable,
        UpstreamError,
    )
    from stanchion.core.trail import Attempt
    from stanchion.core.usage import Usage
    from stanchion.policies.retry import RetryOptions

__all__ = [
    "AsyncClient",
    "Attempt",
    "BudgetExceeded",
    "CallerError",
    "ChatReply",
    "Choice",
    "Client",
    "Cut",
    "DeadlineExceeded",
    "Delta",
    "EmbeddingReply",
    "InvalidCall",
    "KeyReused",
    "LimitReached",
    "Map",
    "Mapped",
    "Model",
    "NotAllowed",
    "NotCached",
    "Refused",
    "ResponseReply",
    "RetryOptions",
    "Sent",
    "SettingsError",
    "Silent",
    "StanchionError",
    "Stream",
    "SyncMap",
    "SyncStream",
    "Timing",
    "ToolCall",
    "Unauthorized",
    "Unavailable",
    "UnknownModel",
    "Unreachable",
    "Unusable",
    "UpstreamError",
    "Usage",
    "__version__",
]

_HOMES = {
    "client.answers": ("ChatReply", "EmbeddingReply", "Model", "ResponseReply", "Timing"),
    "client.async_client": ("AsyncClient",),
    "client.choice": ("Choice", "ToolCall"),
    "client.mapped": ("Mapped",),
    "client.mapping": ("Map",),
    "client.stream": ("Delta", "Stream"),
    "client.sync_client": ("Client", "SyncStream"),
    "client.sync_map": ("SyncMap",),
    "core.errors": (
        "CallerError",
        "Cut",
        "BudgetExceeded",
        "DeadlineExceeded",
        "InvalidCall",
        "KeyReused",
        "LimitReached",
        "NotAllowed",
        "NotCached",
        "Refused",
        "Sent",
        "SettingsError",
        "Silent",
        "StanchionError",
        "Unauthorized",
        "Unavailable",
        "UnknownModel",
        "Unreachable",
        "Unusable",
        "UpstreamError",
    ),
    "core.trail": ("Attempt",),
    "core.usage": ("Usage",),
    "policies.retry": ("RetryOptions",),
}
_MODULES = {name: f"stanchion.{module}" for module, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> object:
    """Load a public name, once."""
    module = _MODULES.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = globals()[name] = getattr(importlib.import_module(module), name)
    return found


def __dir__() -> list[str]:
    """List the public names, loaded or not."""
    return sorted({*globals(), *__all__})
