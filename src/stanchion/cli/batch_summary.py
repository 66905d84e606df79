"""How a job ended, in a few lines: what is there, what it took, and what to do next."""

from __future__ import annotations

import os
from collections.abc import Iterator

from stanchion.batch.job import Ended
from stanchion.batch.progress import Snapshot
from stanchion.batch.wanted import Wanted
from stanchion.cli.batch_words import duration, usd


def summary(ended: Ended, last: Snapshot, wanted: Wanted) -> Iterator[str]:
    """Yield the lines."""
    output, errors = os.path.relpath(wanted.output), os.path.relpath(wanted.errors_path)
    spent = f"{usd(last.spent_micro_usd)}"
    left = max(0, last.rows - last.done)
    if ended.stopped == "interrupted":
        yield f"interrupted: {last.done:,} rows are done and kept, {spent} spent; the same command goes on from here"
        return
    if ended.stopped == "cost_cap":
        cap = usd(wanted.max_cost_micro_usd or 0)
        yield f"stopped before {cap} would be passed: {spent} spent, {last.done:,} rows are done and kept"
        yield f"about {left:,} rows are left; run it again with a higher --max-cost to go on"
        return
    if ended.undone:
        yield f"{ended.undone:,} requests could not be asked; {last.done:,} rows are done and kept, {spent} spent"
        yield "run the same command again when the provider can be asked"
        return
    yield f"{output}: {ended.rows:,} rows, {ended.rows - ended.rows_failed:,} answered, {ended.rows_failed:,} failed"
    asked = last.done - last.before - last.twins
    yield (
        f"{duration(last.seconds)}, {max(0, asked):,} asked now, {last.before:,} known before, "
        f"{last.twins:,} twins; {last.prompt_tokens:,} tokens in, {last.completion_tokens:,} out; {spent} in all"
    )
    if ended.rows_failed:
        yield f"{errors}: why rows failed, and what to do about each"
