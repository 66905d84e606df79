"""Fuzz what a provider answers whole: its body, its error body, its headers.  Nothing raises but as it should.

python tests/fuzz/fuzz_answers.py -runs=20000
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime

import atheris

with atheris.instrument_imports(include=["stanchion.wire", "stanchion.core.call"]):  # pyright: ignore[reportAttributeAccessIssue]
    from stanchion.core.call import Body, Operation
    from stanchion.core.errors import InvalidCall, UpstreamError
    from stanchion.wire.answers import read_whole
    from stanchion.wire.errors import read_error
    from stanchion.wire.retry_after import read_retry_after

OPERATIONS = list(Operation)
NOW = datetime(2026, 11, 24, tzinfo=UTC)


def one_input(data: bytes) -> None:
    """Try one input in every place where a provider's or a caller's bytes are read."""
    words = data.decode("latin-1")
    seconds = read_retry_after({"retry-after": words}, words, now=NOW)
    assert seconds is None or 0 <= seconds < 1e12
    read_retry_after({"retry-after-ms": words}, words, now=NOW)
    read_error(data)
    for operation in OPERATIONS:
        try:
            read_whole(operation)(data)
        except UpstreamError:
            continue
    try:
        body = Body.read(data)
    except InvalidCall:
        return
    assert body.having(model="m").fields["model"] == "m"


if __name__ == "__main__":
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()
