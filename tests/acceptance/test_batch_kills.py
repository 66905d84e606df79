"""`kill -9` at any instant, hundreds of times: nothing that was recorded is lost or asked again, and the output is
that of a job nobody disturbed."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
from collections import Counter
from pathlib import Path

import pytest

from stanchion.stores.journal.journal import folder_of
from tests.acceptance.batch_world import Starter, Upstream, key_of, key_of_body, recorded, row

pytestmark = [
    pytest.mark.timeout(240),
    pytest.mark.skipif(not hasattr(os, "fork"), reason="the kill loop forks"),
]
KILLS = 200
SIDES = 2  # jobs at once
ROWS = 900
WIDE = 24  # calls open at most
SEED = 20261124


def rows(count: int) -> list[bytes]:
    """Rows of which some ask the same, some are refused, and some are no requests."""
    lines = list[bytes]()
    for number in range(count):
        what = number - 50 if number % 9 == 8 and number > 50 else number
        text = f"refuse {what}" if what % 41 == 7 else f"say {what} " + "x" * (what % 300)
        lines.append(b"{broken" if number % 211 == 13 else row(f"c{number}", text))
    return lines


class Side:
    """One starter, its provider and its jobs, one after the other."""

    def __init__(self, folder: Path, upstream: Upstream, chance: random.Random) -> None:
        self.folder, self.upstream, self.chance = folder, upstream, chance
        self.kills = 0

    async def job(self, starter: Starter, source: Path, output: Path, kills: int) -> None:
        """Run one job to its end, through at most so many kills."""
        config = self.upstream.config(self.folder / "here.toml")
        safe = set[bytes]()
        while True:
            before = Counter(self.upstream.asked)
            number = await starter.start(
                "batch", "run", str(source), "-o", str(output), "-c", str(config), "--concurrency", str(WIDE)
            )
            async with asyncio.TaskGroup() as group:
                ended = group.create_task(starter.ended())
                if kills:
                    await self._some_time(ended)
                    if not ended.done():
                        os.kill(number, signal.SIGKILL)
            await self.upstream.quiet()
            kept = recorded(folder_of(output))
            self._judge(self.upstream.asked - before, safe, kept)
            safe = kept
            if ended.result() != -signal.SIGKILL:
                assert ended.result() == 2, said(starter)
                return
            assert not there(output), "there is an output before the job has ended"
            kills -= 1
            self.kills += 1

    async def _some_time(self, ended: asyncio.Task[int]) -> None:
        """Wait for the instant of the kill: while it begins, or (mostly) once it asks, until long after its end."""
        if self.chance.random() < 0.8:
            with contextlib.suppress(TimeoutError):  # one that finds all asked asks nothing
                async with asyncio.timeout(0.5):
                    await self.upstream.next_asked()
        await asyncio.wait([ended], timeout=self.chance.uniform(0.0, 0.35))

    def _judge(self, asked: Counter[bytes], safe: set[bytes], kept: set[bytes]) -> None:
        """Look at what one run has asked, and what was recorded before and after it."""
        assert safe <= kept, "a row that was recorded is lost"
        keys = {key_of_body(body) for body in asked}
        assert not keys & safe, "what was recorded is asked again"
        assert max(asked.values(), default=0) <= 1, "one run asks the same twice"
        assert len(keys - kept) <= WIDE, "more is lost than was in flight"


def there(output: Path) -> bool:
    return output.exists()


def said(starter: Starter) -> str:
    return starter.log.read_text()


def begun(folder: Path) -> tuple[Path, set[bytes]]:
    """Write the input into a new folder; return it with the keys of its rows."""
    folder.mkdir()
    lines = rows(ROWS)
    source = folder / "in.jsonl"
    source.write_bytes(b"\n".join(lines) + b"\n")
    return source, {key_of(line) for line in lines if line != b"{broken"}


def results(output: Path) -> tuple[bytes, bytes]:
    """The output and the errors."""
    return output.read_bytes(), output.with_name(f"{output.stem}.errors.jsonl").read_bytes()


async def kill_again_and_again(folder: Path, seed: int) -> None:
    source, keys = begun(folder)
    async with Upstream(latency_s=0.06) as upstream:
        side, starter = Side(folder, upstream, random.Random(seed)), await Starter.begin(folder / "log")
        try:
            await side.job(starter, source, folder / "whole.jsonl", 0)
            wanted = results(folder / "whole.jsonl")
            assert upstream.asked.total() == len(keys), "twins were not asked once"
            jobs = 0
            while side.kills < KILLS // SIDES:
                jobs += 1
                output = folder / f"out{jobs}.jsonl"
                await side.job(starter, source, output, KILLS // SIDES - side.kills)
                assert recorded(folder_of(output)) == keys
                assert results(output) == wanted
        finally:
            await starter.aclose()


async def test_a_job_that_is_killed_at_any_instant_loses_nothing_and_pays_nothing_twice(
    tmp_path: Path,
) -> None:
    async with asyncio.TaskGroup() as group:
        for number in range(SIDES):
            group.create_task(kill_again_and_again(tmp_path / str(number), SEED + number))
