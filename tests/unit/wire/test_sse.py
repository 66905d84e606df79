"""Events come out the same however the bytes were split, and as the HTML standard reads them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stanchion.wire import sse


def as_the_standard_reads(stream: bytes) -> list[tuple[str, bytes]]:
    """The standard's own steps, slowly.  An event without data says nothing here, so it is left out.

    https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation
    """
    text = stream.removeprefix(b"\xef\xbb\xbf")
    lines, line, at = list[bytes](), b"", 0
    while at < len(text):
        if text[at : at + 2] == b"\r\n" or text[at : at + 1] in (b"\n", b"\r"):
            at += 2 if text[at : at + 2] == b"\r\n" else 1
            lines.append(line)
            line = b""
        else:
            line += text[at : at + 1]
            at += 1
    events, name, data = list[tuple[str, bytes]](), "", b""
    for line in lines:  # a line that did not end is no line
        if not line:
            if data.removesuffix(b"\n"):
                events.append((name, data.removesuffix(b"\n")))
            name, data = "", b""
        elif not line.startswith(b":"):
            field, _, value = line.partition(b":")
            value = value.removeprefix(b" ")
            if field == b"event":
                name = value.decode("utf-8", "replace")
            elif field == b"data":
                data += value + b"\n"
    return events


def as_we_read(pieces: list[bytes]) -> list[tuple[str, bytes]]:
    cutter = sse.Cutter()
    found = list[tuple[str, bytes]]()
    for piece in pieces:
        found.extend(map(sse.read, sse.split(cutter.feed(piece))))
    return [(name, data) for name, data in found if data]


line_ends = st.sampled_from([b"\n", b"\r\n", b"\r"])
lines = st.sampled_from([
    b"", b"", b"data: {}", b'data: {"a":"\xe4\xbd\xa0"}', b"data:x", b"data", b"data: ", b"data:  y", b": ping", b":",
    b"event: error", b"event:", b"event", b"id: 7", b"retry: 100", b"nonsense", b"data : z", b" data: z", b"data: [DONE]",
    b"data: a: b",
])  # fmt: skip
mixed = st.lists(st.tuples(lines, line_ends), max_size=14).map(lambda all_: b"".join(a + b for a, b in all_))
bare = st.binary(max_size=20) | st.text(alphabet="da:\r\n \x00", max_size=20).map(str.encode)


def one_end(text: bytes) -> st.SearchStrategy[bytes]:
    return line_ends.map(lambda end: text.replace(b"\r\n", b"\n").replace(b"\r", b"\n").replace(b"\n", end))


streams = mixed | mixed.flatmap(one_end) | bare


@given(streams, st.booleans(), st.lists(st.integers(0, 200), max_size=8))
def test_any_stream_in_any_split_reads_as_the_standard_reads_it(
    stream: bytes, bom: bool, cuts: list[int]
) -> None:
    stream = (b"\xef\xbb\xbf" if bom else b"") + stream
    at = sorted(min(cut, len(stream)) for cut in cuts)
    pieces = [stream[a:b] for a, b in zip([0, *at], [*at, len(stream)], strict=True)]
    assert as_we_read(pieces) == as_the_standard_reads(stream)


@given(streams)
def test_one_byte_at_a_time_reads_the_same(stream: bytes) -> None:
    assert as_we_read([stream[at : at + 1] for at in range(len(stream))]) == as_the_standard_reads(stream)


@given(streams, st.lists(st.integers(0, 200), max_size=8))
def test_no_byte_is_lost_or_made_up(stream: bytes, cuts: list[int]) -> None:
    at = sorted(min(cut, len(stream)) for cut in cuts)
    cutter = sse.Cutter()
    out = b"".join(cutter.feed(stream[a:b]) for a, b in zip([0, *at], [*at, len(stream)], strict=True))
    assert out + cutter.pending == stream


@pytest.mark.parametrize(
    ("feeds", "given_out", "pending"),
    [
        ([b"data: a\n\n"], [b"data: a\n\n"], b""),
        ([b"data: a\n\ndata: b"], [b"data: a\n\n"], b"data: b"),
        ([b"data: a\n", b"\ndata: b\n\n"], [b"", b"data: a\n\ndata: b\n\n"], b""),
        ([b"data: a\r\n\r", b"\n"], [b"data: a\r\n\r", b""], b"\n"),
        ([b"data: a\r\r"], [b"data: a\r\r"], b""),
        ([b""], [b""], b""),
    ],
)
def test_whole_events_come_out_and_the_rest_waits(
    feeds: list[bytes], given_out: list[bytes], pending: bytes
) -> None:
    cutter = sse.Cutter()
    assert [cutter.feed(data) for data in feeds] == given_out
    assert cutter.pending == pending


def test_an_event_that_never_ends_is_refused_at_the_bound() -> None:
    cutter = sse.Cutter(most=100)
    cutter.feed(b"data: " + b"x" * 90)
    with pytest.raises(sse.TooLong, match="longer than 100 bytes"):
        cutter.feed(b"x" * 10)


@given(
    st.text(alphabet=st.characters(blacklist_characters="\r\n"), min_size=1), st.sampled_from(["", "error"])
)
def test_what_is_written_is_read_back(data: str, name: str) -> None:
    raw = sse.write(data.encode("utf-8", "replace"), name=name)
    assert as_we_read([raw]) == [(name, data.encode("utf-8", "replace"))]
