"""The journal: what is put is found again, however the files were torn meanwhile."""

from __future__ import annotations

import asyncio
import os
import random
import resource
import shutil
from hashlib import blake2b
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stanchion.stores.journal.errors import JournalBusy, JournalError, JournalFull
from stanchion.stores.journal.journal import Journal, folder_of
from stanchion.stores.journal.lock import holder_of
from stanchion.stores.journal.records import DATA_BEGIN, ENTRY_BYTES, Kind, Record
from stanchion.stores.journal.table import Table


def key(number: int) -> bytes:
    return blake2b(str(number).encode(), digest_size=16).digest()


def record(number: int, kind: Kind = Kind.ANSWERED) -> Record:
    return Record(key(number), kind, 200, number, b'{"n":%d}' % number, b"body " * (number % 7))


async def write(folder: Path, *records: Record) -> None:
    journal = Journal.open(folder, durable=False)  # as for the files themselves, but for the waiting
    for each in records:
        journal.put(each)
    await journal.aclose()


def held(folder: Path, most: int) -> list[int]:
    """The numbers of the records that a journal has, each read and compared."""
    journal = Journal.open(folder)
    try:
        found = list[int]()
        for number in range(most):
            entry = journal.entry_of(key(number))
            if entry is not None:
                assert journal.record(entry) == record(number)
                found.append(number)
        assert journal.counts.answered == len(found)
        return found
    finally:
        journal.close()


async def test_what_is_put_is_found_at_once_and_after_opening_again(tmp_path: Path) -> None:
    journal = Journal.open(tmp_path)
    journal.put(record(1))
    assert journal.find(key(1))
    assert not journal.find(key(2))
    await journal.recorded()
    assert journal.find(key(1))
    journal.put(record(2))
    await journal.aclose()
    assert held(tmp_path, 3) == [1, 2]


async def test_the_money_of_all_records_is_known_when_it_is_opened(tmp_path: Path) -> None:
    await write(tmp_path, record(3), record(4), record(5, Kind.FAILED))
    journal = Journal.open(tmp_path)
    counts = journal.counts
    journal.close()
    assert (counts.answered, counts.failed, counts.spent_micro_usd) == (2, 1, 12)


async def test_what_failed_counts_as_not_asked_where_that_is_wanted(tmp_path: Path) -> None:
    await write(tmp_path, record(1, Kind.FAILED), record(2))
    journal = Journal.open(tmp_path, retry_failed=True)
    assert not journal.find(key(1))
    journal.put(record(1))
    await journal.aclose()
    assert held(tmp_path, 3) == [1, 2]


async def test_a_second_writer_is_refused_and_told_who_the_first_is(tmp_path: Path) -> None:
    journal = Journal.open(tmp_path)
    with pytest.raises(JournalBusy, match=f"process {os.getpid()} "):
        Journal.open(tmp_path)
    holder = holder_of(tmp_path / "lock")
    assert holder is not None
    assert holder.pid == os.getpid()
    journal.close()
    assert holder_of(tmp_path / "lock") is None
    Journal.open(tmp_path).close()


async def test_notes_are_kept_beside_answers(tmp_path: Path) -> None:
    note = Record(key(9), Kind.NOTE, meta=b'{"batch":"b1"}')
    await write(tmp_path, record(1), note, Record(key(9), Kind.NOTE, meta=b'{"batch":"b2"}'))
    journal = Journal.open(tmp_path)
    found = journal.note(key(9))
    journal.close()
    assert found is not None
    assert found.meta == b'{"batch":"b2"}'
    assert held(tmp_path, 3) == [1]


@pytest.mark.parametrize("torn", ["answers", "index"])
async def test_a_file_that_is_cut_at_any_byte_loses_no_record_that_is_whole(
    tmp_path: Path, torn: str
) -> None:
    whole = tmp_path / "whole"
    await write(whole, *map(record, range(6)))
    ends, at = list[int](), DATA_BEGIN
    for number in range(6):
        at += record(number).length
        ends.append(at)
    size = (whole / torn).stat().st_size
    for end in range(size + 1):
        copy = tmp_path / "copy"
        shutil.copytree(whole, copy)
        os.truncate(copy / torn, end)
        left = sum(1 for each in ends if each <= end) if torn == "answers" else 6
        assert held(copy, 8) == list(range(left))
        await write(copy, *map(record, range(left, 8)))  # and it goes on where it was cut
        assert held(copy, 8) == list(range(8))
        shutil.rmtree(copy)


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_a_byte_that_is_wrong_behind_what_is_surely_written_costs_nothing_before_it(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("journal")
    asyncio.run(write(folder, *map(record, range(6))))
    (folder / "synced").unlink(missing_ok=True)  # a loss of power: nothing is sure
    torn = data.draw(st.sampled_from(["answers", "index"]))
    least = DATA_BEGIN if torn == "answers" else ENTRY_BYTES
    raw = bytearray((folder / torn).read_bytes())
    at = data.draw(st.integers(least, len(raw) - 1))
    raw[at] ^= data.draw(st.integers(1, 255))
    (folder / torn).write_bytes(raw)
    end, left = DATA_BEGIN, 6
    if torn == "answers":
        left = 0
        for number in range(6):
            end += record(number).length
            if end > at:
                break
            left += 1
    assert held(folder, 6) == list(range(left))


async def test_an_index_of_another_journal_is_made_anew(tmp_path: Path) -> None:
    await write(tmp_path / "a", record(1), record(2))
    await write(tmp_path / "b", record(3), record(4), record(5))
    shutil.copy(tmp_path / "b" / "index", tmp_path / "a" / "index")
    assert held(tmp_path / "a", 6) == [1, 2]


async def test_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "answers").write_bytes(b"what is this file for?")
    with pytest.raises(JournalError, match="is no journal"):
        Journal.open(tmp_path)
    assert holder_of(tmp_path / "lock") is None


