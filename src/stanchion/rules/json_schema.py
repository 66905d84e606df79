"""Does a model's answer fit a JSON schema?  And if not, where not?

Compiled once; checked in Rust (jsonschema-rs): half a microsecond where Python's takes eighty, and a pattern cannot
be made to search for ever.  Nothing is fetched: a `$ref` leads inside the schema, or is an error.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, cast

import jsonschema_rs
import msgspec

from stanchion.core.errors import CallerError

_FENCED = re.compile(r"\A\s*```(?:json|JSON)?\s*\n(.*?)\n?\s*```\s*\Z", re.DOTALL)
_FAULTS_MOST = 8  # told at once: enough to mend an answer by
_decode = msgspec.json.Decoder().decode
_UNSUPPORTED = ("patternProperties", "propertyNames", "unevaluatedProperties", "not", "if", "allOf", "oneOf")


class BadSchema(CallerError):
    """A schema cannot be used."""

    code = "bad_schema"


class NotJson(Exception):
    """An answer is no JSON at all."""


class JsonSchema:
    """One schema.  `name` is what errors call it: its file."""

    def __init__(self, text: bytes, *, name: str = "schema") -> None:
        """Compile.  Raises BadSchema."""
        self.name = name
        try:
            read = _decode(text)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise BadSchema(f"{name}: not JSON: {error}") from None
        if not isinstance(read, dict):
            raise BadSchema(f"{name}: a schema is a JSON object, with a `type` for instance")
        self.schema = cast("dict[str, Any]", read)
        try:
            self._validator = jsonschema_rs.validator_for(self.schema, offline=True)
        except ValueError as error:
            words = str(getattr(error, "message", error)).split("\n", 1)[0]
            at = _path(cast("Sequence[str | int]", getattr(error, "instance_path", ())))
            raise BadSchema(f"{name}: not a JSON schema: {at}: {words}") from None

    @property
    def is_strict(self) -> bool:
        """Whether OpenAI takes it as `strict`: all objects closed, all their names required."""
        return self.schema.get("type") == "object" and _is_strict(self.schema)

    def fault(self, text: str) -> str:
        """Say in words what of an answer does not fit; "" if all of it does."""
        try:
            value = value_of(text)
        except NotJson as error:
            return str(error)
        if self._validator.is_valid(value):
            return ""
        told: list[str] = []
        for error in self._validator.iter_errors(value):
            if len(told) == _FAULTS_MOST:
                told.append("and more")
                break
            told.append(f"{_path(error.instance_path)}: {error.message}")
        return "; ".join(told)


def value_of(text: str) -> Any:
    """Return the JSON of an answer, taken out of a Markdown fence if it stands in one.  Raises NotJson."""
    fenced = _FENCED.match(text)
    try:
        return _decode(fenced[1] if fenced else text)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        words = str(error) if isinstance(error, msgspec.DecodeError) else type(error).__name__
        raise NotJson(f"it is not JSON: {words}") from None


def _path(steps: Sequence[str | int]) -> str:
    return "$" + "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps)


def _is_strict(schema: object) -> bool:
    """Say whether a schema keeps to what OpenAI's strict mode takes, as far as its documentation lists it."""
    if isinstance(schema, list):
        return all(map(_is_strict, cast("list[object]", schema)))
    if not isinstance(schema, dict):
        return True
    known = cast("Mapping[str, object]", schema)
    if any(name in known for name in _UNSUPPORTED):
        return False
    properties = known.get("properties")
    if known.get("type") == "object" or properties is not None:
        names: Mapping[str, object] = {}
        if isinstance(properties, dict):
            names = cast("Mapping[str, object]", properties)
        wanted = known.get("required")
        required = cast("list[object]", wanted) if isinstance(wanted, list) else []
        if known.get("additionalProperties") is not False or set(names) != set(required):
            return False
        if not all(map(_is_strict, names.values())):
            return False
    nested = (known.get("items"), known.get("anyOf"), *_definitions(known))
    return all(map(_is_strict, nested))


def _definitions(schema: Mapping[str, object]) -> list[object]:
    found: list[object] = []
    for name in ("$defs", "definitions"):
        held = schema.get(name)
        if isinstance(held, dict):
            found.extend(cast("Mapping[str, object]", held).values())
    return found
