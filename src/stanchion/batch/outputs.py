"""The files at the end: one pass over the input, each row with what the journal has of it.

Nothing goes into them that is not in the input or the journal, so a job that was killed a hundred times writes the
same bytes as one that never was.  Each file is written beside its place, brought to the disk and then named: a file
of that name is whole, always.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Protocol

import msgspec

from stanchion.batch.answers import Answer, Problem
from stanchion.batch.formats.format import RowWriter
from stanchion.batch.job import Job
from stanchion.batch.kept import answer_of
from stanchion.batch.rows import BadRow, Row
from stanchion.core.errors import StanchionError
from stanchion.rules.row_key import RowKey
from stanchion.stores.journal.records import Record

_BUFFER = 256 * 1024
_UNDONE = Answer(
    0, problem=Problem("this row was not asked yet: run the job again", code="not_asked", type="not_asked")
)


class Kept(Protocol):
    """Where answers are: a journal, or several."""

    def look(self, key: bytes) -> Record | None:
        """Return the record of a key; None if there is none."""
        ...

    def number_of(self, key: bytes) -> int:
        """Return the place of a key's record in the order in which they were written; -1 if there is none."""
        ...


class Written(msgspec.Struct):
    """What was written."""

    rows: int = 0
    failed: int = 0
    undone: int = 0  # rows without an answer yet, which only an export of an unfinished job has


def write_outputs(job: Job, key_of: RowKey, journal: Kept, *, partial: bool = False) -> Written:
    """Write the output and the errors, in a thread.  Raises StanchionError and OSError; nothing is left half.

    `partial`: the job has not ended; rows without an answer are left out.
    """
    outputs, done = job.outputs, Written()
    with _file(outputs.path) as output, _file(outputs.errors) as errors:
        results, failures = outputs.format.open(output), outputs.errors_format.open(errors)
        for row, key, answer in _rows(job, key_of, journal):
            if answer is _UNDONE:
                if not partial:
                    raise StanchionError(f"row {row.number} has no answer: was the input changed meanwhile?")
                done.undone += 1
                continue
            _add(job, (results, failures), row, key, answer)
            done.rows += 1
            done.failed += answer.problem is not None
        results.close()
        failures.close()
    if not done.failed:
        outputs.errors.unlink(missing_ok=True)
    return done


def _add(job: Job, writers: tuple[RowWriter, RowWriter], row: Row, key: bytes, answer: Answer) -> None:
    try:
        custom_id = job.form.custom_id(row) if row.line else f"row-{row.number}"
    except BadRow:
        custom_id = f"row-{row.number}"
    results, failures = writers
    results.add(row, custom_id, key, answer)
    if answer.problem is not None:
        failures.add(row, custom_id, key, answer)


def _rows(job: Job, key_of: RowKey, journal: Kept) -> Iterator[tuple[Row, bytes, Answer]]:
    """Return each row of the input with its key and what came of it."""
    rows = _in_order(job, key_of, journal)
    if job.outputs.order == "input":
        yield from rows
        return
    # as they were answered: rows that were never asked come first, since that is known from the beginning
    known = sorted((_entry(journal, key), row.number) for row, key, _ in rows)
    place = {number: at for at, (_, number) in enumerate(known)}
    waiting: dict[int, tuple[Row, bytes, Answer]] = {}
    at = 0
    for found in _in_order(job, key_of, journal):
        waiting[place[found[0].number]] = found
        while at in waiting:
            yield waiting.pop(at)
            at += 1


def _in_order(job: Job, key_of: RowKey, journal: Kept) -> Iterator[tuple[Row, bytes, Answer]]:
    count = 0
    for page in job.source.pages():
        number = page.first - 1
        for line in page.lines:
            number += 1
            bad = page.bad.get(number)
            if not line and bad is None:
                continue
            if job.limit and count >= job.limit:
                return
            count += 1
            row = Row(number, line)
            if bad is not None:
                yield row, b"", _not_asked(job, row, bad)
            else:
                yield _answered(job, row, key_of, journal)


def _answered(job: Job, row: Row, key_of: RowKey, journal: Kept) -> tuple[Row, bytes, Answer]:
    try:
        key = key_of(job.form.content(row.line))
        record = journal.look(key)
        if record is not None:
            return row, key, answer_of(record)
        job.form.request(row)  # it may be one that could not be asked
    except BadRow as error:
        return row, b"", _not_asked(job, row, error)
    return row, key, _UNDONE


def _not_asked(job: Job, row: Row, error: BadRow) -> Answer:
    where = f"{job.source.name}, row {row.number}" + (f", column {error.column}" if error.column else "")
    return Answer(
        0, problem=Problem(f"{where}: {error}", error.code or "invalid_row", error.param or "", error.type)
    )


def _entry(journal: Kept, key: bytes) -> int:
    return journal.number_of(key) if key else -1


@contextmanager
def _file(path: Path) -> Generator[BinaryIO]:
    """Open a file that takes its name when all of it is on the disk.  Raises OSError."""
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    file = beside.open("wb", buffering=_BUFFER)
    try:
        with file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
