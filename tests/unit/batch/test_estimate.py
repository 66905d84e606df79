"""What a job would take is told before it is begun."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from stanchion.batch.estimate import Survey
from stanchion.batch.forms.openai_lines import OpenAILines
from stanchion.batch.forms.template import TemplateForm
from stanchion.core.errors import UnknownModel
from stanchion.engine.model_facts import ModelFacts
from stanchion.rules.lane_choice import Offer
from stanchion.rules.pricing import MILLION, Price
from stanchion.rules.template import Template
from stanchion.rules.tokens import encoding_of, prompt_tokens
from tests.unit.batch.given import Given

PRICE = Price(2 * MILLION, 8 * MILLION, variants={"batch": Price(MILLION, 4 * MILLION)})


def facts(model: str, **more: Any) -> ModelFacts:
    if model == "gone":
        raise UnknownModel("no provider serves this model")
    known: dict[str, Any] = {"prices": (PRICE,), "requests_per_minute": 0, "tokens_per_minute": 0, **more}
    return ModelFacts(
        ("p/m",), ("p/m",), targets=1, takes_schemas=True, offer=Offer(PRICE, batches=True), **known
    )


def line(text: str = "hello", model: str = "m", **fields: Any) -> bytes:
    body = {"model": model, "messages": [{"role": "user", "content": text}], **fields}
    return msgspec.json.encode({"custom_id": "a", "url": "/v1/chat/completions", "body": body})


def test_rows_tokens_and_money_are_added_up() -> None:
    rows = [line(f"hello {number}", max_tokens=10) for number in range(10)]
    found = Survey(Given(rows), OpenAILines(), facts).run()
    assert (found.rows, found.requests, found.bad, found.twins) == (10, 10, 0, 0)
    # "hello", " " and the number; the frame of a message is four, that of the answer three
    assert (found.prompt_tokens, found.prompt_exact) == (10 * (3 + 4 + 3), True)
    assert (found.answer_tokens, found.answers_known) == (100, False)
    sync, flex, batch = found.costs
    assert (sync.lane, sync.micro_usd) == ("sync", 100 * 2 + 100 * 8)
    assert (batch.micro_usd, flex.micro_usd) == (500, None)


def test_a_row_is_a_twin_though_thousands_stand_between_it_and_the_first() -> None:
    rows = [line(f"hello {number}") for number in range(5000)]
    found = Survey(Given([*rows, *rows[::100], line("hello 5000")]), OpenAILines(), facts).run()
    assert (found.rows, found.requests, found.twins) == (5051, 5001, 50)


def test_answers_that_are_known_make_it_closer() -> None:
    found = Survey(Given([line(max_tokens=100)] * 1), OpenAILines(), facts, answer_tokens=4.0).run()
    assert (found.answer_tokens, found.answers_known) == (4, True)
    assert found.costs[0].micro_usd == found.prompt_tokens * 2 + 4 * 8


def test_without_a_bound_and_without_answers_nobody_knows_the_price() -> None:
    found = Survey(Given([line()]), OpenAILines(), facts).run()
    assert found.answer_tokens is None
    assert found.costs[0].micro_usd is None


def test_twins_are_asked_once_and_bad_rows_are_told_with_their_number() -> None:
    rows = [
        line(),
        line(),
        b"{broken",
        line(model="gone"),
        line(model="gone"),
        b"",
        b'{"url":"/v1/chat/completions","body":{}}',
    ]
    found = Survey(Given(rows), OpenAILines(), facts).run()
    assert (found.rows, found.requests, found.twins, found.bad) == (6, 1, 1, 4)
    assert [(each.number, each.code) for each in found.problems][:2] == [
        (3, "invalid_row"),
        (4, "model_not_found"),
    ]
    assert "names no model" in str(found.problems[3])


def test_a_model_without_a_price_is_named() -> None:
    found = Survey(Given([line()]), OpenAILines(), lambda model: facts(model, prices=(None,))).run()
    assert (found.unpriced, found.costs[0].micro_usd) == ("p/m", None)


@pytest.mark.parametrize(
    ("requests", "tokens", "eta_s", "bound_by"),
    [(0, 0, None, ""), (60, 0, 100.0, "requests"), (6000, 600, 2000.0, "tokens")],
)
def test_how_long_it_takes_follows_from_the_limits(
    requests: int, tokens: int, eta_s: float | None, bound_by: str
) -> None:
    limited = {"requests_per_minute": requests, "tokens_per_minute": tokens}
    rows = [line(f"{number:03} a b c", max_tokens=187) for number in range(100)]
    found = Survey(Given(rows), OpenAILines(), lambda model: facts(model, **limited)).run()
    assert found.bound_by == bound_by
    assert found.eta_s == (None if eta_s is None else pytest.approx(eta_s, rel=0.02))


def test_of_many_rows_some_are_counted_and_the_rest_is_reckoned_up() -> None:
    form = TemplateForm(Template("{{ text }}"), model="m", params={"max_tokens": 5})
    rows = [b'{"text":"%d %s"}' % (number, b"word " * (number % 40)) for number in range(20_000)]
    found = Survey(Given(rows), form, facts).run()
    assert not found.prompt_exact
    exact = sum(
        prompt_tokens(
            msgspec.json.decode(
                msgspec.json.encode({"messages": [{"content": msgspec.json.decode(row)["text"].strip()}]})
            )
        )
        for row in rows[:4000]
    )
    assert found.prompt_tokens == pytest.approx(exact * 5, rel=0.02)


@pytest.mark.parametrize(
    ("fields", "tokens"),
    [
        ({"messages": [{"role": "user", "content": "hello world"}]}, 3 + 4 + 2),
        (
            {
                "messages": [
                    {
                        "role": "user",
                        "content": [
                            {"type": "text", "text": "hello"},
                            {"type": "image_url", "image_url": {}},
                        ],
                    }
                ]
            },
            3 + 4 + 1 + 765,
        ),
        ({"input": "hello world"}, 2),
        ({"input": ["hello", "world"]}, 2),
        ({"input": [15339, 1917]}, 2),
        (
            {
                "input": [{"role": "user", "content": [{"type": "input_text", "text": "hello"}]}],
                "instructions": "hello",
            },
            2,
        ),
        ({"prompt": None}, 0),
    ],
)
def test_what_goes_in_is_counted_whatever_its_shape(fields: dict[str, Any], tokens: int) -> None:
    assert prompt_tokens(fields) == tokens


@pytest.mark.parametrize(
    ("model", "encoding"),
    [
        ("gpt-4", "cl100k_base"),
        ("openai/gpt-3.5-turbo", "cl100k_base"),
        ("gpt-4o", "o200k_base"),
        ("glm-4.6", "o200k_base"),
    ],
)
def test_a_models_vocabulary_is_known_by_its_name(model: str, encoding: str) -> None:
    assert encoding_of(model) == encoding
