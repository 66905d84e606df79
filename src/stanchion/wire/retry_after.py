"""When a provider says one may ask again: `retry-after-ms`, `retry-after` (RFC 9110 section 10.2.3), or in words."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

_IN_WORDS = re.compile(r"try again in ((?:\d+(?:\.\d+)?(?:ms|s|m|h|d))+)", re.IGNORECASE)
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_MOST_S = 1e9  # more is no time, but a mistake
_UNIT_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def read_retry_after(headers: Mapping[str, str], message: str, *, now: datetime) -> float | None:
    """Return the seconds to wait, or None if the provider did not say.  Header names are lower case."""
    milliseconds = _number(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return milliseconds / 1000
    value = headers.get("retry-after")
    if value is not None:
        seconds = _number(value)
        seconds = seconds if seconds is not None else _until(value, now)
        if seconds is not None:
            return seconds  # a header that says nothing leaves it to the words
    found = _IN_WORDS.search(message)
    return read_duration(found[1]) if found else None


def read_duration(text: str) -> float | None:
    """Read "1s", "6m0s", "1m26.4s" or "120ms" as seconds; None if it is no duration."""
    parts = _PART.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        return None
    seconds = sum(float(number) * _UNIT_S[unit] for number, unit in parts)
    return seconds if seconds < _MOST_S else None


def _number(text: str | None) -> float | None:
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if 0 <= value < _MOST_S else None


def _until(text: str, now: datetime) -> float | None:
    try:
        at = parsedate_to_datetime(text)
    except (ValueError, TypeError, OverflowError):
        return None
    if at.tzinfo is None:
        at = at.replace(tzinfo=UTC)
    return max(0.0, (at - now).total_seconds())
