"""`stanchion batch estimate`, and what `run --dry-run` and `run --validate-only` tell: nobody is asked."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click
import msgspec
from rich.console import Console
from rich.table import Table

from stanchion.batch.estimate import Estimate, Survey, answers_so_far
from stanchion.batch.parts import parts_of
from stanchion.batch.wanted import Wanted
from stanchion.cli.batch_flags import asked_options, wanted_of
from stanchion.cli.batch_settings import settings_to_look
from stanchion.cli.batch_words import duration, usd
from stanchion.cli.given import settings_options
from stanchion.cli.verbosity import verbose_option
from stanchion.engine.config import Loaded
from stanchion.engine.model_facts import Models
from stanchion.stores.journal.errors import JournalBusy
from stanchion.stores.journal.journal import Journal

_SHOWN_MOST = 50  # bad rows that are listed at once
_LANES = {"sync": "at once", "flex": "flex", "batch": "provider's batch"}


@click.command("estimate")
@click.argument("source", metavar="INPUT")
@click.option(
    "-o", "--output", type=click.Path(dir_okay=False), help="Of a job that was begun: its answers count."
)
@asked_options
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@settings_options
@verbose_option
def estimate(source: str, as_json: bool, config: Path | None, sets: tuple[str, ...], **options: Any) -> None:  # noqa: FBT001
    """Tell what a job would take: rows, tokens, dollars in each lane, and how long.

    Every row is read and made a request; nobody is asked. How long answers are is known of a job that was begun with
    --sample; else it is taken from the bounds of the requests, as max_completion_tokens.

    \b
    Examples:
      stanchion batch estimate tickets.csv -t ask.j2 -m gpt-4o-mini --params '{"max_completion_tokens": 200}'
          At most so much.
      stanchion batch run tickets.csv -t ask.j2 -m gpt-4o-mini -o answers.csv --sample 50
      stanchion batch estimate tickets.csv -t ask.j2 -m gpt-4o-mini -o answers.csv
          About so much, from fifty answers.
    """  # noqa: D301 - click reads \b
    wanted = wanted_of(source, options)
    sys.exit(estimate_job(settings_to_look(config, sets, wanted.price_as), wanted, as_json=as_json))


def estimate_job(loaded: Loaded, wanted: Wanted, *, as_json: bool = False) -> int:
    """Write what a job would take to standard output; return the exit code."""
    found = _survey(loaded, wanted)
    if as_json:
        told = msgspec.to_builtins(msgspec.structs.replace(found, problems=()))
        click.echo(msgspec.json.format(msgspec.json.encode(told)).decode())
    else:
        _show(found)
    _list_problems(found, Path(wanted.source).name, err=True)
    return 2 if found.bad else 0


def validate_job(loaded: Loaded, wanted: Wanted) -> int:
    """Write what is wrong with the rows to standard output; return the exit code."""
    found = _survey(loaded, wanted, whole=True)
    _list_problems(found, Path(wanted.source).name, err=False)
    good = found.rows - found.bad
    twins = f", {found.twins:,} of them ask what another asks" if found.twins else ""
    click.echo(f"{good:,} of {found.rows:,} rows can be asked{twins}", err=True)
    return 2 if found.bad or not found.rows else 0


def _survey(loaded: Loaded, wanted: Wanted, *, whole: bool = False) -> Estimate:
    facts = Models(loaded).facts
    parts = parts_of(wanted, facts)
    journal = None if whole or not (wanted.folder / "answers").exists() else _journal(wanted)
    try:
        known = answers_so_far(journal) if journal is not None else None
        return Survey(parts.source, parts.form, facts, journal=journal, answer_tokens=known).run()
    finally:
        if journal is not None:
            journal.close()


def _journal(wanted: Wanted) -> Journal | None:
    """Open what is answered already; None while a run writes it."""
    try:
        return Journal.open(wanted.folder, durable=False)
    except JournalBusy as error:
        click.echo(f"{error}; its answers are not counted", err=True)
        return None


def _show(found: Estimate) -> None:
    console = Console(highlight=False, markup=False)
    rows = f"{found.rows:,}"
    parts = [(found.bad, "bad"), (found.answered, "answered already"), (found.twins, "twins of others")]
    less = ", ".join(f"{count:,} {word}" for count, word in parts if count)
    exact = "" if found.prompt_exact else "about "
    answers = "unknown: bound them with max_completion_tokens in --params, or ask a --sample first"
    if found.answer_tokens is not None:
        answers = (
            f"about {found.answer_tokens:,}" if found.answers_known else f"at most {found.answer_tokens:,}"
        )
    facts = Table.grid(padding=(0, 2))
    facts.add_row("rows", rows + (f" ({less})" if less else ""))
    facts.add_row(
        "requests",
        f"{found.requests:,}"
        + "".join(f", {n:,} of {m}" for m, n in found.models.items() if len(found.models) > 1),
    )
    facts.add_row("prompt tokens", f"{exact}{found.prompt_tokens:,}")
    facts.add_row("answer tokens", answers)
    for cost in found.costs:
        if cost.micro_usd is not None:
            how = "about" if found.answers_known else "at most"
            facts.add_row(f"cost, {_LANES[cost.lane]}", f"{how} {usd(cost.micro_usd)}")
    if found.unpriced:
        facts.add_row(
            "cost", f"no price is known of {found.unpriced}: write it under [prices], or take --price-as"
        )
    if found.eta_s is not None:
        facts.add_row("time", f"{duration(found.eta_s)} at the settings' limit of {found.bound_by}")
    else:
        facts.add_row(
            "time", "not known: the settings name no limits, and the provider's are learnt as the job runs"
        )
    console.print(facts)


def _list_problems(found: Estimate, name: str, *, err: bool) -> None:
    for problem in found.problems[:_SHOWN_MOST]:
        column = f":{problem.column}" if problem.column else ""
        click.echo(f"{name}:{problem.number}{column}: {problem}", err=err)
    if found.bad > _SHOWN_MOST:
        click.echo(f"and {found.bad - _SHOWN_MOST:,} more bad rows", err=err)
