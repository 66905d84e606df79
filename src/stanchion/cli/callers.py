"""`stanchion callers`: who may call the gateway, with which key, for what and how much."""

from __future__ import annotations

import asyncio
import getpass
import math
import re
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import click
import msgspec

from stanchion.cli.caller_table import rows_of, show
from stanchion.cli.given import flags_of, settings_options
from stanchion.cli.state import with_state
from stanchion.cli.verbosity import verbose_option
from stanchion.core.caller import Limit, Scopes
from stanchion.core.errors import SettingsError
from stanchion.engine.config import load
from stanchion.gateway.callers.desk import CallerDesk, Made
from stanchion.rules.caller_limits import read_limits, write_limit
from stanchion.stores.opening import open_caller_book
from stanchion.stores.protocols import StoreLost

T = TypeVar("T")
_SPAN = re.compile(r"([0-9]+)([smhd])")
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


@click.group("callers")
@verbose_option
def command() -> None:
    """Give each team and service a key of its own for the gateway, limit what it may use, and revoke it.

    \b
    Examples:
      stanchion callers add shop --team web --limit requests=600/minute
          A new key for the caller `shop`. It is shown once.
      stanchion callers limit team:web tokens=5000000/day open=20
          All callers of the team together.
      stanchion callers revoke shop
          Its keys are refused everywhere within five seconds.

    They are kept where the setting stores.callers says; without it in a file in your state directory. A call without a
    key passes until the setting callers.required is true.
    """  # noqa: D301 - click reads \b


@command.command("add")
@click.argument("name")
@click.option("--team", help="The team it belongs to.")
@click.option(
    "--limit",
    "limits",
    multiple=True,
    help="requests=100/minute, tokens=5000000/day, open=5; may be repeated.",
)
@click.option("--model", "models", multiple=True, help="A pattern of models that the key may ask: 'gpt-4o*'.")
@click.option(
    "--operation", "operations", multiple=True, help="What it may ask: chat/completions, embeddings, …"
)
@click.option("--network", "networks", multiple=True, help="From where it may be used: 10.0.0.0/8.")
@click.option("--expires", help="When it ends: 90d, 12h, or 2027-01-31.")
@settings_options
@verbose_option
def add(
    name: str,
    *,
    team: str | None,
    limits: tuple[str, ...],
    models: tuple[str, ...],
    operations: tuple[str, ...],
    networks: tuple[str, ...],
    expires: str | None,
    config: Path | None,
    sets: tuple[str, ...],
) -> None:
    """Make a key for a caller, and the caller where it is new.  The key is written once, and is stored nowhere.

    \b
    Examples:
      stanchion callers add shop
      stanchion callers add nightly --team data --model 'gpt-4o-mini' --expires 90d
      KEY=$(stanchion callers add ci --operation embeddings --network 10.0.0.0/8)
          Only the key goes to standard output.
    """  # noqa: D301 - click reads \b
    given = _limits(limits) if limits else None
    expires_at = _moment(expires) if expires else 0.0
    scopes = Scopes(models, operations, networks)
    made = _at_desk(
        config,
        sets,
        lambda desk: desk.add(name, team=team, limits=given, scopes=scopes, expires_at=expires_at),
    )
    _show_once(made)


@command.command("list")
@settings_options
@click.option("--json", "as_json", is_flag=True, help="Write JSON: a list of keys, and of limits.")
@verbose_option
def list_callers(config: Path | None, sets: tuple[str, ...], as_json: bool) -> None:  # noqa: FBT001 - click's
    """List teams, callers and keys: state, limits, what each key is for.  A key itself is never shown."""
    rows = rows_of(_at_desk(config, sets, lambda desk: desk.all()), time.time())
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(rows)).decode())
    elif rows:
        show(rows)
    else:
        click.echo("there is no caller yet: stanchion callers add NAME")


