"""How a simulator is set up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from stanchion.simulator.batch_options import BatchFault, BatchOptions
from stanchion.simulator.faults import Fault
from stanchion.simulator.quota import Limits, QuotaMode
from stanchion.simulator.timing import Timing

DEFAULT_MODELS = (
    "gpt-4o",
    "gpt-4o-mini",
    "gpt-4.1",
    "gpt-4.1-mini",
    "gpt-4",
    "gpt-3.5-turbo",
    "o3-mini",
    "text-embedding-3-small",
    "text-embedding-3-large",
    "omni-moderation-latest",
    "sim-echo",
    "sim-random",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatorOptions:
    """The defaults suit tests: a free port, instant replies, no faults, limits nobody meets, any key.

    `key_limits`: of single keys, before those of a model. `faults`: text forms, objects or `Fault`s, see
    `stanchion.simulator.faults`. `keys`: if given, others get 401.
    `strict_models`: names that are not in `models` get 404. `nondeterministic`: a new text for every call.
    `log_capacity`: how many calls the log keeps. `max_body_bytes`: larger requests get 413, except uploads of files,
    which may have `max_file_bytes`. `batches`, `batch_faults`: see `stanchion.simulator.batch_options`.
    """

    host: str = "127.0.0.1"
    port: int = 0
    timing: Timing = field(default_factory=Timing)
    limits: Limits = field(default_factory=Limits)
    model_limits: Mapping[str, Limits] = field(default_factory=dict[str, Limits])
    key_limits: Mapping[str, Limits] = field(default_factory=dict[str, Limits], repr=False)
    quota_mode: QuotaMode = "bucket"
    faults: tuple[Fault | str | dict[str, object], ...] = ()
    keys: tuple[str, ...] = ()
    models: tuple[str, ...] = DEFAULT_MODELS
    strict_models: bool = False
    seed: int = 0
    nondeterministic: bool = False
    context_tokens: int = 128_000
    organization: str = "org-simulator"
    log_capacity: int = 20_000
    max_body_bytes: int = 64 * 1024 * 1024
    max_file_bytes: int = 512 * 1024 * 1024
    batches: BatchOptions = field(default_factory=BatchOptions)
    batch_faults: tuple[BatchFault | str | dict[str, object], ...] = ()
