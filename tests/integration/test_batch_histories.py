"""Any history of a job: its rows, template and parameters change between runs, of which some are killed and their
journals torn.  What was recorded is never lost and never asked again, and the end is that of a job without a history.

A kill is the journal's files as they lie there at that instant, taken up by the next run; the killed one writes on
where nobody looks.  What is recorded is read from the disk by the record's own body, not by the product's index.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, cast

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from stanchion.batch.job import Ended, Job
from stanchion.batch.lanes.sync import SyncLane
from stanchion.batch.parts import parts_of
from stanchion.batch.run import Run
from stanchion.batch.wanted import Wanted
from stanchion.core.call import Call
from stanchion.core.chunk import Chunk
from stanchion.core.clock import Clock
from stanchion.core.errors import Refused
from stanchion.core.reply import Head, Reply
from stanchion.engine.engine import Engine
from stanchion.engine.model_facts import ModelFacts
from stanchion.engine.spread_outcome import SpreadOptions
from stanchion.observe.metrics import Metrics
from stanchion.stores.journal.records import DATA_BEGIN, HEADER, Kind, length_of, unpack
from stanchion.wire.answers import read_whole

pytestmark = pytest.mark.timeout(240)

WIDE = 4  # calls open at most
TEMPLATES = ("Say {{ text }}", "Translate {{ text }}", "{{ text }}, of {{ topic }}")
PARAMS = ("", '{"temperature": 0}', '{"temperature": 1}')
JOURNAL = ("answers", "index", "synced")


class Asked(NamedTuple):
    """What a row asks, as this file understands it."""

    prompt: str
    temperature: int | None


def mark_of(asked: Asked) -> str:
    """What an answer says of the question."""
    return hashlib.blake2b(repr(asked).encode(), digest_size=8).hexdigest()


class Answering:
    """A service that counts what it is asked, and after `most` answers is silent; it stands where an engine does."""

    books = None  # no prices

    def __init__(self, most: int | None = None) -> None:
        self.clock, self.metrics = Clock(), Metrics()
        self.asked = Counter[Asked]()
        self._left = most
        self.silent = asyncio.Event()

    async def __call__(self, call: Call, /) -> Reply:
        fields = call.body.fields
        asked = Asked(fields["messages"][-1]["content"], fields.get("temperature"))
        self.asked[asked] += 1
        await asyncio.sleep(0)
        if self._left == 0:
            self.silent.set()
            await asyncio.Event().wait()  # until it is cancelled
        if self._left is not None:
            self._left -= 1
        mark = mark_of(asked)
        if "refuse" in asked.prompt:
            raise Refused(
                "not this one",
                status=400,
                upstream_status=400,
                retryable=False,
                elsewhere=False,
                body=json.dumps({"mark": mark}).encode(),
            )
        usage = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
        message = {"role": "assistant", "content": asked.prompt[::-1]}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        raw = json.dumps({"mark": mark, "choices": [choice], "usage": usage}).encode()
        head = Head(endpoint="here", headers={"x-request-id": f"req-{mark}"})
        return Reply.whole(head, Chunk(raw, read_whole(call.operation)), None)


class Record(NamedTuple):
    """A whole record of a journal's file."""

    begin: int
    end: int
    mark: str
    answered: bool


def records(folder: Path) -> list[Record]:
    """Read what a journal's file holds, until something is no record."""
    try:
        raw = (folder / "answers").read_bytes()
    except FileNotFoundError:
        return []
    found, at = list[Record](), DATA_BEGIN
    while length := length_of(raw[at : at + HEADER.size]):
        record = unpack(raw[at : at + length])
        if record is None:
            break
        mark = json.loads(record.body)["mark"]
        found.append(Record(at, at + length, mark, record.kind == Kind.ANSWERED))
        at += length
    return found


