"""Every metric of Stanchion, by name, once.  Documented in docs/reference/metrics.md; a test compares.

Labels are bounded: operations, outcomes and codes come from our own lists; endpoints from the
configuration, and where a provider serves any model, from callers: the 1001st becomes "other".

The numbers are kept by the event loop's one thread in plain integers and given to prometheus-client at
a scrape: an observation costs 0.1-0.3 us instead of 0.3-0.7 (its locks are for threads we do not have).
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence

from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

_LABELS_MOST = 1000  # of one metric
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)
_SIMILARITY = (0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.92, 0.94, 0.95, 0.96, 0.97, 0.98, 0.99, 0.995)
_SHARES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1.0)


def bounded(labels: tuple[str, ...], known: int) -> tuple[str, ...]:
    """Return the labels, or "other" in their place where there are too many already.

    A provider that serves any model has as many endpoints as its callers make up names.
    """
    return labels if known < _LABELS_MOST else ("other",) * len(labels)


class Tally:
    """One number that goes up, or up and down."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0.0

    def inc(self, by: float = 1) -> None:
        """Add."""
        self.value += by

    def dec(self) -> None:
        """Take one away."""
        self.value -= 1

    def set(self, value: float) -> None:
        """Set."""
        self.value = value


class Spread:
    """How many observations fell into which bucket."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float] = _SECONDS) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        """Add an observation."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value


class _Family:
    """One metric with its labels."""

    def __init__(self, name: str, text: str, labels: Sequence[str]) -> None:
        self.name = name
        self.text = text
        self.labels = labels


class Tallies(_Family):
    """A counter, or a gauge, by labels."""

    def __init__(self, name: str, text: str, labels: Sequence[str] = (), *, gauge: bool = False) -> None:
        super().__init__(name, text, labels)
        self._gauge = gauge
        self._by_label: dict[tuple[str, ...], Tally] = {}

    def of(self, *labels: str) -> Tally:
        """Return the number with these labels."""
        found = self._by_label.get(labels)
        if found is None:
            labels = bounded(labels, len(self._by_label))
            found = self._by_label.setdefault(labels, Tally())
        return found

    def total(self) -> float:
        """Add up the numbers of all labels."""
        return sum(each.value for each in self._by_label.values())

    def family(self) -> Metric:
        """Return it as prometheus-client shows it."""
        kind = GaugeMetricFamily if self._gauge else CounterMetricFamily
        made = kind(self.name, self.text, labels=self.labels)
        for labels, tally in self._by_label.items():
            made.add_metric(labels, tally.value)
        return made


class Spreads(_Family):
    """A histogram by labels: of seconds, or of what `bounds` are bounds of."""

    def __init__(
        self, name: str, text: str, labels: Sequence[str] = (), bounds: Sequence[float] = _SECONDS
    ) -> None:
        super().__init__(name, text, labels)
        self._bounds = bounds
        self._by_label: dict[tuple[str, ...], Spread] = {}

    def of(self, *labels: str) -> Spread:
        """Return the histogram with these labels."""
        found = self._by_label.get(labels)
        if found is None:
            labels = bounded(labels, len(self._by_label))
            found = self._by_label.setdefault(labels, Spread(self._bounds))
        return found

    def family(self) -> Metric:
        """Return it as prometheus-client shows it."""
        made = HistogramMetricFamily(self.name, self.text, labels=self.labels)
        for labels, spread in self._by_label.items():
            buckets, so_far = list[tuple[str, float]](), 0
            for bound, count in zip((*self._bounds, float("inf")), spread.counts, strict=True):
                so_far += count
                buckets.append(("+Inf" if bound == float("inf") else str(bound), so_far))
            made.add_metric(labels, buckets=buckets, sum_value=spread.total)
        return made


