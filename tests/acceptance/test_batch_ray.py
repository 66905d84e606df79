"""A job on Ray: two workers, one quota, one cap, one output; workers that are killed, and a store that is lost.

One cluster of two nodes serves the tests that do not need their own: to start one takes longer than any of them.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from stanchion.simulator import Limits, SimulatorOptions, Timing
from stanchion.stores.journal.lock import holder_of
from tests.acceptance.batch_command import Folder
from tests.acceptance.batch_world import Upstream, recorded
from tests.acceptance.ray_cluster import RayCluster, needs_ray
from tests.acceptance.ray_jobs import Begun, billed, folder, lines, names, questions, same_as_alone, times
from tests.acceptance.stage import Provider, free_port, settled
from tests.contract.servers import RedisServer, at_hand

pytestmark = pytest.mark.timeout(400)

_RPM = 600
_OUT = ("-o", "out.jsonl", "--progress", "none")
_MONEY = ("--answer-tokens", "256", "--max-cost")


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    with at_hand(RedisServer) as server:
        yield server


@pytest.fixture(scope="module")
def cluster() -> Iterator[RayCluster]:
    with RayCluster() as running:
        yield running


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    async with Upstream(latency_s=0.8) as running:
        yield running


def test_without_ray_the_command_says_what_to_install(tmp_path: Path, redis: RedisServer) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        'import sys\nsys.modules["ray"] = None\n'
    )  # as if it were not there
    with Provider() as provider:
        at = folder(tmp_path, provider, redis)
        at.write("in.jsonl", lines(3))
        done = at.batch("run", "in.jsonl", *_OUT, "--engine", "ray", more={"PYTHONPATH": str(tmp_path)})
        assert done.returncode == 2
        assert "pip install 'stanchion[ray,redis]'" in done.stderr
        assert not (tmp_path / "out.jsonl.stanchion").exists()
        assert provider.calls == []


@needs_ray
def test_without_a_store_that_workers_share_the_command_says_which_setting_is_missing(tmp_path: Path) -> None:
    with Provider() as provider:
        at = Folder(tmp_path, provider)
        at.write("in.jsonl", lines(3))
        done = at.batch("run", "in.jsonl", *_OUT, "--engine", "ray")
        assert done.returncode == 2
        assert "stores.limits=redis://" in done.stderr
        assert provider.calls == []


@needs_ray
def test_two_workers_use_one_quota_wholly_and_write_what_one_machine_writes(
    tmp_path: Path, redis: RedisServer
) -> None:
    rows = lines(760)
    asked = len({json.loads(line)["body"]["messages"][0]["content"] for line in rows.splitlines()})
    with Provider(SimulatorOptions(timing=Timing(ttft_s=0.02), limits=Limits(rpm=_RPM))) as provider:
        at = folder(tmp_path, provider, redis)
        at.write("in.jsonl", rows)
        done = at.batch("run", "in.jsonl", *_OUT, "--engine", "ray", "--workers", "2")
        assert done.returncode == 0, done.stderr
        calls = provider.calls
    answered = sorted(call.at for call in calls if call.status == 200)
    assert len(answered) == asked, "each question was answered once"
    assert len(calls) - asked <= 8, "what two learners may meet together"
    # the bucket was full in the beginning; from then on it fills at the quota's pace
    could = _RPM + (answered[-1] - answered[0]) * _RPM / 60
    assert 0.9 * could <= asked <= could + 1
    for number in (1, 2):  # and both had their part of it
        folder_of = tmp_path / "out.jsonl.stanchion" / f"shard-{number}-of-2"
        assert len(recorded(folder_of)) > asked / 3
    with Provider() as provider:
        (tmp_path / "alone").mkdir()
        alone = Folder(tmp_path / "alone", provider)
        alone.write("in.jsonl", rows)
        assert alone.batch("run", "in.jsonl", *_OUT).returncode == 0
    assert names(tmp_path / "out.jsonl") == names(tmp_path / "alone/out.jsonl")


@needs_ray
@pytest.mark.anyio
async def test_workers_on_a_cluster_keep_to_one_quota_though_its_store_is_lost_and_comes_back(
    tmp_path: Path, redis: RedisServer, cluster: RayCluster
) -> None:
    rows = lines(760)
    asked = len({json.loads(line)["body"]["messages"][0]["content"] for line in rows.splitlines()})
    options = SimulatorOptions(timing=Timing(ttft_s=0.02), limits=Limits(rpm=_RPM))
    with Provider(options) as provider:
        folder(tmp_path, provider, redis).write("in.jsonl", rows)
        begun = Begun(tmp_path, None, redis, cluster=cluster)
        await begun.start()
        await settled(lambda: len(provider.calls) > _RPM + 10, within_s=120)  # the bucket is empty
        redis.end_and_save()
        await asyncio.sleep(2)
        redis.start()
        await settled(lambda: len(provider.calls) > _RPM + 50, within_s=120)
        redis.kill()  # with all that it knew of the quota
        await asyncio.sleep(2)
        redis.start()
        assert await begun.ended() == 0, begun.error
        calls = provider.calls
    answered = sorted(call.at for call in calls if call.status == 200)
    assert len(answered) == asked, "each question was answered once"
    assert len(calls) - asked <= 8, "what two learners may meet together"
    assert asked <= _RPM + (answered[-1] - answered[0]) * _RPM / 60 + 1


@needs_ray
@pytest.mark.anyio
async def test_a_worker_that_is_killed_is_started_again_and_asks_for_nothing_it_had_recorded(
    tmp_path: Path, redis: RedisServer, upstream: Upstream, cluster: RayCluster
) -> None:
    questions(tmp_path / "in.jsonl", 240)
    begun = Begun(tmp_path, upstream, redis, cluster=cluster)
    await begun.start("--concurrency", "8")
    await begun.has_recorded(20)
    victim = holder_of(begun.shard(1) / "lock")
    assert victim is not None
    kept = recorded(begun.shard(1)) | recorded(begun.shard(2))
    os.kill(victim.pid, signal.SIGKILL)
    assert await begun.ended() == 0
    after = json.loads((begun.shard(1) / "lock").read_bytes())
    assert after["pid"] != victim.pid, "another process went on"
    asked = times(upstream)
    assert all(asked[key] == 1 for key in kept)
    assert sum(asked.values()) - len(asked) <= 8, "what was in flight, and nothing else"
    await same_as_alone(tmp_path, begun, upstream)


@needs_ray
@pytest.mark.anyio
async def test_a_job_that_was_stopped_or_whose_command_was_killed_goes_on(
    tmp_path: Path, redis: RedisServer, upstream: Upstream, cluster: RayCluster
) -> None:
    """Stopped on a cluster, killed with a Ray of its own, ended on the cluster again."""
    questions(tmp_path / "in.jsonl", 240)
    begun = Begun(tmp_path, upstream, redis, cluster=cluster)
    await begun.start("--concurrency", "8")
    await begun.has_recorded(10)
    begun.signal(signal.SIGINT)
    assert await begun.ended() == 130
    assert max(times(upstream).values()) == 1, "what was in flight was recorded"
    kept = recorded(begun.shard(1)) | recorded(begun.shard(2))
    assert len(kept) == len(upstream.asked)

    own = Begun(tmp_path, upstream, redis)
    await own.start("--concurrency", "8")
    await own.has_recorded(60)
    own.kill()
    await own.nobody_works()
    kept = recorded(own.shard(1)) | recorded(own.shard(2))

    assert await begun.done("--concurrency", "8") == 0
    asked = times(upstream)
    assert all(asked[key] == 1 for key in kept)
    assert sum(asked.values()) - len(asked) <= 16, "what was in flight, and nothing else"
    await same_as_alone(tmp_path, begun, upstream)


@needs_ray
@pytest.mark.anyio
async def test_two_workers_together_spend_no_more_than_the_cap_and_nearly_all_of_it(
    tmp_path: Path, redis: RedisServer, upstream: Upstream, cluster: RayCluster
) -> None:
    upstream.latency_s = 0.1
    questions(tmp_path / "in.jsonl", 400)
    begun = Begun(tmp_path, upstream, redis, cluster=cluster)
    cap = 40_000  # micro-dollars, about 150 of 360 answers
    assert await begun.done(*_MONEY, "0.04") == 3
    assert 0.95 * cap <= billed(upstream) <= cap
    assert not (tmp_path / "out.jsonl").exists()
    assert await begun.done(*_MONEY, "5") == 0
    assert max(upstream.asked.values()) == 1
    for number in (1, 2):
        assert recorded(begun.shard(number)), "both nodes had their part"
    assert len((tmp_path / "out.jsonl").read_bytes().splitlines()) == 400
    await same_as_alone(tmp_path, begun, upstream, *_MONEY, "5")


@needs_ray
@pytest.mark.anyio
async def test_a_store_of_the_money_that_is_lost_is_waited_for_and_one_that_forgot_it_ends_the_run(
    tmp_path: Path, redis: RedisServer, upstream: Upstream, cluster: RayCluster
) -> None:
    questions(tmp_path / "in.jsonl", 400)
    begun = Begun(tmp_path, upstream, redis, cluster=cluster)
    cap = 40_000  # micro-dollars, about 150 of 360 answers
    await begun.start("--concurrency", "8", *_MONEY, "0.04")
    await begun.has_recorded(10)
    redis.end_and_save()
    await asyncio.sleep(2)
    redis.start()
    await begun.has_recorded(30)  # more than it had leased: it went on
    redis.kill()
    await asyncio.sleep(2)
    redis.start()
    assert await begun.ended() == 1
    assert "run the same command again" in begun.error
    assert billed(upstream) <= cap
    assert len(recorded(begun.shard(1)) | recorded(begun.shard(2))) == len(upstream.asked)
    assert await begun.done(*_MONEY, "0.04") == 3
    assert 0.95 * cap <= billed(upstream) <= cap, "over both runs"
    assert max(upstream.asked.values()) == 1


@needs_ray
@pytest.mark.anyio
async def test_a_cluster_that_is_not_there_or_wants_a_token_is_one_line_that_says_what_to_do(
    tmp_path: Path, redis: RedisServer, upstream: Upstream, cluster: RayCluster
) -> None:
    questions(tmp_path / "in.jsonl", 10)
    nobody = Begun(tmp_path, upstream, redis)
    assert await nobody.done("--ray-address", f"127.0.0.1:{free_port()}") == 1
    assert "`ray start --head`" in nobody.error
    assert await nobody.done("--ray-address", "ray://127.0.0.1:10001") == 2
    assert "write auto, or HOST:PORT" in nobody.error
    wrong: list[dict[str, str]] = [
        {},
        {"RAY_AUTH_MODE": "token"},
        {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0" * 64},
    ]
    for environment in wrong:
        begun = Begun(tmp_path, upstream, redis, environment=environment)
        assert await begun.done("--ray-address", cluster.address) == 1
        assert "RAY_AUTH_MODE=token" in begun.error
        assert len(begun.error.splitlines()) == 1
    assert not upstream.asked


@needs_ray
@pytest.mark.anyio
async def test_a_signal_ends_the_command_where_no_cluster_answers_and_where_no_worker_finds_room(
    tmp_path: Path, redis: RedisServer, upstream: Upstream
) -> None:
    questions(tmp_path / "in.jsonl", 10)
    knocked = asyncio.Event()
    opened = list[asyncio.StreamWriter]()

    def accept(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        opened.append(writer)
        knocked.set()

    silent = await asyncio.start_server(accept, "127.0.0.1", 0)
    async with silent:
        begun = Begun(tmp_path, upstream, redis)
        await begun.start("--ray-address", f"127.0.0.1:{silent.sockets[0].getsockname()[1]}")
        await asyncio.wait_for(knocked.wait(), 60)
        begun.signal(signal.SIGTERM)
        assert await begun.ended() == 130
        for each in opened:
            each.close()
    with RayCluster(nodes=1, cpus=0) as full:
        begun = Begun(tmp_path, upstream, redis, environment=full.token)
        await begun.start("--ray-address", full.address)
        await settled(lambda: full.drivers() == 2, within_s=120)  # the look at it, and the job
        await asyncio.sleep(1)  # Ray takes SIGTERM when it joins; the command takes it back
        begun.signal(signal.SIGTERM)
        assert await begun.ended() == 130
    assert not upstream.asked
