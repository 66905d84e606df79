"""`stanchion usage`: what was used and what it cost, from the ledger."""

from __future__ import annotations

import asyncio
import difflib
import re
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import click

from stanchion.cli.given import flags_of, settings_options
from stanchion.cli.state import with_state
from stanchion.cli.usage_table import write
from stanchion.cli.verbosity import verbose_option
from stanchion.core.errors import SettingsError
from stanchion.engine.config import load
from stanchion.stores.ledger import BY, Asked, Used
from stanchion.stores.opening import open_ledger, shown
from stanchion.stores.protocols import StoreLost

_AGO = re.compile(r"(\d{1,6})([hdw])")
_UNITS = {"h": 3600, "d": 86_400, "w": 604_800}


@click.command("usage")
@click.option(
    "--by",
    default="model",
    show_default=True,
    metavar="WORDS",
    help=f"What rows are kept apart by, with commas between: {', '.join(BY)}.  Empty: one row.",
)
@click.option("--since", metavar="WHEN", help="From then on: 7d, 24h, 2w (ago), or 2026-11-01, in UTC.")
@click.option("--until", metavar="WHEN", help="Without what ended from then on; as --since.")
@click.option(
    "--format", "form", type=click.Choice(["table", "json", "csv"]), default="table", show_default=True
)
@settings_options
@verbose_option
def command(
    by: str, since: str | None, until: str | None, form: str, config: Path | None, sets: tuple[str, ...]
) -> None:
    """Tell what was used and what it cost, all calls that were served here.

    Tokens are in classes that do not overlap, dollars are exact to the millionth, times are UTC by the hour.

    \b
    Examples:
      stanchion usage
          Every model since the ledger began.
      stanchion usage --by caller,model --since 30d
          Who used what in the last thirty days.
      stanchion usage --by day --since 2026-11-01 --until 2026-12-01 --format csv > november.csv
          The days of a month, for a spreadsheet.
      stanchion usage --by team,endpoint --format json | jq '.[] | {team, endpoint, cost}'
      stanchion usage --set stores.ledger=postgresql://10.0.0.7/stanchion
          All replicas that book there.
    """  # noqa: D301 - click reads \b
    asked = Asked(_words(by), _when("--since", since), _when("--until", until))
    stores = with_state(load(config, flags=flags_of(sets))).settings.stores
    if stores.ledger in ("memory", "off"):
        raise SettingsError(
            f"stores.ledger is {stores.ledger}, which this command cannot see: name a file or PostgreSQL, "
            "as sqlite:///var/lib/stanchion/ledger.db"
        )
    write(asked, asyncio.run(_read(stores.ledger, asked)), form)


async def _read(address: str, asked: Asked) -> Sequence[Used]:
    store = open_ledger(address)
    try:
        return await store.used(asked)
    except StoreLost as error:
        raise click.ClickException(f"the ledger at {shown(address)} cannot be read: {error}") from error
    finally:
        await store.aclose()


def _words(by: str) -> tuple[str, ...]:
    words = tuple(dict.fromkeys(word for each in by.split(",") if (word := each.strip())))
    for word in words:
        if word not in BY:
            near = difflib.get_close_matches(word, BY, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(BY)}"
            raise click.BadParameter(f"there is no {word!r}; {hint}", param_hint="--by")
    return words


def _when(option: str, text: str | None) -> float | None:
    """Return a point in time in seconds since 1970."""
    if text is None:
        return None
    ago = _AGO.fullmatch(text)
    if ago:
        return time.time() - int(ago[1]) * _UNITS[ago[2]]
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise click.BadParameter(
            f"{text!r} is no time: write 7d, 24h, 2w, 2026-11-01 or 2026-11-01T13:00", param_hint=option
        ) from None
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
