"""`stanchion batch run` and `retry`: ask for every row that was not asked yet, then write the output."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import click
import msgspec

from stanchion.batch.job import Ended
from stanchion.batch.parts import Parts, first_fault, parts_of
from stanchion.batch.progress import Snapshot
from stanchion.batch.shards import journal_folders, shards_kept
from stanchion.batch.wanted import Wanted, as_kept, keep, kept
from stanchion.cli.batch_display import display_for
from stanchion.cli.batch_flags import PROGRESS, asked_options, run_options, wanted_of
from stanchion.cli.batch_settings import job_flags, settings_for_job, settings_to_look
from stanchion.cli.batch_summary import summary
from stanchion.cli.given import settings_options
from stanchion.cli.verbosity import verbose_option
from stanchion.core.errors import SettingsError, StanchionError
from stanchion.engine.config import Loaded
from stanchion.engine.model_facts import Models
from stanchion.stores.journal.lock import take_lock


@click.command("run")
@click.argument("source", metavar="INPUT")
@run_options
@asked_options
@PROGRESS
@settings_options
@verbose_option
def run(source: str, config: Path | None, sets: tuple[str, ...], progress: str, **options: Any) -> None:
    """Ask for every row of INPUT that was not asked yet, then write the output in the input's order.

    INPUT is JSONL (OpenAI's batch lines, request bodies, or records with a template), CSV or Parquet; - is
    standard input. What was answered is kept in OUTPUT.stanchion: a job that was stopped, killed or cut off goes on
    where it was when the same command is given again, and rows that were added, moved or changed meanwhile are
    understood. Rows that ask the same are asked once.

    \b
    Examples:
      stanchion batch run tickets.csv -t ask.j2 -m gpt-4o-mini -o answers.csv
          One question a row. ask.j2 may be as short as: Which product is this about? {{ text }}
      stanchion batch run tickets.csv -t ask.j2 -m gpt-4o-mini -o answers.csv --sample 50
          Fifty rows first. The whole job later takes their answers over.
      stanchion batch run tickets.csv -t ask.j2 -m gpt-4o-mini -o answers.csv --schema intent.json --max-cost 20
          Answers that fit a JSON schema, for at most 20 dollars.
      stanchion batch run requests.jsonl -o answers.jsonl --retry-failed
          OpenAI's batch lines; those that failed are asked once more.
      zcat rows.jsonl.gz | stanchion batch run - -t ask.j2 -m gpt-4o-mini -o answers.parquet

    \b
    The exit code is
      0    all rows are answered
      2    the job is done and some rows failed: they stand in OUT.errors.jsonl (of OUT.csv) with what to do.
           Wrong options exit with 2, too, before anything is asked
      3    --max-cost was reached          run again with a higher one to go on
      130  interrupted by Ctrl-C           run again to go on; a second Ctrl-C ends at once
      1    anything else: no provider can be asked, the disk is full
    """  # noqa: D301 - click reads \b
    fresh, validate_only, dry_run = (options.pop(name) for name in ("fresh", "validate_only", "dry_run"))
    wanted = wanted_of(source, options)
    if validate_only or dry_run:
        from stanchion.cli.batch_estimate import estimate_job, validate_job  # noqa: PLC0415 - start-up time

        loaded = settings_to_look(config, sets, wanted.price_as)
        sys.exit(validate_job(loaded, wanted) if validate_only else estimate_job(loaded, wanted))
    if fresh:
        _forget(wanted)
    sys.exit(_run(config, sets, wanted, progress))


@click.command("retry")
@click.argument("output", type=click.Path(dir_okay=False, path_type=Path))
@PROGRESS
@settings_options
@verbose_option
def retry(output: Path, config: Path | None, sets: tuple[str, ...], progress: str) -> None:
    """Ask once more for the rows of a job that failed; OUTPUT is the job's output.

    The job is the one that was run: its input, template, model and all options are known by its output.

    \b
    Examples:
      stanchion batch retry answers.csv
          The same as the command of the job with --retry-failed.
    """  # noqa: D301 - click reads \b
    wanted = as_kept(kept(output.absolute()))
    sys.exit(_run(config, sets, msgspec.structs.replace(wanted, retry_failed=True), progress))


def _run(config: Path | None, sets: tuple[str, ...], wanted: Wanted, progress: str) -> int:
    from stanchion.cli.batch_running import run_job  # noqa: PLC0415 - nothing of it is needed to say what is wrong

    with settings_for_job(config, sets, wanted.price_as) as loaded:
        _check_engine(wanted, loaded)
        parts = _parts(wanted, loaded)
        _check_first(parts)
        _keep(wanted)
        display = display_for(progress, f"{parts.source.name} -> {os.path.relpath(wanted.output)}")
        if wanted.engine == "ray":
            from stanchion.cli.batch_ray import run_on_ray  # noqa: PLC0415 - start-up time

            ended, last = run_on_ray(loaded, wanted, parts, display, job_flags(loaded, sets, wanted.price_as))
        else:
            ended, last = run_job(loaded, wanted, parts, display)
    _tell(ended, last, wanted, progress)
    return ended.exit_code


def _check_engine(wanted: Wanted, loaded: Loaded) -> None:
    """Refuse an engine that is not there, or not the one that the job was begun with.  Raises click.UsageError."""
    try:
        if wanted.engine == "ray":
            from stanchion.batch.ray import check_ray  # noqa: PLC0415 - start-up time

            check_ray(wanted, loaded)
        elif shards_kept(wanted.folder):
            raise SettingsError(
                f"{wanted.output} was begun with --engine ray: end it so, or choose another output, "
                "or --fresh to pay again"
            )
    except SettingsError as error:
        raise click.UsageError(str(error)) from None


def _parts(wanted: Wanted, loaded: Loaded) -> Parts:
    """Make the job's parts.  Raises click.UsageError for what can never work."""
    models = Models(loaded)
    try:
        if wanted.model:
            models.facts(wanted.model)
        return parts_of(wanted, models.facts)
    except StanchionError as error:
        raise click.UsageError(str(error)) from None


def _check_first(parts: Parts) -> None:
    """Refuse what would fail for every row.  Raises click.UsageError."""
    fault = first_fault(parts)
    if fault is not None and fault.code in ("template_mismatch", "price_unknown", "model_not_found"):
        raise click.UsageError(f"{parts.source.name}, row {fault.number}: {fault}")


def _keep(wanted: Wanted) -> None:
    """Write the job down, unless another run of it is under way: that one says who."""
    wanted.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    os.close(take_lock(wanted.folder / "lock"))
    keep(msgspec.structs.replace(wanted, retry_failed=False))


def _forget(wanted: Wanted) -> None:
    """Delete the journal.  Raises JournalBusy while a run writes it."""
    if not wanted.folder.is_dir():
        return
    lock = take_lock(wanted.folder / "lock")
    try:
        for folder in {wanted.folder, *journal_folders(wanted.folder)}:
            for name in ("answers", "index", "synced", "progress.json"):
                with contextlib.suppress(FileNotFoundError):
                    (folder / name).unlink()
            if folder != wanted.folder:
                shutil.rmtree(folder)
    finally:
        os.close(lock)


def _tell(ended: Ended, last: Snapshot, wanted: Wanted, progress: str) -> None:
    """Say how it ended, on standard error."""
    if progress == "json":
        told = {"ended": ended.stopped or "done", "exit_code": ended.exit_code, "rows": ended.rows}
        told |= {"rows_failed": ended.rows_failed, "undone": ended.undone, "output": wanted.output}
        sys.stderr.write(msgspec.json.encode(told).decode() + "\n")
    elif progress != "none":
        for line in summary(ended, last, wanted):
            click.echo(line, err=True)
