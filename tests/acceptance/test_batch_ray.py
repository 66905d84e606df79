"""A job on Ray: two workers, one quota, one cap, one output; and workers that are killed.

Ray is too heavy to be installed for everybody: `make test-ray` brings it, and elsewhere these are skipped.
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import signal
import subprocess
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from stanchion.simulator import Limits, SimulatorOptions, Timing
from stanchion.stores.journal.lock import holder_of
from tests.acceptance.batch_command import Folder
from tests.acceptance.batch_world import Upstream, key_of_body, recorded, row
from tests.acceptance.ray_cluster import RayCluster
from tests.acceptance.served import PROGRAM, environ
from tests.acceptance.stage import Provider, free_port, settled
from tests.contract.servers import RedisServer, at_hand

_THERE = importlib.util.find_spec("ray") is not None
needs_ray = pytest.mark.skipif(not _THERE, reason="Ray is not installed: make test-ray")
pytestmark = pytest.mark.timeout(400)

_MODEL = "gpt-4o-mini"
_RPM = 600
_OUT = ("-o", "out.jsonl", "--progress", "none")


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    with at_hand(RedisServer) as server:
        yield server


def folder(path: Path, provider: Provider, redis: RedisServer) -> Folder:
    return Folder(path, provider, f'\n[stores]\nlimits = "{redis.url}"\n')


def lines(count: int) -> bytes:
    """Rows of which every tenth asks what the one before asks."""
    texts = [f"say {number - (number % 10 == 9)}" for number in range(count)]
    body: dict[str, Any] = {"model": _MODEL, "max_tokens": 6}
    made = [
        {
            "custom_id": f"row {number}",
            "method": "POST",
            "url": "/v1/chat/completions",
            "body": {**body, "messages": [{"role": "user", "content": text}]},
        }
        for number, text in enumerate(texts)
    ]
    return b"".join(json.dumps(each).encode() + b"\n" for each in made)


class Begun:
    """`stanchion batch run` on Ray, in the background, against a provider whose answers hang on the question alone."""

    def __init__(self, path: Path, upstream: Upstream, redis: RedisServer, **environment: str) -> None:
        self._path = path
        self._environment = environment
        self.error = ""  # what it wrote there, when it has ended
        upstream.config(path / "stanchion.toml", f'[stores]\nlimits = "{redis.url}"\n')
        self._process: asyncio.subprocess.Process | None = None

    async def start(self, *arguments: str, engine: str = "ray", out: str = "out.jsonl") -> None:
        given = ["run", "in.jsonl", "-o", out, "--progress", "none", "--engine", engine, *arguments]
        self._process = await asyncio.create_subprocess_exec(
            *[*PROGRAM, "batch", *given],
            cwd=self._path,
            env=environ(self._path, **self._environment),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )

    def signal(self, number: int) -> None:
        """Send a signal to all of its process group, as a terminal does at Ctrl-C."""
        assert self._process is not None
        os.killpg(self._process.pid, number)

    def kill(self) -> None:
        """End the command itself, and nothing else."""
        assert self._process is not None
        self._process.kill()

    async def ended(self) -> int:
        assert self._process is not None
        _, err = await asyncio.wait_for(self._process.communicate(), 240)
        self.error = err.decode()
        assert "Traceback" not in self.error, self.error
        assert self._process.returncode is not None
        return self._process.returncode

    async def done(self, *arguments: str, engine: str = "ray", out: str = "out.jsonl") -> int:
        """Run it to its end."""
        await self.start(*arguments, engine=engine, out=out)
        return await self.ended()

    def shard(self, number: int) -> Path:
        return self._path / "out.jsonl.stanchion" / f"shard-{number}-of-2"

    async def has_recorded(self, least: int) -> set[bytes]:
        """Wait until both workers have recorded so much; return it."""
        shards = [self.shard(number) for number in (1, 2)]
        await settled(lambda: min(len(recorded(each)) for each in shards) >= least, within_s=120)
        return recorded(self.shard(1)) | recorded(self.shard(2))

    async def nobody_works(self) -> None:
        """Wait until no worker has a share."""
        locks = [self.shard(number) / "lock" for number in (1, 2)]
        await settled(lambda: all(holder_of(each) is None for each in locks), within_s=120)


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    async with Upstream(latency_s=0.8) as running:
        yield running


def questions(path: Path, count: int) -> None:
    path.write_bytes(b"".join(row(f"r{n}", f"question {n - (n % 10 == 9)}") + b"\n" for n in range(count)))


def times(upstream: Upstream) -> Counter[bytes]:
    """How often each key was asked for."""
    counted = Counter[bytes]()
    for body, count in upstream.asked.items():
        counted[key_of_body(body)] += count
    return counted


async def same_as_alone(path: Path, begun: Begun, upstream: Upstream) -> None:
    """The output is, byte for byte, what one machine writes that nobody disturbs."""
    upstream.latency_s = 0.0
    assert await begun.done(engine="local", out="alone.jsonl") == 0
    assert (path / "out.jsonl").read_bytes() == (path / "alone.jsonl").read_bytes()


@pytest.mark.skipif(_THERE, reason="Ray is installed")
def test_without_ray_the_command_says_what_to_install(tmp_path: Path, redis: RedisServer) -> None:
    with Provider() as provider:
        at = folder(tmp_path, provider, redis)
        at.write("in.jsonl", lines(3))
        done = at.batch("run", "in.jsonl", *_OUT, "--engine", "ray")
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
    rows = lines(900)
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
    assert _names(tmp_path / "out.jsonl") == _names(tmp_path / "alone/out.jsonl")


def _names(output: Path) -> list[tuple[str, int]]:
    """What the lines are called, in their order, and whether they are answers."""
    found = [json.loads(line) for line in output.read_bytes().splitlines()]
    return [(each["custom_id"], each["response"]["status_code"]) for each in found]


@needs_ray
@pytest.mark.anyio
async def test_a_worker_that_is_killed_is_started_again_and_asks_for_nothing_it_had_recorded(
    tmp_path: Path, redis: RedisServer, upstream: Upstream
) -> None:
    questions(tmp_path / "in.jsonl", 400)
    begun = Begun(tmp_path, upstream, redis)
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
    tmp_path: Path, redis: RedisServer, upstream: Upstream
) -> None:
    questions(tmp_path / "in.jsonl", 400)
    begun = Begun(tmp_path, upstream, redis)
    await begun.start("--concurrency", "8")
    await begun.has_recorded(10)
    begun.signal(signal.SIGINT)
    assert await begun.ended() == 130
    assert max(times(upstream).values()) == 1, "what was in flight was recorded"
    kept = recorded(begun.shard(1)) | recorded(begun.shard(2))
    assert len(kept) == len(upstream.asked)

    await begun.start("--concurrency", "8")
    await begun.has_recorded(80)
    begun.kill()
    await begun.nobody_works()
    kept = recorded(begun.shard(1)) | recorded(begun.shard(2))

    assert await begun.done("--concurrency", "8") == 0
    asked = times(upstream)
    assert all(asked[key] == 1 for key in kept)
    assert sum(asked.values()) - len(asked) <= 16, "what was in flight, and nothing else"
    await same_as_alone(tmp_path, begun, upstream)


@needs_ray
@pytest.mark.anyio
async def test_two_workers_together_spend_no_more_than_the_cap_and_nearly_all_of_it(
    tmp_path: Path, redis: RedisServer, upstream: Upstream
) -> None:
    upstream.latency_s = 0.1
    questions(tmp_path / "in.jsonl", 400)
    begun = Begun(tmp_path, upstream, redis)
    money = ("--answer-tokens", "256", "--max-cost")
    cap = 40_000  # micro-dollars, about 150 of 360 answers
    assert await begun.done(*money, "0.04") == 3
    assert 0.95 * cap <= billed(upstream) <= cap
    assert await begun.done(*money, "0.06") == 3
    assert 0.95 * 60_000 <= billed(upstream) <= 60_000, "over all runs"
    assert not (tmp_path / "out.jsonl").exists()
    assert await begun.done(*money, "5") == 0
    assert max(upstream.asked.values()) == 1
    assert len((tmp_path / "out.jsonl").read_bytes().splitlines()) == 400


@needs_ray
@pytest.mark.anyio
async def test_a_job_runs_on_a_cluster_of_two_nodes_and_writes_what_one_machine_writes(
    tmp_path: Path, redis: RedisServer, upstream: Upstream
) -> None:
    upstream.latency_s = 0.1
    questions(tmp_path / "in.jsonl", 400)
    with RayCluster() as cluster:
        begun = Begun(tmp_path, upstream, redis, **cluster.token)
        assert await begun.done("--ray-address", cluster.address) == 0, begun.error
    assert max(upstream.asked.values()) == 1
    for number in (1, 2):
        assert recorded(begun.shard(number)), "both nodes had their part"
    await same_as_alone(tmp_path, begun, upstream)


@needs_ray
def test_workers_on_a_cluster_keep_to_one_quota(tmp_path: Path, redis: RedisServer) -> None:
    rows = lines(700)
    asked = len({json.loads(line)["body"]["messages"][0]["content"] for line in rows.splitlines()})
    limits = Limits(rpm=_RPM)
    with (
        Provider(SimulatorOptions(timing=Timing(ttft_s=0.02), limits=limits)) as provider,
        RayCluster() as at,
    ):
        here = folder(tmp_path, provider, redis)
        here.write("in.jsonl", rows)
        done = here.batch(
            "run", "in.jsonl", *_OUT, "--engine", "ray", "--ray-address", at.address, more=at.token
        )
        assert done.returncode == 0, done.stderr
        calls = provider.calls
    answered = sorted(call.at for call in calls if call.status == 200)
    assert len(answered) == asked > _RPM
    assert len(calls) - asked <= 8, "what two learners may meet together"
    assert asked <= _RPM + (answered[-1] - answered[0]) * _RPM / 60 + 1


@needs_ray
@pytest.mark.anyio
async def test_a_cluster_that_is_not_there_or_wants_a_token_is_one_line_that_says_what_to_do(
    tmp_path: Path, redis: RedisServer, upstream: Upstream
) -> None:
    questions(tmp_path / "in.jsonl", 10)
    nobody = Begun(tmp_path, upstream, redis)
    assert await nobody.done("--ray-address", f"127.0.0.1:{free_port()}") == 1
    assert "`ray start --head`" in nobody.error
    assert await nobody.done("--ray-address", "ray://127.0.0.1:10001") == 2
    assert "write auto, or HOST:PORT" in nobody.error
    with RayCluster(nodes=1) as cluster:
        for environment in (
            {},
            {"RAY_AUTH_MODE": "token"},
            {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0" * 64},
        ):
            begun = Begun(tmp_path, upstream, redis, **environment)
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
    with RayCluster(nodes=1, cpus=0) as cluster:
        begun = Begun(tmp_path, upstream, redis, **cluster.token)
        await begun.start("--ray-address", cluster.address)
        await settled(lambda: cluster.drivers() == 2, within_s=120)  # the look at it, and the job
        await asyncio.sleep(1)  # Ray takes SIGTERM when it joins; the command takes it back
        begun.signal(signal.SIGTERM)
        assert await begun.ended() == 130
    assert not upstream.asked


def billed(upstream: Upstream) -> int:
    """What the provider was asked for costs, in micro-dollars: one a token in, two a token out."""
    total = 0
    for body, count in upstream.asked.items():
        usage = json.loads(upstream.reply(body)[1])["usage"]
        total += count * (usage["prompt_tokens"] + 2 * usage["completion_tokens"])
    return total
