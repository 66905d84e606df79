"""The line the user writes: editing, completion and a history that only its owner reads."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

try:
    import readline
except ImportError:  # Windows, and Pythons built without it: a plain line
    readline = None

_LINES_MOST = 2000


def history_file(environ: Mapping[str, str]) -> Path:
    """Return where the history is kept, after the XDG rules."""
    state = environ.get("XDG_STATE_HOME", "")
    root = Path(state) if state.startswith("/") else Path.home() / ".local" / "state"
    return root / "stanchion" / "chat_history"


class Prompt:
    """Reads messages from a terminal."""

    def __init__(self, file: Path | None, commands: Sequence[str]) -> None:
        """Without `file` nothing is remembered.  One that cannot be used is told in `problem`."""
        self._file = file
        self._commands = commands
        self.problem = ""
        if readline is None:
            return
        readline.set_completer_delims(" ")
        readline.set_completer(self._complete)
        libedit = "libedit" in (readline.__doc__ or "")
        readline.parse_and_bind("bind ^I rl_complete" if libedit else "tab: complete")
        readline.set_auto_history(False)
        readline.clear_history()
        if file is not None:
            self._recall(file)

    def read(self, shown: str, more: str) -> str:
        """Read one message; a line that ends in a backslash goes on.  Raises EOFError and KeyboardInterrupt."""
        lines = [input(_coloured(f"{shown}> "))]
        while lines[-1].endswith("\\"):
            lines[-1] = lines[-1][:-1]
            lines.append(input(_coloured(f"{more} ")))
        self._remember(" ".join(lines))
        return "\n".join(lines).strip()

    def _complete(self, text: str, state: int) -> str | None:
        found = [each for each in self._commands if text.startswith("/") and each.startswith(text)]
        return f"{found[state]} " if state < len(found) else None

    def _recall(self, file: Path) -> None:
        assert readline is not None  # noqa: S101 - asked by who knows
        try:
            file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.close(os.open(file, os.O_RDWR | os.O_CREAT, 0o600))
            file.chmod(0o600)  # one that others could read is closed to them now
            readline.read_history_file(file)
        except OSError as error:
            self._file, self.problem = None, f"{file}: {error.strerror}"

    def _remember(self, line: str) -> None:
        line = line.replace("\n", " ").strip()
        if readline is None or not line:
            return
        readline.add_history(line)
        if self._file is None:
            return
        try:
            # written line by line: two chats at once lose nothing of each other's
            with self._file.open("a", encoding="utf-8") as out:
                out.write(f"{line}\n")
        except OSError as error:
            self._file, self.problem = None, f"{self._file}: {error.strerror}"

    def close(self) -> None:
        """Keep the file within bounds."""
        if readline is None or self._file is None:
            return
        try:
            lines = self._file.read_text(encoding="utf-8", errors="replace").splitlines()
            if len(lines) > 2 * _LINES_MOST:
                self._file.write_text("\n".join(lines[-_LINES_MOST:]) + "\n", encoding="utf-8")
        except OSError as error:
            self.problem = f"{self._file}: {error.strerror}"


def _coloured(text: str) -> str:
    """Make it bold; the marks tell readline which signs take no room."""
    return f"\001\033[1m\002{text}\001\033[0m\002" if readline is not None else text
