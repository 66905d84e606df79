"""A Chunk is a piece of a reply as bytes: whole server-sent events, or a whole JSON body.

Its events are decoded lazily, once, and kept: who needs no text pays for no parsing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from stanchion.core.usage import Usage


class Event(msgspec.Struct, gc=False):
    """One event of a reply, or its whole body, as far as anybody here looks into it."""

    data: bytes = b""  # the JSON text
    name: str = ""  # the SSE event name, where the dialect has one
    text: str = ""  # what is shown to a person, of choice 0
    parts: tuple[tuple[str, str], ...] = ()  # what `pieces` are, where they are more than `text`
    finish_reason: str | None = None  # of choice 0
    model: str | None = None  # the model that answers, in its own words
    usage: Usage | None = None

    @property
    def pieces(self) -> tuple[tuple[str, str], ...]:
        """All that was generated: (where, text); see `wire.answers`.

        Plain text needs no tuples until somebody asks: events are kept by the thousand, and tuples are what
        the garbage collector goes through.
        """
        return self.parts or ((("0.content", self.text),) if self.text else ())


EventReader = Callable[[bytes], Sequence[Event]]


class Chunk(msgspec.Struct, eq=False, gc=False):
    """Bytes of a reply, cut where an event ends.  `data: [DONE]` is in `raw` and is no event."""

    raw: bytes
    _read: EventReader
    _events: Sequence[Event] | None = None

    @property
    def events(self) -> Sequence[Event]:
        """Decode the events, once.  Raises UpstreamError if one is not what it should be."""
        events = self._events
        if events is None:
            events = self._events = self._read(self.raw)
        return events

    @property
    def text(self) -> str:
        """What is shown to a person, of choice 0."""
        events = self.events
        return events[0].text if len(events) == 1 else "".join([event.text for event in events])

    def __repr__(self) -> str:
        return f"<Chunk of {len(self.raw)} bytes>"  # never the text
