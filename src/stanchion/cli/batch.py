"""`stanchion batch`: jobs of many rows."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import sys
from pathlib import Path

import click

from stanchion.batch.formats.openai_lines import ErrorOutput, OpenAIOutput
from stanchion.batch.forms.openai_lines import OpenAILines
from stanchion.batch.job import Ended, Job, Outputs
from stanchion.batch.lanes.sync import SyncLane
from stanchion.batch.run import Run
from stanchion.batch.sources.jsonl import JsonLines
from stanchion.cli.given import flags_of, settings_options
from stanchion.cli.standin import StandIn
from stanchion.cli.verbosity import is_verbose, verbose_option
from stanchion.engine.config import Loaded
from stanchion.engine.engine import Engine
from stanchion.engine.spread_outcome import SpreadOptions
from stanchion.observe.logs import set_up
from stanchion.stores.journal.journal import folder_of


@click.group("batch")
def command() -> None:
    """Ask a model about every row of a file, and survive whatever happens meanwhile."""


@command.command("run")
@click.argument("source", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="Where the answers go.")
@settings_options
@verbose_option
def run(source: Path, output: Path, config: Path | None, sets: tuple[str, ...]) -> None:
    """Ask for every row that was not asked yet, then write the output.

    \b
    Examples:
      stanchion batch run requests.jsonl -o answers.jsonl
    """  # noqa: D301 - click reads \b
    if is_verbose():
        set_up("debug", json=False)
    else:
        logging.getLogger().addHandler(logging.NullHandler())
    stand_in = StandIn()
    try:
        loaded = stand_in.read(config, flags_of(sets))
        ended = asyncio.run(_run(loaded, source, output))
    finally:
        stand_in.close()
    sys.exit(ended.exit_code)


async def _run(loaded: Loaded, source: Path, output: Path) -> Ended:
    async with Engine(loaded) as engine:
        errors = output.with_name(f"{output.stem}.errors.jsonl")
        lane = SyncLane(engine, SpreadOptions())
        job = Job(
            JsonLines(source),
            OpenAILines(),
            Outputs(output, OpenAIOutput(), errors, ErrorOutput()),
            (lane,),
            folder_of(output),
        )
        running = Run(job)
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None  # noqa: S101 - it runs

        def stop() -> None:
            if running.stopped:
                task.cancel()  # a second time: at once
            running.stop()

        for each in (signal.SIGINT, signal.SIGTERM):
            with contextlib.suppress(NotImplementedError):  # Windows
                loop.add_signal_handler(each, stop)
        try:
            return await running.run()
        except asyncio.CancelledError:
            return Ended(running.facts, "interrupted")
