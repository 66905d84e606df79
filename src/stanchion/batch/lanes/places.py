"""Where the parts of a job can be sent, with which key, and how much waits there."""

from __future__ import annotations

from stanchion.batch.lanes.parts import Part
from stanchion.batch.lanes.room import Room
from stanchion.core.errors import StanchionError
from stanchion.engine.batch_place import BatchApi, BatchPlace
from stanchion.engine.engine import Engine

_KNOWN_MOST = 1000  # rows name models: what is kept for them is bounded


class Places:
    """The places of one job."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._places: dict[str, BatchPlace | None] = {}
        self._rooms: dict[tuple[str, str], Room] = {}

    def of(self, model: str) -> BatchPlace | None:
        """Return where batches of a model go; None if nobody takes any.  Raises UnknownModel."""
        if model not in self._places:
            if len(self._places) >= _KNOWN_MOST:
                self._places.clear()
            self._places[model] = self._engine.batches(model)
        return self._places[model]

    def again(self, part: Part) -> BatchPlace | None:
        """Return the place of a part, which may be of an earlier run under other settings; None if it is gone."""
        try:
            place = self.of(part.asked)
        except StanchionError:
            return None
        return place if place is not None and place.name == part.place else None

    def api(self, part: Part, place: BatchPlace) -> BatchApi:
        """Return the key a part was sent with, else the one with the least waiting."""
        known = next((api for api in place.apis if part.key and api.key == part.key), None)
        return known or min(place.apis, key=lambda api: self.room(place, api).used)

    def room(self, place: BatchPlace, api: BatchApi) -> Room:
        """Return what waits with a key."""
        at = (place.name, api.key)
        if at not in self._rooms:
            self._rooms[at] = Room(place.tokens_most)
        return self._rooms[at]

    def tokens_most(self, place: BatchPlace) -> int:
        """Return how many prompt tokens may wait there with one key; 0 if nobody knows."""
        return max(self.room(place, api).most for api in place.apis)
