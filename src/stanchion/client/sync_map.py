"""`client.map` for blocking code."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic, Self, TypeVar

from stanchion.client.mapped import Mapped
from stanchion.client.mapping import Map
from stanchion.client.portal import Portal

R = TypeVar("R")


class SyncMap(Generic[R]):
    """An iterator of `Mapped`: `with client.map(rows, template, model=...) as results: for result in results: ...`.

    The rows are read in the thread of the client's event loop.
    """

    def __init__(self, results: Map[R], portal: Portal) -> None:
        self._results = results
        self._portal = portal

    def __enter__(self) -> Self:
        """Begin."""
        self._portal.run(self._results.__aenter__)
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[Mapped[R]]:
        """Return the results.  A loop that is left early ends the calls that are in flight."""
        try:
            while taken := self._portal.run(self._results.take):
                yield from taken
        finally:
            self.close()

    def close(self) -> None:
        """End it now; what a journal has stays."""
        self._portal.finish(self._results.aclose)
