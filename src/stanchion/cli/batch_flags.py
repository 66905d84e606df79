"""The options of a job, as a command is given them, and the job that they ask for."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, TypeVar

import click
import msgspec

from stanchion.batch.wanted import STDIN, Wanted
from stanchion.rules.pricing import MILLION

F = TypeVar("F", bound=Callable[..., Any])
_FILE = click.Path(dir_okay=False)
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(s|m|h|d)")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_OPERATIONS = ("chat/completions", "responses", "embeddings", "completions", "moderations")
_PATHS = ("template", "system", "schema", "errors")

_ASKED: Sequence[Callable[[Any], Any]] = (
    click.option(
        "-t",
        "--template",
        type=_FILE,
        metavar="FILE",
        help="What to ask of a row: a Jinja2 text with its columns, as {{ text }}.",
    ),
    click.option(
        "-s", "--system", type=_FILE, metavar="FILE", help="What the model is told first; Jinja2, too."
    ),
    click.option("-m", "--model", help="A model, or a route of the settings."),
    click.option("--params", metavar="JSON", help="Parameters of every request, as '{\"temperature\": 0}'."),
    click.option(
        "--operation",
        type=click.Choice(_OPERATIONS),
        default="chat/completions",
        show_default=True,
        help="What is asked.",
    ),
    click.option(
        "--schema",
        type=_FILE,
        metavar="FILE",
        help="A JSON schema that every answer must fit; it is checked.",
    ),
    click.option(
        "--schema-mode",
        type=click.Choice(["auto", "send", "tell"]),
        default="auto",
        show_default=True,
        help="Send the schema to the provider, or tell it to the model in words where the provider knows none.",
    ),
    click.option(
        "--repairs",
        type=click.IntRange(0, 10),
        default=1,
        show_default=True,
        help="How often a model is shown what does not fit in its answer, and asked again.",
    ),
    click.option(
        "--id-field", metavar="COLUMN", help="The column that rows are called by.  [default: row-NUMBER]"
    ),
    click.option(
        "--input-format",
        type=click.Choice(["auto", "jsonl", "csv", "parquet"]),
        default="auto",
        show_default="auto: by the file's name",
        help="What the input is.",
    ),
    click.option("--limit", type=click.IntRange(1), metavar="N", help="Only the first N rows."),
    click.option("--sample", type=click.IntRange(1), metavar="N", help="Only N rows, spread over all."),
    click.option(
        "--shard", metavar="I/N", help="Only share I of N, for N machines; `merge` puts them together."
    ),
    click.option(
        "--max-cost", metavar="USD", help="The most that the job may cost, over all its runs: a hard cap."
    ),
    click.option(
        "--price-as",
        metavar="MODEL|IN,OUT",
        help="What a model without a price counts as: another model, or dollars per million tokens.",
    ),
    click.option(
        "--answer-tokens",
        type=click.IntRange(1),
        default=4096,
        show_default=True,
        help="Under --max-cost: the most tokens of an answer whose request says none.",
    ),
)
_RUN: Sequence[Callable[[Any], Any]] = (
    click.option("-o", "--output", type=_FILE, required=True, metavar="FILE", help="Where the answers go."),
    click.option(
        "--errors",
        type=_FILE,
        metavar="FILE",
        help="Where the rows go that failed.  [default: OUT.errors.jsonl beside OUT.csv]",
    ),
    click.option(
        "--format",
        type=click.Choice(["auto", "openai", "rows"]),
        default="auto",
        show_default="auto: rows with a template, else openai",
        help="OpenAI's output lines, or the row's columns with the answer beside them.",
    ),
    click.option(
        "--answer-column",
        default="answer",
        show_default=True,
        metavar="NAME",
        help="The answer's column, in rows.",
    ),
    click.option(
        "--order",
        type=click.Choice(["input", "completion"]),
        default="input",
        show_default=True,
        help="The order of the output.",
    ),
    click.option(
        "--lane",
        type=click.Choice(["auto", "sync", "flex", "batch"]),
        default="auto",
        show_default=True,
        help="How rows are asked: at once, in the cheaper tier that waits, or as batches of the provider's.",
    ),
    click.option(
        "--deadline", metavar="TIME", help="How long the job may take, as 90m or 24h; lanes are chosen by it."
    ),
    click.option(
        "--concurrency",
        type=click.IntRange(1, 20_000),
        default=1000,
        show_default=True,
        help="The most calls open at once; the job finds out how many are of use.",
    ),
    click.option(
        "--max-attempts",
        "attempts",
        type=click.IntRange(1, 100),
        default=5,
        show_default=True,
        help="How often a row comes in line before it has failed.",
    ),
    click.option(
        "--engine",
        type=click.Choice(["local", "ray"]),
        default="local",
        show_default=True,
        help="Ask from this machine, or from workers of a Ray cluster.",
    ),
    click.option(
        "--workers",
        type=click.IntRange(1, 1000),
        default=2,
        show_default=True,
        help="Under --engine ray: how many workers; a job keeps the number of shares of its first run.",
    ),
    click.option(
        "--ray-address",
        metavar="ADDRESS",
        help="Under --engine ray: the cluster that this machine is part of, as HOST:PORT or auto.  "
        "[default: a Ray of its own on this machine]",
    ),
    click.option(
        "--retry-failed", is_flag=True, help="Ask again for the rows that failed in an earlier run."
    ),
    click.option("--fresh", is_flag=True, help="Forget all earlier answers of this output, and pay again."),
    click.option("--validate-only", is_flag=True, help="Read every row, tell what is wrong, and ask nobody."),
    click.option("--dry-run", is_flag=True, help="Tell what it would take, and ask nobody."),
)
PROGRESS = click.option(
    "--progress",
    type=click.Choice(["auto", "panel", "json", "none"]),
    default="auto",
    show_default="auto: a panel at a terminal, else a line a while",
    help="How it is shown while it runs, on standard error.",
)


def asked_options(command: F) -> F:
    """Add the options that say what is asked."""
    for each in reversed(_ASKED):
        command = each(command)
    return command


def run_options(command: F) -> F:
    """Add the options of a run."""
    for each in reversed(_RUN):
        command = each(command)
    return command


def wanted_of(source: str, options: dict[str, Any]) -> Wanted:
    """Return the job.  Raises click.UsageError for values that cannot be."""
    given = {name: value for name, value in options.items() if value is not None}
    shard = given.pop("shard", None)
    if shard is not None:
        given["shard"], given["shards"] = _shard(shard)
    chosen = [name for name in ("limit", "sample", "shard") if given.get(name)]
    if "sample" in chosen and len(chosen) > 1:
        raise click.UsageError(
            f"--sample does not go with --{chosen[0] if chosen[0] != 'sample' else chosen[1]}"
        )
    if "max_cost" in given:
        given["max_cost_micro_usd"] = _micro_usd(given.pop("max_cost"))
    if "deadline" in given:
        given["deadline_s"] = duration_s("--deadline", given.pop("deadline"))
    for name in _PATHS:
        if name in given:
            given[name] = str(Path(given[name]).absolute())
    output = str(Path(given.pop("output", "estimate.jsonl")).absolute())
    if source != STDIN:
        source = str(Path(source).absolute())
    return msgspec.convert({**given, "source": source, "output": output}, Wanted)


def duration_s(option: str, text: str) -> float:
    """Return the seconds of 90s, 90m, 24h or 2d."""
    found = _DURATION.fullmatch(text.strip())
    if not found:
        raise click.BadParameter(f"{text!r} is no time: write 90s, 90m, 24h or 2d", param_hint=option)
    return float(found[1]) * _SECONDS[found[2]]


def _shard(text: str) -> tuple[int, int]:
    which, slash, of = text.partition("/")
    if not (slash and which.isdecimal() and of.isdecimal() and 1 <= int(which) <= int(of)):
        raise click.BadParameter(
            f"{text!r} is no share: write 1/4 for the first of four", param_hint="--shard"
        )
    return int(which), int(of)


def _micro_usd(text: str) -> int:
    try:
        value = Decimal(text.strip().removeprefix("$"))
    except InvalidOperation:
        value = Decimal(-1)
    if not (value.is_finite() and 0 <= value < 10**9):
        raise click.BadParameter(f"{text!r} is no sum of dollars: write 12.50", param_hint="--max-cost")
    return int(value * MILLION)
