"""Fuzz the event stream: no bytes raise but as they should, and no split changes what is read.

python tests/fuzz/fuzz_sse.py -runs=20000
"""

from __future__ import annotations

import sys

import atheris

with atheris.instrument_imports(include=["stanchion.wire"]):  # pyright: ignore[reportAttributeAccessIssue]
    from stanchion.core.call import Operation
    from stanchion.core.errors import Cut
    from stanchion.wire import sse
    from stanchion.wire.answers import read_stream, stream_error


def read(pieces: list[bytes]) -> list[tuple[str, bytes]]:
    """Read the events of a stream that comes in pieces."""
    cutter, found, out = sse.Cutter(), list[tuple[str, bytes]](), b""
    for piece in pieces:
        whole = cutter.feed(piece)
        out += whole
        found += [sse.read(part) for part in sse.split(whole)]
    assert out + cutter.pending == b"".join(pieces), "bytes were lost or made up"
    return [(name, data) for name, data in found if data]


def one_input(data: bytes) -> None:
    """Try one input: its first byte says how long the pieces are."""
    stream, length = data[1:], (data[0] if data else 0) % 7 + 1
    pieces = [stream[at : at + length] for at in range(0, len(stream), length)]
    events = read([stream])
    assert read(pieces) == events, "a split changed what is read"
    for operation in (Operation.CHAT, Operation.RESPONSES):
        for _, text in events:
            stream_error(text)
            try:
                read_stream(operation)(sse.write(text.replace(b"\n", b" ").replace(b"\r", b" ")))
            except Cut:
                continue


if __name__ == "__main__":
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()
