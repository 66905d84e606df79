"""Values filled from JSON schemas, judged by an independent validator."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stanchion.simulator.schema import SchemaFiller
from stanchion.simulator.shapes import Json, JsonObject

jsonschema = pytest.importorskip("jsonschema")

ADDRESS = {
    "type": "object",
    "properties": {
        "street": {"type": "string", "minLength": 12},
        "zip": {"type": "string", "pattern": r"^\d{5}$"},
    },
    "required": ["street", "zip"],
    "additionalProperties": False,
}
SCHEMAS = [
    {"type": "object", "properties": {}, "additionalProperties": False},
    {"enum": ["a", 2, None]},
    {"const": {"x": 1}},
    {"type": ["null", "integer"]},
    {"type": "array", "items": {"type": "integer"}, "minItems": 4, "maxItems": 6, "uniqueItems": True},
    {"type": "array", "prefixItems": [{"type": "string"}, {"type": "boolean"}], "items": False},
    {"type": "number", "exclusiveMinimum": 1, "exclusiveMaximum": 1.5},
    {"type": "number", "minimum": 1.001, "maximum": 1.004},
    {"type": "integer", "minimum": 10, "maximum": 20, "multipleOf": 7},
    {"type": "string", "format": "date-time"},
    {"type": "string", "format": "uuid"},
    {"type": "string", "pattern": "^[A-Z]{2}-[0-9]{3,4}$"},
    {"type": "string", "maxLength": 3},
    {"anyOf": [{"type": "null"}, ADDRESS]},
    {
        "allOf": [
            {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]},
            ADDRESS | {"additionalProperties": True},
        ]
    },
    {"type": "object", "additionalProperties": {"type": "integer"}},
    {
        "$ref": "#/$defs/order",
        "$defs": {
            "order": {
                "type": "object",
                "properties": {
                    "to": {"$ref": "#/$defs/address"},
                    "lines": {
                        "type": "array",
                        "items": {
                            "type": "object",
                            "properties": {
                                "sku": {"enum": ["x", "y"]},
                                "count": {"type": "integer", "minimum": 1},
                            },
                            "required": ["sku", "count"],
                        },
                    },
                },
                "required": ["to", "lines"],
            },
            "address": ADDRESS,
        },
    },
    {
        "$defs": {
            "node": {
                "type": "object",
                "properties": {
                    "name": {"type": "string"},
                    "next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]},
                    "children": {"type": "array", "items": {"$ref": "#/$defs/node"}},
                },
                "required": ["name", "next", "children"],
                "additionalProperties": False,
            }
        },
        "$ref": "#/$defs/node",
    },
    {
        "type": "object",
        "properties": {"self": {"anyOf": [{"type": "null"}, {"$ref": "#"}]}},
        "required": ["self"],
    },
]


@pytest.mark.parametrize("schema", SCHEMAS, ids=range(len(SCHEMAS)))
@pytest.mark.parametrize("seed", range(5))
def test_a_filled_value_satisfies_its_schema(schema, seed):
    value = SchemaFiller(schema, random.Random(seed), ["where", "is", "my", "order"]).value()
    checker = jsonschema.Draft202012Validator.FORMAT_CHECKER
    jsonschema.Draft202012Validator(schema, format_checker=checker).validate(value)


def leaf():
    return st.one_of(
        st.builds(
            lambda low, more: {"type": "integer", "minimum": low, "maximum": low + more},
            st.integers(-50, 50),
            st.integers(0, 9),
        ),
        st.builds(
            lambda low, more: {"type": "string", "minLength": low, "maxLength": low + more},
            st.integers(0, 20),
            st.integers(0, 20),
        ),
        st.builds(lambda values: {"enum": values}, st.lists(st.integers(), min_size=1, max_size=4)),
        st.just({"type": "boolean"}),
        st.just({"type": "null"}),
    )


def nested(inner):
    return st.one_of(
        st.builds(
            lambda items, least: {"type": "array", "items": items, "minItems": least},
            inner,
            st.integers(0, 4),
        ),
        st.builds(
            lambda fields: {
                "type": "object",
                "properties": fields,
                "required": list(fields),
                "additionalProperties": False,
            },
            st.dictionaries(st.sampled_from(["a", "b", "c"]), inner),
        ),
        st.builds(lambda options: {"anyOf": options}, st.lists(inner, min_size=1, max_size=3)),
    )


@given(st.recursive(leaf(), nested, max_leaves=8), st.integers(0, 9))
def test_any_schema_of_the_known_words_is_satisfied(schema, seed):
    value = SchemaFiller(schema, random.Random(seed), ["order"]).value()
    jsonschema.Draft202012Validator(schema).validate(value)


def test_of_an_enum_the_value_is_taken_that_the_question_names_most_often() -> None:
    kinds: JsonObject = {"enum": ["rental_car", "bus", "flight"]}

    def said(asked: str, seed: int = 1) -> Json:
        return SchemaFiller(kinds, random.Random(seed), [], asked).value()

    assert said("A flight, or the bus? No flight.") == "flight"
    assert said("I need a Rental Car") == "rental_car"
    assert said("the bus or a flight") == "bus"
    assert {str(said("neither", seed)) for seed in range(50)} == {"rental_car", "bus", "flight"}
