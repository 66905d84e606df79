"""What can be asked of a store.  Each method is one atomic step; what is held expires by itself.

A *meter* is one rate limit of one key and model at the provider, such as `openai/gpt-4o#OPENAI_API_KEY tokens/60`.
It is kept in seconds, not in tokens (see rules/meter.py): a cost is `amount / limit * window`.  A *slot* is a
place among at most so many holders at the same time.

Time is the store's own, so that machines whose clocks differ agree: Redis's TIME, PostgreSQL's clock_timestamp(),
the one machine's clock for SQLite, a clock given in for memory.  A backend that cannot be asked raises StoreLost.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, Protocol

import msgspec

from stanchion.core.caller import Entry

EPOCH_S = 1_767_225_600.0  # stores count from 2026-01-01 UTC: smaller numbers leave a double more digits


class StoreLost(Exception):
    """The store gave no answer: no connection, too slow, or an error of its own.  Names no password.

    What was asked may have been done or not.
    """


class Take(msgspec.Struct, frozen=True, gc=False):
    """So much wanted of a meter."""

    meter: str
    cost_s: float  # never negative; 0 passes as soon as the meter is within its room
    room_s: float  # the depth up to which is admitted: a whole bucket is the limit's window


class Slot(msgspec.Struct, frozen=True, gc=False):
    """A place wanted among at most `most` holders, for at most `ttl_s` seconds."""

    name: str
    most: int
    ttl_s: float


class Taken(msgspec.Struct, frozen=True, gc=False):
    """What became of it: everything was taken, or nothing."""

    wait_s: (
        float  # 0: everything was taken; else nothing was, and it is worth asking again in so many seconds
    )
    at: float  # the store's own clock when it was decided
    depth_s: tuple[float, ...]  # for each Take: how deep its meter is after this, also when nothing was taken
    booked_s: tuple[float, ...]  # for each Take: the sum of all that was booked on its meter, this included


class Seen(msgspec.Struct, frozen=True, gc=False):
    """What the provider's headers said about a meter in its answer to a call."""

    at: float  # `Taken.at` and `Taken.booked_s` of that call
    booked_s: float
    depth_s: float  # how long until full, at the moment when that call was admitted there
    gain: float = 1.0  # how much of the way to it is gone at once


class Change(msgspec.Struct, frozen=True, gc=False):
    """News about a meter, followed in the order of the fields: what was seen, a cost, a hold."""

    meter: str
    cost_s: float = 0.0  # used beyond what was taken; negative: given back
    seen: Seen | None = None
    hold_s: float = (
        0.0  # the meter is at least so deep now; to admit nothing, add the room to the provider's wait
    )


def giving_back(takes: Sequence[Take]) -> list[Change]:
    """The changes that undo these takes."""
    return [Change(take.meter, cost_s=-take.cost_s) for take in takes]


class Limits(Protocol):
    """Rate limits and slots, shared by all who open the same store."""

    async def take(self, takes: Sequence[Take], slots: Sequence[Slot], holder: str) -> Taken:
        """Take all of it for `holder`, or nothing.  Names each meter and each slot once.

        A slot that `holder` already has is renewed.  If the caller is cancelled meanwhile, what was taken
        is given back; where even that fails, slots expire and meters run off.
        """
        ...

    async def change(self, changes: Sequence[Change], free: Sequence[str], holder: str) -> None:
        """Follow the news, and free the slots that `holder` gives back."""
        ...

    async def beat(self, group: str, member: str, ttl_s: float) -> int:
        """Note that `member` is alive for so long; returns how many of its group are, itself included."""
        ...

    async def aclose(self) -> None: ...


class KeyReport(msgspec.Struct, frozen=True):
    """What one replica says about one of its keys.  Holds no key."""

    key: str  # the slot's name, `openai#OPENAI_API_KEY`
    replica: str
    fingerprint: str
    state: str
    since: float
    error: str = ""  # a code, never words
    error_at: float = 0.0
    in_flight: int = 0
    quota: Mapping[str, str] = {}  # by model: "requests 480/500 a minute"
    at: float = 0.0


class KeyOrder(msgspec.Struct, frozen=True):
    """What all replicas shall do with a key."""

    key: str
    what: Literal["quarantine", "release", "rotate"]
    fingerprint: str = ""
    reason: str = ""  # a code
    at: float = 0.0
    number: int = 0  # given by the store, ascending


ORDERS_MOST = 1000  # orders kept, in number
ORDERS_OLDEST_S = 86_400.0  # and in age, by the store's clock
PEPPER_BYTES = 32


class KeyBook(Protocol):
    """What is known about keys by all who open the same store; never a key itself."""

    async def pepper(self) -> bytes:
        """Return random bytes, made once per store and the same for all who share it."""
        ...

    async def report(self, reports: Sequence[KeyReport]) -> None:
        """Put each in the place of what its replica said about its key before."""
        ...

    async def reports(self, *, younger_than_s: float) -> Sequence[KeyReport]:
        """Return what was reported within so many seconds by the store's clock, by key and replica."""
        ...

    async def order(self, order: KeyOrder) -> int:
        """Append it and return its number.  Orders beyond the bounds above are dropped, the oldest first."""
        ...

    async def orders(self, after: int) -> Sequence[KeyOrder]:
        """Return those with a higher number, ascending."""
        ...

    async def aclose(self) -> None: ...


CACHE_ENTRY_BYTES = 256  # what an entry costs beside its key and value, roughly


class Kept(msgspec.Struct, frozen=True, gc=False):
    """Something a cache has."""

    value: bytes
    left_s: float  # until it is forgotten, by the store's clock


class CacheStore(Protocol):
    """Bytes by key, for a while, within a bound in bytes: where it is full, the least recently used go first."""

    async def get(self, key: bytes) -> Kept | None:
        """Return what is kept under the key, or None."""
        ...

    async def put(self, key: bytes, value: bytes, ttl_s: float) -> None:
        """Keep it for so many seconds, in the place of what was there.  What is larger than the bound is not kept."""
        ...

    async def held_bytes(self) -> int:
        """Return how many bytes are held now, what each entry costs beside its value included."""
        ...

    async def aclose(self) -> None: ...


class Callers(msgspec.Struct, frozen=True):
    """All that a caller book holds, as it was at one version."""

    version: int
    pepper: bytes  # random bytes, made once per book: what is stored of a key is an HMAC with them
    entries: Sequence[Entry]  # by kind and name


class CallerBook(Protocol):
    """Teams, callers and keys, for all who open the same store; never a key itself.

    An entry is put in the place of the one with the same kind and name; none is ever removed, so that an
    id is never given twice and a revocation is never forgotten.
    """

    async def read(self, known: int = -1) -> Callers | None:
        """Return the book; None if it still is at the version that is known."""
        ...

    async def write(self, entries: Sequence[Entry], *, at: int) -> bool:
        """Write all of them if the book still is at version `at`, which goes up by one then.

        False: another was faster and nothing was written.  Read again and decide again.
        """
        ...

    async def aclose(self) -> None: ...
