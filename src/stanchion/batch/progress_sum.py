"""How a job of several workers stands: the sum of what each says of its share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from stanchion.batch.progress import Limit, Snapshot

_STAGES = ("reading", "asking", "writing", "ended")
_SUMS = (
    "rows",
    "done",
    "failed",
    "before",
    "twins",
    "in_flight",
    "in_batches",
    "batches",
    "waiting",
    "prompt_tokens",
    "completion_tokens",
    "spent_micro_usd",
    "refused_429",
    "retries",
    "cache_hits",
)
_NOTHING = Snapshot(
    stage="reading",
    seconds=0.0,
    rows_exact=False,
    rows_per_s=None,
    tokens_per_s=None,
    eta_s=None,
    projected_micro_usd=None,
    cap_micro_usd=None,
    limits=(),
    **dict.fromkeys(_SUMS, 0),
)


def total(
    parts: Sequence[Snapshot], *, of: int, expected: int, seconds: float, cap_micro_usd: int | None
) -> Snapshot:
    """Add up the snapshots of shares; `of` is how many there are, some of which may have said nothing yet.

    `expected` is how many rows there are, about; `seconds` is how long the job has run.
    """
    sums = {name: sum(getattr(each, name) for each in parts) for name in _SUMS}
    exact = len(parts) == of and all(each.rows_exact for each in parts)
    if not exact:
        sums["rows"] = max(expected, sums["rows"])
    rows_per_s = _sum(each.rows_per_s for each in parts)
    left = sums["rows"] - sums["done"]
    eta_s = 0.0 if exact and not left else round(left / rows_per_s, 1) if rows_per_s else None
    projected = [each.projected_micro_usd for each in parts if each.projected_micro_usd is not None]
    return msgspec.structs.replace(
        _NOTHING,
        **sums,
        stage=_stage(parts, of),
        seconds=round(seconds, 3),
        rows_exact=exact,
        rows_per_s=rows_per_s,
        tokens_per_s=_sum(each.tokens_per_s for each in parts),
        eta_s=eta_s,
        projected_micro_usd=sum(projected) if len(projected) == of else None,
        cap_micro_usd=cap_micro_usd,
        limits=_limits(parts),
    )


def _stage(parts: Sequence[Snapshot], of: int) -> str:
    """Return that of the slowest."""
    if len(parts) < of:
        return _STAGES[0]
    return min((each.stage for each in parts if each.stage in _STAGES), key=_STAGES.index, default="ended")


def _sum(values: Iterable[float | None]) -> float | None:
    known = [each for each in values if each is not None]
    return round(sum(known), 2) if known else None


def _limits(parts: Sequence[Snapshot]) -> list[Limit]:
    """Return the limits, which all share, as the one sees them that asked last: the fullest."""
    found: dict[tuple[str, str, float], Limit] = {}
    for each in (limit for part in parts for limit in part.limits):
        name = (each.endpoint, each.kind, each.window_s)
        if name not in found or each.used > found[name].used:
            found[name] = each
    return list(found.values())
