"""A provider's limiter and clients that keep to it by their mirrors, in virtual time.

The provider is the simulator's `Quota`, which has an arithmetic of its own.  A client has an endless line of
calls: each is sent as soon as its mirror allows it, waits there as an answer takes, and brings a new one.
"""

from __future__ import annotations

import heapq
import itertools
import math
import random
from collections import deque
from collections.abc import Callable
from typing import Literal, TypeAlias

from stanchion.rules.quota import Mirror, Ticket
from stanchion.simulator.quota import Account, Limits, Quota, QuotaMode, Refusal
from stanchion.wire.ratelimit_headers import RateReader
from stanchion.wire.ratelimit_words import read_refusal

Work: TypeAlias = Literal["requests", "tokens"]  # what the work exhausts first
Size: TypeAlias = tuple[int, int]  # tokens charged at admission, and of the answer

LIMITS = Limits(rpm=500, tpm=200_000)
SIZES = {"requests": ((10, 40), (5, 40)), "tokens": ((100, 900), (300, 1500))}
ANSWER_S = (0.5, 3.0)
FIRST_CHUNK_S = 0.2
NET_S = 0.001
_TICK_S = 1e-6


class World:
    """Events in the order of their time."""

    def __init__(self, mode: QuotaMode = "bucket", limits: Limits = LIMITS, *, seed: int = 1) -> None:
        self.random = random.Random(seed)
        self.quota = Quota(limits, mode=mode)
        self.now = 0.0
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._number = itertools.count()

    def later(self, delay_s: float, do: Callable[[], None]) -> None:
        heapq.heappush(self._events, (self.now + delay_s, next(self._number), do))

    def run(self, until: float) -> None:
        while self._events and self._events[0][0] <= until:
            self.now, _, do = heapq.heappop(self._events)
            do()
        self.now = until

    def net_s(self) -> float:
        """Calls overtake each other on their way."""
        return NET_S * self.random.uniform(0.5, 1.5)


class Client:
    """So many callers with one key; counts what the provider let in, and when."""

    def __init__(
        self,
        world: World,
        work: Work = "requests",
        *,
        key: str = "k",
        stream: bool = True,
        tells: Literal["headers and words", "words", "nothing"] = "headers and words",
        mirror: Mirror | None = None,
        callers: int = 200,
        shed: float = 0.0,
        shed_wait_s: float | None = None,
    ) -> None:
        """`shed`: the share of calls that the provider refuses at random, and `shed_wait_s` what it says then."""
        self.mirror = mirror or Mirror(world.now)
        self.account: Account = world.quota.account(key, "m")
        self.let_in: list[float] = []
        self.refused: list[float] = []
        self.shed = 0
        self.tokens = 0
        self._world = world
        self._sizes = SIZES[work]
        self._stream = stream
        self._tells = tells
        self._shed, self._shed_wait_s = shed, shed_wait_s
        self._reader = RateReader()
        self._line = deque(self._size() for _ in range(callers))
        self._woken_at = math.inf
        world.later(0.0, self._pump)

    def refused_per_1000(self, since: float = 0.0) -> float:
        return 1000 * count(self.refused, since) / max(1, count(self.let_in, since))

    def _size(self) -> Size:
        charge, output = self._sizes
        return self._world.random.randint(*charge), self._world.random.randint(*output)

    def _pump(self) -> None:
        world = self._world
        if self._woken_at <= world.now:
            self._woken_at = math.inf
        while self._line:
            wait_s = self.mirror.ready_in(world.now, self._line[0][0])
            if wait_s > 0:
                if world.now + wait_s < self._woken_at:
                    self._woken_at = world.now + wait_s
                    world.later(wait_s + _TICK_S, self._pump)
                return
            size = self._line.popleft()
            ticket = self.mirror.take(world.now, size[0])
            world.later(world.net_s(), lambda size=size, ticket=ticket: self._arrives(size, ticket))

    def _arrives(self, size: Size, ticket: Ticket) -> None:
        world = self._world
        if self._shed and world.random.random() < self._shed:
            self.shed += 1
            world.later(NET_S, lambda: self._is_shed(size, ticket))
            return
        refusal = world.quota.admit(self.account, "m", size[0], world.now)
        headers = dict(self.account.headers(world.now)) if self._tells == "headers and words" else {}
        if refusal is not None:
            self.refused.append(world.now)
            world.later(NET_S, lambda: self._is_refused(size, ticket, refusal, headers))
            return
        self.let_in.append(world.now)
        self.tokens += size[0]
        if self._stream:
            world.later(FIRST_CHUNK_S + world.net_s(), lambda: self._begins(ticket, headers))
        world.later(world.random.uniform(*ANSWER_S), lambda: self._is_written(size, ticket, headers))

    def _begins(self, ticket: Ticket, headers: dict[str, str]) -> None:
        self.mirror.answered(self._world.now, ticket, self._reader.read(headers))
        self._pump()

    def _is_written(self, size: Size, ticket: Ticket, headers: dict[str, str]) -> None:
        self.account.debit(size[1], self._world.now)
        self.tokens += size[1]
        self._world.later(self._world.net_s(), lambda: self._ends(size, ticket, headers))

    def _ends(self, size: Size, ticket: Ticket, headers: dict[str, str]) -> None:
        if not self._stream:
            self.mirror.answered(self._world.now, ticket, self._reader.read(headers))
        self.mirror.ended(self._world.now, ticket, size[1])
        self._line.append(self._size())
        self._pump()

    def _is_shed(self, size: Size, ticket: Ticket) -> None:
        """As an engine does: such a call comes again a moment later, or when it was told to."""
        world = self._world
        headers = dict(self.account.headers(world.now)) if self._tells == "headers and words" else {}
        rates = self._reader.read(headers) if headers else ()
        self.mirror.refused(world.now, ticket, None, rates, self._shed_wait_s)
        world.later(self._shed_wait_s or 0.25, lambda: self._comes_again(size))
        self._pump()

    def _comes_again(self, size: Size) -> None:
        self._line.appendleft(size)
        self._pump()

    def _is_refused(self, size: Size, ticket: Ticket, refusal: Refusal, headers: dict[str, str]) -> None:
        words = read_refusal(refusal.message) if self._tells != "nothing" else None
        rates = self._reader.read(headers) if headers else ()
        self.mirror.refused(self._world.now, ticket, words, rates, refusal.wait_s)
        self._line.appendleft(size)
        self._pump()


class Stranger:
    """Somebody else with the same key, who asks so many times a second and knows no limit."""

    def __init__(self, world: World, account: Account, *, per_s: float, since: float = 0.0) -> None:
        self.let_in = 0
        self._world, self._account, self._per_s = world, account, per_s
        world.later(since - world.now, self._asks)

    def _asks(self) -> None:
        world = self._world
        if world.quota.admit(self._account, "m", 20, world.now) is None:
            self.let_in += 1
        world.later(world.random.expovariate(self._per_s), self._asks)


def count(times: list[float], since: float = 0.0, until: float = math.inf) -> int:
    return sum(since <= each < until for each in times)


def allowed(mode: QuotaMode, limit: int, seconds: float) -> float:
    """What a perfect client could use of a limit per minute: a bucket is full at the start."""
    if mode == "sliding":
        return limit * math.ceil(seconds / 60)
    burst_s = 60.0 if mode == "bucket" else 1.0
    per_s = limit / 60 if mode == "bucket" else max(1, limit // 60)
    return per_s * (seconds + burst_s)


def change_limit(account: Account, *, rpm: int) -> None:
    """The provider raises or lowers the limit."""
    account.requests.limit = rpm
