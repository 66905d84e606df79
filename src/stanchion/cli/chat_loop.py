"""The conversation at a terminal: reads a line, does what it says, and again."""

from __future__ import annotations

import difflib
from datetime import datetime
from pathlib import Path

from rich.console import Console

from stanchion.cli.answering import answer, in_one_line
from stanchion.cli.conversation import Conversation
from stanchion.cli.prompt import Prompt
from stanchion.cli.screen import MarkdownScreen, PlainScreen, harmless
from stanchion.cli.words import Words
from stanchion.client.sync_client import Client
from stanchion.core.errors import StanchionError

_COMMANDS = ("/help", "/new", "/model", "/save", "/quit")
_MODELS_MOST = 60  # names that are shown


class ChatLoop:
    """One conversation after another, until the user ends it."""

    def __init__(self, client: Client, conversation: Conversation, words: Words, console: Console) -> None:
        self._client = client
        self._conversation = conversation
        self._words = words
        self._console = console
        self._screen = MarkdownScreen(console) if console.is_terminal else PlainScreen(console.file)
        self._does = {
            "/help": self._help,
            "/new": self._new,
            "/model": self._model,
            "/save": self._save,
        }

    def run(self, history: Path | None, *, simulated: bool) -> int:
        """Talk until the user ends it; return the exit code."""
        words = self._words
        greeting = words.greeting.format(model=self._conversation.model, providers=self._client.providers)
        self.tell(greeting, "dim")
        if simulated:
            self.tell(words.simulated, "yellow")
        prompt = Prompt(history, _COMMANDS)
        try:
            while True:
                try:
                    if not self._turn(prompt):
                        return 0
                except KeyboardInterrupt:  # wherever it struck: the program goes on
                    self._conversation.settle()
                    self._console.print()
                    self.tell(words.to_end, "dim")
        finally:
            prompt.close()

    def _turn(self, prompt: Prompt) -> bool:
        """Read one message and do what it says; False to end."""
        if prompt.problem:
            self.tell(prompt.problem, "yellow")
            prompt.problem = ""
        try:
            line = prompt.read(self._words.you, self._words.more)
        except EOFError:
            self._console.print()
            return False
        return self._do(line)

    def tell(self, line: str, style: str) -> None:
        """Say something that is no answer."""
        self._console.print(line, style=style)

    def _do(self, line: str) -> bool:
        """Do what one line says; False to end."""
        if not line:
            return True
        name, _, rest = line.partition(" ")
        if not line.startswith("/") or line.startswith("//"):
            self._ask(line.removeprefix("/") if line.startswith("//") else line)
        elif name in ("/quit", "/exit", "/q"):
            return False
        elif name in self._does:
            self._does[name](rest.strip())
        else:
            near = difflib.get_close_matches(name, _COMMANDS, n=1)
            hint = f"{near[0]}? " if near else ""
            self.tell(self._words.unknown.format(name=harmless(name), hint=hint), "yellow")
        return True

    def _ask(self, text: str) -> None:
        self._conversation.ask(text)
        answer(self._client, self._conversation, self._screen, self._words, self.tell)
        self._console.print()

    def _help(self, _: str) -> None:
        self.tell(self._words.help, "")

    def _new(self, _: str) -> None:
        self._conversation.clear()
        self.tell(self._words.fresh, "dim")

    def _model(self, name: str) -> None:
        if name:
            self._conversation.model = name
        self.tell(self._words.model_now.format(model=harmless(self._conversation.model)), "dim")
        if name:
            return
        try:
            names = [harmless(each.id) for each in self._client.models()]
        except KeyboardInterrupt:
            return
        except StanchionError as error:
            self.tell(self._words.failed.format(why=in_one_line(error)), "bold red")
            return
        more = ["..."] if len(names) > _MODELS_MOST else []
        shown = ", ".join([*names[:_MODELS_MOST], *more])
        self.tell(self._words.models.format(names=shown) if names else self._words.no_models, "dim")

    def _save(self, name: str) -> None:
        if not self._conversation.turns:
            self.tell(self._words.nothing_to_save, "yellow")
            return
        at = datetime.now().astimezone()
        file = Path(name).expanduser() if name else Path(f"chat-{at:%Y%m%d-%H%M%S}.md")
        try:
            self._conversation.save(file, self._words)
        except OSError as error:
            self.tell(f"{file}: {error.strerror}", "bold red")
            return
        self.tell(self._words.saved.format(file=file), "dim")
