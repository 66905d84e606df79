"""What the rate-limit headers of a provider say, in any of the known dialects.

OpenAI, Groq, DeepSeek's proxies   x-ratelimit-{limit,remaining,reset}-{requests,tokens}, reset "6m0s"
Azure                              the same with seconds, and x-ratelimit-renewalperiod-...
Cerebras, Mistral                  x-ratelimit-{limit,remaining,reset}-{requests,tokens}-{minute,hour,day}
Anthropic                          anthropic-ratelimit-{requests,tokens}-{limit,remaining,reset}, reset RFC 3339
OpenRouter and others              x-ratelimit-{limit,remaining,reset}: requests; reset in seconds or as a date

How long the window of a limit is, most do not say: `rules/quota.py` infers it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime

from stanchion.core.rates import Kind, Rate
from stanchion.wire.retry_after import read_duration

_NAME = re.compile(
    r"(?:x-|anthropic-)?ratelimit-(?:(requests|tokens)-)?(limit|remaining|reset|renewalperiod)"
    r"(?:-(requests|tokens))?(?:-(minute|hour|day))?"
)
_WINDOW_S = {"minute": 60.0, "hour": 3600.0, "day": 86400.0}
_LOOK_CLOSELY = 20
_USUAL = ("x-ratelimit-limit-requests", "x-ratelimit-limit-tokens")
_LIMIT_MOST = 10**15  # a larger number is no limit
_EPOCH_FROM = 10**9  # a number as large as this is a date


def read_rates(headers: Mapping[str, str], *, now: datetime | None = None) -> list[Rate]:
    """Read every limit that has at least its size and what is left.

    `now` is needed for the dialects that tell a date.  What cannot be read is left out.
    """
    found: dict[tuple[Kind, float | None], dict[str, str]] = {}
    for given, value in headers.items():
        name = given.lower()
        match = _NAME.fullmatch(name) if "ratelimit" in name else None
        if match is None or (match[1] and match[3]):
            continue
        kind: Kind = "tokens" if "tokens" in (match[1], match[3]) else "requests"
        found.setdefault((kind, _WINDOW_S.get(match[4] or "")), {})[match[2]] = value
    return [
        rate
        for (kind, window_s), told in found.items()
        if (rate := _rate(kind, window_s, told, now)) is not None
    ]


class RateReader:
    """Reads the headers of one endpoint, fast once it knows which there are."""

    __slots__ = ("_after", "_names", "_tells")

    def __init__(self) -> None:
        self._after = _LOOK_CLOSELY  # answers that are still read with care: they tell the windows
        self._tells = False  # it ever told a limit
        self._names: list[tuple[str, str, str, Rate]] = []

    @property
    def careful(self) -> bool:
        """Say whether the next answer is read with care, for which the time of day is needed."""
        return self._after > 0

    def read(self, headers: Mapping[str, str], *, now: datetime | None = None) -> list[Rate]:
        """As `read_rates`; what is told again and again comes without its reset."""
        if self._after > 0 or (not self._names and any(name in headers for name in _USUAL)):
            return self._learn(headers, now)
        rates: list[Rate] = []
        for limit_name, remaining_name, limit_text, rate in self._names:
            remaining = headers.get(remaining_name)
            if remaining is None or headers.get(limit_name) != limit_text or not remaining.isdecimal():
                return self._learn(headers, now)  # something is new
            rates.append(Rate(rate.kind, rate.limit, min(int(remaining), rate.limit), None, rate.window_s))
        return rates

    def _learn(self, headers: Mapping[str, str], now: datetime | None) -> list[Rate]:
        rates = read_rates(headers, now=now)
        self._after -= 1
        self._tells = self._tells or bool(rates)
        if self._after <= 0:
            lower = {name.lower(): value for name, value in headers.items()}
            self._names = [
                (limit, remaining, lower[limit], rate)
                for rate in rates
                for limit, remaining in _openai_names(rate)
                if limit in lower
            ]
            if len(self._names) != len(rates) or (self._tells and not rates):
                self._after = _LOOK_CLOSELY  # another dialect, or silent this once: with care
        return rates


def _openai_names(rate: Rate) -> list[tuple[str, str]]:
    return [(f"x-ratelimit-limit-{rate.kind}", f"x-ratelimit-remaining-{rate.kind}")]


def _rate(kind: Kind, window_s: float | None, told: Mapping[str, str], now: datetime | None) -> Rate | None:
    limit, remaining = _whole(told.get("limit")), _whole(told.get("remaining"))
    if limit is None or remaining is None or limit == 0:
        return None
    period = _whole(told.get("renewalperiod"))
    if window_s is None and period:
        window_s = float(period)
    return Rate(kind, limit, min(remaining, limit), _reset_s(told.get("reset"), now), window_s)


def _whole(text: str | None) -> int | None:
    if text is None or not text.isascii():
        return None
    try:
        value = int(float(text))
    except (ValueError, OverflowError):
        return None
    return value if 0 <= value < _LIMIT_MOST else None


def _reset_s(text: str | None, now: datetime | None) -> float | None:
    if not text:
        return None
    try:
        number = float(text)
    except ValueError:
        return read_duration(text) if text[0].isdigit() and text[-1] in "smhd" else _until(text, now)
    if not 0 <= number < 1e15:
        return None
    if number < _EPOCH_FROM:
        return number
    if now is None:
        return None
    seconds = number / 1000 if number > 1e11 else number  # some tell milliseconds
    return max(0.0, seconds - now.timestamp())


def _until(text: str, now: datetime | None) -> float | None:
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return None
    if now is None:
        return None
    return max(0.0, (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() - now.timestamp())
