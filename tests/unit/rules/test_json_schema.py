"""Answers against a schema: what fits, what does not and where, and which schemas are none."""

from __future__ import annotations

import msgspec
import pytest

from stanchion.rules.json_schema import BadSchema, JsonSchema, NotJson, value_of

INTENT = {
    "type": "object",
    "properties": {
        "intent": {"enum": ["order", "refund"]},
        "parts": {"type": "array", "items": {"type": "object", "properties": {"n": {"type": "integer"}}}},
    },
    "required": ["intent"],
    "additionalProperties": False,
}


def schema(of: object) -> JsonSchema:
    return JsonSchema(msgspec.json.encode(of), name="s.json")


@pytest.mark.parametrize(
    "text",
    [
        '{"intent": "order"}',
        '```json\n{"intent": "refund", "parts": [{"n": 1}]}\n```',
        ' {"intent":"order"}\n',
    ],
)
def test_what_fits_has_no_fault(text: str) -> None:
    assert schema(INTENT).fault(text) == ""


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('{"intent": "other"}', '$.intent: "other" is not one of "order" or "refund"'),
        (
            '{"intent": "order", "parts": [{"n": 1}, {"n": "x"}]}',
            '$.parts[1].n: "x" is not of type "integer"',
        ),
        ("{}", '$: "intent" is a required property'),
        (
            '{"intent": "order", "more": 1}',
            "$: Additional properties are not allowed ('more' was unexpected)",
        ),
        ("The intent is order.", "it is not JSON: JSON is malformed: invalid character (byte 0)"),
        ("", "it is not JSON: Input data was truncated"),
        ("[" * 100_000, "it is not JSON: RecursionError"),
    ],
)
def test_what_does_not_fit_is_told_with_its_place(text: str, told: str) -> None:
    assert schema(INTENT).fault(text) == told


def test_many_faults_are_told_up_to_a_bound() -> None:
    fault = schema({"type": "array", "items": {"type": "integer"}}).fault('["x"' + ', "x"' * 50 + "]")
    assert fault.count("is not of type") == 8
    assert fault.endswith("; and more")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (b"{", "not JSON"),
        (b"[]", "a schema is a JSON object"),
        (b'{"type": "objct"}', r"\$\.type: .*objct"),
        (b'{"properties": {"a": {"pattern": "("}}}', r"\$\.properties\.a\.pattern"),
        (b'{"$ref": "#/$defs/gone"}', "does not exist"),
        (b'{"$ref": "http://127.0.0.1:9/schema.json"}', "Retrieval is disabled"),
        (b'{"$ref": "file:///etc/hostname"}', "Retrieval is disabled"),
    ],
)
def test_what_is_no_schema_is_refused_and_nothing_is_fetched(text: bytes, told: str) -> None:
    with pytest.raises(BadSchema, match=rf"s\.json: .*{told}"):
        JsonSchema(text, name="s.json")


def test_a_pattern_cannot_search_for_ever() -> None:
    checked = schema({"type": "string", "pattern": "^(a+)+$"})
    assert checked.fault('"' + "a" * 5000 + '!"'), "Python's own `re` would need longer than there is"


CLOSED = {
    "type": "object",
    "properties": {"a": {"type": "string"}},
    "required": ["a"],
    "additionalProperties": False,
}


@pytest.mark.parametrize(
    ("of", "strict"),
    [
        (CLOSED, True),
        ({**CLOSED, "properties": {"a": {"type": "array", "items": CLOSED}}}, True),
        ({**CLOSED, "properties": {"a": {"$ref": "#/$defs/b"}}, "$defs": {"b": CLOSED}}, True),
        (INTENT, False),  # `parts` is not required
        ({**CLOSED, "required": []}, False),
        ({**CLOSED, "additionalProperties": True}, False),
        ({**CLOSED, "properties": {"a": {"anyOf": [{"type": "object"}]}}}, False),
        ({**CLOSED, "$defs": {"b": {"type": "object"}}}, False),
        ({**CLOSED, "properties": {"a": {"not": {}}}}, False),
        ({"type": "array"}, False),
    ],
)
def test_strict_is_what_openai_takes_as_strict(of: object, strict: bool) -> None:
    assert schema(of).is_strict is strict


def test_the_value_of_an_answer_is_its_json() -> None:
    assert value_of('```\n{"a": [1]}\n```') == {"a": [1]}
    with pytest.raises(NotJson):
        value_of("no")
