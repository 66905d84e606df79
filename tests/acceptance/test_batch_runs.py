"""`stanchion batch run`, run again: with other rows, by two at once, interrupted, and on a disk that is full."""

from __future__ import annotations

import asyncio
import json
import os
import random
import resource
import signal
import sys
from pathlib import Path

import pytest

from stanchion.stores.journal.journal import folder_of
from stanchion.stores.journal.lock import take_lock
from tests.acceptance.batch_world import Upstream, key_of, recorded, row

pytestmark = pytest.mark.timeout(60)


class Place:
    """A folder with an input, an output and settings."""

    def __init__(self, folder: Path, upstream: Upstream) -> None:
        self.source, self.output = folder / "in.jsonl", folder / "out.jsonl"
        self.config = upstream.config(folder / "here.toml")

    def write(self, lines: list[bytes]) -> None:
        self.source.write_bytes(b"".join(line + b"\n" for line in lines))

    async def start(self, *more: str, file_most: int = 0) -> asyncio.subprocess.Process:
        """Start the command; `file_most` bounds the size of any file it writes."""

        def bound() -> None:
            if file_most:
                resource.setrlimit(resource.RLIMIT_FSIZE, (file_most, resource.RLIM_INFINITY))

        arguments = ("batch", "run", str(self.source), "-o", str(self.output), "-c", str(self.config), *more)
        command = (sys.executable, "-m", "stanchion", *arguments)
        pipe = asyncio.subprocess.PIPE
        return await asyncio.create_subprocess_exec(*command, stdout=pipe, stderr=pipe, preexec_fn=bound)

    async def run(self, *more: str, file_most: int = 0) -> tuple[int, str]:
        """Run the command to its end; its exit code and what it said."""
        process = await self.start(*more, file_most=file_most)
        out, err = await process.communicate()
        assert process.returncode is not None
        return process.returncode, (out + err).decode()

    def answers(self) -> list[tuple[str, str]]:
        """The output: what each row is called, and what it was answered."""
        read = map(json.loads, self.output.read_bytes().splitlines())
        return [
            (line["custom_id"], line["response"]["body"]["choices"][0]["message"]["content"]) for line in read
        ]


def halves(folder: Path) -> list[Path]:
    return list(folder.glob(".*.part"))


def texts(numbers: list[int]) -> list[bytes]:
    return [row(f"c{at}", f"say {number}") for at, number in enumerate(numbers)]


def changed(numbers: list[int], chance: random.Random) -> list[int]:
    """The same rows with some of them moved, some gone, some new."""
    left = list(numbers)
    for _ in range(12):
        moved = left.pop(chance.randrange(len(left)))
        what = chance.randrange(4)
        if what < 3:
            left.insert(chance.randrange(len(left)), moved if what == 0 else chance.randrange(90))
        if what == 2:
            left.append(moved)
    return left


async def test_only_new_contents_are_asked_however_the_rows_were_changed(tmp_path: Path) -> None:
    chance = random.Random(5)
    async with Upstream() as upstream:
        place, known = Place(tmp_path, upstream), set[int]()
        numbers = [chance.randrange(60) for _ in range(80)]
        for _ in range(5):
            place.write(texts(numbers))
            upstream.asked.clear()
            code, said = await place.run()
            assert code == 0, said
            assert upstream.asked.total() == len(set(numbers) - known)
            assert [name for name, _ in place.answers()] == [f"c{at}" for at in range(len(numbers))]
            assert [text.split(" ", 1)[1][::-1] for _, text in place.answers()] == [
                f"say {number}" for number in numbers
            ]
            known |= set(numbers)
            numbers = changed(numbers, chance)


async def test_a_second_run_on_the_same_output_is_refused_and_told_by_whom(tmp_path: Path) -> None:
    async with Upstream() as upstream:
        place = Place(tmp_path, upstream)
        place.write(texts([1]))
        folder_of(place.output).mkdir()
        lock = take_lock(folder_of(place.output) / "lock")
        code, said = await place.run()
        os.close(lock)
        assert code == 1
        assert f"process {os.getpid()} on" in said
        assert not upstream.asked
        assert (await place.run())[0] == 0


@pytest.mark.parametrize("asks", [signal.SIGINT, signal.SIGTERM])
async def test_one_signal_finishes_what_is_in_flight_and_the_job_can_be_taken_up(
    tmp_path: Path, asks: signal.Signals
) -> None:
    async with Upstream(latency_s=0.3) as upstream:
        place = Place(tmp_path, upstream)
        lines = texts(list(range(120)))
        place.write(lines)
        process = await place.start("--concurrency", "16")
        await upstream.next_asked()
        process.send_signal(asks)
        out, err = await process.communicate()
        assert process.returncode == 130, out + err
        assert upstream.answered == set(upstream.asked), "what was in flight was not finished"
        assert len(recorded(folder_of(place.output))) == len(upstream.asked) < 120
        assert not place.output.exists()
        upstream.latency_s = 0.0
        assert (await place.run())[0] == 0
        assert upstream.asked.total() == 120, "something was asked twice"
        assert recorded(folder_of(place.output)) == {key_of(line) for line in lines}


async def test_a_second_signal_ends_it_at_once(tmp_path: Path) -> None:
    async with Upstream(latency_s=1000.0) as upstream:
        place = Place(tmp_path, upstream)
        place.write(texts(list(range(20))))
        process = await place.start()
        await upstream.next_asked()
        process.send_signal(signal.SIGINT)
        await asyncio.sleep(0.2)
        process.send_signal(signal.SIGINT)
        out, err = await process.communicate()
        assert process.returncode == 130, out + err


async def test_a_full_disk_stops_the_job_and_costs_nothing_but_what_was_in_flight(tmp_path: Path) -> None:
    async with Upstream() as upstream:
        place = Place(tmp_path, upstream)
        lines = texts(list(range(300)))
        place.write(lines)
        safe = set[bytes]()
        for most in (20_000, 60_000, 100_000):
            code, said = await place.run("--concurrency", "16", file_most=most)
            assert code == 1
            assert "make room" in said
            kept = recorded(folder_of(place.output))
            assert safe < kept
            safe = kept
        code, said = await place.run(file_most=(folder_of(place.output) / "answers").stat().st_size + 90_000)
        assert (code, "File too large" in said) in ((1, True), (0, False)), said
        assert halves(tmp_path) == [], "half of an output is left"
        assert (await place.run())[0] == 0
        assert upstream.asked.total() <= 300 + 3 * 16
        assert len(place.answers()) == 300


async def test_a_key_that_is_dead_ends_the_job_and_no_row_is_failed(tmp_path: Path) -> None:
    async with Upstream() as upstream:
        place = Place(tmp_path, upstream)
        place.write(texts(list(range(50))))
        upstream.error_status = 401
        code, said = await place.run("--concurrency", "4")
        assert code == 1
        assert "401" in said or "refused" in said
        assert recorded(folder_of(place.output)) == set()
        assert upstream.asked.total() < 20
        upstream.error_status = 0
        assert (await place.run())[0] == 0
