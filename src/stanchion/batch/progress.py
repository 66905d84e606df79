"""How a job stands, as one frozen snapshot: for the panel, for lines of JSON, for a page.

Speeds are those of the last half minute, so that an hour that was slow does not spoil the forecast, nor a start
that was quick.  A forecast is what it is: the rows that are left at this speed and at the price of those that are done.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence

import msgspec

from stanchion.batch.job import Facts
from stanchion.batch.lanes.lane import Item, Lane
from stanchion.batch.lanes.provider_batch import BatchLane
from stanchion.batch.lanes.sync import SyncLane
from stanchion.core.rates import Level
from stanchion.engine.engine import Engine
from stanchion.engine.spread import Spread
from stanchion.wire.batch import BatchObject, Counts

_WINDOW_S = 30.0  # of speeds
_LEAST_S = 1.0  # before that no speed is told


class Limit(msgspec.Struct, frozen=True):
    """One limit of one key at one model."""

    endpoint: str  # "provider/model", and "#name" of the key where there are several
    kind: str  # requests or tokens
    used: int
    limit: int
    window_s: float


class Snapshot(msgspec.Struct, frozen=True):
    """How a job stands.  Rows are rows of the input; requests are what they ask, twins once."""

    stage: str  # reading, asking, writing; then done, stopped or failed
    seconds: float  # of this run
    rows: int  # of the input; about, as long as not all are read
    rows_exact: bool
    done: int  # rows that are answered, failed or bad
    failed: int  # rows that failed in this run, or are bad
    before: int  # of those done: in earlier runs
    twins: int  # rows that ask what another row asks
    in_flight: int  # calls that are open at providers
    in_batches: int  # requests that are in a provider's batches
    batches: int  # that a provider works on
    waiting: int  # requests that are in line once more
    prompt_tokens: int  # in this run
    completion_tokens: int
    rows_per_s: float | None  # None: not known yet
    tokens_per_s: float | None
    eta_s: float | None
    spent_micro_usd: int  # in all runs
    projected_micro_usd: int | None  # in the end
    cap_micro_usd: int | None
    refused_429: int
    retries: int
    cache_hits: int
    limits: Sequence[Limit]

    @property
    def share(self) -> float:
        """Which part is done, 0 to 1."""
        return min(1.0, self.done / self.rows) if self.rows else 0.0


class Speeds:
    """What was done, and when: the speed over the last half minute."""

    def __init__(self) -> None:
        self._marks: deque[tuple[float, int, int]] = deque()

    def note(self, now: float, requests: int, tokens: int) -> None:
        """Note how much was done by now."""
        marks = self._marks
        marks.append((now, requests, tokens))
        while len(marks) > 2 and marks[1][0] <= now - _WINDOW_S:
            marks.popleft()

    def per_s(self) -> tuple[float, float] | None:
        """Return requests and tokens a second; None before anything is known."""
        if not self._marks:
            return None
        (began, requests, tokens), (now, most, all_tokens) = self._marks[0], self._marks[-1]
        if now - began < _LEAST_S:
            return None
        return (most - requests) / (now - began), (all_tokens - tokens) / (now - began)


class Progress:
    """Makes snapshots of one run."""

    def __init__(
        self,
        facts: Facts,
        engine: Engine,
        *,
        lanes: Sequence[Lane],
        cap_micro_usd: int | None = None,
    ) -> None:
        self._facts = facts
        self._engine = engine
        self._lanes = lanes
        self._cap = cap_micro_usd
        self._speeds = Speeds()
        self._speeds.note(engine.clock.now(), 0, 0)

    def snapshot(self) -> Snapshot:
        """Return how it stands now."""
        facts, metrics = self._facts, self._engine.metrics
        now, ended = self._engine.clock.now(), facts.answered + facts.failed
        self._speeds.note(now, ended, facts.prompt_tokens + facts.completion_tokens)
        speeds = self._speeds.per_s()
        rows = max(facts.expected, facts.read)
        left = _left(facts, rows)
        tries = round(metrics.attempts.total())
        return Snapshot(
            # rows are read as they are needed, so a large input is read until nearly the end
            stage="asking" if facts.stage == "reading" and facts.asked else facts.stage,
            seconds=round(now - facts.began_at, 3) if facts.began_at else 0.0,
            rows=rows,
            rows_exact=facts.all_read,
            done=max(0, rows - left) if facts.read else 0,
            failed=facts.failed + facts.bad,
            before=facts.before,
            twins=facts.twins,
            in_flight=sum(each.open for each in self._spreads()),
            in_batches=sum(_open_in(each) for each in self._batches()),
            batches=len(self._batches()),
            waiting=sum(each.waiting for each in self._spreads()),
            prompt_tokens=facts.prompt_tokens,
            completion_tokens=facts.completion_tokens,
            rows_per_s=None if speeds is None else round(speeds[0], 2),
            tokens_per_s=None if speeds is None else round(speeds[1], 1),
            eta_s=_eta(left, speeds),
            spent_micro_usd=facts.spent_micro_usd,
            projected_micro_usd=_projected(facts, left, ended),
            cap_micro_usd=self._cap,
            refused_429=round(metrics.quota_refusals.total()),
            retries=max(0, tries - ended),
            cache_hits=round(metrics.cache_calls.of("hit").value),
            limits=limits_of(self._engine.levels()),
        )

    def _spreads(self) -> list[Spread[Item]]:
        return [each.spread for each in self._lanes if isinstance(each, SyncLane) and each.spread is not None]

    def _batches(self) -> list[BatchObject]:
        return [batch for lane in self._lanes if isinstance(lane, BatchLane) for batch in lane.seen.values()]


def _open_in(batch: BatchObject) -> int:
    counts = batch.request_counts or Counts()
    return max(0, (counts.total or 0) - (counts.completed or 0) - (counts.failed or 0))


def limits_of(levels: Mapping[str, Sequence[Level]]) -> list[Limit]:
    """Return the limits of all endpoints, those of a key beside each other."""
    return [
        Limit(name, each.kind, max(0, each.limit - each.left), each.limit, each.window_s)
        for name, found in sorted(levels.items())
        for each in sorted(found, key=lambda level: (level.kind, level.window_s))
    ]


def _left(facts: Facts, rows: int) -> int:
    """Say for about how many rows nothing came yet; a twin is done when its twin is."""
    asked = max(1, facts.asked)
    open_requests = facts.asked - facts.answered - facts.failed
    with_twins = round(open_requests * (1 + facts.twins / asked))
    return max(0, rows - facts.read) + min(facts.read, with_twins)


def _eta(left: int, speeds: tuple[float, float] | None) -> float | None:
    if left == 0:
        return 0.0
    return round(left / speeds[0], 1) if speeds is not None and speeds[0] > 0 else None


def _projected(facts: Facts, left: int, ended: int) -> int | None:
    spent = facts.spent_micro_usd - facts.spent_before_micro_usd
    if ended == 0:
        return facts.spent_micro_usd if left == 0 else None
    return facts.spent_micro_usd + round(left * spent / ended)
