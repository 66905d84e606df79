"""The panel of a running job: how far it is, how fast, what it costs, how full each key's limits are."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from stanchion.batch.progress import Limit, Snapshot
from stanchion.cli.batch_words import duration, rows

_REFRESH_PER_S = 4
_LIMITS_MOST = 8  # lines of limits in the panel: keys beyond them are many
_WINDOWS = {1.0: "s", 60.0: "min", 3600.0: "h", 86400.0: "day"}


class PanelDisplay:
    """A panel that is drawn in its place, on standard error."""

    every_s = 1 / _REFRESH_PER_S

    def __init__(self, title: str, console: Console | None = None) -> None:
        console = console or Console(stderr=True, highlight=False, markup=False)
        self._title = title
        self._live = Live(console=console, refresh_per_second=_REFRESH_PER_S, transient=False)

    def __enter__(self) -> PanelDisplay:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def show(self, snapshot: Snapshot) -> None:
        """Draw it."""
        self._live.update(panel(snapshot, self._title))


def panel(snapshot: Snapshot, title: str) -> RenderableType:
    """Draw a snapshot."""
    parts: list[RenderableType] = [_bar(snapshot), _facts(snapshot)]
    if snapshot.limits:
        parts.append(_limits(snapshot.limits))
    return Panel(Group(*parts), title=Text(title), title_align="left", border_style="blue")


def _bar(snapshot: Snapshot) -> RenderableType:
    grid = Table.grid(padding=(0, 1), expand=True)
    for ratio in (None, 1, None, None):
        grid.add_column(ratio=ratio, no_wrap=True)
    grid.add_row(
        Text(snapshot.stage, "bold"),
        ProgressBar(total=1.0, completed=snapshot.share, complete_style="green", finished_style="green"),
        Text(f"{snapshot.share:.1%}", "bold"),
        Text(_left(snapshot)),
    )
    return grid


def _facts(snapshot: Snapshot) -> RenderableType:
    grid = Table.grid(padding=(0, 3, 0, 0))
    for _ in range(6):
        grid.add_column(no_wrap=True)

    def line(*pairs: tuple[str, str, str]) -> None:
        grid.add_row(
            *(
                Text(part, style)
                for name, value, look in pairs
                for part, style in ((name, "dim"), (value, look))
            )
        )

    bad = "bold red" if snapshot.failed else ""
    line(
        ("rows", f"{snapshot.done:,} of {rows(snapshot)}", ""),
        ("failed", f"{snapshot.failed:,}", bad),
        ("in flight", f"{snapshot.in_flight:,}{_elsewhere(snapshot)}", ""),
    )
    line(
        ("rows/s", _number(snapshot.rows_per_s), ""),
        ("tokens/s", _number(snapshot.tokens_per_s), ""),
        ("tokens", f"{snapshot.prompt_tokens:,} in, {snapshot.completion_tokens:,} out", ""),
    )
    line(
        ("spent", _money(snapshot), "bold"),
        ("projected", _dollars(snapshot.projected_micro_usd), ""),
        ("from earlier", f"{snapshot.before:,} rows", ""),
    )
    line(
        ("429s", f"{snapshot.refused_429:,}", ""),
        ("retries", f"{snapshot.retries:,}", ""),
        ("asked once", f"{snapshot.twins:,} twins, {snapshot.cache_hits:,} from the cache", ""),
    )
    return grid


def _limits(limits: Sequence[Limit]) -> RenderableType:
    grid = Table.grid(padding=(0, 1), expand=True)
    for ratio in (None, None, 1, None):
        grid.add_column(ratio=ratio, no_wrap=True)
    for each in limits[:_LIMITS_MOST]:
        used = min(1.0, each.used / each.limit) if each.limit else 0.0
        grid.add_row(
            Text(each.endpoint, "cyan"),
            Text(each.kind, "dim"),
            ProgressBar(total=1.0, completed=used, complete_style="yellow", finished_style="yellow"),
            Text(f"{each.used:,}/{each.limit:,} a {_WINDOWS.get(each.window_s, f'{each.window_s:.0f} s')}"),
        )
    if len(limits) > _LIMITS_MOST:
        grid.add_row(Text(f"and {len(limits) - _LIMITS_MOST} more limits", "dim"))
    return grid


def _left(snapshot: Snapshot) -> str:
    if snapshot.eta_s is None:
        return f"{duration(snapshot.seconds)}, how long is not known yet"
    return f"{duration(snapshot.seconds)}, {duration(snapshot.eta_s)} left"


def _elsewhere(snapshot: Snapshot) -> str:
    batches = f", {snapshot.in_batches:,} in {snapshot.batches:,} batches" if snapshot.batches else ""
    return batches + (f", {snapshot.waiting:,} in line again" if snapshot.waiting else "")


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:,.1f}" if value < 1000 else f"{value:,.0f}"


def _money(snapshot: Snapshot) -> str:
    cap = f" of at most {_dollars(snapshot.cap_micro_usd)}" if snapshot.cap_micro_usd is not None else ""
    return _dollars(snapshot.spent_micro_usd) + cap


def _dollars(micro_usd: int | None) -> str:
    """Write money for the eye: cents, and more digits only of small sums."""
    if micro_usd is None:
        return "-"
    return f"${micro_usd / 1e6:,.2f}" if micro_usd >= 10_000_000 else f"${micro_usd / 1e6:,.4f}"