@command.command("limit")
@click.argument("target")
@click.argument("limits", nargs=-1, required=True)
@settings_options
@verbose_option
def limit(target: str, limits: tuple[str, ...], config: Path | None, sets: tuple[str, ...]) -> None:
    """Put limits in the place of those that were.  `none` takes them away.

    TARGET is a caller's name, team:NAME, key:ID, users:NAME (each end user of that caller), or everyone.

    \b
    Examples:
      stanchion callers limit shop requests=600/minute tokens=2000000/day
      stanchion callers limit users:shop requests=20/minute
          Each of its end users, as calls name them in `safety_identifier` or `user`.
      stanchion callers limit everyone open=200
      stanchion callers limit shop none
    """  # noqa: D301 - click reads \b
    given = () if limits == ("none",) else _limits(limits)
    whose = _at_desk(config, sets, lambda desk: desk.limit(target, given))
    click.echo(f"{whose}: {', '.join(map(write_limit, given)) or 'no limit'}")


@command.command("revoke")
@click.argument("target")
@settings_options
@verbose_option
def revoke(target: str, config: Path | None, sets: tuple[str, ...]) -> None:
    """Revoke a key, or all keys of a caller: every replica refuses them within five seconds.  Open answers finish.

    \b
    Examples:
      stanchion callers revoke sk-st-3fA9bK2x
      stanchion callers revoke shop
    """  # noqa: D301 - click reads \b
    gone = _at_desk(config, sets, lambda desk: desk.revoke(target))
    for name in gone:
        click.echo(f"sk-st-{name}: revoked")
    if not gone:
        click.echo("nothing to revoke: no key of it works")


@command.command("rotate")
@click.argument("target")
@click.option(
    "--grace", default="1h", show_default=True, help="How long the old key works on; 0s revokes it now."
)
@settings_options
@verbose_option
def rotate(target: str, grace: str, config: Path | None, sets: tuple[str, ...]) -> None:
    """Make a key like the one that is there, with a while in which both work.  The new one is written once.

    \b
    Examples:
      stanchion callers rotate shop
      stanchion callers rotate sk-st-3fA9bK2x --grace 24h
    """  # noqa: D301 - click reads \b
    grace_s = _span(grace, "--grace")
    _show_once(_at_desk(config, sets, lambda desk: desk.rotate(target, grace_s=grace_s)))


def _at_desk(config: Path | None, sets: tuple[str, ...], ask: Callable[[CallerDesk], Awaitable[T]]) -> T:
    """Open the book, ask, close it.  Raises SettingsError."""
    url = with_state(load(config, flags=flags_of(sets))).settings.stores.callers
    if url == "memory":
        raise SettingsError(
            "stores.callers is memory, which no other process sees: name a file or PostgreSQL, "
            "as sqlite:///var/lib/stanchion/callers.db"
        )

    async def asked() -> T:
        book = open_caller_book(url)
        try:
            return await ask(CallerDesk(book, f"{getpass.getuser()} at the command line"))
        except StoreLost as error:
            raise SettingsError(f"the callers cannot be read: {error}") from error
        finally:
            await book.aclose()

    return asyncio.run(asked())


def _show_once(made: Made) -> None:
    """Write the key to standard output, alone, and all else beside it."""
    click.echo(made.key.text)
    until = f", until {_day(made.entry.expires_at)}" if made.entry.expires_at else ""
    click.echo(
        f"a key of {made.entry.caller}{until}; it is shown this once: {made.key.id} names it from now on",
        err=True,
    )


def _limits(words: tuple[str, ...]) -> tuple[Limit, ...]:
    try:
        return read_limits(words)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def _moment(text: str) -> float:
    """Read when a key ends: a span from now, or the end of a day in UTC."""
    if _SPAN.fullmatch(text):
        return time.time() + _span(text, "--expires")
    try:
        day = datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError:
        raise click.BadParameter(
            f"{text!r} must be 90d, 12h, or a day such as 2027-01-31", param_hint="--expires"
        ) from None
    if day.timestamp() + 86_400 <= time.time():
        raise click.BadParameter(f"{text} is over", param_hint="--expires")
    return day.timestamp() + 86_400


def _span(text: str, option: str) -> float:
    form = _SPAN.fullmatch(text)
    if form is None or not math.isfinite(int(form[1])):
        raise click.BadParameter(f"{text!r} must be a number with s, m, h or d: 90d", param_hint=option)
    return float(int(form[1]) * _UNITS[form[2]])


def _day(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M UTC")
