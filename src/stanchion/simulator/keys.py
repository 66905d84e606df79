"""What has become of single keys while the simulator runs: revoked, unpaid, or new; and whose they are.

Keys are kept as fingerprints, the same as in the log of calls.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import msgspec

from stanchion.simulator.errors import CODES, ApiError, code_error
from stanchion.simulator.log import fingerprint

KeyStatus = Literal["ok", "revoked", "unpaid"]


class KeyPlan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is to become of a key.

    `ok` keys are accepted, also where only some are; `revoked` ones get 401; those `unpaid` get `code` for every
    call, while the list of models is answered, as at OpenAI.
    """

    key: str
    state: KeyStatus = "ok"
    code: str = "credit_balance_exhausted"
    organization: str = ""
    project: str = ""

    def __post_init__(self) -> None:
        if self.code not in CODES:
            raise ValueError(f"there is no code {self.code!r}")

    def __repr__(self) -> str:
        return f"<KeyPlan {self.state}>"


class KeyTable:
    """The keys that something was said of."""

    def __init__(self) -> None:
        self._plans: dict[str, KeyPlan] = {}

    def set(self, plans: Iterable[KeyPlan]) -> None:
        """Let these keys be so from now on; what was said of others stays."""
        for plan in plans:
            mark = fingerprint(plan.key)
            if mark is not None:
                self._plans[mark] = msgspec.structs.replace(plan, key="")

    def clear(self) -> None:
        """Forget all that was said."""
        self._plans.clear()

    def of(self, mark: str | None) -> KeyPlan | None:
        """Return what was said of the key with this fingerprint."""
        return self._plans.get(mark) if mark is not None and self._plans else None

    def shown(self) -> list[dict[str, str]]:
        """Return what was said of each key, by fingerprint."""
        return [
            {
                "key_fingerprint": mark,
                "state": plan.state,
                "organization": plan.organization,
                "project": plan.project,
            }
            for mark, plan in self._plans.items()
        ]


def refuse(plan: KeyPlan, *, lists: bool) -> None:
    """Raise what a call with this key gets, if it is refused.  `lists`: it asks for the list of models."""
    if plan.state == "revoked":
        raise ApiError(401, "Incorrect API key provided.", code="invalid_api_key")
    if plan.state == "unpaid" and not lists:
        raise code_error(plan.code, "")
