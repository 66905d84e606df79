"""Log events are names with key-values, one line each; set up by a face, never by the library.

No event carries a prompt, an answer or a key.  `log_event` costs nothing for a level that is off.

Once a face has set the log up, our events go round `logging`: a record of its own and a queue between two
threads cost 70 us a call under load, a tuple in a list costs 0.3; a thread turns the tuples into lines
four times a second, all at once, which is also cheaper for each (measured 2026-11).
"""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, TextIO

import msgspec

_encode = msgspec.json.Encoder(enc_hook=str).encode
_LINES_MOST = 50_000  # lines that may wait
_WRITE_EVERY_S = 0.25


class Line(msgspec.Struct, frozen=True, gc=False):
    """What one line says."""

    at: float  # seconds since 1970
    level: int
    logger: str
    event: str
    facts: dict[str, Any]
    traceback: str | None = None


Style = Callable[[Line], str]


def log_event(log: logging.Logger, level: int, name: str, /, **facts: Any) -> None:
    """Log an event with its facts."""
    if not log.isEnabledFor(level):
        return
    if _lines is not None:
        _lines.add(Line(time.time(), level, log.name, name, facts))
    else:
        log.log(level, name, extra={"facts": facts})


def json_line(line: Line) -> str:
    """Write a line as one JSON object: time, level, logger, event, and the event's facts."""
    second, milliseconds = divmod(int(line.at * 1000), 1000)
    facts = line.facts if line.traceback is None else {**line.facts, "traceback": line.traceback}
    said = f",{_encode(facts).decode()[1:]}" if facts else "}"
    what = _what(line.level, line.logger, line.event)
    return f'{{"at":"{_second(second)}.{milliseconds:03d}+00:00",{what}{said}'


@lru_cache(maxsize=4)
def _second(second: int) -> str:
    """Return a second in ISO 8601, without its zone: hundreds of lines are of one."""
    return datetime.fromtimestamp(second, UTC).isoformat()[:19]


@lru_cache(maxsize=1000)
def _what(level: int, logger: str, event: str) -> str:
    """Return what all lines of an event have in common; a program has a hundred of them."""
    level_name = logging.getLevelName(level).lower()
    return _encode({"level": level_name, "logger": logger, "event": event}).decode()[1:-1]


def plain_line(line: Line) -> str:
    """Write a line for a person at a terminal: time, event, facts that are there."""
    at = datetime.fromtimestamp(line.at).astimezone().strftime("%H:%M:%S")
    facts = " ".join(f"{name}={value}" for name, value in line.facts.items() if value is not None)
    mark = "" if line.level <= logging.INFO else f"{logging.getLevelName(line.level).lower()}: "
    text = f"{at} {mark}{line.event} {facts}".rstrip()
    return f"{text}\n{line.traceback}" if line.traceback else text


class Lines(logging.Handler):
    """Collects lines and writes them from a thread of its own: the event loop never waits for a disk.

    When too many wait they are dropped and counted: logging never stops a call.
    """

    def __init__(self, out: TextIO, style: Style) -> None:
        super().__init__()
        self._out = out
        self._style = style
        self._waiting: list[Line] = []
        self._dropped = 0
        self._ending = threading.Event()
        self._writing = threading.Lock()
        self._writer = threading.Thread(target=self._write_on, name="log-writer", daemon=True)
        self._writer.start()

    def emit(self, record: logging.LogRecord) -> None:
        """Add a record of anybody's."""
        formatter = self.formatter or logging.Formatter()
        self.add(
            Line(
                record.created,
                record.levelno,
                record.name,
                record.getMessage(),
                getattr(record, "facts", {}),
                formatter.formatException(record.exc_info) if record.exc_info else None,
            )
        )

    def add(self, line: Line) -> None:
        """Add a line; one that asks for action is written at once."""
        if len(self._waiting) >= _LINES_MOST:
            self._dropped += 1
            return
        self._waiting.append(line)
        if line.level >= logging.ERROR:
            self.flush()

    def flush(self) -> None:
        """Write what waits."""
        with self._writing:
            waiting, self._waiting = self._waiting, []
            dropped, self._dropped = self._dropped, 0
            if dropped:
                facts = {"lines": dropped, "why": "the output is too slow"}
                waiting.append(Line(time.time(), logging.ERROR, __name__, "log.dropped", facts))
            if not waiting:
                return
            try:
                self._out.write("\n".join([self._style(line) for line in waiting]) + "\n")
                self._out.flush()
            except (OSError, ValueError):
                self._dropped += dropped + len(waiting)  # a full disk, a closed pipe: nowhere to say so

    def close(self) -> None:
        """Write the rest and end the thread."""
        self._ending.set()
        self._writer.join(timeout=2)
        self.flush()
        super().close()

    def _write_on(self) -> None:
        while not self._ending.wait(_WRITE_EVERY_S):
            self.flush()


_lines: Lines | None = None


def set_up(level: str, *, json: bool) -> Lines:
    """Send all log events to standard error.  Close the returned handler at exit."""
    global _lines  # noqa: PLW0603 - the log of a process is one
    lines = Lines(sys.stderr, json_line if json else plain_line)
    root = logging.getLogger()
    root.handlers[:] = [lines]
    root.setLevel(level.upper())
    _lines = lines
    return lines
