"""Jobs on Ray as a user begins them, and what they are judged by."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stanchion.stores.journal.lock import holder_of
from tests.acceptance.batch_command import Folder
from tests.acceptance.batch_world import Upstream, key_of_body, recorded, row
from tests.acceptance.ray_cluster import RayCluster
from tests.acceptance.served import PROGRAM, environ
from tests.acceptance.stage import Provider, settled
from tests.contract.servers import RedisServer

_MODEL = "gpt-4o-mini"


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

    def __init__(
        self,
        path: Path,
        upstream: Upstream | None,
        redis: RedisServer,
        *,
        cluster: RayCluster | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Without `upstream` the folder has its settings already; with a `cluster` the job runs there."""
        self._path = path
        self._cluster = cluster
        self._environment = dict(environment or {}) | (cluster.token if cluster is not None else {})
        self.error = ""  # what it wrote there, when it has ended
        if upstream is not None:
            upstream.config(path / "stanchion.toml", f'[stores]\nlimits = "{redis.url}"\n')
        self._process: asyncio.subprocess.Process | None = None

    async def start(self, *arguments: str, engine: str = "ray", out: str = "out.jsonl") -> None:
        given = ["run", "in.jsonl", "-o", out, "--progress", "none", "--engine", engine, *arguments]
        if engine == "ray" and self._cluster is not None:
            given += ["--ray-address", self._cluster.address]
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


def questions(path: Path, count: int) -> None:
    path.write_bytes(b"".join(row(f"r{n}", f"question {n - (n % 10 == 9)}") + b"\n" for n in range(count)))


def times(upstream: Upstream) -> Counter[bytes]:
    """How often each key was asked for."""
    counted = Counter[bytes]()
    for body, count in upstream.asked.items():
        counted[key_of_body(body)] += count
    return counted


async def same_as_alone(path: Path, begun: Begun, upstream: Upstream, *arguments: str) -> None:
    """The output is, byte for byte, what one machine writes that nobody disturbs."""
    upstream.latency_s = 0.0
    assert await begun.done(*arguments, engine="local", out="alone.jsonl") == 0, begun.error
    assert (path / "out.jsonl").read_bytes() == (path / "alone.jsonl").read_bytes()


def billed(upstream: Upstream) -> int:
    """What the provider was asked for costs, in micro-dollars: one a token in, two a token out."""
    total = 0
    for body, count in upstream.asked.items():
        usage = json.loads(upstream.reply(body)[1])["usage"]
        total += count * (usage["prompt_tokens"] + 2 * usage["completion_tokens"])
    return total


def names(output: Path) -> list[tuple[str, int]]:
    """What the lines are called, in their order, and whether they are answers."""
    found = [json.loads(line) for line in output.read_bytes().splitlines()]
    return [(each["custom_id"], each["response"]["status_code"]) for each in found]
