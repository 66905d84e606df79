"""The semantic cache as its users meet it: over HTTP with the local model, in the library, through a provider."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from stanchion import AsyncClient
from stanchion.providers.minilm.encoder import Encoder
from stanchion.simulator import SimulatorOptions, Timing
from stanchion.stores.ledger import Asked
from stanchion.stores.opening import open_ledger
from tests.acceptance.raw_client import Answer, ask
from tests.acceptance.stage import KEY, QUICK, Gateway, Provider, provider, settled

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(60)]
ONE, ALIKE, OTHER = (
    "Can you help me find a therapist please?",
    "Can you please help me find a therapist?",  # 0.994
    "What is the balance in my account?",
)
SECTION = '[semantic_cache]\nmode = "{mode}"\nembedder = "{embedder}"\nwait_s = 5.0\n'


@pytest.fixture(scope="module")
def one() -> Iterator[Provider]:
    """A provider that gives each answer a name of its own."""
    with Provider(SimulatorOptions(timing=Timing(tokens_per_s=500.0), nondeterministic=True)) as running:
        yield running


@pytest.fixture(scope="module")
def near(one: Provider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    settings = QUICK + provider("one", one.base_url) + SECTION.format(mode="on", embedder="local")
    with Gateway(tmp_path_factory.mktemp("near"), settings) as running:
        yield running


@pytest.fixture
def own(request: pytest.FixtureRequest) -> dict[str, str]:
    """The headers of a caller that is this test's alone."""
    return {"authorization": f"Bearer {request.node.name}"}


def asked(text: str, *, stream: bool = False, **more: object) -> dict[str, object]:
    messages = [{"role": "system", "content": "You find help."}, {"role": "user", "content": text}]
    body = {"model": "gpt-4o", "messages": messages, "stream": stream, "max_tokens": 25, "temperature": 0}
    return {**body, **more}


async def known(gateway: Gateway, more_than: float) -> None:
    await settled(lambda: gateway.metric("stanchion_semantic_cache_entries") > more_than, 10)


def cache_of(answer: Answer) -> str | None:
    return answer.headers.get("x-stanchion-cache")


@pytest.mark.parametrize("stream", [False, True])
async def test_a_question_that_means_the_same_gets_the_same_bytes(
    near: Gateway, one: Provider, own: dict[str, str], *, stream: bool
) -> None:
    one.plan()
    before = near.metric("stanchion_semantic_cache_entries")
    hits = near.metric("stanchion_semantic_cache_calls_total", mode="on", result="hit")
    first = await ask(near.port, asked(ONE, stream=stream), headers=own)
    await known(near, before)
    again = await ask(near.port, asked(ALIKE, stream=stream), headers=own)
    other = await ask(near.port, asked(OTHER, stream=stream), headers=own)
    stranger = await ask(near.port, asked(ALIKE, stream=stream), headers={"authorization": "Bearer other"})
    assert all(each.is_success for each in (first, again, other, stranger))
    assert [cache_of(each) for each in (first, again, other, stranger)] == [
        "miss",
        "semantic",
        "miss",
        "miss",
    ]
    assert first.body == again.body
    assert first.body not in (other.body, stranger.body)
    assert 0.99 < float(again.headers["x-stanchion-similarity"]) < 1
    assert "x-stanchion-similarity" not in other.headers
    assert len(one.calls) == 3
    assert near.metric("stanchion_semantic_cache_calls_total", mode="on", result="hit") == hits + 1
    await settled(lambda: '"cache":"semantic"' in near.log)
    assert "therapist" not in near.log
    await known(near, before + 2)  # or the next test would take what comes late for its own


async def test_a_caller_may_want_nothing_but_what_it_asked(near: Gateway, own: dict[str, str]) -> None:
    before = near.metric("stanchion_semantic_cache_entries")
    await ask(near.port, asked(ONE), headers=own)
    await known(near, before)
    exact = await ask(near.port, asked(ALIKE), headers={**own, "cache-control": "exact"})
    assert cache_of(exact) == "miss"
    only = await ask(near.port, asked(OTHER), headers={**own, "cache-control": "only-if-cached"})
    assert (only.status, only.error["code"]) == (504, "not_cached")
    await known(near, before + 1)


