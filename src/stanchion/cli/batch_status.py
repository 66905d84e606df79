"""`stanchion batch status`: how a job stands, from anywhere, while it runs and after."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

import click
import msgspec

from stanchion.batch.progress import Snapshot
from stanchion.batch.shards import journal_folders
from stanchion.batch.wanted import Wanted, kept
from stanchion.cli.batch_display import one_line
from stanchion.cli.batch_words import usd
from stanchion.cli.verbosity import verbose_option
from stanchion.stores.journal.journal import Journal
from stanchion.stores.journal.lock import Holder, holder_of


class Standing(msgspec.Struct, frozen=True):
    """How a job stands."""

    output: str
    source: str
    running: bool
    written: bool  # the last run was done and wrote the output
    answered: int | None  # requests, by the journal; None while a run writes it
    failed: int | None
    spent_micro_usd: int
    last: Snapshot | None  # what the last run said of itself
    last_at: str | None


@click.command("status")
@click.argument("output", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@verbose_option
def status(output: Path, as_json: bool) -> None:  # noqa: FBT001 - click's
    """Tell how the job stands that writes OUTPUT.

    \b
    Examples:
      stanchion batch status answers.csv
      watch stanchion batch status answers.csv
      stanchion batch status answers.csv --json | jq .last.eta_s
    """  # noqa: D301 - click reads \b
    wanted = kept(output.absolute())
    holder = holder_of(wanted.folder / "lock")
    standing = _standing(wanted, holder)
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(standing)).decode())
        return
    who = f"runs in process {holder.pid} on {holder.host}" if holder is not None else "does not run"
    click.echo(f"{os.path.relpath(standing.source)} -> {os.path.relpath(standing.output)}: {who}")
    if standing.last is not None:
        click.echo(f"{standing.last_at}  {one_line(standing.last)}")
    if standing.answered is not None:
        said = f"kept: {standing.answered:,} answers, {standing.failed:,} failures, {usd(standing.spent_micro_usd)} spent"
        click.echo(said)
        if not standing.written:
            click.echo(
                "the output is not written yet: run the same command to go on, or `stanchion batch export`"
            )


def _standing(wanted: Wanted, holder: Holder | None) -> Standing:
    last, last_at = _last(wanted.folder / "progress.json")
    answered = failed = None
    spent = last.spent_micro_usd if last is not None else 0
    folders = [each for each in journal_folders(wanted.folder) if (each / "answers").exists()]
    if holder is None and folders:
        answered = failed = spent = 0
        for folder in folders:
            journal = Journal.open(folder, durable=False)
            counts = journal.counts
            answered, failed = answered + counts.answered, failed + counts.failed
            spent += counts.spent_micro_usd
            journal.close()
    return Standing(
        output=wanted.output,
        source=wanted.source,
        running=holder is not None,
        written=last is not None and last.stage == "done" and Path(wanted.output).exists(),
        answered=answered,
        failed=failed,
        spent_micro_usd=spent,
        last=last,
        last_at=last_at,
    )


def _last(file: Path) -> tuple[Snapshot | None, str | None]:
    """Return what the last run kept of how it stood, and when."""
    try:
        raw, at = file.read_bytes(), file.stat().st_mtime
        return msgspec.json.decode(raw, type=Snapshot), datetime.fromtimestamp(at, UTC).isoformat(
            timespec="seconds"
        )
    except (FileNotFoundError, msgspec.DecodeError):
        return None, None
