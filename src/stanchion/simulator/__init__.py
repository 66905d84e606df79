"""An OpenAI-compatible provider to test an application against: quotas, faults, timing, a log of what arrived.

    async with Simulator(SimulatorOptions(faults=("429:retry_after=1", "cut:5"))) as sim:
        client = AsyncOpenAI(base_url=sim.base_url, api_key="any")

Imports nothing else of Stanchion, so that the engine is never tested against itself.
"""

from __future__ import annotations

from stanchion.simulator.batch_options import BatchFault, BatchOptions
from stanchion.simulator.faults import Fault, FaultPlan
from stanchion.simulator.log import CallLog, CallRecord
from stanchion.simulator.options import SimulatorOptions
from stanchion.simulator.quota import Limits
from stanchion.simulator.server import PortTaken, Simulator
from stanchion.simulator.timing import REALISTIC, Timing

__all__ = [
    "REALISTIC",
    "BatchFault",
    "BatchOptions",
    "CallLog",
    "CallRecord",
    "Fault",
    "FaultPlan",
    "Limits",
    "PortTaken",
    "Simulator",
    "SimulatorOptions",
    "Timing",
]
