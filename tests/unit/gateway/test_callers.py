"""The door, the watch over the book, and the desk that writes it."""

from __future__ import annotations

import asyncio
import logging

import pytest

from stanchion.core.call import Operation
from stanchion.core.caller import Caller, CallerKey, Limit, Scopes, Standing, Team
from stanchion.core.clock import Clock
from stanchion.core.errors import CallerError, InvalidCall, NotAllowed, Unauthorized, Unavailable
from stanchion.engine.settings import CallersOptions
from stanchion.gateway.callers.desk import CallerDesk
from stanchion.gateway.callers.door import Door, headers_of
from stanchion.gateway.callers.index import CallerIndex
from stanchion.gateway.callers.watch import EVERY_S, CallerWatch
from stanchion.rules.virtual_key import RANDOM_BYTES, make_key
from stanchion.stores.memory import MemoryCallerBook
from stanchion.stores.protocols import Callers, StoreLost
from stanchion.testing import chat_call, virtual_time

LOST_MOST_S = 100.0


class Shaky(MemoryCallerBook):
    """A book that can be away, or slow."""

    away = False
    slow_s = 0.0

    async def read(self, known: int = -1) -> Callers | None:
        await asyncio.sleep(self.slow_s)
        if self.away:
            raise StoreLost("away")
        return await super().read(known)


class House:
    def __init__(self, **options) -> None:
        self.book = Shaky()
        self.now = 1_000_000.0
        self.desk = CallerDesk(self.book, "a test", wall=lambda: self.now)
        self.watch = CallerWatch(self.book, Clock(), url="memory", lost_most_s=lambda: LOST_MOST_S)
        self.options = CallersOptions(**options)
        self.door = Door(self.watch, lambda: self.options, wall=lambda: self.now)

    async def key(self, name: str = "shop", **more) -> str:
        made = await self.desk.add(name, **more)
        await self.watch.look()
        return made.key.text

    def admit(
        self, key: str | None, *, header: bytes = b"authorization", peer: str = "10.0.0.1", **more: str
    ):
        value = b"Bearer " + (key or "").encode() if header == b"authorization" else (key or "").encode()
        headers = {header: value} if key is not None else {}
        headers |= {name.replace("_", "-").encode(): text.encode() for name, text in more.items()}
        return self.door.admit(headers, peer, Operation.CHAT)


def code(error: pytest.ExceptionInfo[CallerError]) -> str | None:
    return error.value.code


@virtual_time
async def test_a_call_is_signed_with_who_makes_it_and_what_counts_for_it() -> None:
    house = House(required=True)
    await house.desk.add("shop", team="web", limits=(Limit("open", 2),))
    await house.desk.limit("team:web", (Limit("requests", 5, 60),))
    await house.desk.limit("everyone", (Limit("requests", 9, 60),))
    await house.desk.limit("users:shop", (Limit("requests", 1, 60),))
    key = await house.key()
    call = house.admit(key).sign(chat_call())
    assert (call.caller, call.team) == ("shop", "web")
    assert f"sk-st-{call.caller_key}-" in key
    standing = call.options[Standing]
    assert [level.name for level in standing.levels] == ["caller shop", "team web", "everyone"]
    assert standing.user_limits == (Limit("requests", 1, 60),)
    assert house.admit(key, header=b"api-key").sign(chat_call()).caller == "shop"


@virtual_time
async def test_calls_without_a_key_count_for_everyone_where_that_is_limited() -> None:
    house = House()
    await house.watch.look()
    assert Standing not in house.admit(None).sign(chat_call()).options
    await house.desk.limit("everyone", (Limit("requests", 9, 60),))
    await house.watch.look()
    for key in (None, "sk-any"):
        call = house.admit(key).sign(chat_call())
        assert [level.name for level in call.options[Standing].levels] == ["everyone"]


