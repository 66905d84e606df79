"""Log events are names with key-values, one JSON line each; set up by a face, never by the library.

No event carries a prompt, an answer or a key.  `log_event` costs nothing for a level that is off.
"""

from __future__ import annotations

import logging
import sys
import threading
from datetime import UTC, datetime
from typing import Any, TextIO

import msgspec

_encode = msgspec.json.Encoder(enc_hook=str).encode
_LINES_MOST = 50_000  # lines that may wait
_WRITE_EVERY_S = 0.25


def log_event(log: logging.Logger, level: int, name: str, /, **facts: Any) -> None:
    """Log an event with its facts."""
    if log.isEnabledFor(level):
        log.log(level, name, extra={"facts": facts})


class JsonLines(logging.Formatter):
    """One JSON object a line: time, level, logger, event, and the event's facts."""

    def format(self, record: logging.LogRecord) -> str:
        """Write the line."""
        line: dict[str, Any] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage(),
            **getattr(record, "facts", {}),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return _encode(line).decode()


class PlainLines(logging.Formatter):
    """For a person at a terminal: time, event, facts."""

    def format(self, record: logging.LogRecord) -> str:
        """Write the line."""
        at = datetime.fromtimestamp(record.created).astimezone().strftime("%H:%M:%S")
        facts = " ".join(f"{name}={value}" for name, value in getattr(record, "facts", {}).items())
        mark = "" if record.levelno <= logging.INFO else f"{record.levelname.lower()}: "
        text = f"{at} {mark}{record.getMessage()} {facts}".rstrip()
        return f"{text}\n{self.formatException(record.exc_info)}" if record.exc_info else text


class BufferedLines(logging.Handler):
    """Writes lines in batches from a thread of its own: the event loop formats, and never waits for a disk.

    A queue of records between two threads costs a switch of the interpreter per line, 70 us a call under
    load (measured 2026-11); a list that is swapped four times a second costs none.  When too many lines
    wait they are dropped and counted: logging never stops a call.
    """

    def __init__(self, out: TextIO, formatter: logging.Formatter) -> None:
        super().__init__()
        self.setFormatter(formatter)
        self._out = out
        self._lines: list[str] = []
        self._dropped = 0
        self._ending = threading.Event()
        self._writer = threading.Thread(target=self._write_on, name="log-writer", daemon=True)
        self._writer.start()

    def emit(self, record: logging.LogRecord) -> None:
        """Add a line; one that asks for action is written at once."""
        if len(self._lines) >= _LINES_MOST:
            self._dropped += 1
            return
        self._lines.append(self.format(record))
        if record.levelno >= logging.ERROR:
            self.flush()

    def flush(self) -> None:
        """Write what waits."""
        lines, self._lines = self._lines, []
        dropped, self._dropped = self._dropped, 0
        if dropped:
            lines.append(f"log: {dropped} lines were dropped, the output is too slow")
        if lines:
            try:
                self._out.write("\n".join(lines) + "\n")
                self._out.flush()
            except (OSError, ValueError):
                self._dropped += dropped + len(
                    lines
                )  # a full disk, a closed pipe: there is no place to say so

    def close(self) -> None:
        """Write the rest and end the thread."""
        self._ending.set()
        self._writer.join(timeout=2)
        self.flush()
        super().close()

    def _write_on(self) -> None:
        while not self._ending.wait(_WRITE_EVERY_S):
            self.flush()


def set_up(level: str, *, json: bool) -> BufferedLines:
    """Send all log events to standard error.  Close the returned handler at exit."""
    handler = BufferedLines(sys.stderr, JsonLines() if json else PlainLines())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    return handler
