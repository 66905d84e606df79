"""Two gateways on one Redis and one PostgreSQL act as one: in each limit, in money, in what is kept and what is told."""

from __future__ import annotations

import asyncio
import json
import re
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack, ExitStack
from typing import Any

import pytest

from stanchion.rules.virtual_key import read_id
from stanchion.simulator import CallRecord, SimulatorOptions, Timing
from tests.acceptance.raw_client import Answer, Wire, ask, request
from tests.acceptance.served import run
from tests.acceptance.stage import ASKED, QUICK, Gateway, Provider, provider, settled
from tests.contract.servers import PostgresServer, RedisServer, at_hand

TOKEN = "a-token-of-the-admin-0b7d41c9"
KNOWN_WITHIN_S = 10.0  # to the other gateway; that it is five is held elsewhere
REQUESTS, PLACES = 5, 3
RPM = 60  # of a provider
TOKENS = 300
MICRO_USD = 300
SETTINGS = f"""
[callers]
required = true
[pricing]
built_in = false
[prices."gpt-4.1"]
input = 1.0
output = 2.0
[prices.gpt-4o]
input = 1.0
output = 2.0
[prices.o3-mini]
input = 1.0
output = 2.0
[budget]
answer_tokens = 8
least_tokens = 4
[budgets.both]
dollars = {MICRO_USD / 1e6:f}
window = "total"
models = ["gpt-4.1"]
[budgets.each]
dollars = {MICRO_USD / 1e6:f}
window = "total"
callers = ["saver-*"]
per = "caller"
[budgets.large]
dollars = 100.0
models = ["o3-mini"]
"""

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(120)]