@virtual_time
async def test_a_key_with_another_secret_is_not_let_in() -> None:
    house = House()
    key = await house.key()
    other = make_key(bytes(range(RANDOM_BYTES)))  # its id will be known, with another secret
    entries = [CallerKey(other.id, "shop", b"\0" * 32)]
    book = await house.book.read()
    assert book is not None
    await house.book.write(entries, at=book.version)
    await house.watch.look()
    assert house.admit(key).known is not None
    for wrong in (other.text, make_key(bytes(RANDOM_BYTES)).text, key + "x", "sk-st-"):
        with pytest.raises(Unauthorized) as raised:
            house.admit(wrong)
        assert code(raised) == "invalid_api_key"
        assert wrong[16:] == "" or wrong[16:] not in str(raised.value)


@virtual_time
async def test_time_network_and_model_are_checked_and_told_apart() -> None:
    house = House(trusted_proxies=["10.0.0.0/8"])
    scopes = Scopes(models=("gpt-4o*",), networks=("192.0.2.0/24",))
    key = await house.key(scopes=scopes, expires_at=house.now + 60)
    with pytest.raises(NotAllowed) as raised:
        house.admit(key)
    assert (code(raised), raised.value.status) == ("network_not_allowed", 403)
    admitted = house.admit(key, x_forwarded_for="192.0.2.7")
    assert admitted.sign(chat_call(model="gpt-4o-mini")).caller == "shop"
    with pytest.raises(NotAllowed) as raised:
        admitted.sign(chat_call(model="o3"))
    assert (code(raised), raised.value.param) == ("model_not_allowed", "model")
    assert (admitted.may_ask("gpt-4o"), admitted.may_ask("o3")) == (True, False)
    house.now += 60
    with pytest.raises(Unauthorized) as raised:
        house.admit(key, x_forwarded_for="192.0.2.7")
    assert (code(raised), raised.value.status) == ("key_expired", 401)


@virtual_time
async def test_a_client_behind_two_proxies_with_a_line_each_is_not_taken_for_the_inner_proxy() -> None:
    house = House(trusted_proxies=["10.0.0.0/8"])
    key = await house.key(scopes=Scopes(networks=("10.0.0.0/8",)))
    lines = [
        (b"authorization", b"Bearer " + key.encode()),
        (b"x-forwarded-for", b"203.0.113.9"),  # who connected to the outer proxy
        (b"x-forwarded-for", b"10.0.0.2"),  # who connected to the inner one
    ]
    with pytest.raises(NotAllowed):
        house.door.admit(headers_of(lines), "10.0.0.1", Operation.CHAT)
    assert house.door.address(headers_of(lines), "10.0.0.1") == "203.0.113.9"


@virtual_time
async def test_a_revocation_is_seen_at_the_next_look() -> None:
    house = House()
    key = await house.key()
    async with asyncio.TaskGroup() as group:
        running = group.create_task(house.watch.run())
        await house.desk.revoke("shop")
        assert house.admit(key).known is not None
        await asyncio.sleep(EVERY_S)
        await asyncio.sleep(0)
        with pytest.raises(Unauthorized) as raised:
            house.admit(key)
        running.cancel()
    assert code(raised) == "key_revoked"


