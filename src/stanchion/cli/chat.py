"""`stanchion chat`: a conversation in the terminal, or one answer for a script."""

from __future__ import annotations

import logging
import os
import sys
from fnmatch import fnmatchcase
from pathlib import Path

import click
import msgspec
from rich.console import Console

from stanchion.cli.answering import Outcome, answer
from stanchion.cli.chat_loop import ChatLoop
from stanchion.cli.conversation import Conversation
from stanchion.cli.given import flags_of, settings_options
from stanchion.cli.prompt import history_file
from stanchion.cli.screen import MarkdownScreen, PlainScreen, Screen
from stanchion.cli.standin import StandIn
from stanchion.cli.verbosity import is_verbose, verbose_option
from stanchion.cli.words import Words, words_for
from stanchion.client.sync_client import Client
from stanchion.engine.config import Loaded
from stanchion.observe.logs import set_up
from stanchion.providers.presets import PRESETS

_MODEL = "gpt-4o-mini"
_INTERRUPTED = 130


@click.command("chat")
@click.argument("question", nargs=-1)
@click.option("-m", "--model", help=f"A model or a route.  [default: the first route, else {_MODEL}]")
@click.option("-s", "--system", default="", help="What the model is told before the conversation.")
@click.option("--no-history", is_flag=True, help="Remember no line of what is typed.")
@settings_options
@verbose_option
def command(
    question: tuple[str, ...],
    model: str | None,
    system: str,
    no_history: bool,  # noqa: FBT001 - click's
    config: Path | None,
    sets: tuple[str, ...],
) -> None:
    """Talk to a model, with the settings and the engine that `stanchion serve` has.

    With a question, or with piped input, one answer is written and the command ends: the answer alone to
    standard output, all else to standard error.  The exit code is 0 for a whole answer and 1 for a cut one.

    \b
    Examples:
      stanchion chat
          A conversation. /help lists its commands; Ctrl-C stops an answer, Ctrl-D ends.
      stanchion chat "What is a stanchion?"
          One answer.
      git diff | stanchion chat "Review this change" > review.md
          The piped text follows the question.
      stanchion chat --model deepseek-chat --system "Answer in French."
          Another model, and what it is told first.
      stanchion chat --set attempt_timeout.stall_s=10
          Any setting over the file.

    Lines that are typed are remembered in $XDG_STATE_HOME/stanchion/chat_history, which only you can read.
    The interface is in English or in Chinese, after the locale.
    """  # noqa: D301 - click reads \b
    words = words_for(os.environ)
    text = _question(question)
    if text is not None and not text.strip():
        raise click.UsageError(words.empty)
    stand_in = StandIn()
    _log()
    try:
        loaded = stand_in.read(config, flags_of(sets))
        conversation = Conversation(model or _usual_model(loaded), system)
        # the client refuses to work without a provider; here the simulator is one, by the user's leave
        with Client(msgspec.structs.replace(loaded, simulated=False)) as client:
            if text is not None:
                code = _once(client, conversation, words, text, simulated=loaded.simulated)
            else:
                file = None if no_history else history_file(os.environ)
                code = ChatLoop(client, conversation, words, _stdout_console()).run(
                    file, simulated=loaded.simulated
                )
    finally:
        stand_in.close()
    sys.exit(code)


def _question(arguments: tuple[str, ...]) -> str | None:
    """Return what is asked by arguments and piped input together; None for a conversation."""
    parts = [" ".join(arguments)] if arguments else []
    if not sys.stdin.isatty():
        parts.append(sys.stdin.buffer.read().decode(errors="replace").strip())
    return "\n\n".join(part for part in parts if part) if parts else None


def _log() -> None:
    """Keep the log off the conversation, unless it is wanted."""
    if is_verbose():
        set_up("debug", json=False)
    else:
        logging.getLogger().addHandler(logging.NullHandler())


def _usual_model(loaded: Loaded) -> str:
    """Return the first route; else a model that some provider is known to serve."""
    settings = loaded.settings
    if settings.routes:
        return next(iter(settings.routes))
    patterns = list[str]()
    for provider in settings.providers.values():
        served = PRESETS[provider.preset].models if provider.models is None else provider.models
        if not served or any(fnmatchcase(_MODEL, pattern) for pattern in served):
            return _MODEL
        patterns.extend(served)
    named = next((pattern for pattern in patterns if not set(pattern) & set("*?[")), None)
    if named is None:
        raise click.UsageError(f"name a model with --model: the providers serve {', '.join(patterns)}")
    return named


def _once(client: Client, conversation: Conversation, words: Words, text: str, *, simulated: bool) -> int:
    """Write one answer; return the exit code."""
    err = Console(stderr=True, highlight=False, markup=False)
    if simulated:
        err.print(words.simulated, style="yellow", soft_wrap=True)
    screen: Screen = MarkdownScreen(_stdout_console()) if sys.stdout.isatty() else PlainScreen(sys.stdout)
    conversation.ask(text)

    def tell(line: str, style: str) -> None:
        if style != "dim" or err.is_terminal:  # the figures are for a person
            err.print(line, style=style, soft_wrap=True)

    outcome = answer(client, conversation, screen, words, tell)
    if outcome is Outcome.STOPPED:
        return _INTERRUPTED
    return 0 if outcome is Outcome.COMPLETE else 1


def _stdout_console() -> Console:
    return Console(highlight=False, markup=False)