class Metrics(Collector):
    """The metrics of one engine, in a registry of their own."""

    def __init__(self) -> None:
        self.before_scrape: list[Callable[[], None]] = []  # counts what was left for later
        self.calls = Tallies("stanchion_calls", "Calls that ended", ("operation", "outcome", "code"))
        self.call_seconds = Spreads(
            "stanchion_call_seconds", "From a call's start to its end", ("operation",)
        )
        self.first_chunk_seconds = Spreads(
            "stanchion_first_chunk_seconds",
            "From a call's start to the first chunk of its answer",
            ("operation",),
        )
        self.calls_open = Tallies("stanchion_calls_open", "Calls that are open now", gauge=True)
        self.attempts = Tallies(
            "stanchion_attempts", "Attempts at endpoints that ended", ("endpoint", "outcome", "code")
        )
        self.tokens = Tallies("stanchion_tokens", "Tokens by disjoint class", ("class", "estimated"))
        self.retries = Tallies("stanchion_retries", "What was decided after a failed attempt", ("decision",))
        self.fallbacks = Tallies("stanchion_fallbacks", "Calls passed on to a later target")
        self.resumes = Tallies("stanchion_resumes", "What became of streams that were cut", ("decision",))
        self.hedges = Tallies(
            "stanchion_hedges", "Second attempts beside late ones, by what became of them", ("outcome",)
        )
        self.hedges_refused = Tallies(
            "stanchion_hedges_refused", "Late attempts that got no second one beside them", ("reason",)
        )
        self.breaker_open = Tallies(
            "stanchion_breaker_open", "1 while an endpoint's breaker is not closed", ("endpoint",), gauge=True
        )
        self.quota_used = Tallies(
            "stanchion_quota_used",
            "Part of an endpoint's fullest limit that is used",
            ("endpoint",),
            gauge=True,
        )
        self.limits_store_lost = Tallies(
            "stanchion_limits_store_lost", "1 while the store of common limits cannot be asked", gauge=True
        )
        self.quota_refusals = Tallies(
            "stanchion_quota_refusals", "429s of an endpoint that a limit explains", ("endpoint",)
        )
        self.outbox_dropped = Tallies("stanchion_outbox_dropped", "Items a full outbox dropped")
        self.reloads = Tallies("stanchion_config_reloads", "Configuration reloads", ("outcome",))
        self._count_keys()
        self._count_money()
        self._of_the_ledger()
        self._of_the_line()
        self._of_the_cache()
        self._of_the_semantic_cache()
        self.registry = CollectorRegistry()
        self.registry.register(self)

    def _of_the_ledger(self) -> None:
        self.cost = Tallies(
            "stanchion_cost_microdollars", "What attempts cost, in millionths of a dollar", ("endpoint",)
        )
        self.unpriced = Tallies(
            "stanchion_unpriced_attempts", "Attempts that used tokens whose price is not known", ("endpoint",)
        )
        self.ledger_lines = Tallies("stanchion_ledger_lines", "Lines for the ledger", ("outcome",))
        self.ledger_store_lost = Tallies(
            "stanchion_ledger_store_lost", "1 while the ledger's store cannot be asked", gauge=True
        )

    def _count_keys(self) -> None:
        self.key_state = Tallies(
            "stanchion_key_state", "1 at the state a provider's key is in", ("key", "state"), gauge=True
        )
        self.key_rotations = Tallies(
            "stanchion_key_rotations", "New values of keys, by what became of them", ("key", "outcome")
        )

    def _count_money(self) -> None:
        self.budget_used = Tallies(
            "stanchion_budget_used", "Part of a budget that is spent in its window", ("budget",), gauge=True
        )
        self.budget_alerts = Tallies(
            "stanchion_budget_alerts", "Windows in which much of a budget was spent", ("budget",)
        )
        self.budget_refused = Tallies(
            "stanchion_budget_refused",
            "Calls, and streams, for which a budget had too little left",
            ("budget",),
        )
        self.budget_cut = Tallies("stanchion_budget_cut_streams", "Streams that were cut at a budget's end")
        self.budgets_store_lost = Tallies(
            "stanchion_budgets_store_lost", "1 while the store of budgets cannot be asked", gauge=True
        )

    def _of_the_line(self) -> None:
        self.line_waiting = Tallies(
            "stanchion_line_waiting", "Calls that wait for an endpoint now", ("priority",), gauge=True
        )
        self.line_seconds = Spreads(
            "stanchion_line_seconds", "How long calls waited that had to, and were served", ("priority",)
        )
        self.line_refused = Tallies(
            "stanchion_line_refused", "Calls that might not wait, or no longer", ("reason",)
        )
        self.caller_limited = Tallies(
            "stanchion_caller_limited", "Calls refused for a caller's limit", ("level", "what")
        )

    def _of_the_cache(self) -> None:
        self.cache_calls = Tallies(
            "stanchion_cache_calls", "Calls whose answer may be shared, by where it came from", ("result",)
        )
        self.cache_bytes = Tallies("stanchion_cache_bytes", "Bytes of answers kept in memory", gauge=True)
        self.cache_store_lost = Tallies(
            "stanchion_cache_store_lost", "1 while a store of answers cannot be asked", ("store",), gauge=True
        )
        self.coalesced_cut = Tallies(
            "stanchion_coalesced_cut", "Readers of a shared stream that were too slow for the others"
        )

    def _of_the_semantic_cache(self) -> None:
        self.semantic_calls = Tallies(
            "stanchion_semantic_cache_calls",
            "Calls that the semantic cache was asked about, by what it knew",
            ("mode", "result"),
        )
        self.semantic_entries = Tallies(
            "stanchion_semantic_cache_entries", "Questions that the semantic cache knows", gauge=True
        )
        self.semantic_similarity = Spreads(
            "stanchion_semantic_cache_similarity",
            "How near the nearest question was, from 0 to 1",
            ("result",),
            _SIMILARITY,
        )
        self.semantic_agreement = Spreads(
            "stanchion_semantic_cache_agreement",
            "Shadow mode: how alike the true answer was to the one it would have given, by similarity from",
            ("similarity",),
            _SHARES,
        )
        self.semantic_embedding_seconds = Spreads(
            "stanchion_semantic_cache_embedding_seconds", "How long calls waited for an embedding"
        )

    def collect(self) -> Iterable[Metric]:
        """Give all metrics to a scrape."""
        for prepare in self.before_scrape:
            prepare()
        return [each.family() for each in vars(self).values() if isinstance(each, Tallies | Spreads)]
