"""The mirror against the provider's limiter: nearly all of a quota is used, and nearly nothing is refused."""

from __future__ import annotations

from typing import Literal

import pytest

from stanchion.rules.quota import Mirror
from stanchion.simulator.quota import Limits, Quota, QuotaMode
from tests.unit.rules.limiter_world import (
    LIMITS,
    Client,
    Stranger,
    Work,
    World,
    allowed,
    change_limit,
    count,
)

MODES: list[QuotaMode] = ["bucket", "burst-1s", "sliding"]
FEW = 5  # refusals that it takes to learn a burst that is told nowhere else
MUCH = 10**9


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
@pytest.mark.parametrize("work", ["requests", "tokens"])
@pytest.mark.parametrize("mode", MODES)
def test_nearly_all_of_the_quota_is_used_and_nearly_nothing_is_refused(
    mode: QuotaMode, work: Work, stream: bool, seed: int
) -> None:
    world = World(mode, seed=seed)
    client = Client(world, work, stream=stream)
    world.run(120)
    of_requests = len(client.let_in) / allowed(mode, LIMITS.rpm, 120)
    of_tokens = client.tokens / allowed(mode, LIMITS.tpm, 120)
    assert max(of_requests, of_tokens) >= 0.97
    assert len(client.refused) <= FEW if mode == "burst-1s" else client.refused_per_1000() <= 5


@pytest.mark.parametrize("rpm", [3, 30, 60, 100, 150])
@pytest.mark.parametrize("mode", MODES)
def test_small_limits_are_used_up_as_well(mode: QuotaMode, rpm: int) -> None:
    """A few calls make a whole limit here; a burst of one a second leaves no room for one that overtakes."""
    world = World(mode, Limits(rpm=rpm, tpm=MUCH), seed=1)
    client = Client(world)
    world.run(300)
    could = min(allowed(mode, rpm, 300), allowed("bucket", rpm, 300))
    assert len(client.let_in) / could >= 0.94  # of 3 a minute one is 0.06 of all
    assert len(client.refused) <= 2 * FEW
    assert count(client.refused, since=60) <= 1


@pytest.mark.parametrize("mode", MODES)
def test_from_words_alone_it_learns_as_much(mode: QuotaMode) -> None:
    world = World(mode, Limits(rpm=500, tpm=MUCH))
    client = Client(world, tells="words")
    world.run(300)
    assert len(client.let_in) / min(allowed(mode, 500, 300), allowed("bucket", 500, 300)) >= 0.95
    assert len(client.refused) <= FEW


@pytest.mark.parametrize(
    ("mode", "least"), [("bucket", 0.93), ("burst-1s", 0.8), ("sliding", 0.9)], ids=MODES
)
def test_a_provider_that_tells_nothing_is_felt_out(mode: QuotaMode, least: float) -> None:
    """Additive increase, multiplicative decrease: a refusal now and then is its only news."""
    world = World(mode, Limits(rpm=500, tpm=MUCH))
    client = Client(world, tells="nothing")
    world.run(600)
    per_minute = 480 if mode == "burst-1s" else 500
    assert count(client.let_in, since=120) / (8 * per_minute) >= least
    assert client.refused_per_1000(since=60) <= 15


def test_a_provider_without_limits_is_not_slowed_down() -> None:
    world = World(limits=Limits(rpm=MUCH, tpm=MUCH))
    client = Client(world, tells="nothing", callers=2000)
    world.run(60)
    assert len(client.let_in) > 2000 / 1.75 * 45  # each takes 1.75 s on average
    assert client.refused == []
    assert client.mirror.gauges == []


def test_three_keys_of_different_limits_are_each_used_up() -> None:
    world = World()
    sizes = {"a": 60, "b": 300, "c": 900}
    world.quota = Quota(LIMITS, per_key={key: Limits(rpm=rpm, tpm=MUCH) for key, rpm in sizes.items()})
    clients = {key: Client(world, key=f"Bearer {key}") for key in sizes}
    world.run(120)
    for key, rpm in sizes.items():
        assert len(clients[key].let_in) / allowed("bucket", rpm, 120) >= 0.97
        assert clients[key].refused_per_1000() <= 20


@pytest.mark.parametrize("mode", ["bucket", "sliding"])
def test_somebody_else_with_the_same_key_is_noticed(mode: QuotaMode) -> None:
    """Two calls a second are another's: what is left is used up, and few of ours are in vain."""
    world = World(mode, Limits(rpm=500, tpm=MUCH))
    client = Client(world)
    stranger = Stranger(world, client.account, per_s=2.0, since=60.0)
    world.run(420)
    together = count(client.let_in, 60) + stranger.let_in
    assert together / (500 * 6) >= 0.97
    assert client.refused_per_1000(since=60) <= 120


@pytest.mark.parametrize("mode", ["bucket", "sliding"])
@pytest.mark.parametrize("rpm", [250, 1000])
def test_a_limit_that_the_provider_changes_is_followed(mode: QuotaMode, rpm: int) -> None:
    world = World(mode, Limits(rpm=500, tpm=MUCH))
    client = Client(world)
    world.run(120)
    change_limit(client.account, rpm=rpm)
    world.run(420)
    assert count(client.let_in, since=180) / (rpm * 4) == pytest.approx(1.0, abs=0.03)
    assert count(client.refused, since=120) <= 20
    assert count(client.refused, since=200) <= 2


