"""A value that satisfies a JSON schema, filled from a seeded source.

Knows what structured outputs use: type, properties, required, additionalProperties, items, prefixItems, enum,
const, anyOf, oneOf, allOf, $ref/$defs (recursion ends early), lengths, bounds, multipleOf and common formats.
Patterns are met only where they are plain (literals, classes, counts); `not`, `if` and dependencies are ignored.
"""

from __future__ import annotations

import math
import random
from typing import cast

from stanchion.simulator.shapes import Json, JsonObject
from stanchion.simulator.strings import matching

_DEEP = 5
_TOO_DEEP = 24


class SchemaFiller:
    """Fills one schema; `words` feed the strings, so that they refer to the question.

    Of an enum it takes the value that `asked` names most often, so that a classification can be checked.
    """

    def __init__(self, root: JsonObject, source: random.Random, words: list[str], asked: str = "") -> None:
        self._root = root
        self._random = source
        self._words = words or ["sample"]
        self._asked = asked.lower()

    def value(self) -> Json:
        """A value for the whole schema."""
        return self._fill(self._root, 0, "value")

    def _fill(self, schema: Json, depth: int, name: str) -> Json:
        if not isinstance(schema, dict):
            return self._text({}, name)
        schema = self._resolved(schema)
        if "const" in schema:
            return schema["const"]
        enum = schema.get("enum")
        if isinstance(enum, list) and enum:
            return self._named_most(enum) or self._random.choice(enum)
        for union in ("anyOf", "oneOf"):
            options = schema.get(union)
            if isinstance(options, list) and options:
                rest = {key: value for key, value in schema.items() if key != union}
                return self._fill(_merged(rest, self._option(options, depth)), depth, name)
        return self._typed(self._type(schema, depth), schema, depth, name)

    def _typed(self, kind: str, schema: JsonObject, depth: int, name: str) -> Json:
        if kind == "object":
            return self._object(schema, depth)
        if kind == "array":
            return self._array(schema, depth, name)
        if kind in ("number", "integer"):
            return self._number(schema, whole=kind == "integer")
        if kind == "boolean":
            return self._random.random() < 0.5
        if kind == "null":
            return None
        return self._text(schema, name)

    def _named_most(self, values: list[Json]) -> str | None:
        """The text that the question names most often, the first of several; None if it names none."""
        best, most = None, 0
        for value in values:
            if isinstance(value, str) and value:
                low = value.lower()
                times = self._asked.count(low) + (
                    self._asked.count(low.replace("_", " ")) if "_" in low else 0
                )
                if times > most:
                    best, most = value, times
        return best

    def _resolved(self, schema: JsonObject) -> JsonObject:
        """The schema with its $ref followed and its allOf merged."""
        for _ in range(_TOO_DEEP):
            reference = schema.get("$ref")
            if isinstance(reference, str):
                rest = {key: value for key, value in schema.items() if key != "$ref"}
                schema = _merged(rest, self._lookup(reference))
                continue
            parts = schema.get("allOf")
            if not isinstance(parts, list):
                return schema
            schema = {key: value for key, value in schema.items() if key != "allOf"}
            for part in parts:
                if isinstance(part, dict):
                    schema = _merged(schema, self._resolved(part))
        return schema

    def _lookup(self, reference: str) -> JsonObject:
        found: Json = self._root
        for step in reference.removeprefix("#").strip("/").split("/") if reference != "#" else []:
            name = step.replace("~1", "/").replace("~0", "~")
            if not isinstance(found, dict) or name not in found:
                return {}
            found = found[name]
        return found if isinstance(found, dict) else {}

    def _option(self, options: list[Json], depth: int) -> JsonObject:
        """One branch of a union: null or a plain value when deep, so that recursion ends."""
        known = [self._resolved(option) for option in options if isinstance(option, dict)]
        if depth >= _DEEP:
            plain = [option for option in known if option.get("type") not in ("object", "array")]
            known = plain or known
        elif len(known) > 1:
            known = [option for option in known if option.get("type") != "null"] or known
        return known[0] if known else {}

    def _type(self, schema: JsonObject, depth: int) -> str:
        kind = schema.get("type")
        if isinstance(kind, list):
            kinds = [str(item) for item in kind]
            if depth >= _DEEP and "null" in kinds:
                return "null"
            kind = next((item for item in kinds if item != "null"), "null")
        if isinstance(kind, str):
            return kind
        if "properties" in schema:
            return "object"
        if "items" in schema or "prefixItems" in schema:
            return "array"
        return "number" if "minimum" in schema or "maximum" in schema else "string"

    def _object(self, schema: JsonObject, depth: int) -> JsonObject:
        properties = schema.get("properties")
        known = properties if isinstance(properties, dict) else {}
        wanted = schema.get("required")
        required = [str(name) for name in wanted] if isinstance(wanted, list) else []
        names = [name for name in known if depth < _DEEP or name in required]
        names += [name for name in required if name not in known]
        if depth >= _TOO_DEEP:
            names = []
        value: JsonObject = {name: self._fill(known.get(name, {}), depth + 1, name) for name in names}
        extra = schema.get("additionalProperties")
        if isinstance(extra, dict) and not value and depth < _DEEP:
            value = {word: self._fill(extra, depth + 1, word) for word in self._words[:2]}
        return value

    def _array(self, schema: JsonObject, depth: int, name: str) -> list[Json]:
        least = _whole(schema.get("minItems"), 0)
        most = _whole(schema.get("maxItems"), max(least, 3))
        size = least if depth >= _DEEP else max(least, min(most, self._random.randint(1, 3)))
        prefix = schema.get("prefixItems")
        value = [self._fill(item, depth + 1, name) for item in prefix] if isinstance(prefix, list) else []
        items = schema.get("items", {})
        unique = schema.get("uniqueItems") is True
        for _ in range(size * 8):
            if len(value) >= size or items is False:
                break
            item = self._fill(items, depth + 1, name)
            if not unique or item not in value:
                value.append(item)
        return value

    def _number(self, schema: JsonObject, *, whole: bool) -> int | float:
        step = _real(schema.get("multipleOf"), 1.0 if whole else 0.01)
        lows = [math.ceil(_real(schema["minimum"], 0.0) / step)] if "minimum" in schema else []
        if "exclusiveMinimum" in schema:
            lows.append(math.floor(_real(schema["exclusiveMinimum"], 0.0) / step) + 1)
        highs = [math.floor(_real(schema["maximum"], 0.0) / step)] if "maximum" in schema else []
        if "exclusiveMaximum" in schema:
            highs.append(math.ceil(_real(schema["exclusiveMaximum"], 0.0) / step) - 1)
        first = max(lows) if lows else min([0, *highs])
        last = min(highs) if highs else first + 99
        if last < first:  # no multiple of the step lies between the bounds
            return first if whole else _between(schema)
        value = self._random.randint(first, last) * step
        return int(value) if whole else round(value, 6)

    def _text(self, schema: JsonObject, name: str) -> str:
        return matching(schema, self._random, self._words, name)


def _merged(first: JsonObject, second: JsonObject) -> JsonObject:
    """Both schemas' demands; properties and required are united."""
    merged = {**first, **second}
    for key in ("properties", "$defs"):
        left, right = first.get(key), second.get(key)
        if isinstance(left, dict) and isinstance(right, dict):
            merged[key] = cast("Json", {**left, **right})
    left, right = first.get("required"), second.get("required")
    if isinstance(left, list) and isinstance(right, list):
        merged["required"] = [*left, *(name for name in right if name not in left)]
    return merged


def _between(schema: JsonObject) -> float:
    """The middle of a number's bounds, both of which are given."""
    low = max(_real(schema.get(key), -math.inf) for key in ("minimum", "exclusiveMinimum"))
    high = min(_real(schema.get(key), math.inf) for key in ("maximum", "exclusiveMaximum"))
    return (low + high) / 2


def _whole(value: Json, default: int) -> int:
    return value if isinstance(value, int) else default


def _real(value: Json, default: float) -> float:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else default
