"""Run the benchmarks: `python -m benchmarks`, or `make bench ARGS="--only client --quick"`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import click
from rich.console import Console

from benchmarks import (
    batch,
    batch_lane,
    batch_quota,
    cache,
    cancels,
    common_limits,
    gateway,
    hedge,
    imports,
    ledger,
    library,
    line,
    money,
    quota,
    semantic,
    simulator,
)
from benchmarks.figures import Row, Run
from benchmarks.peers import NAMES, install
from benchmarks.processes import Failed
from benchmarks.table import show, write

ROWS: dict[str, Callable[[Run], list[Row]]] = {
    "client": library.whole_calls,
    "client-streams": library.streams,
    "gateway": gateway.whole_answers,
    "gateway-streams": gateway.streams,
    "gateway-paced": gateway.paced_streams,
    "memory": gateway.memory,
    "import": imports.rows,
    "cancel": cancels.rows,
    "simulator": simulator.rows,
    "line": line.rows,
    "hedge": hedge.rows,
    "quota": quota.rows,
    "common-limits": common_limits.rows,
    "cache": cache.rows,
    "semantic": semantic.rows,
    "ledger": ledger.rows,
    "money": money.rows,
    "batch": batch.speed,
    "batch-many": batch.many,
    "batch-lane": batch_lane.rows,
    "batch-resume": batch.resume,
    "batch-quota": batch_quota.rows,
}


@click.command()
@click.option(
    "--only", multiple=True, type=click.Choice(list(ROWS)), help="These rows only; may be repeated."
)
@click.option("--quick", is_flag=True, help="Shorter runs, three pairs: a look, not a figure to quote.")
@click.option("--runs", type=click.IntRange(1, 99), help="Pairs per row.  [default: 5, quick 3]")
@click.option("--peers", default="openai", help=f"Beside whom, of {', '.join(NAMES)}; '' for nobody.")
@click.option(
    "--json", "file", type=Path, default=Path("bench.json"), show_default=True, help="Write it here."
)
def main(only: tuple[str, ...], quick: bool, runs: int | None, peers: str, file: Path) -> None:  # noqa: FBT001
    """Measure Stanchion beside its references.  Ends with 1 if a reach is missed."""
    console = Console()
    beside = tuple(filter(None, (each.strip() for each in peers.split(","))))
    if unknown := set(beside) - set(NAMES):
        raise click.BadParameter(f"unknown: {', '.join(sorted(unknown))}", param_hint="--peers")
    missing = install(beside)
    for peer, why in missing.items():
        console.print(f"[red]{peer} could not be installed:[/] {why}")
    there = tuple(each for each in beside if each not in missing)
    run = Run(runs or (3 if quick else 5), quick, there, missing, console.print)
    rows: list[Row] = []
    failed = bool(missing)
    for name in only or ROWS:
        with console.status(f"{name} ..."):
            try:
                rows += ROWS[name](run)
            except (Failed, OSError) as error:
                failed = True
                console.print(
                    f"[red]{name} could not be measured:[/] {error}", *getattr(error, "__notes__", ())
                )
    show(rows, console)
    write(rows, file)
    sys.exit(1 if failed or any(row.passed is False for row in rows) else 0)


if __name__ == "__main__":
    main()
