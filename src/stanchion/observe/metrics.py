"""Every metric of Stanchion, by name, once.  Documented in docs/reference/metrics.md; a test compares.

Labels are bounded: endpoints and operations come from the configuration, outcomes and codes from our
own lists; a model that a caller made up never becomes a label.
"""

from __future__ import annotations

from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.registry import Collector

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)


class Metrics:
    """The metrics of one engine, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        made = self.registry
        self.calls = Counter(
            "stanchion_calls", "Calls that ended", ("operation", "outcome", "code"), registry=made
        )
        self.call_seconds = Histogram(
            "stanchion_call_seconds", "From a call's start to its end", ("operation",), buckets=_SECONDS, registry=made
        )
        self.first_chunk_seconds = Histogram(
            "stanchion_first_chunk_seconds",
            "From a call's start to the first chunk of its answer",
            ("operation",),
            buckets=_SECONDS,
            registry=made,
        )
        self.calls_open = Gauge("stanchion_calls_open", "Calls that are open now", registry=made)
        self.attempts = Counter(
            "stanchion_attempts", "Attempts at endpoints that ended", ("endpoint", "outcome", "code"), registry=made
        )
        self.tokens = Counter(
            "stanchion_tokens", "Tokens by disjoint class", ("class", "estimated"), registry=made
        )
        self.retries = Counter("stanchion_retries", "Retries", ("decision",), registry=made)
        self.fallbacks = Counter("stanchion_fallbacks", "Calls passed on to a later target", registry=made)
        self.resumes = Counter("stanchion_resumes", "Cut streams asked for again", ("decision",), registry=made)
        self.breaker_open = Gauge(
            "stanchion_breaker_open", "1 while an endpoint's breaker is not closed", ("endpoint",), registry=made
        )
        self.outbox_dropped = Counter("stanchion_outbox_dropped", "Items a full outbox dropped", registry=made)
        self.reloads = Counter("stanchion_config_reloads", "Configuration reloads", ("outcome",), registry=made)
        self._children: dict[tuple[Any, ...], Any] = {}

    def child(self, metric: Any, *labels: str) -> Any:
        """Return the metric with these labels; the look-up is a dictionary's, not prometheus-client's."""
        key = (metric, *labels)
        found = self._children.get(key)
        if found is None:
            found = self._children[key] = metric.labels(*labels)
        return found

    def register(self, collector: Collector) -> None:
        """Add a face's own collector."""
        self.registry.register(collector)
