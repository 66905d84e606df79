"""`client.map` over real sockets: order, errors, the window, the journal, and leaving early."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from stanchion import AsyncClient, Client, Refused, StanchionError
from tests.acceptance.batch_world import Upstream

pytestmark = pytest.mark.timeout(30)


def client(upstream: Upstream) -> AsyncClient:
    return AsyncClient(base_url=upstream.base_url, api_key="sk-test")


def said(text: str) -> str:
    """What the provider says to a text, after its mark."""
    return text[::-1]


async def test_results_come_in_the_order_of_the_rows_with_their_rows() -> None:
    rows = [{"n": number} for number in range(60)]
    async with Upstream(latency_s=0.05) as upstream, client(upstream) as asked:
        results = [each async for each in asked.map(rows, "say {{ n }}", model="m")]
    assert [each.row for each in results] == rows
    assert [each.text.split(" ", 1)[1] for each in results] == [said(f"say {n}") for n in range(60)]
    assert [each.number for each in results] == list(range(60))


async def test_results_come_as_they_are_answered_where_that_is_wanted() -> None:
    texts = [f"say {number}" for number in range(60)]
    async with Upstream(latency_s=0.1) as upstream, client(upstream) as asked:
        numbers = [each.number async for each in asked.map(texts, model="m", order="completion")]
    assert sorted(numbers) == list(range(60))
    assert numbers != sorted(numbers)


async def test_a_row_that_fails_is_a_result_and_the_rest_goes_on() -> None:
    rows = [{"text": "say 1"}, {"text": "refuse 2"}, {"other": "x"}, {"text": "say 4"}]
    async with Upstream() as upstream, client(upstream) as asked:
        results = [each async for each in asked.map(rows, "{{ text }}", model="m")]
    assert [each.error is None for each in results] == [True, False, False, True]
    assert isinstance(results[1].error, Refused)
    assert "'text'" in str(results[2].error)
    with pytest.raises(StanchionError):
        _ = results[1].text


async def test_no_more_rows_are_read_than_results_are_taken() -> None:
    read = 0

    def rows() -> Iterator[str]:
        nonlocal read
        while True:
            read += 1
            yield f"say {read}"

    async with Upstream() as upstream, client(upstream) as asked:
        async with asked.map(rows(), model="m", concurrency=5) as results:
            for _ in range(30):
                await anext(results)
            assert read <= 30 + 5 * 4 + 1
        assert upstream.open_most <= 5


async def test_what_is_in_the_journal_is_not_asked_again(tmp_path: Path) -> None:
    async def rows(count: int) -> AsyncIterator[dict[str, Any]]:
        for number in range(count):
            yield {"n": number % 20}

    async def told(asked: AsyncClient, count: int) -> list[str]:
        found = asked.map(rows(count), "say {{ n }}", model="m", temperature=0.5, journal=tmp_path / "kept")
        return [each.text async for each in found]

    async with Upstream() as upstream, client(upstream) as asked:
        first = await told(asked, 40)
        assert upstream.asked.total() == 20, "twins were not asked once"
        assert await told(asked, 30) == first[:30]
        assert upstream.asked.total() == 20
        kept = [
            each
            async for each in asked.map(
                [{"n": 3}], "say {{ n }}", model="m", temperature=0.5, journal=tmp_path / "kept"
            )
        ]
        assert kept[0].reply is not None
        assert (kept[0].reply.cached, kept[0].reply.request_id is None) == (True, False)


async def test_what_reading_the_rows_raises_is_raised_to_the_reader() -> None:
    def rows() -> Iterator[str]:
        yield "say 1"
        raise LookupError("the database is gone")

    async with Upstream() as upstream, client(upstream) as asked:
        results = asked.map(rows(), model="m")
        with pytest.raises(LookupError, match="is gone"):
            _ = [each async for each in results]


async def test_leaving_early_ends_what_is_in_flight() -> None:
    async with Upstream(latency_s=1000.0) as upstream, client(upstream) as asked:
        async with asked.map([f"say {n}" for n in range(10)], model="m"):
            await upstream.next_asked()
        await upstream.quiet()
        assert upstream.answered == set()


def test_blocking_code_maps_too() -> None:
    import asyncio
    import threading

    ready, done = threading.Event(), threading.Event()
    found: list[Upstream] = []

    async def serve() -> None:
        async with Upstream() as upstream:
            found.append(upstream)
            ready.set()
            await asyncio.to_thread(done.wait)

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    ready.wait()
    try:
        with Client(base_url=found[0].base_url, api_key="sk-test") as asked:
            with asked.map([{"n": n} for n in range(50)], "say {{ n }}", model="m") as results:
                texts = [each.text.split(" ", 1)[1] for each in results]
            for each in asked.map((f"say {n}" for n in range(1000)), model="m", concurrency=4):
                assert each.number == 0
                break
    finally:
        done.set()
        thread.join()
    assert texts == [said(f"say {n}") for n in range(50)]
