"""How a job of several workers stands."""

from __future__ import annotations

import msgspec

from stanchion.batch.progress import Limit, Snapshot
from stanchion.batch.progress_sum import total


def snapshot(**fields: object) -> Snapshot:
    blank = total([], of=2, expected=0, seconds=0.0, cap_micro_usd=None)
    return msgspec.structs.replace(blank, **fields)


def test_counts_and_speeds_are_added_and_what_is_left_is_told_from_both() -> None:
    one = snapshot(stage="asking", rows=500, rows_exact=True, done=200, rows_per_s=10.0, spent_micro_usd=7)
    two = snapshot(stage="ended", rows=500, rows_exact=True, done=500, rows_per_s=15.0, spent_micro_usd=5)
    both = total([one, two], of=2, expected=999, seconds=3.0, cap_micro_usd=20)
    assert (both.stage, both.rows, both.rows_exact, both.done) == ("asking", 1000, True, 700)
    assert (both.rows_per_s, both.eta_s, both.spent_micro_usd, both.cap_micro_usd) == (25.0, 12.0, 12, 20)


def test_while_a_worker_has_said_nothing_the_rows_are_about_those_of_the_input() -> None:
    one = snapshot(stage="asking", rows=500, rows_exact=True, done=100)
    some = total([one], of=2, expected=1010, seconds=1.0, cap_micro_usd=None)
    assert (some.stage, some.rows, some.rows_exact, some.projected_micro_usd) == (
        "reading",
        1010,
        False,
        None,
    )


def test_a_limit_that_all_share_is_told_once_as_who_asked_last_saw_it() -> None:
    seen = [snapshot(limits=(Limit("p/m", "requests", used, 300, 60.0),)) for used in (12, 250)]
    assert list(total(seen, of=2, expected=0, seconds=1.0, cap_micro_usd=None).limits) == [
        Limit("p/m", "requests", 250, 300, 60.0)
    ]
