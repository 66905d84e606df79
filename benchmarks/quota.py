"""Rows of the quota: how much of it is used, and what it costs in 429s, over real sockets.

Share: what the server let in, over all it would have allowed in the run, its full first bucket included.
Limits are not told.  Half of the cases run at the same time: they wait for their quotas, not for the machine.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from contextlib import ExitStack

import msgspec

from benchmarks.figures import Row, Run
from benchmarks.processes import Worker, python, worker

_RPM, _TPM = 1_200, 400_000
_TASKS = 200
_REFUSALS_MOST = 5.0  # of a thousand calls that were let in
_THREE = ((240, 60_000), (600, 160_000), (1_200, 400_000))
_SERVERS = ("bucket", "burst-1s", "sliding")
_MINUTE_S = 60


class Case(msgspec.Struct, frozen=True):
    """One workload against one kind of server."""

    server: str
    work: str  # which limit it meets: "requests" or "tokens"
    keys: tuple[tuple[str, int, int], ...]  # key, requests and tokens per minute

    def allowed(self, seconds: int) -> float:
        """Return what the server would allow in the run, in requests or tokens."""
        return sum(self._of(rpm if self.work == "requests" else tpm, seconds) for _, rpm, tpm in self.keys)

    def _of(self, limit: int, seconds: int) -> float:
        if self.server == "sliding":
            return limit * math.ceil(seconds / _MINUTE_S)
        in_bucket = limit * (1 + seconds / _MINUTE_S)
        return in_bucket if self.server == "bucket" else min(in_bucket, limit // _MINUTE_S * (seconds + 1))


def _cases() -> list[Case]:
    one = (("sk-bench-one", _RPM, _TPM),)
    three = tuple((f"sk-bench-three-{number}", *limits) for number, limits in enumerate(_THREE))
    return [
        *(Case(server, work, one) for work in ("requests", "tokens") for server in _SERVERS),
        *(Case("bucket", work, three) for work in ("requests", "tokens")),
    ]


def rows(run: Run) -> list[Row]:
    """Share and 429s of each case."""
    seconds = 60 if run.quick else 120
    cases = _cases()
    halves = cases[::2], cases[1::2]
    return [row for half in halves for row in _together(half, seconds)]


def _together(cases: Sequence[Case], seconds: int) -> list[Row]:
    with ExitStack() as stack:
        servers = [_server(stack, case, seconds) for case in cases]
        workers = [_worker(stack, case, server, seconds) for case, server in zip(cases, servers, strict=True)]
        saw = [each.answer() for each in workers]
        found = [server.ask() for server in servers]
    return [
        row
        for case, counted, seen in zip(cases, found, saw, strict=True)
        for row in _judged(case, counted, seen, seconds)
    ]


def _server(stack: ExitStack, case: Case, seconds: int) -> Worker:
    words = python("benchmarks.quota_server", case.server, seconds, json.dumps(case.keys))
    return stack.enter_context(worker(words, core=0))


def _worker(stack: ExitStack, case: Case, server: Worker, seconds: int) -> Worker:
    base_url = server.answer()["base_url"]
    keys = json.dumps([key for key, _, _ in case.keys])
    words = python("benchmarks.quota_worker", base_url, case.work, seconds, _TASKS, keys)
    return stack.enter_context(worker(words, core=1))


def _judged(case: Case, counted: dict[str, int], seen: dict[str, int], seconds: int) -> Sequence[Row]:
    let_in = counted["let_in" if case.work == "requests" else "tokens"]
    share = let_in / case.allowed(seconds)
    refused = 1000 * counted["refused"] / max(1, counted["let_in"])
    keys = f"{len(case.keys)} keys" if len(case.keys) > 1 else "one key"
    name = f"quota, {case.work}-bound, {keys}, {case.server}"
    failed = ", ".join(f"{count} {what}" for what, count in seen.items() if what != "done")
    return [
        Row(
            name=f"{name}: share used",
            unit="of all",
            ours=share,
            compared=share,
            as_="unit",
            least=0.97,
            note=f"{let_in:,} in {seconds} s" + (f"; callers saw {failed}" if failed else ""),
        ),
        Row(
            name=f"{name}: 429s per 1,000 calls",
            unit="",
            ours=refused,
            compared=refused,
            as_="unit",
            most=_REFUSALS_MOST,
        ),
    ]
