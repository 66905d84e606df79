"""A simulator with quotas in a process of its own: prints its address, then at the end what it let in.

`python -m benchmarks.quota_server MODE SECONDS [[KEY, RPM, TPM], ...]`; it counts from its first call on.
"""

from __future__ import annotations

import asyncio
import json
import sys

import uvloop

from stanchion.simulator import Limits, Simulator, SimulatorOptions, Timing


async def serve(mode: str, seconds: float, keys: list[tuple[str, int, int]]) -> None:
    options = SimulatorOptions(
        timing=Timing(ttft_s=0.2, tokens_per_s=500.0),
        key_limits={key: Limits(rpm=rpm, tpm=tpm) for key, rpm, tpm in keys},
        quota_mode=mode,  # pyright: ignore[reportArgumentType]
        nondeterministic=True,
        log_capacity=200_000,
    )
    async with Simulator(options) as simulator:
        print(json.dumps({"base_url": simulator.base_url}), flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        calls = list(simulator.calls)
    began = calls[0].at
    in_time = [call for call in calls if call.at <= began + seconds]
    let_in = [call for call in in_time if call.status == 200]
    found = {
        "let_in": len(let_in),
        "refused": sum(call.status == 429 for call in in_time),
        "tokens": sum(call.charge for call in let_in)
        + sum(call.completion_tokens for call in let_in if (call.ended_at or 0) <= began + seconds),
        "other": sum(call.status not in (200, 429, None) for call in in_time),
    }
    print(json.dumps(found), flush=True)


if __name__ == "__main__":
    uvloop.run(serve(sys.argv[1], float(sys.argv[2]), json.loads(sys.argv[3])))
