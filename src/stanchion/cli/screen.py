"""Where an answer appears: as Markdown that grows at a terminal, or as it comes where the output is piped."""

from __future__ import annotations

import re
from typing import IO, Protocol

from rich.console import Console, RenderableType
from rich.live import Live
from rich.markdown import Markdown
from rich.spinner import Spinner

# All that steers a terminal, save the line's end and the tab: an answer is text, and may not move the cursor,
# rename the window or write to the clipboard.
_STEERS = dict.fromkeys([*range(0x20), *range(0x7F, 0xA0)])
del _STEERS[0x09], _STEERS[0x0A]
_FENCE = re.compile(r"^ {0,3}(```+|~~~+)")


class Screen(Protocol):
    """What shows one answer after another."""

    def begin(self, waiting: str) -> None:
        """An answer is awaited."""
        ...

    def add(self, text: str) -> None:
        """This much more of it came."""
        ...

    def end(self) -> None:
        """No more of it comes."""
        ...


class PlainScreen:
    """Writes the answer as it comes, and nothing else."""

    def __init__(self, out: IO[str]) -> None:
        self._out = out
        self._last = "\n"

    def begin(self, waiting: str) -> None:
        self._last = "\n"

    def add(self, text: str) -> None:
        if text:
            self._out.write(text)
            self._out.flush()
            self._last = text

    def end(self) -> None:
        """End the last line, if the answer did not."""
        if not self._last.endswith("\n"):
            self._out.write("\n")
            self._out.flush()


class MarkdownScreen:
    """Renders Markdown while it grows.

    What is a whole block is printed for good; only the last block is drawn again and again.  An answer longer
    than the screen would flicker and repeat itself otherwise.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._open = ""  # the block that still grows
        self._live: Live | None = None
        self._waiting = ""

    def begin(self, waiting: str) -> None:
        self._open, self._waiting = "", waiting
        self._live = Live(
            console=self._console,
            get_renderable=self._shown,
            refresh_per_second=12,
            transient=False,
            vertical_overflow="ellipsis",
        )
        self._live.start()

    def add(self, text: str) -> None:
        if not text:
            return
        self._waiting = ""
        done, self._open = _whole_blocks(self._open + harmless(text))
        if done and self._live is not None:
            self._live.refresh()  # else the old block would stand below its own last form for a moment
            self._console.print(Markdown(done))
            self._console.print()

    def end(self) -> None:
        """Draw the last block for good."""
        if self._live is not None:
            self._waiting = ""
            self._live.stop()
            self._live = None

    def _shown(self) -> RenderableType:
        return Spinner("dots", text=self._waiting, style="dim") if self._waiting else Markdown(self._open)


def harmless(text: str) -> str:
    """Return the text without what steers a terminal."""
    return text.translate(_STEERS)


def _whole_blocks(text: str) -> tuple[str, str]:
    """Cut before the last block: at the last blank line that stands in no code fence."""
    fence, cut, at = "", 0, 0
    for line in text.splitlines(keepends=True):
        at += len(line)
        found = _FENCE.match(line)
        if found and not fence:
            fence = found[1]
        elif found and line.strip() == found[1] and found[1].startswith(fence):
            fence = ""
        elif not line.strip() and not fence and line.endswith("\n"):
            cut = at
    return text[:cut].strip("\n"), text[cut:]
