"""`stanchion config`: what is in force and why, whether it is right, and a file to begin with."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import click
import msgspec
from rich.console import Console
from rich.table import Table

from stanchion.cli.effective import Effective, effective
from stanchion.cli.given import flags_of, settings_options
from stanchion.cli.surroundings import check_surroundings
from stanchion.cli.verbosity import verbose_option
from stanchion.engine.config import FILE_NAME, Loaded, load


@click.group("config")
@verbose_option
def command() -> None:
    """Show, check or begin the configuration.

    \b
    Examples:
      stanchion config init
          Writes stanchion.toml, all of it commented, to begin with.
      stanchion config check
          Is it right? The exit code is 0 or 1.
      stanchion config show
          What is in force, and where each value came from.
    """  # noqa: D301 - click reads \b


@command.command("show")
@settings_options
@click.option("--json", "as_json", is_flag=True, help="Write JSON: a list of key, value and origin.")
@click.option("--changed", is_flag=True, help="Leave the defaults out.")
@verbose_option
def show(config: Path | None, sets: tuple[str, ...], as_json: bool, changed: bool) -> None:  # noqa: FBT001 - click's
    """Show every setting in force, and where it came from.  Keys are never shown, only where they are.

    \b
    Examples:
      stanchion config show --changed
          What differs from the defaults.
      stanchion config show --json | jq '.[] | select(.key == "retry.attempts")'
      STANCHION_RETRY_ATTEMPTS=5 stanchion config show
    """  # noqa: D301 - click reads \b
    found = [each for each in effective(_checked(config, sets)) if not changed or each.origin != "default"]
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(found)).decode())
        return
    console = Console(highlight=False, markup=False)
    if not console.is_terminal:
        for each in found:
            click.echo(f"{each.key} = {_written(each)}  # {each.origin}")
        return
    table = Table("setting", "value", "from", box=None, header_style="bold", pad_edge=False)
    for each in found:
        style = "dim" if each.origin == "default" else ""
        table.add_row(each.key, _written(each), each.origin, style=style)
    console.print(table)


@command.command("check")
@settings_options
@verbose_option
def check(config: Path | None, sets: tuple[str, ...]) -> None:
    """Check the file, the environment, and that every provider's key is there.  Asks no provider.

    \b
    Examples:
      stanchion config check
      stanchion config check --config /etc/stanchion.toml && systemctl reload stanchion
    """  # noqa: D301 - click reads \b
    loaded = _checked(config, sets)
    settings = loaded.settings
    click.echo(f"ok: {loaded.file or 'no file, the defaults and the environment'}")
    if loaded.simulated:
        click.echo("providers: none, so the built-in simulator would answer; set OPENAI_API_KEY for OpenAI")
    else:
        click.echo(f"providers: {', '.join(settings.providers)}")
    if settings.routes:
        click.echo(f"routes: {', '.join(settings.routes)}")


@command.command("init")
@click.argument("file", type=click.Path(path_type=Path), default=FILE_NAME)
@verbose_option
def init(file: Path) -> None:
    """Write a commented settings file to begin with.  An existing file is never touched.

    \b
    Examples:
      stanchion config init
      stanchion config init /etc/stanchion.toml
    """  # noqa: D301 - click reads \b
    text = files("stanchion.cli").joinpath("example.toml").read_text(encoding="utf-8")
    try:
        with file.open("x", encoding="utf-8") as out:
            out.write(text)
    except FileExistsError:
        raise click.ClickException(f"{file} exists and is left as it is; name another file") from None
    click.echo(f"written: {file}; every line is commented out, take what you need")


def _checked(config: Path | None, sets: tuple[str, ...]) -> Loaded:
    """Load the settings, and look up the keys.  Raises SettingsError."""
    loaded = load(config, flags=flags_of(sets))
    check_surroundings(loaded)
    return loaded


def _written(each: Effective) -> str:
    return msgspec.json.encode(each.value).decode() if not isinstance(each.value, str) else each.value
