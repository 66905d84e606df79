"""The flex lane: each request is a call of its own, of the tier that costs half and may be slow or full.

A call that finds no capacity was not charged; it waits in line like any that failed for now, and goes to the next lane
when its tries are used up.  So does a request whose model has no such tier.
"""

from __future__ import annotations

import msgspec

from stanchion.batch.lanes.lane import Cap, Item, Work
from stanchion.batch.lanes.sync import SyncLane
from stanchion.core.call import Call, Operation
from stanchion.core.errors import Refused, StanchionError
from stanchion.engine.engine import Engine
from stanchion.engine.spread_outcome import Outcome, SpreadOptions
from stanchion.policies.attempt_timeout import AttemptTimeoutOptions

_WITH_TIERS = (Operation.CHAT, Operation.RESPONSES)
_SLOW = AttemptTimeoutOptions(first_token_s=900.0, total_s=900.0)  # as OpenAI's guide to the tier advises
_FULL = frozenset({"resource_unavailable"})  # no capacity: not charged


class FlexLane(SyncLane):
    """A `Lane` over an engine."""

    name = "flex"

    def __init__(
        self, engine: Engine, options: SpreadOptions, *, cap: Cap | None = None, caller: str = ""
    ) -> None:
        """With a cap the engine has one try for each admission."""
        super().__init__(engine, options, cap=cap, caller=caller)
        self._call_options[AttemptTimeoutOptions] = _SLOW
        self._flexes: dict[str, bool] = {}

    def _call(self, item: Item) -> Call:
        call = super()._call(item)
        if call.operation not in _WITH_TIERS or not self._has_flex(call.model):
            raise _NoFlex("this request has no flex tier", code="no_flex")
        return call.having(body=call.body.having(service_tier="flex"))

    def _tell(self, work: Work, item: Item, outcome: Outcome | None) -> None:
        error = outcome.error if outcome is not None else None
        if error is not None and (isinstance(error, _NoFlex) or _not_flex(error)):
            work.back(msgspec.structs.replace(item, attempts=item.attempts + 1))
        else:
            super()._tell(work, item, outcome)

    def _has_flex(self, model: str) -> bool:
        if model not in self._flexes:
            if len(self._flexes) >= 1000:
                self._flexes.clear()
            self._flexes[model] = self._engine.flexes(model)
        return self._flexes[model]


class _NoFlex(StanchionError):
    """Nobody was asked: the next lane is to do it."""


def _not_flex(error: StanchionError) -> bool:
    """Say whether a call failed for its tier: there is no capacity, or the model does not have it."""
    if not isinstance(error, Refused):
        return False
    return error.code in _FULL or (error.upstream_status == 400 and error.param == "service_tier")
