"""A job's cap on money is never passed, and nearly all of it can be used."""

from __future__ import annotations

import random
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stanchion.batch.answers import Answer
from stanchion.batch.cap import Cap
from stanchion.batch.forms.bounded import BoundedForm
from stanchion.batch.forms.template import TemplateForm
from stanchion.batch.lanes.lane import Item
from stanchion.batch.rows import BadRow, Request, Row
from stanchion.core.call import Operation
from stanchion.core.errors import InvalidCall, UnknownModel
from stanchion.core.usage import Usage
from stanchion.engine.config import load
from stanchion.engine.model_facts import ModelFacts, Models
from stanchion.rules.lane_choice import Offer
from stanchion.rules.pricing import MILLION, Price, cost_micro_usd
from stanchion.rules.template import Template

PRICE = Price(MILLION, 4 * MILLION)


def facts(_: str = "", *, targets: int = 1, price: Price | None = PRICE) -> ModelFacts:
    return ModelFacts(
        ("p/m",),
        ("p/m",),
        (price,),
        targets,
        takes_schemas=True,
        offer=Offer(PRICE, batches=True),
        requests_per_minute=0,
        tokens_per_minute=0,
    )


def request(**fields: Any) -> Request:
    return Request("r", Operation.CHAT, msgspec.json.encode({"model": "m", "messages": [], **fields}))


@given(st.integers(0, 2**32), st.integers(2_000_000, 5_000_000), st.integers(1, 50))
def test_a_cap_is_never_passed_and_is_nearly_used_up(seed: int, most: int, open_most: int) -> None:
    source = random.Random(seed)
    cap = Cap(most, facts)
    open_calls = list[Item]()
    for number in range(100_000):
        row = request(max_tokens=source.randint(1, 2000), text="x" * source.randint(0, 4000))
        key = number.to_bytes(16, "big")
        item = Item(key, number, row)
        while not cap.admit(item) or len(open_calls) >= open_most:
            if not open_calls:
                break
            _settle(cap, open_calls, source)
            if key in cap._holds:
                break
        if key not in cap._holds:
            break
        open_calls.append(item)
        assert cap.spent + cap.held <= most
    while open_calls:
        _settle(cap, open_calls, source)
        assert cap.spent <= most
    assert cap.held == 0
    assert cap.spent >= 0.95 * most


def _settle(cap: Cap, open_calls: list[Item], source: random.Random) -> None:
    item = open_calls.pop(source.randrange(len(open_calls)))
    asked = msgspec.json.decode(item.request.body)
    usage = Usage(
        input=source.randint(1, len(item.request.body)), output=source.randint(0, asked["max_tokens"])
    )
    cap.settle(item, Answer(200, cost_micro_usd=cost_micro_usd(usage, PRICE)))


def test_what_earlier_runs_spent_counts() -> None:
    cap = Cap(1000, facts)
    cap.begin(990)
    assert not cap.admit(Item(b"k", 1, request(max_tokens=100)))
    assert cap.left == 10


def test_each_target_of_a_route_may_be_paid() -> None:
    one, three = Cap(10**9, facts), Cap(10**9, lambda model: facts(model, targets=3))
    asked = request(max_tokens=10)
    assert three.cost_most(asked) == 3 * one.cost_most(asked)


def test_a_model_without_a_price_is_refused() -> None:
    cap = Cap(1000, lambda model: facts(model, price=None))
    with pytest.raises(InvalidCall, match=r"p/m: write it under \[prices\].*--price-as"):
        cap.admit(Item(b"k", 1, request()))
    assert cap.held == 0


def test_a_try_that_failed_costs_what_it_used() -> None:
    cap = Cap(10_000, facts)
    item = Item(b"k", 1, request(max_tokens=10))
    for cost in (None, Answer(503)):
        assert cap.admit(item)
        cap.settle(item, cost)
    assert (cap.spent, cap.held) == (0, 0)


def test_a_row_without_a_bound_is_given_one() -> None:
    line = b'{"text":"a"}'
    priced = Cap(1000, facts).cost_most
    plain = TemplateForm(Template("{{ text }}"), model="m")
    bounded = BoundedForm(plain, 300, priced)
    assert msgspec.json.decode(bounded.request(Row(1, line)).body)["max_completion_tokens"] == 300
    assert bounded.settled == plain.settled
    own = TemplateForm(Template("{{ text }}"), model="m", params={"max_tokens": 5})
    assert BoundedForm(own, 300, priced).request(Row(1, line)) == own.request(Row(1, line))
    vectors = TemplateForm(Template("{{ text }}"), model="m", operation=Operation.EMBEDDINGS)
    assert BoundedForm(vectors, 300, priced).request(Row(1, line)) == vectors.request(Row(1, line))


def test_a_row_without_a_price_is_a_bad_row() -> None:
    form = BoundedForm(
        TemplateForm(Template("{{ text }}"), model="m"),
        300,
        Cap(1000, lambda model: facts(model, price=None)).cost_most,
    )
    with pytest.raises(BadRow, match="no price is known") as caught:
        form.request(Row(4, b'{"text":"a"}'))
    assert (caught.value.number, caught.value.code, caught.value.custom_id) == (4, "price_unknown", "row-4")


def test_the_facts_of_a_model_come_from_the_settings(tmp_path: Any) -> None:
    (tmp_path / "s.toml").write_text(
        """
        [providers.a]
        preset = "openai"
        key_env = ["A_KEY", "B_KEY"]
        limits = {requests_per_minute = 100, tokens_per_minute = 5000}
        [providers.b]
        preset = "deepseek"
        key_env = ["A_KEY"]
        [routes.both]
        balance = ["a/gpt-4o-mini"]
        fallback = ["b/deepseek-chat"]
        [prices."b/unheard"]
        input = 1.0
        output = 2.0
        """,
        encoding="utf-8",
    )
    models = Models(load(tmp_path / "s.toml", environ={"A_KEY": "sk-a", "B_KEY": "sk-b"}))
    both = models.facts("both")
    assert both.places == ("a/gpt-4o-mini", "b/deepseek-chat")
    assert (both.first, both.targets, both.takes_schemas) == (("a/gpt-4o-mini",), 2, False)
    assert (both.requests_per_minute, both.tokens_per_minute) == (200, 10_000)
    assert both.price is not None
    assert both.price.input == 150_000
    assert models.facts("b/unheard").price == Price(MILLION, 2 * MILLION)
    assert models.facts("a/gpt-17").unpriced == "a/gpt-17"
    with pytest.raises(UnknownModel, match="did you mean 'both'"):
        models.facts("bot")
