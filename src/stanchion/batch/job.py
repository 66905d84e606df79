"""What a job is: everything `run_job` is told.  Frozen; nothing here does anything."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import msgspec

from stanchion.batch.answer_check import AnswerCheck
from stanchion.batch.formats.format import OutputFormat
from stanchion.batch.lanes.lane import Cap, Lane
from stanchion.batch.rows import Form, Source

Order = Literal["input", "completion"]


class Outputs(msgspec.Struct, frozen=True):
    """Where the results go, and how."""

    path: Path
    format: OutputFormat
    errors: Path  # a file of the rows that failed; there is none if none did
    errors_format: OutputFormat
    order: Order = "input"


class Job(msgspec.Struct, frozen=True):
    """One job."""

    source: Source
    form: Form
    outputs: Outputs
    lanes: Sequence[Lane]  # the first takes every row, each other one what the one before gave back
    journal: Path  # a folder
    cap: Cap | None = None
    check: AnswerCheck | None = None
    retry_failed: bool = False  # what failed for good before counts as not asked
    durable: bool = True  # wait for the disk
    finish_s: float = 30.0  # seconds that calls in flight may take after a first Ctrl-C
    limit: int = 0  # rows that are read; 0 is all
    writes: bool = True  # False: the journal is all that is wanted, another writes the output


class Facts(msgspec.Struct):
    """How a job stands.  Mutable: the run counts here, a panel reads."""

    expected: int = 0  # rows, as far as can be said; exact once all were read
    all_read: bool = False
    read: int = 0  # rows
    bad: int = 0  # rows that cannot be asked
    before: int = 0  # rows that were answered, or failed, in an earlier run
    twins: int = 0  # rows that ask what an earlier row of this run asks
    asked: int = 0  # requests handed to lanes
    answered: int = 0  # requests answered in this run
    failed: int = 0  # requests that failed for good in this run
    spent_micro_usd: int = 0  # in all runs
    spent_before_micro_usd: int = 0
    prompt_tokens: int = 0  # in this run
    completion_tokens: int = 0
    began_at: float = 0.0  # on the loop's clock
    stage: Literal["reading", "asking", "writing", "ended"] = "reading"


class Ended(msgspec.Struct, frozen=True):
    """How a run ended."""

    facts: Facts
    stopped: Literal["", "interrupted", "cost_cap"] = ""  # why, if before all was done
    rows: int = 0  # written to the output and the errors; 0 if it was stopped
    rows_failed: int = 0
    undone: int = 0  # requests that no lane could do

    @property
    def exit_code(self) -> int:
        """The command's: 0 all done, 1 failed, 2 some rows failed, 3 cost cap, 130 interrupted."""
        if self.stopped:
            return 130 if self.stopped == "interrupted" else 3
        if self.undone:
            return 1
        return 2 if self.rows_failed else 0