def test_a_daily_limit_on_tokens_that_only_words_tell_is_kept() -> None:
    world = World(limits=Limits(rpm=MUCH, tpm=MUCH, tpd=100_000))
    client = Client(world, "tokens", callers=20)
    world.run(7200)
    assert client.tokens / (100_000 * (1 + 7200 / 86_400)) >= 0.95
    assert len(client.refused) <= 2 * 20  # those that were under way together
    assert "tokens" in client.mirror.text(world.now)
    assert "a day" in client.mirror.text(world.now)


def test_where_headers_show_the_day_the_minute_is_learned_from_words() -> None:
    world = World(limits=Limits(rpm=120, tpm=MUCH, rpd=10_000))
    client = Client(world)
    world.run(300)
    kinds = {(gauge.kind, gauge.window_s, gauge.limit) for gauge in client.mirror.gauges}
    assert {("requests", 86_400.0, 10_000), ("requests", 60.0, 120)} <= kinds
    assert len(client.let_in) / allowed("bucket", 120, 300) >= 0.97
    assert len(client.refused) <= 60  # those that were under way together when the first was refused
    assert count(client.refused, since=60) == 0


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("rpd", "used"), [(None, 300), (10_000, 3000), (10_000, 9000)])
def test_who_begins_where_much_is_used_already_does_not_stand_still(
    mode: QuotaMode, rpd: int | None, used: int
) -> None:
    """As after a restart: what is used already is no burst of ours, and no reason to wait until it is back."""
    world = World(mode, Limits(rpm=500, tpm=MUCH, rpd=rpd))
    client = Client(world)
    client.account.requests.add(used, world.now)
    world.run(240)
    per_minute = 480 if mode == "burst-1s" else 500
    could = per_minute * 4 if rpd is None else min(per_minute * 4, rpd - used)
    if mode == "sliding" and rpd is None:
        could -= used  # it fills the first window
    assert len(client.let_in) / could >= 0.97
    assert len(client.refused) <= FEW


def test_a_day_that_is_nearly_used_up_goes_on_by_what_comes_back() -> None:
    world = World(limits=Limits(rpm=MUCH, tpm=MUCH, tpd=200_000))
    client = Client(world, "tokens", callers=10)
    client.account.gauges[-1].bucket.add(199_900, world.now)
    world.run(20_000)
    assert client.tokens / (200_000 * 20_000 / 86_400) >= 0.9
    assert len(client.refused) <= 10


def test_thirty_a_minute_are_really_thirty_a_minute() -> None:
    mirror = Mirror(0.0)
    world = World("sliding", Limits(rpm=30, tpm=MUCH))
    client = Client(world, mirror=mirror)
    world.run(200 * 2.0)
    assert len(client.let_in) == 30 * 7  # of 200 callers, in 6 and a bit minutes
    for start in client.let_in:
        assert count(client.let_in, start, start + 60) <= 30


def test_who_asks_fifty_a_second_gets_fifty() -> None:
    world = World("burst-1s", Limits(rpm=3000, tpm=MUCH))
    client = Client(world)
    world.run(120)
    assert count(client.let_in, since=20) / (50 * 100) >= 0.98


def test_a_guess_of_a_high_rate_is_kept_to_and_not_to_half_of_it() -> None:
    """At a guess one call follows the other; the distance between them is small then."""
    world = World(limits=Limits(rpm=60_000, tpm=MUCH))
    client = Client(world, tells="nothing", callers=3000)
    client.account.requests.add(58_000, world.now)
    world.run(14)
    (guess,) = client.mirror.gauges
    assert guess.limit > 500
    assert count(client.let_in, 9, 14) / 5 >= 0.9 * min(guess.limit, 1000)


@pytest.mark.parametrize("told_s", [None, 1.0], ids=["no wait", "told to wait"])
@pytest.mark.parametrize("tells", ["nothing", "headers and words"])
def test_a_provider_that_refuses_at_random_is_not_slowed_down(
    tells: Literal["nothing", "headers and words"], told_s: float | None
) -> None:
    """Two of a hundred, at any rate: each comes again, and nobody waits for it."""
    done: list[int] = []
    for shed in (0.0, 0.02):
        world = World(limits=Limits(rpm=600_000, tpm=MUCH))
        client = Client(world, tells=tells, callers=400, shed=shed, shed_wait_s=told_s)
        world.run(60)
        done.append(len(client.let_in))
    assert client.shed > 200
    assert done[1] >= 0.9 * done[0]


@pytest.mark.parametrize("told_s", [None, 1.0])
def test_a_limit_is_found_beside_refusals_at_random(told_s: float | None) -> None:
    world = World(limits=Limits(rpm=3000, tpm=MUCH))
    client = Client(world, tells="nothing", shed=0.02, shed_wait_s=told_s)
    world.run(420)
    assert count(client.let_in, since=120) / (3000 * 5) >= 0.85
    assert client.refused_per_1000(since=60) <= 15
