"""Sorts rows into parts: one operation and one model in each, and no more than a batch may have."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from stanchion.batch.lanes.lane import Item
from stanchion.batch.lanes.parts import Part, PartFolder, PartWriter, new_part, with_model
from stanchion.core.call import Operation
from stanchion.core.errors import StanchionError
from stanchion.engine.batch_place import BatchPlace

PlaceOf = Callable[[str], BatchPlace | None]  # by the model as a row names it; raises StanchionError
_LINE_BYTES = 200  # of a line beside its body
_ALONE_MOST = 1000  # parts that are open at once: models are many


class _Model(msgspec.Struct, gc=False):
    model: str


_read_model = msgspec.json.Decoder(_Model).decode


class Intake:
    """Parts that are being written."""

    def __init__(
        self, folder: PartFolder, place_of: PlaceOf, tokens_most: Callable[[BatchPlace], int]
    ) -> None:
        """`tokens_most` says how many prompt tokens a place takes at once; 0: nobody knows."""
        self._folder = folder
        self._place_of = place_of
        self._tokens_most = tokens_most
        self._open: dict[tuple[str, Operation], PartWriter] = {}
        self.full: list[PartWriter] = []  # to be closed

    def put(self, item: Item) -> bool:
        """Take a row; False if it is none for a batch."""
        request = item.request
        try:
            model = _read_model(request.body).model
            place = self._place_of(model)
        except (StanchionError, msgspec.MsgspecError):
            return False  # the next lane says what is wrong with it
        if place is None:
            return False
        body = request.body
        if model != place.model or b'"stream' in body:
            body = with_model(body, place.model)
        kind = (model, request.operation)
        writer = self._open.get(kind)
        if writer is not None and self._is_full(writer, place, len(body)):
            self.full.append(self._open.pop(kind))
            writer = None
        if writer is None:
            if len(self._open) >= _ALONE_MOST:
                self.flush()
            part = new_part(place.name, request.operation, model)
            writer = self._open[kind] = PartWriter(self._folder, part, place.url(request.operation))
        writer.add(item.key, item.number, body)
        return True

    def flush(self) -> None:
        """Let every part be full."""
        self.full.extend(self._open.values())
        self._open.clear()

    def write(self) -> None:
        """Write what was taken.  Call it in a thread."""
        for writer in self._open.values():
            writer.flush()

    def drop(self) -> None:
        """Leave unwritten what is not full."""
        for writer in (*self._open.values(), *self.full):
            writer.drop()
        self._open.clear()
        self.full.clear()

    def _is_full(self, writer: PartWriter, place: BatchPlace, more: int) -> bool:
        limits, part = place.limits, writer.part
        most = self._tokens_most(place)
        return (
            part.rows >= limits.requests_most
            or writer.size + more + _LINE_BYTES > limits.file_most_bytes
            or (most > 0 and part.tokens * 2 >= most)  # half of it: one waits while another is done
        )


def divide(
    folder: PartFolder, part: Part, url: str, *, without: frozenset[int] = frozenset()
) -> list[PartWriter]:
    """Write a part's rows anew: in halves, or in one part without some lines (from 1).  Call it in a thread.

    Nothing of it counts before the writers are closed, nor while the old part is there.
    """
    places = list(folder.places(part).items())
    if without:
        groups = [[each for number, each in enumerate(places, 1) if number not in without]]
    else:
        half = (len(places) + 1) // 2
        groups = [places[:half], places[half:]]
    made: list[PartWriter] = []
    for group in groups:
        if group:
            again = new_part(part.place, part.asks, part.asked, tries=part.tries, replaces=part.id)
            again.mended = part.mended + 1
            writer = PartWriter(folder, again, url)
            for item in folder.items(part, dict(group)):
                writer.add(item.key, item.number, with_model(item.request.body, part.place.partition("/")[2]))
            made.append(writer)
    return made
