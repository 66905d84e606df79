"""What every backend's caller book does.  Redis keeps none: it may lose a revocation."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from stanchion.core.caller import Caller, CallerKey, Limit, Scopes, Team
from stanchion.core.errors import SettingsError
from stanchion.rules.virtual_key import RANDOM_BYTES, digest_of, make_key
from stanchion.stores.opening import open_caller_book
from stanchion.stores.protocols import PEPPER_BYTES
from tests.contract.conftest import Place

pytestmark = pytest.mark.timeout(120)

SHARED = ["sqlite", "postgres"]
TEAM = Team("research", (Limit("tokens", 2_000_000, 86_400), Limit("open", 5)), by="admin", at=12.5)
CALLER = Caller("shop", "research", (Limit("requests", 9, 60),), (Limit("requests", 1, 60),))
KEY = CallerKey(
    "A1b2C3d4",
    "shop",
    bytes(range(32)),
    Scopes(("gpt-4o*", "größe 模型"), ("chat/completions",), ("10.0.0.0/8",)),
    made_at=1.0,
    expires_at=2.0,
)


@pytest.fixture(params=["memory", *SHARED])
def backend(request: pytest.FixtureRequest) -> str:
    return request.param


async def test_a_new_book_is_empty_and_has_a_pepper(place: Place) -> None:
    found = await place.caller_book().read()
    assert found is not None
    assert (found.version, list(found.entries), len(found.pepper)) == (0, [], PEPPER_BYTES)


async def test_what_one_writes_another_reads_at_the_next_version(place: Place) -> None:
    one, two = place.caller_book(), place.caller_book()
    assert await two.read(0) is None
    assert await one.write([TEAM, CALLER, KEY], at=0)
    found = await two.read(0)
    assert found is not None
    assert (found.version, list(found.entries)) == (1, [CALLER, KEY, TEAM])
    assert await two.read(1) is None
    assert await two.read(7) is not None  # it was put back from a copy: what it holds counts


async def test_an_entry_takes_the_place_of_the_one_before(place: Place) -> None:
    book = place.caller_book()
    await book.write([TEAM, KEY], at=0)
    gone = CallerKey("A1b2C3d4", "shop", KEY.digest, revoked_at=99.0)
    assert await book.write([gone, Caller("research")], at=1)  # a caller may be called as a team is
    found = await book.read()
    assert found is not None
    assert list(found.entries) == [Caller("research"), gone, TEAM]


async def test_who_decided_on_an_old_book_writes_nothing(place: Place) -> None:
    one, two = place.caller_book(), place.caller_book()
    assert await one.write([TEAM], at=0)
    assert not await two.write([CALLER], at=0)
    assert not await two.write([CALLER], at=2)
    found = await one.read()
    assert found is not None
    assert (found.version, list(found.entries)) == (1, [TEAM])


async def test_of_many_who_write_at_once_one_is_first_and_no_write_is_lost(place: Place) -> None:
    books = [place.caller_book() for _ in range(4)]

    async def add(number: int) -> None:
        book = books[number % 4]
        while True:
            found = await book.read()
            assert found is not None
            if await book.write([Caller(f"caller {number}")], at=found.version):
                return

    async with asyncio.TaskGroup() as group:
        for number in range(24):
            group.create_task(add(number))
    found = await books[0].read()
    assert found is not None
    assert (found.version, len(found.entries)) == (24, 24)


async def test_all_who_open_at_the_same_time_have_the_same_pepper(place: Place) -> None:
    async with asyncio.TaskGroup() as group:
        asked = [group.create_task(place.caller_book().read()) for _ in range(12)]
    peppers = {found.pepper for each in asked if (found := each.result()) is not None}
    assert len(peppers) == 1


@pytest.mark.parametrize("backend", SHARED)
async def test_what_was_written_outlives_its_client(place: Place) -> None:
    book = place.caller_book()
    await book.write([KEY], at=0)
    before = await book.read()
    await book.aclose()
    assert before is not None
    assert await place.caller_book().read() == before


@pytest.mark.parametrize("backend", ["sqlite"])
async def test_no_part_of_a_key_is_in_the_file(place: Place) -> None:
    book = place.caller_book()
    found = await book.read()
    assert found is not None
    keys = [make_key(os.urandom(RANDOM_BYTES)) for _ in range(20)]
    await book.write([CallerKey(key.id, "shop", digest_of(key.text, found.pepper)) for key in keys], at=0)
    await book.aclose()
    path = Path(place.url.removeprefix("sqlite://"))
    held = b"".join(each.read_bytes() for each in path.parent.glob(f"{path.name}*"))
    assert keys[0].id.encode() in held
    for key in keys:
        secret = key.text.rpartition("-")[2].encode()
        assert all(secret[at : at + 10] not in held for at in range(0, 39, 3))


@pytest.mark.parametrize("backend", ["postgres"])
async def test_no_part_of_a_key_is_in_the_database(place: Place) -> None:
    import asyncpg

    book = place.caller_book()
    found = await book.read()
    assert found is not None
    key = make_key(os.urandom(RANDOM_BYTES))
    await book.write([CallerKey(key.id, "shop", digest_of(key.text, found.pepper))], at=0)
    connection = await asyncpg.connect(place.url)
    tables = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    rows = [
        row[0] for (name,) in tables for row in await connection.fetch(f"SELECT t::text FROM {name} AS t")
    ]
    await connection.close()
    held, secret = "\n".join(rows), key.text.rpartition("-")[2]
    assert key.id in held
    assert all(secret[at : at + 10] not in held for at in range(39))


@pytest.mark.parametrize("backend", ["postgres"])
async def test_a_database_from_before_there_were_callers_gets_their_tables(place: Place) -> None:
    import asyncpg

    await place.key_book().pepper()
    connection = await asyncpg.connect(place.url)
    await connection.execute(
        "DROP TABLE IF EXISTS stanchion_caller_book, stanchion_caller_entry;"
        "DROP FUNCTION IF EXISTS stanchion_callers_1; DROP FUNCTION IF EXISTS stanchion_callers_write_1"
    )
    await connection.close()
    assert await place.caller_book().write([TEAM], at=0)


def test_redis_is_refused_with_the_reason() -> None:
    with pytest.raises(SettingsError, match="may lose a revocation"):
        open_caller_book("redis://127.0.0.1:6379/0")