async def test_in_shadow_mode_nobody_is_answered_and_figures_tell(tmp_path: Path, one: Provider) -> None:
    settings = QUICK + provider("one", one.base_url) + SECTION.format(mode="shadow", embedder="local")
    with Gateway(tmp_path, settings) as gateway:
        assert cache_of(await ask(gateway.port, asked(ONE))) == "miss"
        await known(gateway, 0)
        assert cache_of(await ask(gateway.port, asked(ALIKE))) == "miss"
        await settled(lambda: '"semantic_cache.shadow"' in gateway.log, 10)
        assert gateway.metric("stanchion_semantic_cache_calls_total", mode="shadow", result="hit") == 1
        assert gateway.metric("stanchion_semantic_cache_agreement_count", similarity="0.99") == 1
        assert "therapist" not in gateway.log


class _Embeds(BaseHTTPRequestHandler):
    """A provider of embeddings, with a real model behind it."""

    encoder: Encoder
    asked: list[dict[str, Any]]
    broken = False

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.asked.append(body)
        vector = self.encoder.encode(body["input"])
        assert vector is not None
        data = [{"object": "embedding", "index": 0, "embedding": vector.tolist()}]
        usage = {"prompt_tokens": 9, "total_tokens": 9}
        told = json.dumps({"object": "list", "data": data, "model": "mini", "usage": usage}).encode()
        self.send_response(503 if self.broken else 200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(told)))
        self.end_headers()
        self.wfile.write(told)

    def log_message(self, format: str, *args: Any) -> None:
        del format, args


@pytest.fixture
def embeds() -> Iterator[tuple[str, type[_Embeds]]]:
    made = type("Embeds", (_Embeds,), {"encoder": Encoder(), "asked": []})
    with ThreadingHTTPServer(("127.0.0.1", 0), made) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/v1", made
        server.shutdown()
        thread.join()


async def test_embeddings_of_a_provider_are_booked_and_where_they_fail_calls_go_on(
    tmp_path: Path, one: Provider, embeds: tuple[str, type[_Embeds]], monkeypatch: pytest.MonkeyPatch
) -> None:
    one.plan()
    url, server = embeds
    address = f"sqlite://{tmp_path}/ledger.db"
    settings = QUICK + provider("one", one.base_url) + provider("mini", url, 'models = ["mini"]')
    settings += SECTION.format(mode="on", embedder="mini/mini") + f'[stores]\nledger = "{address}"\n'
    config = tmp_path / "config.toml"
    config.write_text(settings + "[prices.mini]\ninput = 1000.0\noutput = 0.0\n")
    monkeypatch.setenv("CANARY_KEY", KEY)
    async with AsyncClient(config=config) as client:
        entries = (await client.engine()).metrics.semantic_entries.of
        first = await client.chat(ONE, model="gpt-4o", temperature=0)
        await settled(lambda: entries().value == 1, 10)
        again = await client.chat(ALIKE, model="gpt-4o", temperature=0)
        assert (first.cached, again.cached, first.text) == (False, True, again.text)
        assert (first.similarity, again.cost) == (None, 0)
        assert again.similarity is not None
        assert again.similarity > 0.99
        server.broken = True
        other = await client.chat(OTHER, model="gpt-4o", temperature=0)
        assert not other.cached
        assert [each["input"] for each in server.asked[:2]] == [ONE, ALIKE]
    ledger = open_ledger(address)
    rows = {row.key: row for row in await ledger.used(Asked(by=("provider",)))}
    await ledger.aclose()
    assert [rows["mini",].of(each) for each in ("calls", "failed")] == [3, 1]
    assert rows["mini",].of("cost_input") == 2 * 9 * 1000  # micro-dollars: 1,000 dollars for a million tokens
    assert [rows["semantic-cache",].of(each) for each in ("calls", "cached", "attempts")] == [1, 1, 0]
    assert rows["semantic-cache",].cost_micro_usd == 0
    assert len(one.calls) == 2
