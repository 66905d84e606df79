"""What came of the rows of a part: read from a batch's two files, each row once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Container, Iterator, Sequence
from itertools import chain
from pathlib import Path

import msgspec

from stanchion.batch.answers import Answer, Problem
from stanchion.batch.lanes.lane import Item
from stanchion.batch.lanes.parts import Part, PartFolder, Place, read_answers
from stanchion.core.call import Operation
from stanchion.core.errors import StanchionError
from stanchion.core.usage import Usage
from stanchion.engine.batch_place import BatchPlace, passes
from stanchion.wire.answers import read_whole
from stanchion.wire.batch import BatchLine, Response
from stanchion.wire.errors import read_error

_AT_ONCE = 500  # rows of one piece
Told = tuple[Item, Answer | None]  # None: it was not answered, and may be asked again


class PartAnswers:
    """Reads what came of one part's rows."""

    def __init__(self, folder: PartFolder, part: Part, place: BatchPlace | None) -> None:
        self._folder = folder
        self._part = part
        self._place = place
        self.left: dict[bytes, Place] = {}  # rows of which nothing was said yet

    async def begin(self, wanted: Container[bytes] | None) -> None:
        """Look up the rows that are wanted, None: all of them."""

        def look_up() -> dict[bytes, Place]:
            places = self._folder.places(self._part)
            return places if wanted is None else {key: at for key, at in places.items() if key in wanted}

        self.left = await asyncio.to_thread(look_up)

    async def read(self, files: Sequence[Path]) -> AsyncGenerator[list[Told]]:
        """Yield what the files say of each row, piece by piece; at the end the rows that are in none of them.

        A second line for a row is not read.
        """
        pages = self._pages(files)
        while (page := await asyncio.to_thread(next, pages, None)) is not None:
            yield page

    def _pages(self, files: Sequence[Path]) -> Iterator[list[Told]]:
        """Runs in a thread."""
        left = self.left
        for lines in chain.from_iterable(map(read_answers, files)):
            known: dict[bytes, BatchLine] = {}
            places: dict[bytes, Place] = {}
            for line in lines:
                key = _key(line.custom_id)
                place = left.pop(key, None)
                if place is not None:
                    known[key], places[key] = line, place
            found = self._folder.items(self._part, places)
            yield [(item, self._answer(item, known[item.key])) for item in found]
        keys = list(left)
        for start in range(0, len(keys), _AT_ONCE):
            places = {key: left.pop(key) for key in keys[start : start + _AT_ONCE]}
            yield [(item, None) for item in self._folder.items(self._part, places)]

    def _answer(self, item: Item, line: BatchLine) -> Answer | None:
        response = line.response
        if response is None:
            return None  # it expired, or the batch was cancelled: it was never asked
        request_id = response.request_id or ""
        body = bytes(response.body)
        if response.status_code >= 300:
            facts = read_error(body)
            if passes(response.status_code, facts):
                return None
            problem = Problem(
                facts.message or f"the provider answered {response.status_code}",
                facts.code or facts.type or f"status_{response.status_code}",
                facts.param or "",
                facts.type or "",
            )
            return Answer(response.status_code, body, problem, request_id, "batch", self._part.tries)
        return self._answered(item, response, body)

    def _answered(self, item: Item, response: Response, body: bytes) -> Answer | None:
        try:
            usage = _usage(item.request.operation, body)
        except StanchionError:
            return None  # it is no answer: cut, or empty
        cost = self._place.cost(usage) if usage is not None and self._place is not None else 0
        request_id = response.request_id or ""
        return Answer(response.status_code, body, None, request_id, "batch", self._part.tries, usage, cost)


def _usage(operation: Operation, body: bytes) -> Usage | None:
    """Return what an answer used, at the prices of batches.  Raises Unusable or Cut if it is none."""
    found = read_whole(operation)(body)[0].usage
    return None if found is None else msgspec.structs.replace(found, tier="batch")


def _key(custom_id: str) -> bytes:
    try:
        return bytes.fromhex(custom_id)
    except ValueError:
        return b""
