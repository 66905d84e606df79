"""`stanchion batch export` and `merge`: answers that are there already, written anew.  Nobody is asked."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import click
import msgspec

from stanchion.batch.job import Job
from stanchion.batch.journals import Journals
from stanchion.batch.outputs import Written, write_outputs
from stanchion.batch.parts import parts_of
from stanchion.batch.shards import journal_folders
from stanchion.batch.wanted import Wanted, as_kept, kept
from stanchion.cli.batch_settings import settings_to_look
from stanchion.cli.given import settings_options
from stanchion.cli.verbosity import verbose_option
from stanchion.core.errors import SettingsError
from stanchion.engine.config import Loaded
from stanchion.engine.model_facts import Models
from stanchion.rules.row_key import RowKey

_FORMAT = click.option(
    "--format",
    "form",
    type=click.Choice(["auto", "openai", "rows"]),
    default="auto",
    show_default="auto: as the job's, or rows for a table",
    help="OpenAI's output lines, or rows with their answers; JSONL, CSV or Parquet by the file's name.",
)
_ORDER = click.option("--order", type=click.Choice(["input", "completion"]), help="The order of the output.")
_TO = click.option(
    "-o",
    "--output",
    "to",
    type=click.Path(dir_okay=False, path_type=Path),
    required=True,
    help="The file to write.",
)


@click.command("export")
@click.argument("output", type=click.Path(dir_okay=False, path_type=Path))
@_TO
@_FORMAT
@_ORDER
@settings_options
@verbose_option
def export(
    output: Path, to: Path, form: str, order: str | None, config: Path | None, sets: tuple[str, ...]
) -> None:
    """Write what a job has answered so far to another file; OUTPUT is the job's own.

    \b
    Examples:
      stanchion batch export answers.csv -o answers.parquet
          The same rows and answers as Parquet.
      stanchion batch export answers.csv -o so-far.jsonl --format openai
          What is there of a job that was stopped; rows without an answer are left out.
    """  # noqa: D301 - click reads \b
    wanted = as_kept(kept(output.absolute()))
    _write(settings_to_look(config, sets, wanted.price_as), wanted, [wanted], to, form, order)


@click.command("merge")
@click.argument("outputs", nargs=-1, required=True, type=click.Path(dir_okay=False, path_type=Path))
@_TO
@_FORMAT
@_ORDER
@settings_options
@verbose_option
def merge(
    outputs: tuple[Path, ...],
    to: Path,
    form: str,
    order: str | None,
    config: Path | None,
    sets: tuple[str, ...],
) -> None:
    """Put shares of one input together into one output, in the input's order; OUTPUTS are those of the shares.

    The shares' folders OUTPUT.stanchion must be there, and the input: it is read once more.

    \b
    Examples:
      stanchion batch run in.csv -t ask.j2 -m gpt-4o-mini --shard 1/2 -o one.csv     on one machine
      stanchion batch run in.csv -t ask.j2 -m gpt-4o-mini --shard 2/2 -o two.csv     on another
      stanchion batch merge one.csv two.csv -o answers.csv
    """  # noqa: D301 - click reads \b
    shares = [as_kept(kept(each.absolute())) for each in outputs]
    whole = _whole(shares)
    _write(settings_to_look(config, sets, whole.price_as), whole, shares, to, form, order)


def _whole(shares: Sequence[Wanted]) -> Wanted:
    """Return the job that the shares are shares of.  Raises SettingsError where they are not of one."""
    wholes = [_without_share(each) for each in shares]
    for share, whole in zip(shares, wholes, strict=True):
        if whole != wholes[0]:
            raise SettingsError(
                f"{os.path.relpath(share.output)} is no share of the job of {os.path.relpath(shares[0].output)}: "
                "its input, template, model or parameters are others"
            )
    return wholes[0]


def _without_share(wanted: Wanted) -> Wanted:
    """Return what decides rows and answers: what shares of one job have in common."""
    usual = Wanted(source=wanted.source, output="")
    own = {
        name: getattr(usual, name)
        for name in (
            "output",
            "errors",
            "shard",
            "shards",
            "max_cost_micro_usd",
            "concurrency",
            "attempts",
            "lane",
            "deadline_s",
            "retry_failed",
            "engine",
            "workers",
            "ray_address",
            "order",
        )
    }
    return msgspec.structs.replace(wanted, **own)


def _write(
    loaded: Loaded, wanted: Wanted, shares: Sequence[Wanted], to: Path, form: str, order: str | None
) -> None:
    to = to.absolute()
    changes: dict[str, object] = {"output": str(to), "errors": "", "max_cost_micro_usd": None}
    if order is not None:
        changes["order"] = order
    if form != "auto" or to.suffix != Path(wanted.output).suffix:
        changes["format"] = form
    wanted = msgspec.structs.replace(wanted, **changes)
    parts = parts_of(wanted, Models(loaded).facts)
    job = Job(parts.source, parts.form, parts.outputs, (), shares[0].folder)
    folders = [folder for each in shares for folder in journal_folders(each.folder)]
    with Journals(folders) as journals:
        written = write_outputs(job, RowKey(parts.form.settled), journals, partial=True)
    _tell(written, to)


def _tell(written: Written, to: Path) -> None:
    missing = f", {written.undone:,} without an answer are left out" if written.undone else ""
    click.echo(f"{os.path.relpath(to)}: {written.rows:,} rows, {written.failed:,} failed{missing}", err=True)
