"""Rows that wait in a provider's batches are known again by a few bytes each."""

from __future__ import annotations

import gc
import tracemalloc
from hashlib import blake2b
from pathlib import Path

from stanchion.batch.lanes.older import OlderRows
from stanchion.batch.lanes.parts import Part, PartFolder, PartWriter, new_part
from stanchion.core.call import Operation

ROWS = 20_000  # of a part


def key(number: int) -> bytes:
    return blake2b(str(number).encode(), digest_size=16).digest()


def write(folder: PartFolder, rows: range) -> Part:
    writer = PartWriter(folder, new_part("here/m", Operation.CHAT, "m"), "/v1/chat/completions")
    for number in rows:
        writer.add(key(number), number, b'{"model":"m"}')
        if number % 1000 == 0:
            writer.flush()
    writer.close()
    return writer.part


def test_a_row_is_taken_once_and_belongs_to_its_part_alone(tmp_path: Path) -> None:
    folder = PartFolder(tmp_path)
    first, second = (
        write(folder, range(10)),
        write(folder, range(8, 20)),
    )  # 8 and 9 are in both: the later one's
    older = OlderRows(folder.folder, 22)
    older.add(folder, first)
    older.add(folder, second)
    assert [number for number in range(25) if older.take(key(number))] == list(range(20))
    assert not older.take(key(3))
    assert [number for number in range(25) if key(number) in older.of(first)] == list(range(8))
    assert [number for number in range(25) if key(number) in older.of(second)] == list(range(8, 20))
    older.close()


def test_a_row_that_the_job_does_not_ask_for_is_not_wanted(tmp_path: Path) -> None:
    folder = PartFolder(tmp_path)
    part = write(folder, range(10))
    older = OlderRows(folder.folder, 10)
    older.add(folder, part)
    assert older.take(key(4))
    assert [number for number in range(10) if key(number) in older.of(part)] == [4]
    older.close()


def test_a_row_takes_a_few_bytes(tmp_path: Path) -> None:
    folder = PartFolder(tmp_path)
    parts = [write(folder, range(at * ROWS, (at + 1) * ROWS)) for at in range(4)]
    older = OlderRows(folder.folder, 4 * ROWS)
    gc.collect()
    tracemalloc.start()
    for part in parts:
        older.add(folder, part)
    for number in range(4 * ROWS):
        assert older.take(key(number))
    used = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert used / (4 * ROWS) < 8
    older.close()