@virtual_time
async def test_while_the_book_is_away_what_was_known_holds_for_so_long(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    house = House(required=True)
    key = await house.key()
    house.book.away = True
    await house.watch.look()
    await asyncio.sleep(LOST_MOST_S)
    assert house.admit(key).known is not None
    await asyncio.sleep(1.0)
    with pytest.raises(Unavailable) as raised:
        house.admit(key)
    assert (raised.value.code, raised.value.status) == ("callers_unknown", 503)
    house.book.away = False
    await house.watch.look()
    assert house.admit(key).known is not None
    said = [record.getMessage() for record in caplog.records]
    assert [name for name in said if name.startswith("callers.store")] == [
        "callers.store_lost",
        "callers.store_back",
    ]


@virtual_time
async def test_a_book_that_was_never_read_lets_no_key_in_and_others_as_the_setting_says() -> None:
    house = House()
    house.book.away = True
    await house.watch.begin()
    with pytest.raises(Unavailable):
        house.admit(make_key(bytes(RANDOM_BYTES)).text)
    assert house.admit(None).known is None
    house.options = CallersOptions(required=True)
    with pytest.raises(Unauthorized):
        house.admit(None)


@virtual_time
async def test_a_book_that_does_not_answer_holds_the_start_up_no_longer_than_its_bound() -> None:
    house = House()
    house.book.slow_s = 1000.0
    began = asyncio.get_running_loop().time()
    await house.watch.begin()
    assert asyncio.get_running_loop().time() - began == 2.0


def test_without_a_book_everybody_passes() -> None:
    assert (
        Door(None, CallersOptions).admit({b"authorization": b"Bearer sk-st-x"}, "", Operation.CHAT).known
        is None
    )


def test_a_key_whose_caller_is_missing_is_not_known() -> None:
    key = make_key(bytes(RANDOM_BYTES))
    index = CallerIndex(Callers(1, b"p" * 32, [CallerKey(key.id, "gone", b"")]))
    assert index.find(key.text) is None


@virtual_time
async def test_what_is_not_said_of_a_caller_stays() -> None:
    house = House()
    await house.desk.add("shop", team="web", limits=(Limit("open", 2),))
    await house.desk.limit("users:shop", (Limit("open", 1),))
    await house.desk.add("shop")
    found = {type(entry): entry for entry in (await house.desk.all()).entries}
    shop = found[Caller]
    assert isinstance(shop, Caller)
    assert (shop.team, shop.limits, shop.user_limits) == ("web", (Limit("open", 2),), (Limit("open", 1),))
    assert shop.by == "a test"
    assert isinstance(found[Team], Team)


@virtual_time
async def test_a_change_that_comes_between_is_kept() -> None:
    house = House()

    class Hasty(MemoryCallerBook):
        """Somebody revokes the key after another command has read the book and before it writes."""

        waits = False

        async def read(self, known: int = -1) -> Callers | None:
            found = await super().read(known)
            if self.waits:
                self.waits = False
                await CallerDesk(self, "another", wall=lambda: 5.0).revoke("shop")
            return found

    book = Hasty()
    desk = CallerDesk(book, "me", wall=lambda: house.now)
    made = await desk.add("shop")
    book.waits = True
    await desk.limit(f"key:{made.key.id}", (Limit("open", 1),))
    key = next(entry for entry in (await desk.all()).entries if isinstance(entry, CallerKey))
    assert (key.revoked_at, key.limits) == (5.0, (Limit("open", 1),))


@virtual_time
async def test_rotating_leaves_the_old_key_its_grace_and_never_more_than_it_had() -> None:
    house = House()
    await house.key(expires_at=house.now + 10)
    made = await house.desk.rotate("shop", grace_s=3600)
    keys = [entry for entry in (await house.desk.all()).entries if isinstance(entry, CallerKey)]
    old = next(key for key in keys if key.name != made.key.id)
    assert old.expires_at == house.now + 10
    with pytest.raises(InvalidCall, match="has several keys"):
        await house.desk.rotate("shop", grace_s=0)
    await house.desk.revoke("shop")
    with pytest.raises(InvalidCall, match="no key that works"):
        await house.desk.rotate("shop", grace_s=0)


@virtual_time
@pytest.mark.parametrize("name", ["", "everyone", "two words", "sk-st-abc", "-x", "x" * 65, "team:x"])
async def test_what_is_no_name_is_refused(name: str) -> None:
    with pytest.raises(InvalidCall, match="a name has up to 64"):
        await House().desk.add(name)


@virtual_time
async def test_a_whole_key_finds_its_entry_and_is_never_repeated() -> None:
    house = House()
    key = await house.key()
    assert await house.desk.revoke(key) == [key[6:14]]
    assert await house.desk.revoke(key) == []
    stranger = make_key(bytes(RANDOM_BYTES)).text
    with pytest.raises(InvalidCall) as raised:
        await house.desk.revoke(stranger)
    assert stranger[14:] not in str(raised.value)
