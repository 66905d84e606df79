"""`stanchion version`: what to put into a bug report."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

import click

from stanchion._version import __version__
from stanchion.cli.verbosity import verbose_option

# those whose version changes what we do
_LIBRARIES = ("aiohttp", "granian", "httptools", "msgspec", "starlette", "uvloop", "openai")


@click.command("version")
@verbose_option
def command() -> None:
    """Tell the versions of Stanchion, Python and the libraries that matter.

    \b
    Example:
      stanchion version
    """  # noqa: D301 - click reads \b
    click.echo(f"stanchion {__version__}")
    click.echo(f"python    {platform.python_version()} ({platform.python_implementation()})")
    click.echo(f"system    {platform.platform(terse=True)} {platform.machine()}")
    for name in _LIBRARIES:
        try:
            click.echo(f"{name:<9} {version(name)}")
        except PackageNotFoundError:
            click.echo(f"{name:<9} not installed")
