"""Files of callers: bounded, each caller's own, and whole or not there."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from stanchion.batch.api.check import check_file
from stanchion.batch.api.files import FileStore, StoredFile
from stanchion.core.call import Operation
from stanchion.core.errors import InvalidCall


def opened(folder: Path, **more: float) -> FileStore:
    store = FileStore(folder, caller_most_bytes=100, keep_days=more.get("keep_days", 1.0))
    store.open()
    return store


def put(store: FileStore, owner: str, content: bytes) -> StoredFile:
    name, path = store.new_path()
    path.write_bytes(content)
    return store.add(name, owner=owner, filename="in.jsonl", purpose="batch")


def test_a_caller_has_its_own_files_and_its_own_room(tmp_path: Path) -> None:
    store = opened(tmp_path)
    file = put(store, "ann", b"x" * 60)
    assert store.room("ann") == 40
    assert store.room("bob") == 100
    assert store.get(file.id, "ann") == file
    with pytest.raises(InvalidCall, match="no such file"):
        store.get(file.id, "bob")
    with pytest.raises(InvalidCall):
        store.get("../../etc/passwd", "ann")
    assert store.of("bob") == []


def test_files_are_there_after_a_restart_and_what_was_half_written_is_not(tmp_path: Path) -> None:
    file = put(opened(tmp_path), "ann", b"content")
    (tmp_path / "file-half.data").write_bytes(b"half")
    (tmp_path / "file-broken.json").write_bytes(b"{")
    store = opened(tmp_path)
    assert store.of("ann") == [file]
    assert store.path(file.id).read_bytes() == b"content"
    assert not (tmp_path / "file-half.data").exists()


def test_what_has_expired_goes_unless_it_is_read(tmp_path: Path) -> None:
    store = opened(tmp_path, keep_days=0.0)
    kept, gone = put(store, "ann", b"a"), put(store, "ann", b"b")
    assert kept.expires_at <= time.time()
    assert store.sweep({kept.id}) == 1
    assert store.of("ann") == [kept]
    assert not store.path(gone.id).exists()


def test_a_file_is_checked_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl"
    line = '{"custom_id":"%s","method":"POST","url":"/v1/embeddings","body":{"model":"m"}}\n'
    path.write_text("".join(line % n for n in range(5)) + "\n")
    assert check_file(path, Operation.EMBEDDINGS, 5) == (5, [])
    _, faults = check_file(path, Operation.EMBEDDINGS, 4)
    assert [fault.code for fault in faults] == ["too_many_tasks"]
    _, faults = check_file(path, Operation.CHAT, 5)
    assert [fault.line for fault in faults] == [1, 2, 3, 4, 5]
    path.write_text("\n\n")
    assert [fault.code for fault in check_file(path, Operation.CHAT, 5)[1]] == ["empty_file"]
