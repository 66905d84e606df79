"""What every backend's ledger does: each line once, sums that agree with the lines, batches all or nothing."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import AsyncIterator, Callable
from itertools import product
from pathlib import Path

import msgspec
import pytest

from stanchion.core.errors import SettingsError
from stanchion.stores.ledger import BY, DAY_HOURS, FORGET_MOST, HOUR_S, SUMS, Asked, LedgerStore, Line, Used
from stanchion.stores.opening import open_ledger
from tests.contract.servers import PostgresServer

pytestmark = pytest.mark.timeout(120)
DAY_S = float(DAY_HOURS * HOUR_S)
BASE = 20_000 * DAY_S  # a midnight
Open = Callable[[], LedgerStore]
PLAIN = Line(
    call="req_1",
    number=0,
    at=BASE,
    team="",
    caller="",
    key="",
    model="gpt-4o",
    endpoint="openai/gpt-4o#KEY",
    operation="chat/completions",
    asked="assistant",
    outcome="completed",
    code="",
    tier="",
    stream=True,
    seconds=1.5,
    sums=(1, *[0] * (len(SUMS) - 1)),
)


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def backend(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
async def opened(backend: str, request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Open]:
    if backend == "postgres":
        server: PostgresServer = request.getfixturevalue("postgres_server")
        await cleared(server.url)
        url = server.url
    else:
        url = f"sqlite://{tmp_path}/ledger.db" if backend == "sqlite" else "memory"
    made = list[LedgerStore]()

    def opens() -> LedgerStore:
        if not made or backend != "memory":
            made.append(open_ledger(url))
        return made[-1]

    yield opens
    for each in made:
        await each.aclose()


async def cleared(url: str) -> None:
    import asyncpg

    connection = await asyncpg.connect(url)
    for table in ("line", "hour", "day"):
        await connection.execute(f"DROP TABLE IF EXISTS stanchion_ledger_{table}")
    await connection.execute("DROP FUNCTION IF EXISTS stanchion_ledger_add_1")
    await connection.close()


def line(call: str, **changes) -> Line:
    sums = changes.pop("sums", {})
    values = list(PLAIN.sums)
    for name, value in sums.items():
        values[SUMS.index(name)] = value
    return msgspec.structs.replace(PLAIN, call=call, sums=tuple(values), **changes)


def some(seed: int, count: int) -> list[Line]:
    lots = random.Random(seed)
    return [
        msgspec.structs.replace(
            PLAIN,
            call=f"req_{seed}_{number}",
            at=BASE + lots.uniform(-3 * DAY_S, 3 * DAY_S),
            team=lots.choice(["", "research", "größe 模型"]),
            caller=lots.choice(["a", "b"]),
            key=lots.choice(["", "k1"]),
            model=lots.choice(["m1", "m2"]),
            endpoint=lots.choice(["openai/m1#A", "openai/m1#B", "solo"]),
            sums=tuple(lots.randrange(1000) for _ in SUMS),
        )
        for number in range(count)
    ]


def total(rows: list[Used] | object) -> int:
    return sum(row.of("calls") for row in rows)  # type: ignore[union-attr]


async def test_an_empty_ledger_has_no_rows(opened: Open) -> None:
    assert list(await opened().used(Asked(by=("day", "model")))) == []
    assert list(await opened().used(Asked())) == []
    assert await opened().add([]) == 0


async def test_a_batch_that_is_sent_again_is_booked_once(opened: Open) -> None:
    lines = some(1, 300)
    assert await opened().add(lines[:200]) == 200
    assert await opened().add(lines) == 100
    assert await opened().add([*lines, lines[0]]) == 0
    for by in ((), ("day",), ("hour",)):
        rows = await opened().used(Asked(by=by))
        assert [sum(row.sums[n] for row in rows) for n in range(len(SUMS))] == [
            sum(each.sums[n] for each in lines) for n in range(len(SUMS))
        ]


async def test_a_line_that_stands_twice_in_one_batch_is_booked_once(opened: Open) -> None:
    one = line("req_x", sums={"input": 7})
    assert await opened().add([one, one]) == 1
    (row,) = await opened().used(Asked())
    assert (row.of("calls"), row.of("input")) == (1, 7)


async def test_a_calls_attempts_are_lines_of_their_own(opened: Open) -> None:
    first = line("req_y", number=1, endpoint="a/m", sums={"calls": 0, "output": 3, "cost_output": 9})
    assert await opened().add([first, line("req_y", endpoint="b/m", sums={"cost_input": 4})]) == 2
    rows = await opened().used(Asked(by=("provider",)))
    assert [(row.key, row.of("calls"), row.cost_micro_usd) for row in rows] == [
        (("a",), 0, 9),
        (("b",), 1, 4),
    ]


async def test_every_way_of_asking_says_what_the_lines_say(opened: Open) -> None:
    lines = some(2, 400)
    await opened().add(lines)
    store = opened()
    edges = [None, BASE - 2.5 * DAY_S, BASE, BASE + 3600 * 5.5, BASE + 2 * DAY_S + 60]
    for by in (
        (),
        ("day",),
        ("hour",),
        ("team", "caller", "key"),
        ("provider", "day"),
        ("model", "endpoint"),
    ):
        for since, until in product(edges, edges):
            counted = dict[tuple[str, ...], list[int]]()
            for each in lines:
                if since is not None and each.hour < since // HOUR_S:
                    continue
                if until is not None and each.hour >= until // HOUR_S:
                    continue
                key = tuple(words(each)[name] for name in by)
                before = counted.setdefault(key, [0] * len(SUMS))
                counted[key] = [a + b for a, b in zip(before, each.sums, strict=True)]
            rows = await store.used(Asked(by, since, until))
            assert {row.key: list(row.sums) for row in rows} == counted
            assert [row.key for row in rows] == sorted(counted)


def words(each: Line) -> dict[str, str]:
    from datetime import UTC, datetime

    at = datetime.fromtimestamp(each.at, UTC)
    found = {name: getattr(each, name) for name in BY if name not in ("provider", "day", "hour")}
    return {
        **found,
        "provider": each.endpoint.split("/", maxsplit=1)[0],
        "day": f"{at:%Y-%m-%d}",
        "hour": f"{at:%Y-%m-%dT%H:00Z}",
    }


async def test_batches_of_many_at_the_same_time_lose_nothing(opened: Open) -> None:
    stores = [opened() for _ in range(4)]
    lines = some(3, 1200)
    async with asyncio.TaskGroup() as group:
        for number in range(24):
            group.create_task(stores[number % 4].add(lines[number * 50 : number * 50 + 60]))  # they overlap
    (row,) = await stores[0].used(Asked())
    assert row.sums == tuple(sum(each.sums[n] for each in lines) for n in range(len(SUMS)))


async def test_old_lines_are_forgotten_and_their_sums_stay(opened: Open) -> None:
    store = opened()
    await store.add([line(f"req_{n}", at=BASE + n * 3600.0) for n in range(5)])
    assert await store.forget(BASE + 2 * 3600.0 + 60) == 2
    assert await store.forget(BASE + 2 * 3600.0 + 60) == 0
    assert total(await store.used(Asked(by=("hour",)))) == 5
    assert FORGET_MOST > 5


async def test_large_numbers_keep_their_last_digit(opened: Open) -> None:
    big = 10**15 + 1
    await opened().add([line("req_1", sums={"cost_input": big}), line("req_2", sums={"cost_input": big})])
    (row,) = await opened().used(Asked())
    assert row.cost_micro_usd == 2 * big


@pytest.mark.parametrize("backend", ["sqlite", "postgres"])
async def test_what_was_booked_outlives_its_client(opened: Open) -> None:
    one = opened()
    await one.add(some(4, 10))
    await one.aclose()
    assert await opened().add(some(4, 10)) == 0


@pytest.mark.parametrize("backend", ["sqlite"])
async def test_the_file_is_for_its_owner_alone(opened: Open, tmp_path: Path) -> None:
    await opened().add([PLAIN])
    assert os.stat(tmp_path / "ledger.db").st_mode & 0o077 == 0


def test_redis_keeps_no_books() -> None:
    with pytest.raises(SettingsError, match="not kept in Redis"):
        open_ledger("redis://127.0.0.1:6379/0")
