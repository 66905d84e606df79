"""Everything the simulated provider remembers between calls."""

from __future__ import annotations

import time
from collections.abc import Callable

from stanchion.simulator.batch_options import BatchFaultPlan
from stanchion.simulator.faults import FaultPlan
from stanchion.simulator.files import FileStore
from stanchion.simulator.keys import KeyTable
from stanchion.simulator.log import CallLog, CallRecord
from stanchion.simulator.options import SimulatorOptions
from stanchion.simulator.prompt_cache import PromptCache
from stanchion.simulator.quota import Quota


class State:
    """Changed by the loop's thread alone."""

    def __init__(self, options: SimulatorOptions, open_connections: Callable[[], int]) -> None:
        self.options = options
        self.calls = CallLog(options.log_capacity)
        self.faults = FaultPlan(options.faults, seed=options.seed)
        self.quota = Quota(
            options.limits,
            per_model=options.model_limits,
            per_key=options.key_limits,
            mode=options.quota_mode,
            organization=options.organization,
        )
        self.cache = PromptCache()
        self.keys = KeyTable()
        self.files = FileStore()
        self.batch_faults = BatchFaultPlan(options.batch_faults)
        self.open_streams = 0
        self.open_connections = open_connections

    def headers(self, record: CallRecord, began: float) -> list[tuple[str, str]]:
        """The headers of every reply; `began` is of `time.perf_counter`."""
        plan = self.keys.of(record.key_fingerprint)
        organization = plan.organization if plan is not None else ""
        headers = [
            ("x-request-id", record.request_id),
            ("openai-version", "2020-10-01"),
            ("openai-organization", organization or self.options.organization),
            ("openai-processing-ms", str(int((time.perf_counter() - began) * 1000))),
        ]
        if plan is not None and plan.project:
            headers.append(("openai-project", plan.project))
        return headers
