"""The process with two engines: one keeps callers to limits, a budget and a ledger, the other does none of it.

Both stand over an endpoint that answers in the loop's next turn, without a network.  Takes orders as `library_worker`
does.  {"do": "on", "calls": 20000}, {"do": "off", ...}: CPU per call of the whole process, threads included, until the
last line is in the ledger.  {"do": "trips", "calls": 200, "port": ...}: how often a call waits for a Redis there.
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys
import tempfile
import time
from pathlib import Path

import msgspec
import uvloop

from benchmarks.payloads import MESSAGES, MODEL, PARAMS
from stanchion.core.call import Body, Call, Operation, json_call
from stanchion.core.caller import Level, Standing
from stanchion.core.chunk import Chunk
from stanchion.core.reply import Head, Reply
from stanchion.core.usage import Usage
from stanchion.engine.config import load
from stanchion.engine.engine import Engine
from stanchion.engine.stack import EndpointStack
from stanchion.providers.openai import EndpointSpec
from stanchion.rules.caller_limits import read_limits
from stanchion.stores.redis.admission import ADMIT
from stanchion.wire.answers import read_whole

_IN_FLIGHT = 64
_SETTINGS = """
[providers.bench]
base_url = "http://127.0.0.1:9/v1"
auth = "none"
models = []
[prices."{model}"]
input = 2.5
output = 10.0
[stores]
ledger = "{ledger}"
limits = "{store}"
budgets = "{store}"
[cache]
use = "off"
"""
_BUDGET = """
[budgets.all]
dollars = 1_000_000.0
"""
_STANDING = Standing(
    levels=(
        Level("key bench", read_limits(["requests=1000000/minute"])),
        Level("caller bench", read_limits(["tokens=10000000000/day"])),
        Level("team bench", read_limits(["requests=100000000/day"])),
    ),
    caller="bench",
)
_HEADERS = {
    f"x-ratelimit-{word}-{kind}": text
    for kind, limit in (("requests", 10_000_000), ("tokens", 1_000_000_000))
    for word, text in (("limit", str(limit)), ("remaining", str(limit - 1)), ("reset", "1ms"))
}
_ANSWER = json.dumps({"choices": [{"message": {"content": "x" * 500}, "finish_reason": "stop"}]}).encode()
_USAGE = Usage(input=300, output=120)


class InProcess(Engine):
    """An engine whose endpoints answer by themselves."""

    def _endpoint(self, spec: EndpointSpec) -> EndpointStack:
        head = Head(endpoint=spec.name, model=spec.model, headers=_HEADERS)

        async def answer(call: Call) -> Reply:
            await asyncio.sleep(0)
            return Reply.whole(head, Chunk(_ANSWER, read_whole(call.operation)), _USAGE)

        return EndpointStack(spec.name, spec.model, answer, self.settings, self._shared, key=spec.key)


def _engine(folder: str, *, on: bool, store: str = "memory") -> InProcess:
    file = Path(folder) / f"{'on' if on else 'off'}.toml"
    ledger = f"sqlite://{folder}/ledger.db" if on else "off"
    text = _SETTINGS.format(model=MODEL, ledger=ledger, store=store)
    file.write_text(text + (_BUDGET if on else ""))
    return InProcess(load(file, environ={}))


async def _ask(engine: Engine, calls: int, *, on: bool) -> None:
    """Make so many calls, 64 of them at a time."""
    raw = msgspec.json.encode({"model": MODEL, "messages": MESSAGES, "max_tokens": 256, **PARAMS})
    options = {Standing: _STANDING} if on else {}
    left = calls

    async def one() -> None:
        nonlocal left
        while left > 0:
            left -= 1
            call = json_call(
                Operation.CHAT, Body.read(raw), options=options, caller="bench", caller_key="sk-st-b"
            )
            async with await engine(call) as reply:
                await reply.read_whole()

    async with asyncio.TaskGroup() as group:
        for _ in range(min(_IN_FLIGHT, calls)):
            group.create_task(one())
    await engine.outbox.drain(30.0)


async def _trips(folder: str, port: int, calls: int) -> float:
    """Count the steps of Redis that calls wait for, by Redis's own word."""
    async with _engine(folder, on=True, store=f"redis://127.0.0.1:{port}/0") as engine:
        for _ in range(3):  # until the provider's limits are known
            await _ask(engine, 1, on=True)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"MONITOR\r\n")
        await reader.readline()
        for _ in range(calls):
            await _ask(engine, 1, on=True)
        found, last = 0, b""
        asking = await asyncio.open_connection("127.0.0.1", port)
        asking[1].write(b"ECHO the-end\r\n")
        while b"the-end" not in last:
            last = await asyncio.wait_for(reader.readline(), 10.0)
            found += ADMIT.digest.encode() in last and b" lua]" not in last
        for each in (writer, asking[1]):
            each.close()
        return found / calls


async def serve() -> None:
    with tempfile.TemporaryDirectory() as folder:
        async with _engine(folder, on=True) as with_it, _engine(folder, on=False) as without:
            while order := await asyncio.to_thread(sys.stdin.readline):
                asked = json.loads(order)
                if asked["do"] == "trips":
                    figure = await _trips(folder, asked["port"], asked["calls"])
                else:
                    on = asked["do"] == "on"
                    gc.collect()
                    began = time.process_time()
                    await _ask(with_it if on else without, asked["calls"], on=on)
                    figure = (time.process_time() - began) / asked["calls"] * 1e6
                print(json.dumps({"figure": figure}), flush=True)


if __name__ == "__main__":
    uvloop.run(serve())
