"""Which keys fall together, and that a reload keeps what is known of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import NoReturn

import pytest
from msgspec import structs

from stanchion.core.call import Body, Call, Operation
from stanchion.core.reply import End
from stanchion.core.secret import Secret
from stanchion.keys.source import Found
from stanchion.providers.http import HttpClient, HttpOptions
from stanchion.providers.openai import EndpointSpec, OpenAIEndpoint
from stanchion.providers.presets import PRESETS
from stanchion.testing import virtual_time
from tests.unit.keys.ringed import NEVER, NEW, OLD, Place, Ringed, fail, held, now, refused, spec, work


def three() -> Ringed:
    at = Ringed(ONE=Place("sk-1", NEVER), TWO=Place("sk-2", NEVER), OTHER=Place("sk-3", NEVER))
    for name, organization, project in (
        ("ONE", "org-a", "p-1"),
        ("TWO", "org-a", "p-2"),
        ("OTHER", "org-b", "p-1"),
    ):
        version = at.slots[name].active
        assert version is not None
        version.learn({"openai-organization": organization, "openai-project": project})
    return at


def words(at: Ringed) -> list[str]:
    return [slot.word[:1] for slot in at.slots.values()]


@pytest.mark.parametrize(
    ("code", "status", "fallen"),
    [
        ("invalid_api_key", 401, "qaa"),
        ("credit_balance_exhausted", 429, "qqa"),
        ("account_deactivated", 401, "qqa"),
        ("project_spend_limit_exceeded", 429, "qaa"),
        ("insufficient_quota", 429, "qqa"),
    ],
)
def test_keys_fall_with_their_organization_or_alone(code: str, status: int, fallen: str) -> None:
    @virtual_time
    async def run() -> None:
        at = three()
        fail(at.slots["ONE"], refused(code, status))
        assert "".join(words(at)) == fallen

    run()


@virtual_time
async def test_keys_of_one_project_fall_together() -> None:
    at = three()
    version = at.slots["TWO"].active
    assert version is not None
    version.project = "p-1"
    fail(at.slots["ONE"], refused("project_spend_limit_exceeded", 429))
    assert "".join(words(at)) == "qqa"


@virtual_time
async def test_keys_whose_organization_is_not_known_fall_alone() -> None:
    at = Ringed(ONE=Place("sk-1", NEVER), TWO=Place("sk-2", NEVER))
    fail(at.slots["ONE"], refused("credit_balance_exhausted", 429))
    assert "".join(words(at)) == "qa"


@virtual_time
async def test_one_call_probes_for_the_whole_organization() -> None:
    at = three()
    one, two = at.slots["ONE"], at.slots["TWO"]
    fail(one, refused("credit_balance_exhausted", 429))
    await asyncio.sleep(300.0)
    lease = two.lease(now())
    assert one.ready_in(now()) > 0  # the probe is out
    two.give_back(lease, End.CANCELLED)
    assert (one.ready_in(now()), one.word) == (0.0, "quarantined")  # it proved nothing
    work(two)
    assert "".join(words(at)) == "aaa"


@virtual_time
async def test_a_key_that_rests_for_a_reason_of_its_own_does_not_come_back_with_the_others() -> None:
    at = three()
    one, two = at.slots["ONE"], at.slots["TWO"]
    fail(one, refused())
    fail(two, refused("credit_balance_exhausted", 429))
    assert [slot.quarantine and slot.quarantine.code for slot in (one, two)] == [
        "invalid_api_key",
        "credit_balance_exhausted",
    ]
    await asyncio.sleep(300.0)
    work(two)
    assert (one.word, two.word) == ("quarantined", "active")


@virtual_time
async def test_a_key_that_comes_late_joins_the_quarantine_of_its_organization() -> None:
    at = three()
    one, two = at.slots["ONE"], at.slots["TWO"]
    fail(one, refused())
    fail(two, refused("credit_balance_exhausted", 429))
    assert one.quarantine is not None
    at.ring.release(one.quarantine, "probe")
    fail(one, refused("credit_balance_exhausted", 429))
    assert one.quarantine is two.quarantine


@virtual_time
async def test_a_reload_keeps_a_keys_health_and_takes_what_its_source_holds_now() -> None:
    at = three()
    fail(at.slots["ONE"], refused())
    again = {name: at.ring.slot(spec(f"a#{name}"), Place(OLD, NEVER)) for name in ("ONE", "TWO")}
    assert all(again[name] is at.slots[name] for name in again)
    at.ring.use([(again["ONE"], Found(Secret("sk-1"))), (again["TWO"], Found(Secret(NEW)))])
    assert (again["ONE"].word, again["TWO"].word) == ("quarantined", "active")
    assert held(again["TWO"]) == "sk-2"
    assert again["TWO"].candidate is not None
    assert "a#OTHER" not in at.ring.slots
    assert at.state("OTHER", "active") == 0


@virtual_time
async def test_another_place_under_the_same_name_is_another_key() -> None:
    at = three()
    other = at.ring.slot(spec("a#ONE", organization="org-z"), Place(OLD, NEVER))
    assert other is not at.slots["ONE"]


@virtual_time
async def test_a_key_that_a_reload_took_away_is_refused_in_peace() -> None:
    for gone in (True, False):  # no such key any more, or another one under its name
        at = Ringed(ONE=Place(OLD))
        old, source = at.slots["ONE"], Place(NEW)
        lease = old.lease(now())
        other = at.ring.slot(spec("a#ONE", project="p-2"), source)
        at.ring.use([] if gone else [(other, source.read_now())])
        old.failed(lease, refused(), "m", now())
        old.give_back(lease, End.FAILED)
        at.ring.take(old, Found(Secret("sk-late")), now())
        at.ring.show(old)
        assert (old.in_flight, held(old)) == (0, OLD)
        assert at.state("ONE", "quarantined") == 0
        assert at.state("ONE", "active") == (0 if gone else 1)
        assert gone or (other.word, other.strikes) == ("active", 0)


@virtual_time
async def test_a_key_comes_back_also_where_looking_after_it_fails() -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("broken")

    class Refusing(HttpClient):
        async def open(self, *_: object, **__: object) -> NoReturn:
            raise refused()

    at = Ringed(ONE=Place(OLD))
    slot = at.slots["ONE"]
    slot.on_strike = broken
    place = EndpointSpec(name="a/m", base_url="http://a", model="m", key=slot, preset=PRESETS["openai"])
    http = Refusing(HttpOptions(), at.clock)
    endpoint = OpenAIEndpoint(place, http, at.clock)
    with pytest.raises(RuntimeError, match="broken"):
        await endpoint(Call(operation=Operation.CHAT, body=Body({"model": "m"}), model="m"))
    await http.aclose()
    assert slot.in_flight == 0


def by_hand(at: Ringed) -> None:
    at.ring.ordered(at.slots["ONE"], "operator", NEVER, by_call=False)


def by_its_provider(at: Ringed) -> None:
    fail(at.slots["ONE"], refused())


@pytest.mark.parametrize(
    ("rests", "value", "url", "word"),
    [
        (by_hand, OLD, "http://a", "quarantined"),
        (by_hand, OLD, "http://b", "quarantined"),
        (by_hand, NEW, "http://a", "active"),
        (by_its_provider, OLD, "http://a", "quarantined"),
        (by_its_provider, OLD, "http://b", "active"),  # that may be why it was refused
        (by_its_provider, NEW, "http://a", "active"),
    ],
)
@pytest.mark.parametrize("slow", [False, True])
def test_a_key_rests_on_under_new_settings_if_its_value_is_the_same(
    rests: Callable[[Ringed], None], value: str, url: str, word: str, *, slow: bool
) -> None:
    @virtual_time
    async def run() -> None:
        at = Ringed(ONE=Place(OLD))
        old, source = at.slots["ONE"], Place(value)
        rests(at)
        other = at.ring.slot(structs.replace(spec("a#ONE", project="p-2"), base_url=url), source)
        if slow:  # and changed once more before its source was read
            at.ring.use([(at.ring.slot(spec("a#ONE", project="p-1"), source), None)])
            at.ring.use([(other, None)])
            await at.watch.first()
        else:
            at.ring.use([(other, source.read_now())])
        assert other is not old
        assert (other.word, at.state("ONE", word)) == (word, 1)
        if word == "quarantined":
            assert (other.quarantine, other.strikes) == (old.quarantine, old.strikes)

    run()


@virtual_time
async def test_a_quarantine_that_was_carried_over_ends_as_any_other() -> None:
    at = Ringed(ONE=Place(OLD))
    by_hand(at)
    source = Place(OLD)
    other = at.ring.slot(spec("a#ONE", project="p-2"), source)
    at.ring.use([(other, source.read_now())])
    assert other.quarantine is not None
    at.ring.release(other.quarantine, "order")
    assert other.word == "active"