class Pair:
    """Both gateways, and what they share."""

    def __init__(self, gateways: Sequence[Gateway], redis: RedisServer, postgres: PostgresServer) -> None:
        self.gateways = gateways
        self.redis, self.postgres = redis, postgres
        self._changes = 0

    async def key(
        self, name: str, *, team: str | None = None, limits: Sequence[str] = (), known: bool = True
    ) -> str:
        """Give a caller a key at the first gateway; return it when the second one knows it too."""
        body = {"name": name, "limits": list(limits), **({"team": team} if team else {})}
        made = await self._admin("", body, known=known)
        return made["key"]

    async def limit(self, target: str, *limits: str) -> None:
        await self._admin("/limits", {"target": target, "limits": limits}, "PUT")

    async def revoke(self, target: str) -> None:
        await self._admin("/revoke", {"target": target})

    async def _admin(
        self, path: str, body: object, method: str = "POST", *, known: bool = True
    ) -> dict[str, Any]:
        def said() -> dict[str, Any]:
            asked = urllib.request.Request(
                f"{self.gateways[0].origin}/admin/callers{path}",
                json.dumps(body).encode(),
                {"authorization": f"Bearer {TOKEN}"},
                method=method,
            )
            with urllib.request.urlopen(asked, timeout=10) as answer:
                return json.load(answer)

        found = await asyncio.to_thread(said)
        self._changes += 1  # the book's version: each change is one more
        for gateway in self.gateways if known else ():
            await settled(lambda gateway=gateway: _version(gateway) >= self._changes, KNOWN_WITHIN_S)
        return found

    async def ask(self, number: int, key: str, **more: object) -> Answer:
        """Ask one of both, in turns of the number."""
        return await ask(self.gateways[number % 2].port, asked(**more), headers=bearer(key))

    async def flood(self, keys: Sequence[str], count: int = 20, **more: object) -> list[Answer]:
        """Ask both so often, all at once."""
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(self.ask(number, keys[number // 2 % len(keys)], **more))
                for number in range(count)
            ]
        return [task.result() for task in tasks]


def _version(gateway: Gateway) -> int:
    told = re.findall(r'"callers.changed".*"version":(\d+)', gateway.log)
    return max(map(int, told), default=0)


def asked(**more: object) -> dict[str, object]:
    return {"model": "gpt-4o", "messages": ASKED, "max_tokens": 4, **more}


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


def tokens_of(calls: Sequence[CallRecord]) -> tuple[int, int]:
    """Tokens of questions and of answers, as the provider counted them."""
    return sum(call.prompt_tokens for call in calls), sum(call.completion_tokens for call in calls)


def statuses(answers: Sequence[Answer]) -> list[int]:
    return sorted(answer.status for answer in answers)


@pytest.fixture(scope="module")
def upstream() -> Iterator[Provider]:
    options = SimulatorOptions(timing=Timing(tokens_per_s=50.0), nondeterministic=True)
    with Provider(options) as running:
        yield running


@pytest.fixture(scope="module")
def pair(upstream: Provider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    with ExitStack() as stack:
        redis = stack.enter_context(at_hand(RedisServer))
        postgres = stack.enter_context(at_hand(PostgresServer))
        here, there = redis.url, postgres.url
        stores = f'limits = "{here}"\nbudgets = "{here}"\nkeys = "{here}"\ncache = ["{here}"]\n'
        settings = (
            QUICK
            + SETTINGS
            + provider("house", upstream.base_url, 'models = ["gpt-4o", "gpt-4.1"]')
            + provider(
                "quota", upstream.base_url, 'models = ["o3-mini"]', f"limits.requests_per_minute = {RPM}"
            )
            + provider("narrow", upstream.base_url, 'models = ["gpt-4.1-mini"]', f"open_most = {PLACES}")
            + f'[stores]\n{stores}callers = "{there}"\nledger = "{there}"\n'
        )
        folder = tmp_path_factory.mktemp("pair")
        gateways = [
            stack.enter_context(Gateway(folder, settings, environ={"STANCHION_ADMIN_TOKEN": TOKEN}))
            for _ in range(2)
        ]
        yield Pair(gateways, redis, postgres)


@pytest.fixture(autouse=True)
def _nothing_before(upstream: Provider) -> None:
    upstream.plan()


@pytest.mark.parametrize("level", ["caller", "key", "team", "users", "everyone"])
async def test_requests_are_counted_together_at_every_level(
    pair: Pair, upstream: Provider, level: str
) -> None:
    several = level in ("team", "everyone")
    names = [f"{level}-{number}" for number in range(2 if several else 1)]
    keys = [await pair.key(name, team=f"of-{level}", known=False) for name in names]
    targets = {
        "caller": "caller-0",
        "key": f"key:{read_id(keys[0])}",
        "team": "team:of-team",
        "users": "users:users-0",
        "everyone": "everyone",
    }
    await pair.limit(targets[level], f"requests={REQUESTS}/day")
    try:
        answers = await pair.flood(keys, user="ann")
        refused = [await pair.ask(number, keys[0], user="ann") for number in range(2)]
        other = await pair.ask(1, keys[0], user="bob")
    finally:
        await pair.limit(targets[level])
    assert statuses(answers) == [200] * REQUESTS + [429] * 15
    assert {each.error["code"] for each in refused} == {"caller_limit_reached"}
    assert other.status == (200 if level == "users" else 429)  # each end user has a limit of its own
    assert len(upstream.calls) == REQUESTS + (level == "users")
    assert all([(await pair.ask(number, keys[0], user="ann")).status == 200 for number in range(2)])


async def test_tokens_are_counted_together(pair: Pair, upstream: Provider) -> None:
    key = await pair.key("reader", limits=[f"tokens={TOKENS}/day"])
    answers = await pair.flood([key], max_tokens=10)
    assert {200, 429} == set(statuses(answers))
    held = [
        call.charge + 10 for call in upstream.calls
    ]  # as the provider charges the question, and the bound
    assert TOKENS - held[0] < sum(held) <= TOKENS
    assert {(await pair.ask(number, key, max_tokens=10)).status for number in range(2)} == {429}


async def test_open_calls_are_counted_together_and_free_their_places_for_both(
    pair: Pair, upstream: Provider
) -> None:
    key = await pair.key("opener", limits=[f"open={PLACES}"])
    async with AsyncExitStack() as stack:
        wires = list[Wire]()
        for number in range(PLACES):
            wire = await stack.enter_async_context(await Wire.open(pair.gateways[number % 2].port))
            wire.send(request(asked(stream=True, max_tokens=4000), headers=bearer(key)))
            assert (await wire.head()).status == 200
            wires.append(wire)
        assert [(await pair.ask(number, key)).status for number in range(2)] == [429, 429]
        wires[0].writer.close()  # at the first gateway
        async with asyncio.timeout(10):
            while (await pair.ask(1, key)).status == 429:  # noqa: ASYNC110 - another process has no event
                await asyncio.sleep(0.1)
    await settled(lambda: upstream.running == 0, 10)


@pytest.mark.parametrize("budget", ["both", "each"])
async def test_a_budget_is_spent_once(pair: Pair, upstream: Provider, budget: str) -> None:
    key = await pair.key("saver-0" if budget == "each" else "spender", known=False)
    other = await pair.key(f"saver-of-{budget}")
    model = "gpt-4.1" if budget == "both" else "gpt-4o"
    answers = await pair.flood([key], model=model)
    assert {200, 429} == set(statuses(answers))
    while any([(await pair.ask(number, key, model=model)).status == 200 for number in range(2)]):
        pass
    refused = [await pair.ask(number, key, model=model) for number in range(2)]
    assert {each.error["code"] for each in refused} == {"budget_exceeded"}
    asked_for, answered = tokens_of(upstream.calls)
    spent = asked_for + 2 * answered
    assert MICRO_USD / 2 < spent <= MICRO_USD
    if budget == "both":
        shown = [gateway.metric("stanchion_budget_used", budget=budget) for gateway in pair.gateways]
        assert shown == [pytest.approx(spent / MICRO_USD)] * 2
    else:
        assert (await pair.ask(1, other, model=model)).status == 200


async def test_a_providers_limit_is_used_once_beside_limits_and_money(pair: Pair, upstream: Provider) -> None:
    key = await pair.key("learner", limits=["requests=100000/day", "open=100"])
    before = [gateway.metric("stanchion_attempts_total") for gateway in pair.gateways]

    async def keep_asking(number: int) -> None:
        while True:
            assert (await pair.ask(number, key, model="o3-mini")).status in (200, 429, 503)

    async with asyncio.TaskGroup() as group:
        asking = [group.create_task(keep_asking(number)) for number in range(40)]
        await settled(lambda: len(upstream.calls) >= RPM / 4, 60)
        for each in asking:
            each.cancel()
    came = sorted(call.at for call in upstream.calls)
    for number, at in enumerate(came, 1):  # a tenth at once, and the rest evenly
        assert number <= RPM / 10 + (at - came[0]) * RPM / 60 + 1
    now = [gateway.metric("stanchion_attempts_total") for gateway in pair.gateways]
    assert all(more > less for more, less in zip(now, before, strict=True)), "both took part"


async def test_places_at_a_provider_are_counted_together(pair: Pair, upstream: Provider) -> None:
    key = await pair.key("crowd")
    answers = await pair.flood([key], 12, model="gpt-4.1-mini")
    assert statuses(answers) == [200] * 12  # they wait
    edges = [(call.at, 1) for call in upstream.calls] + [(call.ended_at or 0, -1) for call in upstream.calls]
    running = most = 0
    for _, step in sorted(edges):
        running += step
        most = max(most, running)
    assert 1 <= most <= PLACES


async def test_what_one_answered_the_other_gives_again_and_it_counts_nothing(
    pair: Pair, upstream: Provider
) -> None:
    key = await pair.key("again", limits=["requests=2/day"])
    first = await pair.ask(0, key, temperature=0)
    await settled(lambda: b"cache:" in pair.redis.say(b"KEYS *:cache:*\r\n"), 5)
    hits = [await pair.ask(number, key, temperature=0) for number in (1, 0, 1)]
    assert [each.headers["x-stanchion-cache"] for each in (first, *hits)] == ["miss", "hit", "hit", "hit"]
    assert {each.body for each in hits} == {first.body}
    assert [(await pair.ask(number, key, temperature=0, seed=number)).status for number in (1, 0)] == [
        200,
        429,
    ]
    assert len(upstream.calls) == 2


async def test_a_key_that_one_revokes_the_other_refuses(pair: Pair) -> None:
    key = await pair.key("gone")
    assert [(await pair.ask(number, key)).status for number in range(2)] == [200, 200]
    await pair.revoke("gone")
    refused = [await pair.ask(number, key) for number in range(2)]
    assert [(each.status, each.error["code"]) for each in refused] == [(401, "key_revoked")] * 2


async def test_usage_is_told_of_both_together(pair: Pair, upstream: Provider, tmp_path: Any) -> None:
    key = await pair.key("booked", team="books")
    answers = await pair.flood([key], 10)
    assert statuses(answers) == [200] * 10
    asked_for, answered = tokens_of(upstream.calls)

    def told() -> dict[str, Any]:
        done = run(
            tmp_path,
            "usage",
            "--by",
            "caller",
            "--format",
            "json",
            "--set",
            f"stores.ledger={pair.postgres.url}",
        )
        assert done.returncode == 0, done.stderr
        return next((row for row in json.loads(done.stdout) if row["caller"] == "booked"), {"calls": 0})

    async with asyncio.timeout(30):
        while (row := await asyncio.to_thread(told))["calls"] < 10:  # noqa: ASYNC110 - nor has this one
            await asyncio.sleep(0.1)
    assert (row["calls"], row["input"], row["output"]) == (10, asked_for, answered)
