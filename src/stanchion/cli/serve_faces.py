"""The faces that stand beside the gateway in one process: batches for callers, and the page of them."""

from __future__ import annotations

from collections.abc import Sequence

from stanchion.batch.api.app import BatchFace
from stanchion.cli.state import state_directory
from stanchion.engine.config import Loaded
from stanchion.engine.engine import Engine
from stanchion.gateway.callers.door import Door
from stanchion.gateway.mount import MakeMounts, Mount, no_mounts
from stanchion.ops.jobs import JobsPage


def faces(loaded: Loaded) -> MakeMounts:
    """Return what makes them, as the settings want it."""
    if not loaded.settings.batches.serve:
        return no_mounts
    folder = state_directory(loaded) / "batches"

    def make(engine: Engine, door: Door) -> Sequence[Mount]:
        return BatchFace(engine, door, folder), JobsPage()

    return make
