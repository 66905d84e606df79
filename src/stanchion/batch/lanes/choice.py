"""The lanes of a job, as they were asked for or as its time and the prices suggest."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import msgspec

from stanchion.batch.lanes.flex import FlexLane
from stanchion.batch.lanes.lane import Cap, Lane
from stanchion.batch.lanes.part_run import BatchLaneOptions
from stanchion.batch.lanes.parts import PartFolder
from stanchion.batch.lanes.provider_batch import BatchLane
from stanchion.batch.lanes.sync import SyncLane
from stanchion.core.errors import StanchionError
from stanchion.engine.engine import Engine
from stanchion.engine.spread_outcome import SpreadOptions
from stanchion.rules.lane_choice import LaneName, choose, rescue_s

Wanted = Literal["auto", "sync", "flex", "batch"]


class LaneWish(msgspec.Struct, frozen=True):
    """What is wanted of the lanes."""

    lane: Wanted = "auto"
    deadline_s: float | None = None  # seconds from now on; None: none is given
    model: str = ""  # what most rows ask for; "" is unknown
    batch: BatchLaneOptions = BatchLaneOptions()  # but its deadline


def lanes_of(
    engine: Engine, journal: Path, wish: LaneWish, spread: SpreadOptions, cap: Cap | None = None
) -> Sequence[Lane]:
    """Make the lanes in their order; the last is the sync lane, which can do every row.

    `journal` is the job's folder.  What an earlier run has sent in batches is waited for, whichever lane is wanted now:
    it is paid for.
    """
    names = names_of(engine, wish)
    options = wish.batch
    if "batch" not in names and not PartFolder(journal).is_empty():
        names = ("batch", *names)
        options = msgspec.structs.replace(options, older_only=True)
    made: list[Lane] = []
    for name in names:
        if name == "batch":
            if wish.deadline_s is not None:
                options = msgspec.structs.replace(
                    options, deadline_at=time.time() + wish.deadline_s, rescue_s=rescue_s(wish.deadline_s)
                )
            made.append(BatchLane(engine, journal, options, cap=cap))
        elif name == "flex":
            made.append(FlexLane(engine, spread, cap=cap))
        else:
            made.append(SyncLane(engine, spread, cap=cap))
    return made


def names_of(engine: Engine, wish: LaneWish) -> tuple[LaneName, ...]:
    """Return the names of the lanes in their order."""
    if wish.lane == "sync":
        return ("sync",)
    if wish.lane != "auto":
        return wish.lane, "sync"
    try:
        offer = engine.offer(wish.model)
    except StanchionError:
        return ("sync",)  # the rows themselves say what is wrong with the model
    return choose(offer, wish.deadline_s)
