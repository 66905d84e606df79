"""Rows of the batch runner: its speed beside plain workers, what a row costs among many, how soon a job goes on.

The rows differ from each other, so each is asked.  A process does one job: its peak of memory is that job's.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks import batch_curator
from benchmarks.figures import Row, Run, interleaved, ratio_row
from benchmarks.machine import free_port
from benchmarks.payloads import MODEL, request_body
from benchmarks.processes import Failed, process, python, server
from stanchion.batch.answers import Answer
from stanchion.batch.forms.openai_lines import OpenAILines
from stanchion.batch.kept import record_of
from stanchion.rules.row_key import RowKey
from stanchion.stores.journal.journal import Journal, folder_of

_ROWS = 5_000
_FEW, _MANY, _QUICK_MANY = 10_000, 1_000_000, 100_000
_DONE = 0.99
_SHUFFLED = 200  # rows that are answered in any order, as calls open at once are
_MIB = 1024
_MEMORY_MOST_MIB = 150

Figures = dict[str, float]


class Place:
    """A folder with inputs, and a provider that answers at once."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder = folder
        self.base_url = f"http://127.0.0.1:{port}/v1"

    def long_rows(self, count: int) -> Path:
        """Write rows of 1.5 KB."""
        rest = request_body(stream=False)[1:]
        return self._write(f"long-{count}", count, lambda number: b'{"user":"user-%d",%b' % (number, rest))

    def short_rows(self, count: int) -> Path:
        """Write rows of 200 bytes."""
        text = (
            b'{"model":"%b","messages":[{"role":"user","content":"What does customer %d want? One word."}]}'
        )
        return self._write(f"short-{count}", count, lambda number: text % (MODEL.encode(), number))

    def _write(self, name: str, count: int, body: Callable[[int], bytes]) -> Path:
        path = self.folder / f"{name}.jsonl"
        if not path.exists():
            line = b'{"custom_id":"row-%d","method":"POST","url":"/v1/chat/completions","body":%b}\n'
            with path.open("wb") as file:
                file.writelines(line % (number, body(number)) for number in range(count))
        return path

    def do(self, what: str, source: Path, **more: Any) -> Figures:
        """Run a worker in a process of its own; its output is removed."""
        output = self.folder / "out.jsonl"
        order = {
            "what": what,
            "base_url": self.base_url,
            "source": str(source),
            "output": str(output),
            **more,
        }
        try:
            return ask(order)
        finally:
            output.unlink(missing_ok=True)
            if what != "resume":
                shutil.rmtree(folder_of(output), ignore_errors=True)


def ask(order: dict[str, Any]) -> Figures:
    """Run one worker to its end; return what it told."""
    with process(python("benchmarks.batch_worker", json.dumps(order)), core=0, piped=True) as running:
        assert running.stdout is not None
        line = running.stdout.readline()
        if not line:
            raise Failed("a batch worker ended without a word")
        running.wait()
    return json.loads(line)


@contextmanager
def _place() -> Generator[Place]:
    port = free_port()
    with (
        tempfile.TemporaryDirectory() as folder,
        server(python("benchmarks.upstream", "--port", port), port, core=1),
    ):
        yield Place(Path(folder), port)


def speed(run: Run) -> list[Row]:
    """Rows a second beside plain workers; the journal that waits for the disk beside one that does not."""
    count = run.times(_ROWS)
    with _place() as place:
        source = place.long_rows(count)

        def of(what: str, **more: Any) -> Callable[[], float]:
            return lambda: place.do(what, source, **more)["seconds"]

        def loaded() -> float:
            # a second's run beside curator's eight: of three, so that a stall of the machine counts for both alike
            return statistics.median([place.do("job", source)["loaded_s"] for _ in range(3)])

        plain, ours, loose = interleaved(run.runs, of("plain"), of("job"), of("job", durable=False))
        beside = batch_curator.rows(run, place.base_url, source, count, loaded)
    rate = [[count / seconds for seconds in each] for each in (plain, ours)]
    return [
        ratio_row(
            f"batch, {count:,} rows, no limits: rows a second",
            "1/s",
            rate[0],
            rate[1],
            beside="200 plain aiohttp workers",
            least=0.5,
        ),
        ratio_row(
            "batch, journal made durable: seconds",
            "s",
            loose,
            ours,
            beside="never waiting for the disk",
            most=1.15,
        ),
        *beside,
    ]


def many(run: Run) -> list[Row]:
    """What a row costs among many: memory and CPU."""
    count = _QUICK_MANY if run.quick else _MANY
    with _place() as place:
        few = place.do("job", place.short_rows(_FEW))
        more = place.do("job", place.short_rows(count))
    run.say(f"{count:,} rows in {more['seconds']:.0f} s")
    name = f"batch, {count:,} rows"
    memory = [each["peak_kib"] / _MIB for each in (few, more)]
    cpu = [few["cpu_s"] / _FEW * 1e6, more["cpu_s"] / count * 1e6]
    beside = f"{_FEW:,} rows"
    return [
        ratio_row(f"{name}: peak of memory", "MiB", memory[:1], memory[1:], beside=beside, most=1.2),
        Row(
            name=f"{name}: peak of memory, in all",
            unit="MiB",
            ours=memory[1],
            compared=memory[1],
            as_="unit",
            most=_MEMORY_MOST_MIB,
        ),
        ratio_row(f"{name}: CPU per row", "µs", cpu[:1], cpu[1:], beside=beside, most=1.1),
    ]


def resume(run: Run) -> list[Row]:
    """How soon a job that is nearly done asks its next row: from the start of the process on."""
    count = _QUICK_MANY if run.quick else _MANY
    with _place() as place:
        source = place.short_rows(count)
        asyncio.run(_answered(source, folder_of(place.folder / "out.jsonl"), int(count * _DONE)))
        found = list[float]()
        for _ in range(run.runs):
            began_at = time.time()
            found.append(place.do("resume", source)["first_at"] - began_at)
    took = statistics.median(found)
    return [
        Row(
            name=f"batch, {count:,} rows of which 99 % are done: to the first new call",
            unit="s",
            ours=took,
            compared=took,
            as_="unit",
            most=5.0,
            note="the process's start included; what is missing stands at the end",
            ratios=found,
        )
    ]


async def _answered(source: Path, folder: Path, count: int) -> None:
    """Make the journal of a job whose first rows are answered, in about their order."""
    form = OpenAILines()
    key_of, answer = RowKey(form.settled), Answer(200, b'{"text":"%b"}' % (b"x" * 400), request_id="req_1")
    journal = await asyncio.to_thread(Journal.open, folder, expected=count)
    with source.open("rb") as file:
        lines = list[bytes]()
        for number, line in enumerate(file):
            if number == count:
                break
            lines.append(line)
            if len(lines) == _SHUFFLED or number == count - 1:
                for each in sorted(lines, key=hash):
                    journal.put(record_of(key_of(form.content(each.strip())), answer))
                lines.clear()
            if journal.crowded:
                await journal.recorded()
    await journal.aclose()
