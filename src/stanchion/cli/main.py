"""The command `stanchion`: finds the subcommand, and turns every failure into one line and an exit code.

0 well, 1 failed, 2 wrongly asked, 130 interrupted.  Nothing heavy is imported here: `--help` is instant.
"""

from __future__ import annotations

import difflib
import importlib
import logging
import os
import sys
import traceback
from collections.abc import Sequence
from typing import cast

import click

from stanchion.cli.verbosity import Verbosity, verbose_option
from stanchion.core.errors import StanchionError

log = logging.getLogger(__name__)
_INTERRUPTED = 130  # 128 + SIGINT, as shells have it
# name: what the list of commands says of it
_COMMANDS = {
    "serve": "Serve the OpenAI-compatible gateway.",
    "chat": "Talk to a model in the terminal.",
    "simulate": "Play an OpenAI-compatible provider, with faults and quotas.",
    "keys": "Show, verify, rotate and quarantine the providers' keys.",
    "batch": "Ask a model about every row of a file, and survive whatever happens meanwhile.",
    "callers": "Give teams and services keys of their own, limit and revoke them.",
    "usage": "Tell what was used and what it cost.",
    "budgets": "Tell what each budget has spent, and what is left.",
    "config": "Show, check or begin the configuration.",
    "version": "Tell the versions.",
}


class _Commands(click.Group):
    """Loads a command's module when the command is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        return importlib.import_module(f"stanchion.cli.{cmd_name}").command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command; an unknown one is refused with the nearest."""
        if args and args[0] not in _COMMANDS and not args[0].startswith("-"):
            near = difflib.get_close_matches(args[0], _COMMANDS, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(_COMMANDS)}"
            ctx.fail(f"there is no command {args[0]!r}; {hint}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without loading them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))


@click.command("stanchion", cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@verbose_option
def cli() -> None:
    """The production runtime between your application and ChatGPT-style APIs.

    \b
    Examples:
      stanchion serve
          The gateway at http://127.0.0.1:8080/v1. Without a provider key the built-in simulator answers.
      OPENAI_API_KEY=... stanchion serve
          The same in front of OpenAI.
      stanchion chat
          Talk to a model.
      stanchion config check
          Is the configuration right?

    `stanchion COMMAND --help` tells more of each.
    """  # noqa: D301 - click reads \b


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return its exit code."""
    verbosity = Verbosity()
    try:
        done = cli.main(
            args=None if arguments is None else list(arguments),
            prog_name="stanchion",
            standalone_mode=False,
            obj=verbosity,
        )
    except (click.Abort, KeyboardInterrupt):
        return _INTERRUPTED
    except click.UsageError as error:
        error.show()
        return error.exit_code
    except BrokenPipeError:
        # whoever read our output has left; Python would say so at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:  # noqa: BLE001 - the command line: told in one line, in full with -v
        return _fail(_only(error), verbose=verbosity.verbose)
    return done if isinstance(done, int) else 0


def _only(error: BaseException) -> BaseException:
    """Take the one error out of a group of one: task groups wrap what their tasks raise."""
    if not isinstance(error, BaseExceptionGroup):
        return error
    group = cast("BaseExceptionGroup[BaseException]", error)
    return _only(group.exceptions[0]) if len(group.exceptions) == 1 else group


def _fail(error: BaseException, *, verbose: bool) -> int:
    log.debug("command.failed", exc_info=error)
    if isinstance(error, click.ClickException):
        said = error.format_message()
    elif isinstance(error, StanchionError):
        said = str(error)
    elif isinstance(error, OSError):
        said = f"{error.filename}: {error.strerror}" if error.filename else (error.strerror or str(error))
    else:
        said = f"this should not happen: {type(error).__name__}: {error}"
        said += "" if verbose else " (stanchion -v tells where)"
    if verbose:
        click.echo("".join(traceback.format_exception(error)), err=True, nl=False)
    click.echo(f"stanchion: {said}", err=True)
    return 1
