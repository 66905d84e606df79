"""Starts `stanchion` again and again, each in a process of its own, and imports it once: a kill loop is to kill
processes, not to wait for imports.

Reads a line of JSON, the arguments; writes the process's number; when it has ended, its status as `waitpid` has it.
"""

from __future__ import annotations

import importlib
import json
import os
import sys

# what the command imports when it runs
_HEAVY = (
    "stanchion.cli.main",
    "stanchion.cli.batch",
    "stanchion.cli.batch_run",
    "stanchion.cli.batch_running",
)


def tell(number: int) -> None:
    """Write a line."""
    sys.stdout.write(f"{number}\n")
    sys.stdout.flush()


def child(arguments: list[str], log: str) -> None:
    """Be the command; never returns."""
    from stanchion.cli.main import main

    out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(out, 1)
    os.dup2(out, 2)
    code = 70
    try:
        code = main(arguments)
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def serve() -> None:
    """Start what is asked for, one after the other."""
    for name in _HEAVY:
        importlib.import_module(name)
    for line in sys.stdin:
        asked = json.loads(line)
        number = os.fork()
        if number == 0:
            child(asked["arguments"], asked["log"])
        tell(number)
        _, status = os.waitpid(number, 0)
        tell(status)


if __name__ == "__main__":
    serve()
