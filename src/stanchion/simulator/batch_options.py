"""How the simulated Batch API behaves: its pace, its limits, and what can go wrong with a batch.

    fail:CODE           validation ends with this code: `invalid_json_line`, `token_limit_exceeded`, any other
    expire:0.5          half of the rows are done, then nothing more happens until the window ends
    stuck               no row is ever done: the batch stays in progress until the window ends
    no_output           every row fails: completed, without an output file
    rows:0.2            a fifth of the rows fail with 500; `status=429` says otherwise
    missing:0.1         a tenth of the rows is in no file
    shuffle             the output's lines are in another order
    doubled             every line of the output is there twice
    slow_end:30         `finalizing` takes 30 s longer
    cancelled:0.5       half of the rows are done, then somebody else cancels the batch
    ok                  no fault: a place in the schedule that passes

Each is met by one batch, in order; with `times=0` by every batch that no other is waiting for.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

_MAIN = {
    "fail": "code",
    "expire": "share",
    "rows": "share",
    "missing": "share",
    "cancelled": "share",
    "slow_end": "seconds",
}
NAMES = frozenset([*_MAIN, "stuck", "no_output", "shuffle", "doubled", "ok"])


class BatchOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Pace and limits.  OpenAI's own limits, and a pace for tests: everything at once."""

    validate_s: float = 0.0  # seconds a batch is `validating`
    work_s: float = 0.0  # seconds all its rows take
    finalize_s: float = 0.0  # seconds it is `finalizing`
    cancel_s: float = 0.0  # seconds it is `cancelling`
    window_s: float = 86_400.0  # seconds from its creation to its expiry: what "24h" means here
    requests_most: int = 50_000  # rows in a batch
    file_most_bytes: int = 200 * 1024 * 1024  # bytes of a batch's input
    enqueued_tokens_most: int | None = (
        None  # prompt tokens of a model that wait in batches, of one organization
    )


class BatchFault(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """What goes wrong with one batch; see the module's table."""

    name: str
    code: str = "invalid_json_line"
    share: float = 0.5
    seconds: float = 0.0
    status: int = 500
    times: int = 1

    @classmethod
    def parse(cls, text: str) -> BatchFault:
        """Read the text form.  Raises ValueError that says what is wrong."""
        head, _, tail = text.strip().partition(":")
        name, *items = head.split(",")
        items += tail.split(",") if tail else []
        fields: dict[str, object] = {"name": name.strip().replace("-", "_")}
        for position, item in enumerate(items):
            key, separator, value = item.partition("=")
            if separator:
                fields[key.strip()] = value.strip()
            elif position == 0 and name in _MAIN:
                fields[_MAIN[name]] = item.strip()
            else:
                raise ValueError(f"batch fault {text!r}: {item!r} is not key=value")
        return cls.of(fields)

    @classmethod
    def of(cls, value: BatchFault | str | dict[str, object]) -> BatchFault:
        """A fault from any of its forms.  Raises ValueError."""
        if isinstance(value, BatchFault):
            return value
        if isinstance(value, str):
            return cls.parse(value)
        try:
            fault = msgspec.convert(value, cls, strict=False)
        except msgspec.ValidationError as error:
            raise ValueError(f"batch fault {value!r}: {error}") from error
        if fault.name not in NAMES:
            raise ValueError(f"no batch fault {fault.name!r}; known: {', '.join(sorted(NAMES))}")
        if not 0 <= fault.share <= 1 or fault.seconds < 0 or fault.times < 0:
            raise ValueError(f"batch fault {fault.name}: share is 0 to 1, other numbers are not negative")
        return fault


class BatchFaultPlan:
    """Which batch meets which fault."""

    def __init__(self, faults: Iterable[BatchFault | str | dict[str, object]] = ()) -> None:
        self.set(faults)

    def set(self, faults: Iterable[BatchFault | str | dict[str, object]]) -> None:
        """Replace the plan.  Raises ValueError and keeps the old one."""
        read = [BatchFault.of(fault) for fault in faults]
        self._waiting = [fault for fault in read for _ in range(fault.times)]
        self._standing = [fault for fault in read if fault.times == 0]

    def pending(self) -> list[BatchFault]:
        """What is still to come."""
        return self._waiting + self._standing

    def take(self) -> BatchFault | None:
        """The fault of a batch that is created now."""
        fault = self._waiting.pop(0) if self._waiting else next(iter(self._standing), None)
        return None if fault is None or fault.name == "ok" else fault
