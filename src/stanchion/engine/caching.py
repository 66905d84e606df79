"""The stores of answers of one engine: memory, and those beyond it; what is lost of them is logged and measured."""

from __future__ import annotations

import logging

from stanchion.core.clock import Clock
from stanchion.engine.outbox import Outbox
from stanchion.engine.settings import Settings
from stanchion.observe.logs import log_event
from stanchion.observe.metrics import Metrics
from stanchion.stores.memory_cache import MemoryCache
from stanchion.stores.opening import open_cache, shown
from stanchion.stores.protocols import StoreLost
from stanchion.stores.tiers import TieredCache

log = logging.getLogger(__name__)


def open_tiers(settings: Settings, clock: Clock, metrics: Metrics, outbox: Outbox) -> TieredCache:
    """Open the stores of answers; none is asked before a call needs it.  Raises SettingsError."""
    options, addresses = settings.cache, settings.stores.cache
    names = [shown(address) for address in addresses]
    for name in names:
        metrics.cache_store_lost.of(name).set(0)

    def told(place: int, error: StoreLost | TimeoutError | None) -> None:
        metrics.cache_store_lost.of(names[place]).set(error is not None)
        if error is None:
            log_event(log, logging.INFO, "cache.store_back", store=names[place])
        else:
            why = str(error) or "it did not answer in time"
            log_event(log, logging.WARNING, "cache.store_lost", store=names[place], why=why)

    return TieredCache(
        MemoryCache(options.most_bytes, clock.reading),
        [open_cache(address, options.far_most_bytes) for address in addresses],
        clock,
        later=outbox.put,
        told=told,
        wait_s=options.wait_s,
    )
