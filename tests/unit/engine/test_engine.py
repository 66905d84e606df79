"""The engine: one whole of settings, stacks and tasks; a bad reload keeps the old."""

from __future__ import annotations

import asyncio
import threading
from collections import UserDict
from pathlib import Path

import pytest
from msgspec import structs

from stanchion.core.errors import SettingsError, UnknownModel
from stanchion.engine.config import Loaded, load
from stanchion.engine.engine import Engine
from stanchion.engine.watch import Watch
from stanchion.testing import chat_call, virtual_time

TEXT = "[providers.{name}]\nbase_url = 'http://127.0.0.1:9/v1'\nauth = 'none'\nmodels = ['{name}-*']\n"


def loaded(tmp_path: Path, *names: str, more: str = "", **environ: str) -> Loaded:
    file = tmp_path / "s.toml"
    file.write_text("".join(TEXT.format(name=name) for name in names) + more, encoding="utf-8")
    return load(file, environ=environ)


async def serves(engine: Engine, model: str) -> bool:
    try:
        engine._catalog.route(chat_call(model=model))
    except UnknownModel:
        return False
    return True


def test_new_settings_are_taken_and_bad_ones_keep_the_old(tmp_path: Path) -> None:
    async def run() -> None:
        first = loaded(tmp_path, "a", "b")
        async with Engine(first) as engine:
            assert [await serves(engine, model) for model in ("a-1", "c-1")] == [True, False]
            engine.reload(loaded(tmp_path, "a", "c"))
            assert [await serves(engine, model) for model in ("b-1", "c-1")] == [False, True]
            before = engine.loaded
            bad = loaded(tmp_path, "a", more="[providers.x]\nbase_url='http://x'\nkey_file='gone'\n")
            with pytest.raises(SettingsError, match="gone"):
                engine.reload(bad)
            assert engine.loaded is before
            assert await serves(engine, "c-1")
            assert engine.metrics.reloads.of("taken").value == 1
            assert engine.metrics.reloads.of("refused").value == 1

    asyncio.run(run())


def test_a_file_that_became_bad_keeps_the_old_settings(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def run() -> None:
        first = loaded(tmp_path, "a", "b")
        assert first.file is not None
        async with Engine(first) as engine:
            watch = Watch(engine, lambda: load(first.file, environ={}))
            first.file.write_text("[retry]\natempts = 3\n", encoding="utf-8")
            assert await watch.reload() is False
            assert engine.loaded is first
            assert [record.getMessage() for record in caplog.records] == ["settings.refused"]
            assert engine.metrics.reloads.of("refused").value == 1
            loaded(tmp_path, "c", "d")
            assert await watch.reload() is True
            assert await serves(engine, "c-1")

    asyncio.run(run())


class OffTheLoop(UserDict[str, str]):
    """An environment that takes the file away which it names, when the loop's own thread asks for it."""

    def __getitem__(self, name: str) -> str:
        if threading.current_thread() is threading.main_thread():
            Path(self.data[name]).unlink(missing_ok=True)
        return self.data[name]


def test_a_reload_reads_no_key_on_the_loop(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("sk-canary", encoding="utf-8")
    key.chmod(0o600)

    async def run() -> None:
        async with Engine(loaded(tmp_path, "a")) as engine:
            more = "[providers.x]\nbase_url='http://x'\nkey_env='K'\n"
            new = loaded(tmp_path, "a", more=more, K_FILE=str(key))
            new = structs.replace(new, environ=OffTheLoop(K_FILE=str(key)))
            assert await Watch(engine, lambda: new).reload() is True
            assert [slot.word for slot in engine.keys.slots.values()] == ["active"]
            assert not key.exists()

    asyncio.run(run())


def test_a_file_system_that_is_gone_keeps_the_old_settings_and_the_loop_going(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    back = threading.Event()

    @virtual_time
    async def run() -> None:
        first, new = loaded(tmp_path, "a"), loaded(tmp_path, "c")
        reads = list[int]()

        def read() -> Loaded:
            reads.append(threading.get_ident())
            back.wait(20.0)
            return new

        async with Engine(first) as engine:
            watch = Watch(engine, read)
            for waited_s in (10.0, 20.0):  # the second time no further thread is left hanging
                assert await watch.reload() is False
                assert asyncio.get_running_loop().time() == waited_s
            assert (engine.loaded, len(reads)) == (first, 1)
            assert engine.metrics.reloads.of("refused").value == 2
            assert len(caplog.records) == 2
            assert all("the file system" in vars(record)["facts"]["why"] for record in caplog.records)
            back.set()

    try:
        run()
    finally:
        back.set()


def test_settings_that_cannot_work_leave_no_task_behind(tmp_path: Path) -> None:
    bad = loaded(tmp_path, "a", more="[providers.x]\nbase_url='http://x'\nkey_file='gone'\n")

    async def run() -> None:
        with pytest.raises(SettingsError):
            async with Engine(bad):
                raise AssertionError("it started")
        assert len(asyncio.all_tasks()) == 1

    asyncio.run(run())


def test_a_task_of_the_engines_that_fails_stops_no_other_and_ends_with_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def fails() -> None:
        raise RuntimeError("ours")

    async def run() -> None:
        async with Engine(loaded(tmp_path, "a")) as engine:
            engine.spawn(fails())
            endless = engine.spawn(asyncio.sleep(3600))
            await asyncio.sleep(0)
        assert endless.cancelled()
        assert len(asyncio.all_tasks()) == 1

    asyncio.run(run())
    assert [record.getMessage() for record in caplog.records] == ["engine.task_failed"]


def test_a_model_nobody_serves_is_counted_as_a_call(tmp_path: Path) -> None:
    async def run() -> None:
        async with Engine(loaded(tmp_path, "a", "b")) as engine:
            with pytest.raises(UnknownModel):
                await engine(chat_call(model="nothing"))
            labels = {"operation": "chat/completions", "outcome": "failed", "code": "UnknownModel"}
            assert engine.metrics.registry.get_sample_value("stanchion_calls_total", labels) == 1

    asyncio.run(run())
