"""Log events are names with key-values, one JSON line each; set up by a face, never by the library.

No event carries a prompt, an answer or a key.  `log_event` costs nothing for a level that is off.
"""

from __future__ import annotations

import logging
import logging.handlers
import queue
import sys
from datetime import UTC, datetime
from typing import Any

import msgspec

_encode = msgspec.json.Encoder(enc_hook=str).encode
_QUEUE_MOST = 10_000  # lines; when full, lines are dropped and counted, the call goes on


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


class _DroppingQueue(logging.handlers.QueueHandler):
    """A full queue drops the line: logging never stops a call."""

    dropped = 0

    def enqueue(self, record: logging.LogRecord) -> None:
        try:
            self.queue.put_nowait(record)
        except queue.Full:
            self.dropped += 1

    def prepare(self, record: logging.LogRecord) -> logging.LogRecord:
        return record  # same process: nothing to pickle, and the facts stay


def set_up(level: str, *, json: bool) -> logging.handlers.QueueListener:
    """Send all log events to standard error from a thread of their own.  Stop the returned listener at exit."""
    lines: queue.Queue[logging.LogRecord] = queue.Queue(_QUEUE_MOST)
    out = logging.StreamHandler(sys.stderr)
    out.setFormatter(JsonLines() if json else PlainLines())
    root = logging.getLogger()
    root.handlers[:] = [_DroppingQueue(lines)]
    root.setLevel(level.upper())
    listener = logging.handlers.QueueListener(lines, out)
    listener.start()
    return listener
