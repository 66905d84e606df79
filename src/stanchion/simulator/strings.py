"""Strings that satisfy a JSON schema: formats, lengths and plain patterns."""

from __future__ import annotations

import random
import re
import string

from stanchion.simulator.shapes import JsonObject

_FORMATS = {
    "date": "2026-11-23",
    "date-time": "2026-11-23T09:30:00Z",
    "time": "09:30:00Z",
    "duration": "P3D",
    "email": "customer@example.com",
    "hostname": "shop.example.com",
    "ipv4": "192.0.2.17",
    "ipv6": "2001:db8::17",
    "uri": "https://shop.example.com/help",
    "url": "https://shop.example.com/help",
}
_SETS = {
    "d": string.digits,
    "w": string.ascii_lowercase,
    "s": " ",
    "D": string.ascii_lowercase,
    "S": "x",
    "W": "-",
}
_ATOM = re.compile(r"\\(.)|\[([^\]]+)\]|([^()|])")
_COUNT = re.compile(r"\{(\d+)(,(\d*))?\}|([+*?])")


def matching(schema: JsonObject, source: random.Random, words: list[str], name: str) -> str:
    """A string for a string schema; `name` is the property's."""
    kind = schema.get("format")
    if kind == "uuid":
        digits = f"{source.getrandbits(128):032x}"
        return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-a{digits[17:20]}-{digits[20:]}"
    if isinstance(kind, str) and kind in _FORMATS:
        return _FORMATS[kind]
    pattern = schema.get("pattern")
    if isinstance(pattern, str):
        found = _from_pattern(pattern, source)
        if found is not None:
            return found
    start = source.randrange(len(words))
    text = " ".join((words[start:] + words[:start])[: source.randint(2, 6)])
    least, most = schema.get("minLength"), schema.get("maxLength")
    while isinstance(least, int) and len(text) < least:
        text = f"{text} {name} {source.choice(words)}"
    return text[:most] if isinstance(most, int) else text


def _from_pattern(pattern: str, source: random.Random) -> str | None:
    """A string for a plain pattern (literals, classes, counts), or None."""
    body = pattern.removeprefix("^").removesuffix("$")
    out = ""
    position = 0
    while position < len(body):
        atom = _ATOM.match(body, position)
        if atom is None:
            return None
        position = atom.end()
        choices = _choices(atom)
        times = 1
        counted = _COUNT.match(body, position)
        if counted is not None:
            position = counted.end()
            times = int(counted.group(1)) if counted.group(1) else int(counted.group(4) == "+")
        out += "".join(source.choice(choices) for _ in range(times))
    try:
        return out if re.search(pattern, out) else None
    except re.error:
        return None


def _choices(atom: re.Match[str]) -> str:
    escaped, inside, plain = atom.groups()
    if escaped is not None:
        return _SETS.get(escaped, escaped)
    if inside is None:
        return "x" if plain == "." else plain
    found = ""
    for part in re.finditer(r"\\(.)|(.)-(.)|(.)", inside.removeprefix("^")):
        code, low, high, single = part.groups()
        if code is not None:
            found += _SETS.get(code, code)
        elif single is not None:
            found += single
        else:
            found += "".join(chr(point) for point in range(ord(low), ord(high) + 1))
    if inside.startswith("^"):
        found = "".join(char for char in string.ascii_letters if char not in found)
    return found or "x"
