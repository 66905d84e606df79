"""A conversation in the terminal: what was said so far, and how it is written to a file."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from stanchion.cli.words import Words


@dataclass
class Conversation:
    """What both sides said."""

    model: str
    system: str = ""
    turns: list[dict[str, str]] = field(default_factory=list[dict[str, str]])

    def messages(self) -> list[dict[str, str]]:
        """Return it as a request has it."""
        head = [{"role": "system", "content": self.system}] if self.system else []
        return [*head, *self.turns]

    def ask(self, text: str) -> None:
        """Add what the user said."""
        self.turns.append({"role": "user", "content": text})

    def answer(self, text: str) -> None:
        """Add what was answered; an empty answer takes the question back, so that it can be asked again."""
        if text:
            self.turns.append({"role": "assistant", "content": text})
        else:
            self.settle()

    def settle(self) -> None:
        """Take back a question that was left without its answer."""
        if self.turns and self.turns[-1]["role"] == "user":
            self.turns.pop()

    def clear(self) -> None:
        """Forget all but the system's words."""
        self.turns.clear()

    def save(self, file: Path, words: Words) -> None:
        """Write it to a new file that only its owner reads.  Raises OSError, FileExistsError among them."""
        if file.suffix == ".json":
            text = msgspec.json.format(
                msgspec.json.encode({"model": self.model, "messages": self.messages()})
            )
        else:
            text = self._markdown(words).encode()
        opened = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(opened, "wb") as out:
            out.write(text + b"\n")

    def _markdown(self, words: Words) -> str:
        names = {"system": "System", "user": words.user, "assistant": words.assistant}
        parts = [f"## {names[each['role']]}\n\n{each['content'].strip()}\n" for each in self.messages()]
        return f"# {self.model}\n\n" + "\n".join(parts)
