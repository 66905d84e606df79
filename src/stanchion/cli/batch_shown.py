"""Which display a job gets: what `--progress` names."""

from __future__ import annotations

import sys

from stanchion.cli.batch_display import Display, JsonDisplay, LineDisplay, NoDisplay


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
