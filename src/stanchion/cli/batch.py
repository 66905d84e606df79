"""`stanchion batch`: jobs of many rows.  Each command is loaded when it is asked for."""

from __future__ import annotations

import importlib

import click

# name: the module it is in, and what the list of commands says of it
_COMMANDS = {
    "run": ("batch_run", "Ask a model about every row of a file."),
    "status": ("batch_status", "Tell how a job stands, from anywhere."),
    "retry": ("batch_run", "Ask once more for the rows that failed."),
    "estimate": ("batch_estimate", "Tell what a job would take: rows, tokens, money, time."),
    "export": ("batch_export", "Write the answers of a job, ended or not, in another form."),
    "merge": ("batch_export", "Put the shares of one input together."),
}


class _Commands(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module = importlib.import_module(f"stanchion.cli.{_COMMANDS[cmd_name][0]}")
        return getattr(module, cmd_name)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, said) for name, (_, said) in _COMMANDS.items()])


@click.group("batch", cls=_Commands)
def command() -> None:
    """Ask a model about every row of a file, and survive whatever happens meanwhile.

    \b
    Examples:
      stanchion batch run tickets.csv --template ask.j2 -m gpt-4o-mini -o answers.csv
          One question a row; the answers stand beside the rows.
      stanchion batch run requests.jsonl -o answers.jsonl
          OpenAI's batch lines in, OpenAI's output lines out.
      stanchion batch estimate tickets.csv --template ask.j2 -m gpt-4o-mini
          What would that take?
      stanchion batch status answers.csv
          How does it stand?

    A job may be killed at any instant: the same command goes on where it was, and pays for no answer twice.
    """  # noqa: D301 - click reads \b