async def test_a_full_disk_keeps_what_was_whole_and_says_so(tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    journal = Journal.open(tmp_path)
    big = [Record(key(number), Kind.ANSWERED, 200, 0, b"{}", b"x" * 10_000) for number in range(10)]
    resource.setrlimit(resource.RLIMIT_FSIZE, (55_000, before[1]))
    try:
        for each in big:
            journal.put(each)
        with pytest.raises(JournalFull, match="make room"):
            await journal.recorded()
        with pytest.raises(JournalFull):
            journal.put(big[0])
        await journal.aclose()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    again = Journal.open(tmp_path)
    try:
        assert [again.find(key(number)) for number in range(10)] == [True] * 5 + [False] * 5
        entry = again.entry_of(key(4))
        assert entry is not None
        assert again.record(entry) == big[4]
    finally:
        again.close()


async def test_more_waits_than_is_written_only_for_a_while(tmp_path: Path) -> None:
    journal = Journal.open(tmp_path)
    for number in range(5000):
        journal.put(record(number))
    assert journal.crowded
    assert journal.unwritten == 5000
    await journal.recorded()
    assert (journal.crowded, journal.unwritten) == (False, 0)
    await journal.aclose()


async def test_each_record_that_is_written_lets_one_go_and_the_last_of_them_all(tmp_path: Path) -> None:
    journal = Journal.open(tmp_path)
    went = list[int]()

    async def wait(name: int) -> None:
        await journal.eased()
        went.append(journal.unwritten)

    for number in range(300):  # several groups
        journal.put(record(number))
    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        tasks = [group.create_task(wait(name)) for name in range(400)]
        await asyncio.sleep(0)
        tasks[0].cancel()
    assert len(went) == 399
    first_group = 300 - max(went)
    assert 0 < went.count(max(went)) <= first_group < 300
    assert went.count(0) >= 100
    await asyncio.wait_for(journal.eased(), 1)  # nothing is unwritten: nobody waits
    await journal.aclose()


async def fails(journal: Journal) -> None:
    with pytest.raises(JournalFull):
        await journal.eased()


async def test_a_disk_that_fails_lets_all_go_with_its_error(tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    journal = Journal.open(tmp_path)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5_000, before[1]))
    try:
        for number in range(3):
            journal.put(Record(key(number), Kind.ANSWERED, 200, 0, b"{}", b"x" * 10_000))
        async with asyncio.timeout(10), asyncio.TaskGroup() as group:
            for _ in range(5):
                group.create_task(fails(journal))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        await journal.aclose()


def test_the_folder_is_beside_the_output() -> None:
    assert folder_of(Path("a/out.jsonl")) == Path("a/out.jsonl.stanchion")


class Listed:
    """Keys in a list, as a table knows an index."""

    def __init__(self, keys: list[bytes]) -> None:
        self._keys = keys

    def has(self, number: int, key: bytes) -> bool:
        return self._keys[number] == key

    def key_of(self, number: int) -> bytes:
        return self._keys[number]


@given(st.lists(st.integers(0, 400), max_size=600), st.integers(0, 600))
def test_a_table_finds_what_a_dictionary_finds(numbers: list[int], at_once: int) -> None:
    keys = [key(number) for number in numbers]
    table, wanted = Table(Listed(keys), at_once % 97), dict[bytes, int]()
    again = table.extend(keys[:at_once], 0)  # as when a journal is opened, then as when it is written
    for number, each in enumerate(keys):
        before = wanted.get(each, -1)
        assert number < at_once or table.put(each, number) == before
        assert number >= at_once or before < 0 or (number, before) in again
        wanted[each] = number
    assert len(table) == len(wanted)
    assert all(table.find(key(number)) == wanted.get(key(number), -1) for number in range(401))


@pytest.mark.parametrize("failed", [0, 3])
async def test_keys_are_found_in_whatever_order_they_are_looked_up(tmp_path: Path, failed: int) -> None:
    folder, many, chance = tmp_path, 5000, random.Random(failed)
    await write(folder, *[record(number, Kind.FAILED) for number in range(failed)], *map(record, range(many)))
    journal = Journal.open(folder)
    near = list(range(many + 50))
    for at in range(0, many, 100):
        part = near[at : at + 100]
        chance.shuffle(part)
        near[at : at + 100] = part
    anyhow = list(near)
    chance.shuffle(anyhow)
    for number in (*near, *anyhow):
        assert journal.number_of(key(number)) == (failed + number if number < many else -1)
    journal.put(record(7, Kind.FAILED))
    await journal.recorded()
    assert journal.number_of(key(7)) == failed + many
    await journal.aclose()