class Place:
    """A folder with one output, of which the input, the template and the parameters change."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.journal = folder / "out.jsonl.stanchion"

    def wanted(self, lines: Lines, template: int, params: int) -> Wanted:
        (self.folder / "in.jsonl").write_bytes(
            b"".join((each if isinstance(each, bytes) else each.raw) + b"\n" for each in lines)
        )
        (self.folder / "ask.j2").write_text(TEMPLATES[template], encoding="utf-8")
        return Wanted(
            source=str(self.folder / "in.jsonl"),
            output=str(self.folder / "out.jsonl"),
            template=str(self.folder / "ask.j2"),
            model="m",
            params=PARAMS[params],
            id_field="id",
        )

    def results(self) -> tuple[bytes, bytes | None]:
        """The output, and the errors if there are any."""
        errors = self.folder / "out.errors.jsonl"
        return (self.folder / "out.jsonl").read_bytes(), errors.read_bytes() if errors.exists() else None


def _no_facts(model: str) -> ModelFacts:
    """Nobody asks: there is no cap, and no schema."""
    raise AssertionError(model)


def run_of(service: Answering, wanted: Wanted, *, retry_failed: bool, durable: bool) -> Run:
    parts = parts_of(wanted, _no_facts)
    lane = SyncLane(cast("Engine", service), SpreadOptions(most=WIDE, start=WIDE))
    return Run(
        Job(
            parts.source,
            parts.form,
            parts.outputs,
            (lane,),
            wanted.folder,
            retry_failed=retry_failed,
            durable=durable,
        )
    )


async def whole(
    wanted: Wanted, *, retry_failed: bool = False, durable: bool = False
) -> tuple[Ended, Counter[Asked]]:
    """Run a job to its end; return how it ended and what it asked."""
    service = Answering()
    ended = await run_of(service, wanted, retry_failed=retry_failed, durable=durable).run()
    return ended, service.asked


async def killed(wanted: Wanted, most: int, *, settled: bool, durable: bool) -> Counter[Asked]:
    """Kill a run after so many answers, all of them recorded if `settled`; return what it asked."""
    service = Answering(most)
    run = run_of(service, wanted, retry_failed=False, durable=durable)
    async with asyncio.TaskGroup() as group:
        running, silent = group.create_task(run.run()), group.create_task(service.silent.wait())
        await asyncio.wait((running, silent), return_when=asyncio.FIRST_COMPLETED)
        if settled and not running.done():
            await run.recorded()
        kept = wanted.folder.with_name("kept")
        kept.mkdir()
        for name in reversed(JOURNAL):  # each file is older than the one it tells of, as on a disk
            with contextlib.suppress(FileNotFoundError):
                shutil.copy(wanted.folder / name, kept / name)
        running.cancel()
        silent.cancel()
    shutil.rmtree(wanted.folder)
    kept.rename(wanted.folder)
    return service.asked


class Line(NamedTuple):
    """A row, written short: examples are printed."""

    text: str
    topic: str
    notes: int  # words that no template reads

    @property
    def raw(self) -> bytes:
        row = {"id": self.text[-1], "text": self.text, "topic": self.topic, "note": "seen " * self.notes}
        return json.dumps(row).encode()


Lines = list[Line | bytes]  # bytes are no row


def insert(lines: Lines, at: int, new: Line | bytes) -> None:
    lines.insert(at % (len(lines) + 1), new)


def delete(lines: Lines, at: int) -> None:
    if lines:
        del lines[at % len(lines)]


def edit(lines: Lines, at: int, new: Line | bytes) -> None:
    if lines:
        lines[at % len(lines)] = new


def move(lines: Lines, at: int, to: int) -> None:
    if lines:
        insert(lines, to, lines.pop(at % len(lines)))


def double(lines: Lines, at: int, to: int) -> None:
    if lines:
        insert(lines, to, lines[at % len(lines)])


class Change(NamedTuple):
    """What is done to the rows."""

    how: Callable[..., None]
    words: tuple[Any, ...]

    def __call__(self, lines: Lines) -> None:
        self.how(lines, *self.words)


TEXTS = st.integers(0, 11).map(lambda number: f"refuse {number}" if number % 6 == 5 else f"word {number}")
PLACES = st.integers(0, 1000)  # modulo as many as there are
NOTES = st.sampled_from([0, 1, 8000])  # the longest fill a page of the input
NO_ROWS = st.sampled_from([b"{broken", b"", b"[1]"])
ROWS = st.builds(Line, TEXTS, st.sampled_from(["ice", "fire"]), NOTES)
CHANGES = st.one_of(
    st.builds(Change, st.sampled_from([insert, edit]), st.tuples(PLACES, ROWS)),
    st.builds(Change, st.just(insert), st.tuples(PLACES, NO_ROWS)),
    st.builds(Change, st.just(delete), st.tuples(PLACES)),
    st.builds(Change, st.sampled_from([move, double]), st.tuples(PLACES, PLACES)),
)


class Histories(RuleBasedStateMachine):
    """One job, and all that may happen to it."""

    @initialize(lines=st.lists(ROWS, max_size=10))
    def begin(self, lines: Lines) -> None:
        self.made = tempfile.TemporaryDirectory()
        self.place = Place(Path(self.made.name))
        self.lines = lines
        self.template = self.params = 0

    def teardown(self) -> None:
        if hasattr(self, "made"):
            self.made.cleanup()

    def asks(self) -> set[Asked]:
        """What the rows ask now."""
        found = set[Asked]()
        for each in self.lines:
            if isinstance(each, Line):
                text, topic = each.text, each.topic
                prompt = (f"Say {text}", f"Translate {text}", f"{text}, of {topic}")[self.template]
                found.add(Asked(prompt, (None, 0, 1)[self.params]))
        return found

    def wanted(self) -> Wanted:
        return self.place.wanted(self.lines, self.template, self.params)

    # --- between two runs -----------------------------------------------------------------------------

    @rule(changes=st.lists(CHANGES, min_size=1, max_size=6))
    def change_rows(self, changes: list[Change]) -> None:
        for change in changes:
            change(self.lines)

    @rule(by=st.integers(1, len(TEMPLATES) - 1))
    def change_template(self, by: int) -> None:
        self.template = (self.template + by) % len(TEMPLATES)

    @rule(by=st.integers(1, len(PARAMS) - 1))
    def change_params(self, by: int) -> None:
        self.params = (self.params + by) % len(PARAMS)

    @rule(file=st.sampled_from(JOURNAL), cut=PLACES)
    def tear(self, file: str, cut: int) -> None:
        """Cut the last record off the answers, or the end off another file, at any byte of it."""
        path = self.place.journal / file
        found = records(self.place.journal)
        if not found or not path.exists():
            return
        size = path.stat().st_size
        last = found[-1].end - found[-1].begin if file == "answers" else min(size, 60)
        if last:
            with path.open("rb+") as torn:
                torn.truncate(size - 1 - cut % last)

    # --- runs -----------------------------------------------------------------------------------------

    @rule(most=st.integers(0, 12), settled=st.booleans(), durable=st.booleans())
    def run_and_kill(self, most: int, *, settled: bool, durable: bool) -> None:
        before = {each.mark for each in records(self.place.journal)}
        asked = asyncio.run(killed(self.wanted(), most, settled=settled, durable=durable))
        marks = {mark_of(each) for each in asked}
        after = {each.mark for each in records(self.place.journal)}
        assert before <= after, "a row that was recorded is lost"
        assert after <= before | marks
        assert not marks & before, "what was recorded is asked again"
        assert asked.keys() <= self.asks()
        assert asked.total() == len(asked), "one run asks the same twice"
        if settled:
            assert len(marks - after) <= WIDE, "more is lost than was in flight"

    @rule(retry_failed=st.booleans(), durable=st.booleans())
    def run_to_the_end(self, *, retry_failed: bool, durable: bool) -> None:
        found = records(self.place.journal)
        before = {each.mark for each in found if each.answered or not retry_failed}
        ended, asked = asyncio.run(whole(self.wanted(), retry_failed=retry_failed, durable=durable))
        asks = self.asks()
        assert not ended.stopped
        assert ended.undone == 0
        assert asked == Counter(each for each in asks if mark_of(each) not in before)
        after = {each.mark for each in records(self.place.journal)}
        assert after == {each.mark for each in found} | {mark_of(each) for each in asks}
        with tempfile.TemporaryDirectory() as other:
            fresh = Place(Path(other))
            alone, once = asyncio.run(whole(fresh.wanted(self.lines, self.template, self.params)))
            assert once == Counter(asks)
            assert self.normal(self.place) == self.normal(fresh)
            assert (ended.rows, ended.rows_failed) == (alone.rows, alone.rows_failed)

    @staticmethod
    def normal(place: Place) -> tuple[bytes, bytes | None]:
        """The results, byte for byte, but for the folder's name in the words about rows that are none."""
        output, errors = place.results()
        name = str(place.folder).encode()
        return output.replace(name, b""), None if errors is None else errors.replace(name, b"")


Histories.TestCase.settings = settings(max_examples=80, stateful_step_count=20)
TestHistories = Histories.TestCase
