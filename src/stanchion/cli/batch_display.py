"""A running job on the screen: a panel at a terminal, a line now and then elsewhere, JSON for machines."""

from __future__ import annotations

import sys
from typing import IO, Protocol

import click
import msgspec

from stanchion.batch.progress import Snapshot
from stanchion.cli.batch_words import duration, rows, usd

LINE_EVERY_S = 30.0  # between two lines where there is no terminal
JSON_EVERY_S = 1.0


class Display(Protocol):
    """Shows snapshots.  Used as a context."""

    every_s: float

    def __enter__(self) -> Display: ...
    def __exit__(self, *_: object) -> None: ...
    def show(self, snapshot: Snapshot) -> None:
        """Show how it stands."""
        ...


class LineDisplay:
    """A line on standard error every half minute: for a log, a CI run, `nohup`."""

    every_s = LINE_EVERY_S

    def __enter__(self) -> LineDisplay:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def show(self, snapshot: Snapshot) -> None:
        """Write the line."""
        click.echo(one_line(snapshot), err=True)


class JsonDisplay:
    """A JSON object a line, each second, on standard error."""

    every_s = JSON_EVERY_S

    def __init__(self, out: IO[bytes] | None = None) -> None:
        self._out = out or sys.stderr.buffer

    def __enter__(self) -> JsonDisplay:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def show(self, snapshot: Snapshot) -> None:
        """Write the object."""
        self._out.write(msgspec.json.encode(snapshot) + b"\n")
        self._out.flush()


class NoDisplay:
    """Nothing at all."""

    every_s = 3600.0

    def __enter__(self) -> NoDisplay:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def show(self, snapshot: Snapshot) -> None:
        """Show nothing."""


def display_for(how: str, title: str) -> Display:
    """Return what `--progress` names."""
    if how == "json":
        return JsonDisplay()
    if how == "none":
        return NoDisplay()
    if how == "panel" or sys.stderr.isatty():
        from stanchion.cli.batch_panel import PanelDisplay  # noqa: PLC0415 - 80 ms, for those who look

        return PanelDisplay(title)
    return LineDisplay()


def one_line(snapshot: Snapshot) -> str:
    """Write a snapshot on one line."""
    parts = [
        f"{snapshot.stage}: {snapshot.done:,} of {rows(snapshot)} rows",
        f"{snapshot.failed:,} failed",
        f"{snapshot.in_flight + snapshot.in_batches:,} in flight",
        *([f"{snapshot.rows_per_s:,.1f} rows/s"] if snapshot.rows_per_s is not None else []),
        *([f"{duration(snapshot.eta_s)} left"] if snapshot.eta_s else []),
        f"{usd(snapshot.spent_micro_usd)}",
    ]
    return ", ".join(parts)
